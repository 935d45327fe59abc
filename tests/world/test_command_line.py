"""The command line: what it prints and writes, and how it tells what is wrong with its input."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from simulations.cli.app import app
from simulations.cli.scenarios import SCENARIOS

#: Wide enough that no table is broken.
WIDE = {"COLUMNS": "250"}
QUICK = (
    *("--policy", "static-peak", "--policy", "hpa-queue"),
    *("--processes", "1", "--plan-replays", "2"),
)


def steelyard_sim(*arguments: str | Path) -> Result:
    """Run the command line in this process."""
    return CliRunner().invoke(app, [str(part) for part in arguments], env=WIDE)


def succeeded(result: Result) -> str:
    """Return what it printed, having made sure that it ended well."""
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def scenario(tmp_path: Path, document: dict[str, Any]) -> Callable[..., Path]:
    """Write the small scenario to a file, with some fields replaced."""

    def write(**fields: Any) -> Path:
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(document | fields))
        return path

    return write


def recorded_times(count: int = 2_000, seconds: float = 600.0) -> list[float]:
    """Arrival times of a trace to be written in one format or another."""
    rng = np.random.default_rng(1)
    return sorted(float(t) for t in np.round(rng.uniform(0.0, seconds, count), 3))


# --- compare -----------------------------------------------------------------------------------


def test_compare_prints_a_table_and_writes_results_and_report(
    scenario: Callable[..., Path], tmp_path: Path
) -> None:
    """Every option at once: the policies asked for, over the seeds, on the part, at the peak."""
    results, page = tmp_path / "new" / "x.json", tmp_path / "x.html"
    printed = succeeded(
        steelyard_sim(
            *("compare", scenario(), *QUICK, "--seed", "0", "--seed", "3"),
            *("--from", "120", "--to", "600", "--peak-replicas", "2.5"),
            *("--json", results, "--html", page),
        )
    )
    assert "static-peak" in printed
    assert "index of dispersion" in printed
    assert re.search(r"queue limit, .*: bf16 \d+", printed)
    written = json.loads(results.read_text())
    assert [policy["name"] for policy in written["policies"]] == ["static-peak", "hpa-queue"]
    assert written["seeds"] == [0, 3]
    assert 0.0 < written["lowerBoundCost"] <= written["referencePlanCost"]
    static = written["policies"][0]
    # Three replicas at 3.60 an hour for 480 s less the warm-up of 60 s.
    assert static["cost"] == pytest.approx(3 * 0.42)
    assert static["good"] / static["requests"] == pytest.approx(static["attainment"], abs=1e-3)
    assert page.read_text().lstrip().startswith("<!doctype html>")


def test_a_higher_peak_is_more_traffic_and_a_dearer_fleet(
    scenario: Callable[..., Path], tmp_path: Path
) -> None:
    """The trace is scaled so that its peak needs as many replicas as asked for."""
    small, large = (
        _compared(tmp_path, scenario(), "--peak-replicas", replicas) for replicas in ("2", "4")
    )
    assert large["policies"][0]["cost"] == pytest.approx(2.0 * small["policies"][0]["cost"])
    ratio = large["policies"][0]["requests"] / small["policies"][0]["requests"]
    assert 1.9 < ratio < 2.3, "a larger fleet carries a little more than in proportion"


def _compared(folder: Path, *arguments: str | Path) -> dict[str, Any]:
    path = folder / "compared.json"
    succeeded(steelyard_sim("compare", *arguments, *QUICK, "--json", path))
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def _azure(times: list[float]) -> str:
    rows = (f"2024-05-10 00:{int(t) // 60:02d}:{t % 60:09.6f},300,40" for t in times)
    return "TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(rows) + "\n"


def _mooncake(times: list[float]) -> str:
    return "".join(
        json.dumps(
            {
                "timestamp": round(1000 * t),
                "input_length": 300,
                "output_length": 40,
                "hash_ids": [1],
            }
        )
        + "\n"
        for t in times
    )


def _burstgpt(times: list[float]) -> str:
    rows = (f"{t:.3f},ChatGPT,300,40,340,Conversation log" for t in times)
    header = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
    return header + "\n" + "\n".join(rows) + "\n"


def _rates(times: list[float]) -> str:
    counts = np.histogram(times, bins=np.arange(0.0, 601.0, 10.0))[0]
    return "t_s,requests\n" + "".join(f"{10 * i},{n}\n" for i, n in enumerate(counts))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("azure.csv", _azure),
        ("mooncake.jsonl", _mooncake),
        ("burstgpt.csv", _burstgpt),
        ("rates.csv", _rates),
    ],
)
def test_another_trace_of_any_known_format_is_replayed_instead(
    scenario: Callable[..., Path],
    tmp_path: Path,
    document: dict[str, Any],
    name: str,
    written: Callable[[list[float]], str],
) -> None:
    """All of it, with its own tokens: the file's part and history belong to the file's trace."""
    path = tmp_path / name
    path.write_text(written(recorded_times()))
    own = document["trace"] | {"fromSeconds": 500, "toSeconds": 600}
    compared = _compared(tmp_path, scenario(trace=own), "--trace", path)
    scored_seconds = compared["policies"][0]["cost"] / 3 * 1000.0
    assert scored_seconds == pytest.approx(540.0, abs=30.0)
    assert compared["policies"][0]["attainment"] > 0.9


def test_the_demo_runs_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shipped scenario is found by name and needs no file beside it."""
    monkeypatch.chdir(tmp_path)
    part = ("--from", "201600", "--to", "202500", "--peak-replicas", "2")
    compared = _compared(tmp_path, "demo", *part)
    assert compared["scenario"] == "demo"
    assert compared["ceiling"] > 0.99
    assert {policy["name"] for policy in compared["policies"]} == {"static-peak", "hpa-queue"}


