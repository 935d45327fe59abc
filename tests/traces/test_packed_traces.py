"""The real traces' statistics, as read here, against the table their packer computed."""

import re
from functools import cache
from pathlib import Path

import pytest

from simulations.traces.opening import open_trace
from simulations.traces.statistics import TraceStatistics, describe

FOLDER = Path(__file__).parents[3] / "shared" / "traces"
MANIFEST = FOLDER / "MANIFEST.md"
ROW = re.compile(r"^\| `([^`]+)` \| (.*) \|$", re.MULTILINE)

pytestmark = pytest.mark.skipif(
    not MANIFEST.exists(), reason=f"REAL TRACES NOT CHECKED: no {MANIFEST}"
)


def rows() -> dict[str, list[str]]:
    """Cells of the statistics table by file name, the name left out."""
    if not MANIFEST.exists():
        return {}
    table = MANIFEST.read_text().partition("## Provenance")[0]
    return {name: [c.strip() for c in cells.split("|")] for name, cells in ROW.findall(table)}


def number(text: str) -> float:
    """Read a number with thousands separators."""
    return float(text.replace(",", ""))


@cache
def opened(name: str) -> TraceStatistics:
    """Describe a packed trace."""
    return describe(open_trace(FOLDER / f"{name}.csv.gz"))


NOT_RESOLVED = "\N{EN DASH}"
REQUESTS = [name for name in rows() if name != "burstgpt-1-week1-tokens"]


@pytest.mark.parametrize("name", REQUESTS)
def test_length_total_and_rates_are_those_of_the_manifest(name: str) -> None:
    """Totals agree to the request, rates to the digits given."""
    length, _, total, mean, peak, peak_over_mean, *_ = rows()[name]
    found = opened(name)
    value, unit = length.split()
    assert found.duration_seconds / {"min": 60.0, "d": 86_400.0}[unit] == pytest.approx(
        number(value), rel=0.005
    )
    assert found.requests == pytest.approx(number(total), abs=0.5)
    assert found.mean == pytest.approx(number(mean), rel=0.002)
    at_60 = re.search(r"([\d.]+) \((?:60|600) s\)", peak)
    assert at_60 is not None
    assert found.peak == pytest.approx(number(at_60[1]), rel=0.003)
    at_1 = re.search(r"([\d.]+) \(1 s\)", peak)
    if at_1:
        assert found.peak_1s == number(at_1[1])
    assert found.peak_over_mean == pytest.approx(number(peak_over_mean), rel=0.005)


@pytest.mark.parametrize("name", REQUESTS)
def test_dispersion_is_that_of_the_manifest(name: str) -> None:
    """Short-term burstiness and the level's movement agree; what is not resolved is not given."""
    at_1s, at_60s = rows()[name][6:8]
    found = opened(name)
    if at_1s == NOT_RESOLVED:
        assert found.dispersion.local_1s is None
    else:
        whole, local = re.fullmatch(r"([\d.]+) \[([\d.]+)\]", at_1s).groups()  # type: ignore[union-attr]
        assert found.dispersion.at_1s == pytest.approx(number(whole), rel=0.005)
        assert found.dispersion.local_1s == pytest.approx(number(local), rel=0.01)
    if at_60s.startswith(NOT_RESOLVED):
        assert found.dispersion.at_60s is None
        index = re.search(r"ID ([\d,.]+), CV ([\d.]+)", at_60s)
        assert index is not None
        assert found.coefficient_of_variation == pytest.approx(number(index[2]), abs=0.006)
    else:
        assert found.dispersion.at_60s == pytest.approx(number(at_60s), rel=0.02)


@pytest.mark.parametrize(
    "name", [n for n, cells in rows().items() if "/" in cells[8] and not n.endswith("-rate")]
)
def test_token_lengths_are_those_of_the_manifest(name: str) -> None:
    """Mean, median and p99 of recorded lengths agree."""
    found = opened(name)
    for cell, lengths in zip(
        rows()[name][8].split(";"), (found.prompt_tokens, found.output_tokens), strict=True
    ):
        mean, p50, p99 = (number(part) for part in cell.split("/"))
        assert lengths.mean == pytest.approx(mean, rel=0.005, abs=0.06)
        assert lengths.p50 == pytest.approx(p50, rel=0.005, abs=0.5)
        assert lengths.p99 == pytest.approx(p99, rel=0.005, abs=0.5)


def test_lengths_drawn_around_a_rate_files_means_have_its_quantiles() -> None:
    """The default spread fits the trace it was chosen by: m-mid, whose histograms are known."""
    found = opened("servegen-m-mid-rate")
    # The packer's mean weighs buckets by the share of requests with token data as well: 306, 50.7.
    assert found.prompt_tokens.p50 == pytest.approx(173, rel=0.1)
    assert found.prompt_tokens.p99 == pytest.approx(2_583, rel=0.1)
    assert found.output_tokens.p50 == pytest.approx(34, rel=0.15)
    assert found.output_tokens.p99 == pytest.approx(397, rel=0.15)


@pytest.mark.parametrize("name", [n for n, cells in rows().items() if "d 0" in cells[9]])
def test_seasonality_is_that_of_the_manifest(name: str) -> None:
    """Hourly sums correlate with a day and a week before as the packer found."""
    found = opened(name)
    for days, value in re.findall(r"(\d) d (-?[\d.]+)", rows()[name][9]):
        own = found.day_autocorrelation if days == "1" else found.week_autocorrelation
        assert own == pytest.approx(number(value), abs=0.02)


def test_a_token_file_is_turned_into_requests_of_chat_length() -> None:
    """Tokens over the built-in mean length give the requests; the shape stays."""
    total, *_ = rows()["burstgpt-1-week1-tokens"][2:]
    found = opened("burstgpt-1-week1-tokens")
    per_request = found.prompt_tokens.mean + found.output_tokens.mean
    assert found.requests * per_request == pytest.approx(number(total), rel=0.01)
    assert found.peak_over_mean == pytest.approx(19.3, rel=0.005)


@pytest.mark.parametrize(
    ("name", "share"), [("servegen-m-mid-rate", 104 / 2016), ("azure-2023-conv", 0.0)]
)
def test_what_was_filled_in_is_known(name: str, share: float) -> None:
    """102 buckets of gaps and 2 corrected ones of m-mid are marked as imputed."""
    assert opened(name).imputed_share == pytest.approx(share)
