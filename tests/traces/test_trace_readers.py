"""Reading trace files of every known format, and what is said of wrong ones."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from simulations.traces.errors import InvalidTrace
from simulations.traces.opening import open_trace
from simulations.traces.rate_trace import RateTrace
from simulations.traces.readers import text as reading
from simulations.traces.readers.columns import ColumnMapping
from simulations.traces.request_trace import RequestTrace

PACKED = "arrival_s,prompt_tokens,output_tokens\n0.0000,374,44\n4.3146,396,109\n4.5,1,1\n"
RATES = (
    "t_s,requests,prompt_tokens_mean,output_tokens_mean,token_coverage,active_clients,imputed\n"
    "0,600,100.5,20.0,0.4,5,0\n600,1200,nan,30.0,0.4,5,1\n1200,0,90,10,0.4,5,0\n"
)
AZURE_2023 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:05.0000000,110,27\n"
)
AZURE_2024 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01+00:00,2399,6\n"
)
BURSTGPT = (
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "86405,ChatGPT,472,18,490,Conversation log\n"
    "86445,GPT-4,0,0,0,API log\n"
    "86518.5,GPT-4,417,276,693,Conversation log\n"
)
MOONCAKE = (
    '{"timestamp": 3000, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}\n'
    '{"timestamp": 6052, "input_length": 7322, "output_length": 490, "hash_ids": [0, 2]}\n'
)


def write(folder: Path, text: str, name: str = "trace.csv", *, packed: bool = False) -> Path:
    """Write a file, gzip-packed where asked."""
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return path


def requests_of(path: Path, **options: object) -> RequestTrace:
    """Open a file that must hold requests."""
    trace = open_trace(path, **options)  # type: ignore[arg-type]
    assert isinstance(trace, RequestTrace)
    return trace


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz", "trace"])
def test_packed_requests_are_read_whatever_the_name_says(
    tmp_path: Path,
    packed: bool,  # noqa: FBT001 - a case of the test
    name: str,
) -> None:
    """Compression is told by the content and the format by the header."""
    trace = requests_of(write(tmp_path, PACKED, name, packed=packed))
    assert trace.name == "trace"
    np.testing.assert_array_equal(trace.arrivals.seconds, [0.0, 4.3146, 4.5])
    np.testing.assert_array_equal(trace.arrivals.prompt_tokens, [374, 396, 1])
    np.testing.assert_array_equal(trace.arrivals.output_tokens, [44, 109, 1])
    assert trace.duration_seconds == 5.0


def test_windows_line_ends_byte_order_mark_and_a_missing_last_newline_do_not_matter(
    tmp_path: Path,
) -> None:
    """The same rows come out of the same data however its lines end."""
    odd = "\ufeff" + PACKED.replace("\n", "\r\n").rstrip("\r\n")
    trace = requests_of(write(tmp_path, odd))
    np.testing.assert_array_equal(trace.arrivals.output_tokens, [44, 109, 1])


def test_a_file_longer_than_one_block_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks split between lines only, and lines are counted across them."""
    monkeypatch.setattr(reading, "_BLOCK_BYTES", 37)
    rows = [f"{i}.5,{i + 1},{2 * i + 1}" for i in range(200)]
    good = "arrival_s,prompt_tokens,output_tokens\n" + "\n".join(rows)
    np.testing.assert_array_equal(
        requests_of(write(tmp_path, good)).arrivals.prompt_tokens, np.arange(200) + 1
    )
    rows[150] = "150.5,x,3"
    bad = "arrival_s,prompt_tokens,output_tokens\n" + "\n".join(rows)
    with pytest.raises(InvalidTrace, match="line 152: prompt_tokens is 'x'; expected a number"):
        open_trace(write(tmp_path, bad))


def test_a_rate_file_gives_counts_means_and_what_was_filled_in(tmp_path: Path) -> None:
    """Counts stay as they are; an unknown mean takes the mean of the known ones."""
    trace = open_trace(write(tmp_path, RATES))
    assert isinstance(trace, RateTrace)
    demand = trace.demand(600.0)
    np.testing.assert_allclose(demand.requests, [600, 1200, 0])
    np.testing.assert_array_equal(demand.imputed, [False, True, False])
    np.testing.assert_allclose(demand.prompt_tokens_mean, [100.5, 100.5, np.nan])
    np.testing.assert_allclose(demand.output_tokens_mean, [20.0, 30.0, np.nan])