def test_policies_are_replayed_once_however_often_they_are_named(
    scenario: Callable[..., Path], tmp_path: Path
) -> None:
    """Naming one twice is no reason to work twice, nor to show it twice."""
    compared = _compared(tmp_path, scenario(), "--policy", "hpa-queue", "--seed", "1")
    assert [policy["name"] for policy in compared["policies"]] == ["hpa-queue", "static-peak"]


# --- the other commands ------------------------------------------------------------------------


def test_run_prints_every_change_with_its_reason_and_the_sum(
    scenario: Callable[..., Path],
) -> None:
    """One line a change, then cost, attainment and digest, the same for the same seed."""
    chancy = scenario(replicas={"bf16": {"coldStartSigma": 0.5}})
    first, again, other = (
        succeeded(steelyard_sim("run", chancy, "--policy", "hpa-queue", "--seed", seed))
        for seed in ("2", "2", "3")
    )
    assert first == again
    assert first.splitlines()[-1] != other.splitlines()[-1]
    assert "PeerLaw" in first
    assert "hpa-queue: cost " in first.splitlines()[-1]
    assert "digest" in first


def test_traces_describes_files_of_several_formats(tmp_path: Path) -> None:
    """One row a file: length, requests, rates and tokens."""
    files = []
    for name, written in (("a.csv", _azure), ("m.jsonl", _mooncake), ("r.csv", _rates)):
        files.append(tmp_path / name)
        files[-1].write_text(written(recorded_times()))
    printed = succeeded(steelyard_sim("traces", *files))
    assert [name for name in ("a.csv", "m.jsonl", "r.csv") if name in printed] == [
        "a.csv",
        "m.jsonl",
        "r.csv",
    ]
    assert printed.count("2,000") == 3
    assert "10.0 min" in printed


def test_any_csv_is_read_by_the_names_of_its_columns(
    scenario: Callable[..., Path], tmp_path: Path
) -> None:
    """Described and replayed alike, as the same requests in the packed form are."""
    rows = [f"{1000.0 * t:.0f},{200 + i % 7},{20 + i % 5}" for i, t in enumerate(recorded_times())]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["when,in,out", *rows]))
    columns = ("--columns", "time=when,prompt_tokens=in,output_tokens=out,time_format=ms")
    assert "2,000" in succeeded(steelyard_sim("traces", path, *columns))
    compared = _compared(tmp_path, scenario(), "--trace", path, *columns)
    assert compared["policies"][0]["requests"] > 1_500


def test_policies_lists_every_policy_with_a_line_on_it() -> None:
    """Ours and the peers', by the names that compare takes."""
    printed = succeeded(steelyard_sim("policies"))
    for name in ("steelyard", "steelyard-persistence", "static-peak", "hpa-queue", "keda-queue"):
        assert name in printed
    assert "down_window_seconds=300" in printed


def test_a_policy_is_replayed_with_the_settings_asked_for(
    scenario: Callable[..., Path], tmp_path: Path
) -> None:
    """A lower target means more replicas, for a peer as for steelyard's own SLO target."""
    low, high = "hpa-queue:target_share=0.4", "hpa-queue:target_share=0.9"
    compared = _compared(tmp_path, scenario(), "--policy", low, "--policy", high)
    costs = {policy["name"]: policy["cost"] for policy in compared["policies"]}
    assert costs[low] > costs[high]


def test_report_prints_the_table_again_and_rebuilds_the_page(
    scenario: Callable[..., Path], tmp_path: Path
) -> None:
    """A results file holds all that its table and page need."""
    results, page, rebuilt = (tmp_path / name for name in ("x.json", "x.html", "y.html"))
    output = ("--json", results, "--html", page)
    printed = succeeded(steelyard_sim("compare", scenario(), *QUICK, *output))
    again = succeeded(steelyard_sim("report", results, "--html", rebuilt))
    assert again.strip() in printed
    assert rebuilt.read_text() == page.read_text()


