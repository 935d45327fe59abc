"""The benchmarks' document: what is named is measured, and held to its targets."""

import json
from dataclasses import dataclass
from functools import partial

import pytest

from simulations.bench import __main__ as bench
from simulations.bench.memory import peak_of_replay
from simulations.bench.planning import PlanTimes, planning
from simulations.bench.replay import ReplayFigures, replay


def run(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """The command line with these names, every measurement in this process."""
    monkeypatch.setattr("sys.argv", ["bench", *names])
    monkeypatch.setattr(bench, "isolated", lambda measure: measure())
    bench.main()


@dataclass(frozen=True)
class Figures:
    """What a benchmark of this test measures."""

    wall_seconds: float
    requests_per_second: float


def test_the_document_holds_figures_and_whether_targets_are_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys are in camel case, upper and lower bounds are told apart, only what is named runs."""
    targets = (
        bench.Target("wallSeconds", 1.0),
        bench.Target("requestsPerSecond", 10.0, at_least=True),
    )
    known = {
        "good": bench.Benchmark(partial(Figures, 0.5, 20.0), targets),
        "bad": bench.Benchmark(partial(Figures, 2.0, 5.0), targets),
        "never": bench.Benchmark(partial(pytest.fail, "was not named"), ()),
    }
    monkeypatch.setattr(bench, "BENCHMARKS", known)
    run(monkeypatch, "good", "bad")
    document = json.loads(capsys.readouterr().out)
    found = document["benchmarks"]
    assert list(found) == ["good", "bad"]
    assert found["good"]["figures"] == {"wallSeconds": 0.5, "requestsPerSecond": 20.0}
    assert found["bad"]["targets"] == [
        {"figure": "wallSeconds", "atMost": 1.0, "met": False},
        {"figure": "requestsPerSecond", "atLeast": 10.0, "met": False},
    ]
    assert [target["met"] for target in found["good"]["targets"]] == [True, True]
    assert document["machine"]["cores"] >= 1


def test_an_unknown_name_lists_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong name is told with what there is."""
    with pytest.raises(SystemExit):
        run(monkeypatch, "plan-9x9")
    error = capsys.readouterr().err
    assert all(name in error for name in ("plan-9x9", *bench.BENCHMARKS))


def test_every_target_names_a_figure_that_is_measured() -> None:
    """A target on a figure that does not exist would never fail."""
    kinds = {"plan": PlanTimes, "replay": ReplayFigures}
    for name, benchmark in bench.BENCHMARKS.items():
        kind = kinds.get(name.split("-", maxsplit=1)[0])
        for target in benchmark.targets if kind else ():
            assert target.figure in {bench.to_camel(f) for f in kind.__dataclass_fields__}


def test_planning_times_every_tick_of_a_world_that_answers() -> None:
    """Ticks with refits, mixes and replicas that follow are timed, and none takes no time."""
    times = planning(2, 6, ticks=60)
    assert (times.variants, times.max_replicas, times.ticks) == (2, 6, 60)
    assert times.mixes >= 1
    assert 0.0 < times.p50_milliseconds <= times.p99_milliseconds <= times.longest_milliseconds
    assert times.mean_milliseconds > 0.0


def test_replay_says_which_trace_it_replayed_and_on_what() -> None:
    """Half an hour with steelyard deciding gives figures of that very replay."""
    figures = replay("nvidia-a100", 0.02, 2.0)
    assert figures.trace in {"servegen-m-mid-rate", "generated"}
    assert figures.accelerator == "nvidia-a100"
    assert figures.requests > 1000
    assert 0.5 < figures.attainment <= 1.0
    assert 0.0 < figures.plan_share_of_wall < 1.0


def test_memory_is_read_off_a_replay_of_generated_traffic() -> None:
    """The peak holds at least what numpy and the engine take, in MiB."""
    assert 50.0 < peak_of_replay(0.01) < 10_000.0