def test_a_token_rate_file_holds_as_many_requests_as_have_its_tokens(tmp_path: Path) -> None:
    """A file of tokens per minute is turned into requests by the mean length of its lengths."""
    lengths = requests_of(write(tmp_path, PACKED))
    path = write(tmp_path, "t_s,tokens\n0,925\n60,1850\n", "tokens.csv")
    trace = open_trace(path, tokens=lengths)
    np.testing.assert_allclose(trace.demand(60.0).requests, [3.0, 6.0])


@pytest.mark.parametrize(
    ("text", "seconds"), [(AZURE_2023, [0.0, 1.02004]), (AZURE_2024, [0.0, 0.99007])]
)
def test_azure_stamps_of_both_years_are_read(
    tmp_path: Path, text: str, seconds: list[float]
) -> None:
    """Seconds count from the first stamp, with or without a zone."""
    trace = requests_of(write(tmp_path, text))
    np.testing.assert_allclose(trace.arrivals.seconds, seconds, atol=1e-9)
    assert trace.arrivals.prompt_tokens[0] in (4808, 2162)


def test_burstgpt_keeps_the_hour_of_day_and_gives_failures_lengths_of_others(
    tmp_path: Path,
) -> None:
    """A failed request was an arrival: it is kept, with lengths of one that did not fail."""
    trace = requests_of(write(tmp_path, BURSTGPT))
    np.testing.assert_allclose(trace.arrivals.seconds, [5.0, 45.0, 118.5])
    pairs = set(zip(trace.arrivals.prompt_tokens, trace.arrivals.output_tokens, strict=True))
    assert pairs == {(472, 18), (417, 276)}
    dropped = requests_of(write(tmp_path, BURSTGPT), drop_failed=True)
    np.testing.assert_allclose(dropped.arrivals.seconds, [5.0, 118.5])


def test_burstgpt_with_session_columns_is_the_same_format(tmp_path: Path) -> None:
    """Columns are found by name, wherever newer releases put them."""
    text = (
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,"
        "Log Type\n5,,1.5,ChatGPT,472,18,490,API log\n7,ab,2,GPT-4,5,6,11,API log\n"
    )
    trace = requests_of(write(tmp_path, text))
    np.testing.assert_array_equal(trace.arrivals.output_tokens, [18, 6])


def test_mooncake_lines_are_read_in_seconds(tmp_path: Path) -> None:
    """Milliseconds become seconds from the first request."""
    trace = requests_of(write(tmp_path, MOONCAKE, "conversation.jsonl"))
    assert trace.name == "conversation"
    np.testing.assert_allclose(trace.arrivals.seconds, [0.0, 3.052])
    np.testing.assert_array_equal(trace.arrivals.prompt_tokens, [6758, 7322])


@pytest.mark.parametrize(
    ("times", "time_format"),
    [
        (("1000", "3500"), "ms"),
        (("1", "3.5"), "s"),
        (("2025-04-01T00:00:01", "2025-04-01T00:00:03.5Z"), "iso8601"),
        (("01/04/2025 00:00:01.0", "01/04/2025 00:00:03.5"), "%d/%m/%Y %H:%M:%S.%f"),
    ],
)
def test_any_csv_is_read_by_column_names_and_time_format(
    tmp_path: Path, times: tuple[str, str], time_format: str
) -> None:
    """Order of columns and rows, delimiter and time format are the mapping's business."""
    text = f"out;when;in;who\n7;{times[1]};5;b\n3;{times[0]};2;a\n"
    mapping = ColumnMapping(
        time="when",
        prompt_tokens="in",
        output_tokens="out",
        time_format=time_format,
        delimiter=";",
    )
    trace = requests_of(write(tmp_path, text), columns=mapping)
    np.testing.assert_allclose(trace.arrivals.seconds, [0.0, 2.5])
    np.testing.assert_array_equal(trace.arrivals.prompt_tokens, [2, 5])
    np.testing.assert_array_equal(trace.arrivals.output_tokens, [3, 7])