# --- bad input ---------------------------------------------------------------------------------


def failed(*arguments: str | Path) -> list[str]:
    """Return the lines on standard error, having made sure that it ended as bad input does."""
    result = steelyard_sim(*arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    lines = result.stderr.strip().splitlines()
    assert lines[0].startswith("error: ")
    return lines


@pytest.mark.parametrize(
    ("arguments", "field", "fix"),
    [
        (("--policy", "hpa"), "policy 'hpa'", "choose from"),
        (("--policy", "hpa-queue-surge"), "spec.routing.type", "Overflow"),
        (("--peak-replicas", "0"), "peakReplicas (--peak-replicas)", "above 0"),
        (("--peak-replicas", "99"), "peakReplicas (--peak-replicas)", "maxReplicas"),
        (("--from", "400", "--to", "300"), "(--from, --to)", "between 0 and its length 600"),
        (("--from", "595"), "(--from, --to)", "at least tickSeconds"),
        (("--seed", "-1"), "--seed", "0 or more"),
        (("--processes", "0"), "--processes", "1 or more"),
        (("--trace", "nowhere.csv"), "--trace", "nowhere.csv"),
        (("--trace", "small.yaml"), "small.yaml, line 1", "expected the columns"),
        (("--columns", "time=t"), "--columns", "--trace FILE"),
        (("--trace", "small.yaml", "--columns", "when=t"), "--columns", "key=column"),
        (("--json", "small.yaml/x.json"), "--json", "give a file"),
        (("--html", "."), "--html", "another file"),
        (("--policy", "hpa-queu"), "hpa-queu", "choose from"),
        (("--policy", "hpa-queue:target=1"), "target", "choose from target_share"),
        (("--policy", "hpa-queue:target_share"), "target_share", "setting=number"),
        (("--policy", "steelyard:target=2"), "target", "from 0.5 to 0.9999"),
    ],
)
def test_a_wrong_option_is_told_in_one_line_with_the_fix(
    scenario: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    field: str,
    fix: str,
) -> None:
    """Exit code 2, the option or field, what to write, and no traceback."""
    path = scenario()
    monkeypatch.chdir(path.parent)
    lines = failed("compare", path, *arguments)
    assert len(lines) == 1
    assert field in lines[0]
    assert fix in lines[0]


def test_an_unknown_scenario_is_answered_with_the_shipped_ones() -> None:
    """Neither a file nor a name."""
    (line,) = failed("compare", "demmo")
    assert "demmo" in line
    assert all(file.stem in line for file in SCENARIOS.glob("*.yaml"))


def test_a_scenario_with_wrong_fields_gets_a_line_for_each(scenario: Callable[..., Path]) -> None:
    """File, field and fix, in one go."""
    path = scenario(peakReplicas=-1, seeds=[-4])
    lines = failed("run", path)
    assert len(lines) == 2
    assert all(str(path) in line for line in lines)
    assert "peakReplicas: found -1" in lines[0]
    assert "seeds.0: found -4" in lines[1]


def test_a_scenario_without_its_trace_names_file_field_and_way_out(
    scenario: Callable[..., Path],
) -> None:
    """The public traces are not part of the project."""
    path = scenario(trace={"path": "gone.csv.gz"})
    (line,) = failed("compare", path)
    assert str(path) in line
    assert "trace.path" in line
    assert "--trace FILE" in line


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff\xfe\x00", b'{"policies": 3}'])
def test_a_file_that_is_no_results_file_is_refused(tmp_path: Path, text: bytes) -> None:
    """Whatever is in it."""
    path = tmp_path / "x.json"
    path.write_bytes(text)
    assert failed("report", path)


def test_a_missing_results_file_is_named(tmp_path: Path) -> None:
    """With what to give instead."""
    (line,) = failed("report", tmp_path / "none.json")
    assert "none.json" in line
    assert "compare --json" in line


@pytest.mark.parametrize("text", [b"a,b\n1,2\n", b"\xff\xfe\x00\x01", b"", b"t_s,requests\n0,x\n"])
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, text: bytes) -> None:
    """By file and line, with what was expected."""
    path = tmp_path / "x.csv"
    path.write_bytes(text)
    lines = failed("traces", path)
    assert str(path) in lines[0]
    assert "expected" in lines[0]


def test_a_missing_trace_is_refused(tmp_path: Path) -> None:
    """And a folder is no trace either."""
    assert "none.csv" in failed("traces", tmp_path / "none.csv")[0]
    assert failed("traces", tmp_path)
