"""The KPA against Knative's own answers, and on hand-made cases."""

import json
from pathlib import Path
from typing import Any

import pytest

from simulations.peers.knative.law import KpaSpec, decide, excess_burst_capacity, started
from simulations.peers.knative.windows import Aggregation, Window
from simulations.peers.knative.zero import ZeroSpec, created, reconcile

GOLDEN = Path(__file__).parents[3] / "shared" / "reference" / "golden"
SERIES = (
    "kpa-activation3",
    "kpa-concurrency-default",
    "kpa-concurrency-gaps",
    "kpa-llm-delay300",
    "kpa-offset300ms",
    "kpa-rps",
    "kpa-unreachable",
    "kpa-weighted-exponential",
)

ZERO = (
    "kpa-zero-coldfail",
    "kpa-zero-disabled",
    "kpa-zero-min2",
    "kpa-zero-proxy",
    "kpa-zero-retention",
    "kpa-zero-serve",
)

needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"golden vectors of the peers are not at {GOLDEN}"
)


def load(name: str) -> Any:
    """Read one vector file."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def follows(config: dict[str, Any], rows: list[list[Any]]) -> None:
    """Assert every decision and average of one series."""
    spec = KpaSpec(
        target=config["target"],
        max_scale_up_rate=config["max_scale_up_rate"],
        max_scale_down_rate=config["max_scale_down_rate"],
        panic_threshold=config["panic_threshold"],
        stable_window_seconds=config["stable_window_s"],
        panic_window_seconds=config["panic_window_s"],
        scale_down_delay_seconds=config["scale_down_delay_s"],
        activation_scale=config["activation_scale"],
        reachable=config["reachable"],
        aggregation=Aggregation(config["aggregation"]),
    )
    offset = config["start_offset_ms"] / 1000
    history = started(spec, config["ready_at_start"], offset)
    assert rows
    for tick, ready, samples, stable, panic, desired, burst in rows:
        now = tick + offset
        history = history.recorded(
            [
                (now - len(samples) + position, sample)
                for position, sample in enumerate(samples, start=1)
                if sample is not None
            ]
        )
        outcome, history = decide(spec, history, ready, now)
        if outcome is None:
            assert (stable, panic, desired, burst) == (None,) * 4, (config, tick)
            continue
        assert outcome.stable_average == pytest.approx(stable, rel=2e-6, abs=2e-6), (config, tick)
        assert outcome.panic_average == pytest.approx(panic, rel=2e-6, abs=2e-6), (config, tick)
        assert outcome.desired == desired, (config, tick)
        left = excess_burst_capacity(
            config["total"], ready, outcome.panic_average, config["target_burst_capacity"]
        )
        assert left == burst, (config, tick)


@needs_golden
@pytest.mark.parametrize("name", SERIES)
def test_series_follow_knative(name: str) -> None:
    """Averages, decision and burst capacity equal Knative's at every tick."""
    document = load(name)
    follows(document["config"], document["ticks"])


@needs_golden
def test_random_configurations_follow_knative() -> None:
    """40 random configurations equal Knative's at every tick."""
    document = load("kpa-fuzz")
    assert len(document["ticks"]) == 40
    for config, rows in document["ticks"]:
        follows(config, rows)


@needs_golden
def test_windows_follow_knative() -> None:
    """Window averages alone equal Knative's, for writes and queries out of order too."""
    for seconds, rows in load("kpa-buckets")["ticks"]:
        window = Window(seconds=seconds)
        for now, value, linear, exponential, empty in rows:
            if value is not None:
                window = window.recorded([(now, value)])
                continue
            assert window.empty(now) == empty, (seconds, now)
            averages = [window.average(now, aggregation) for aggregation in Aggregation]
            assert averages == pytest.approx([linear, exponential], rel=2e-6, abs=2e-6)


@pytest.mark.parametrize(
    ("samples", "expected"), [([10, 10, 5, 5], 5.544), ([5, 5, 10, 10], 9.072)]
)
def test_newer_seconds_weigh_more(samples: list[float], expected: float) -> None:
    """The weighted-exponential average gives its newest second the largest weight."""
    window = Window(seconds=10)
    for second, value in enumerate(samples):
        window = window.recorded([(float(second), value)])
    assert window.average(3.0, Aggregation.WEIGHTED_EXPONENTIAL) == pytest.approx(
        expected, rel=0.01
    )


def test_panic_holds_its_peak_for_a_stable_window() -> None:
    """Twice the ready replicas' capacity starts a panic, which never comes down before its end."""
    spec = KpaSpec(target=70.0)
    history = started(spec, 1, 0.0)
    desired = []
    for second in range(1, 150):
        history = history.recorded([(float(second), 350.0 if second == 1 else 20.0)])
        outcome, history = decide(spec, history, 1, float(second))
        assert outcome is not None
        desired.append(outcome.desired)
    assert desired[:60] == [5] * 60
    assert desired[-1] == 1


def test_steep_changes_are_limited() -> None:
    """The rates bound a decision to between a half and the allowed multiple of ready replicas."""
    spec = KpaSpec(target=1.0, max_scale_up_rate=1.1)
    for ready, total, expected in ((2, 100.0, 3), (5, 0.0, 2)):
        history = started(spec, 1, 0.0).recorded([(1.0, total)])
        outcome, _ = decide(spec, history, ready, 1.0)
        assert outcome is not None
        assert outcome.desired == expected


@needs_golden
@pytest.mark.parametrize("name", ZERO)
def test_life_cycles_follow_knative(name: str) -> None:
    """Want, write, replicas, activity and the activator's place equal Knative's at every tick."""
    document = load(name)
    config = document["config"]
    spec = ZeroSpec(
        min_replicas=config["min"],
        max_replicas=config["max"],
        scale_to_zero=config["enable_scale_to_zero"],
        stable_window_seconds=config["stable_window_s"],
        grace_seconds=config["scale_to_zero_grace_s"],
        retention_seconds=config["pod_retention_s"],
        progress_deadline_seconds=config["progress_deadline_s"],
    )
    bursts = config["target_burst_capacity"] < 0
    history = created(0.0)
    assert document["ticks"]
    for now, before, ready, decided, want, apply, after, state, mode in document["ticks"]:
        applied, history = reconcile(
            spec, history, decided, ready, bursts_need_activator=bursts, now=now
        )
        assert (applied.want, applied.apply) == (want, apply), now
        assert (applied.want if applied.apply else before) == after, now
        assert history.activity == state, now
        assert (history.proxied_at_seconds is not None) == (mode == "Proxy"), now


@needs_golden
def test_every_knative_vector_is_held() -> None:
    """No vector file of the KPA is left out of these tests."""
    held = {*SERIES, *ZERO, "kpa-fuzz", "kpa-buckets"}
    assert {path.stem for path in GOLDEN.glob("kpa-*.json")} == held