def test_a_mapping_with_a_count_column_reads_rates(tmp_path: Path) -> None:
    """With ``requests`` each row is a bucket; without token columns lengths are built in."""
    mapping = ColumnMapping.parse("time=minute,requests=calls,time_format=min")
    trace = open_trace(write(tmp_path, "minute,calls\n7,10\n8,20\n9,0\n"), columns=mapping)
    assert isinstance(trace, RateTrace)
    np.testing.assert_allclose(trace.demand(60.0).requests, [10, 20, 0])


def test_a_mapping_without_token_columns_draws_built_in_lengths(tmp_path: Path) -> None:
    """Arrivals alone make a trace; every request has lengths of at least one token."""
    mapping = ColumnMapping(time="at")
    trace = requests_of(write(tmp_path, "at,x\n1,0\n2,0\n2,0\n"), columns=mapping)
    assert len(trace) == 3
    assert trace.arrivals.prompt_tokens.min() >= 1


def test_tokens_of_another_trace_replace_a_files_own(tmp_path: Path) -> None:
    """What is asked for by name wins over what the file has."""
    other = requests_of(write(tmp_path, "arrival_s,prompt_tokens,output_tokens\n0,7,9\n", "o.csv"))
    trace = requests_of(write(tmp_path, PACKED), tokens=other)
    assert set(trace.arrivals.prompt_tokens) == {7}
    rates = open_trace(write(tmp_path, RATES), tokens=other)
    assert set(rates.chunk(0).output_tokens) == {9}


WRONG_FILES = {
    "empty": ("", "line 1: the file is empty; expected a header"),
    "unknown header": ("a,b\n1,2\n", "line 1: has the columns a,b; expected the columns arrival_s"),
    "no rows": ("arrival_s,prompt_tokens,output_tokens\n", "line 2: there are no rows"),
    "text for a number": (
        PACKED.replace("396", "many"),
        "line 3: prompt_tokens is 'many'; expected a number",
    ),
    "cut inside a line": (PACKED[:-4], "line 4: has 2 fields; expected 3 fields"),
    "cut inside a number": (PACKED[: PACKED.index("396") + 1], "line 3: has 2 fields"),
    "extra field": (PACKED.replace("396", "396,5"), "line 3: has 4 fields"),
    "extra field with blank line": (
        PACKED.replace("4.3146", "\n4.3146").replace("396", "396,5"),
        "line 4: has 4 fields",
    ),
    "time goes back": (
        PACKED.replace("4.5,", "4.2,"),
        "line 4: arrival_s is 4.2; expected no time",
    ),
    "time below zero": (PACKED.replace("0.0000", "-1"), "line 2: arrival_s is -1; expected"),
    "no output": (
        PACKED.replace("396,109", "396,0"),
        "line 3: output_tokens is 0; expected a whole number >= 1",
    ),
    "blank line counts": (
        PACKED.replace("4.5,1,1", "\n4.5,0,1"),
        "line 5: prompt_tokens is 0; expected a whole number >= 1",
    ),
    "half a token": (PACKED.replace("396,109", "396.5,109"), "line 3: prompt_tokens is 396.5"),
    "not a number": (PACKED.replace("396,109", "nan,109"), "line 3: prompt_tokens is nan"),
    "bucket missing": (
        RATES.replace("1200,0,", "1800,0,"),
        "line 4: t_s is 1800; expected 1200, a bucket every 600 s",
    ),
    "one bucket": ("t_s,requests\n0,5\n", "fewer than two rows"),
    "buckets not from 0": ("t_s,requests\n5,5\n6,5\n", "expected ascending buckets from 0"),
    "count below 0": (
        "t_s,requests\n0,5\n1,-3\n",
        "line 3: requests is -3; expected a number >= 0",
    ),
    "mean below 0": (RATES.replace("90,10", "-90,10"), "line 4: prompt_tokens_mean is -90"),
    "imputed by half": (
        RATES.replace("5,1\n", "5,0.5\n"),
        "line 3: imputed is 0.5; expected 0 or 1",
    ),
    "azure without a time": (
        AZURE_2023.replace("18:17:05.0000000", "later"),
        "line 3: TIMESTAMP is '2023-11-16 later'; expected a UTC stamp",
    ),
    "azure in another zone": (
        AZURE_2024.replace("01+00:00", "01+02:00"),
        r"line 3: TIMESTAMP is '2024-05-10 00:00:01\+02:00'; expected a UTC stamp",
    ),
    "azure cut": (AZURE_2023[:-4], "line 3: has 2 fields"),
    "azure below 0": (AZURE_2023.replace(",110,", ",-1,"), "line 3: ContextTokens is -1"),
    "burstgpt cut": (BURSTGPT[:-25], "line 4: has 4 fields; expected 6 fields"),
    "burstgpt text": (BURSTGPT.replace("86445", "soon"), "line 3: Timestamp is 'soon'"),
    "mooncake cut": (
        MOONCAKE[:-30],
        "line 2: is no complete JSON .*; expected one object per line",
    ),
    "mooncake key": (
        MOONCAKE.replace('"output_length": 490', '"output": 490'),
        "line 2: output_length is None; expected a number >= 0",
    ),
    "mooncake text": (MOONCAKE.replace("7322", '"7322"'), "line 2: input_length is '7322'"),
    "mooncake list": (MOONCAKE + "[1]\n", "line 3: is no JSON object"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_wrong_file_is_named_with_its_line_and_what_was_expected(
    tmp_path: Path, case: str
) -> None:
    """Every error says file, line and expectation."""
    text, message = WRONG_FILES[case]
    path = write(tmp_path, text)
    with pytest.raises(InvalidTrace, match=message) as caught:
        open_trace(path)
    assert str(caught.value).startswith(str(path))


def test_a_truncated_gzip_file_is_named_with_the_line_it_ends_at(tmp_path: Path) -> None:
    """Data that unpacks so far and no further is an error, not a shorter trace."""
    random = np.random.default_rng(1)
    rows = "".join(f"{i},{random.integers(1, 9999)},5\n" for i in range(20_000))
    whole = gzip.compress(("arrival_s,prompt_tokens,output_tokens\n" + rows).encode())
    path = tmp_path / "cut.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidTrace, match=r"cut.csv.gz, line \d+: the gzip data ends"):
        open_trace(path)


def test_a_binary_file_and_a_missing_one_are_said_to_be_so(tmp_path: Path) -> None:
    """Neither gives a traceback of the decoder."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00\x01\n")
    with pytest.raises(InvalidTrace, match="line 1: the file is not text"):
        open_trace(binary)
    with pytest.raises(InvalidTrace, match=r"cannot be read \(No such file"):
        open_trace(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt_tokens=a,output_tokens=b", "time is missing"),
        ("time=a,prompt_tokens=b", "give both prompt_tokens and output_tokens"),
        ("time=a,size=b", "'size=b' is not understood; give key=column with keys"),
        ("time=a,time_format=weeks", "time_format is 'weeks'; give one of ns"),
        ("time=a;delimiter=;;", "not understood"),
        ("time=a,delimiter=ab", "delimiter is 'ab'"),
    ],
)
def test_a_wrong_mapping_is_refused_before_any_file_is_read(text: str, message: str) -> None:
    """The error names the key and what it may be."""
    with pytest.raises(InvalidTrace, match=message):
        ColumnMapping.parse(text)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (ColumnMapping(time="when"), "line 1: has no column 'when'; expected one of at, n"),
        (ColumnMapping(time="at", requests="n"), "line 4: at is 5; expected 2, a bucket every 1 s"),
        (ColumnMapping(time="at", time_format="%H:%M"), "line 2: at is '0'; expected like %H:%M"),
        (
            ColumnMapping(time="at", time_format="iso8601"),
            "line 2: at is '0'; expected a UTC stamp",
        ),
    ],
)
def test_a_file_that_breaks_its_mapping_is_named_with_its_line(
    tmp_path: Path, mapping: ColumnMapping, message: str
) -> None:
    """Mapped files are checked as the known ones are."""
    with pytest.raises(InvalidTrace, match=message):
        open_trace(write(tmp_path, "at,n\n0,1\n1,1\n5,1\n"), columns=mapping)
