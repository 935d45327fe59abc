"""AIBrix's autoscalers against their own answers, and on hand-made cases."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulations.peers.aibrix.law import AibrixSpec, Strategy, decide, started

GOLDEN = Path(__file__).parents[3] / "shared" / "reference" / "golden"
NAMES = (
    "aibrix-apa-default",
    "aibrix-apa-sample",
    "aibrix-apa-two-metrics-cooldowns",
    "aibrix-apa-zero",
    "aibrix-kpa-concurrency",
    "aibrix-kpa-default",
    "aibrix-kpa-zero",
)
#: Annotation (without its prefix) to the field it sets.
FIELDS = {
    "max-scale-up-rate": "max_scale_up_rate",
    "scale-up-tolerance": "up_tolerance",
    "scale-down-tolerance": "down_tolerance",
    "scale-up-cooldown-window": "up_cooldown_seconds",
    "scale-down-cooldown-window": "down_cooldown_seconds",
    "panic-threshold": "panic_threshold",
}

needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"golden vectors of the peers are not at {GOLDEN}"
)


def spec_of(config: dict[str, Any]) -> AibrixSpec:
    """The PodAutoscaler of a vector's config."""
    annotations = {
        FIELDS[key.split("/")[1]]: float(value.removesuffix("s"))
        for key, value in (config["annotations"] or {}).items()
    }
    plain = AibrixSpec(
        strategy=Strategy(config["strategy"]),
        targets=tuple(config["targets"]),
        min_replicas=config["min"],
        max_replicas=config["max"],
        stable_window_seconds=config["stable_window_s"],
        panic_window_seconds=config["panic_window_s"],
    )
    return replace(plain, **annotations)  # type: ignore[arg-type] # all are numbers


@needs_golden
@pytest.mark.parametrize("name", NAMES)
def test_series_follow_aibrix(name: str) -> None:
    """Recommendation and decision equal AIBrix's at every tick."""
    document = json.loads((GOLDEN / f"{name}.json").read_text())
    spec = spec_of(document["config"])
    history = started(spec)
    assert document["ticks"]
    for now, replicas, metrics, recommendation, desired, _ in document["ticks"]:
        made, decision, history = decide(spec, history, replicas, metrics, now)
        assert (made, decision) == (recommendation, desired), now


@needs_golden
def test_every_aibrix_vector_is_held() -> None:
    """No vector file of AIBrix is left out of these tests."""
    assert {path.stem for path in GOLDEN.glob("aibrix-*.json")} == set(NAMES)


@pytest.mark.parametrize(
    ("strategy", "replicas", "value", "expected"),
    [
        (Strategy.APA, 5, 0.8, 8),
        (Strategy.APA, 3, 1.6, 6),
        (Strategy.APA, 4, 0.2, 2),
        (Strategy.APA, 4, 0.05, 2),
        (Strategy.APA, 4, 0.54, 4),
        (Strategy.KPA, 5, 0.8, 2),
        (Strategy.KPA, 5, 0.5, 5),
        (Strategy.KPA, 3, 0.2, 1),
    ],
)
def test_one_decision(strategy: Strategy, replicas: int, value: float, expected: int) -> None:
    """Single decisions against a target of 0.5, the KPA's drop under load included."""
    spec = AibrixSpec(strategy=strategy, targets=(0.5,), min_replicas=0, max_replicas=99)
    made, decision, _ = decide(spec, started(spec), replicas, [[value] * replicas], 0.0)
    assert (made, decision) == (expected, expected)


def test_failed_fetches_are_no_decision() -> None:
    """When every pod's fetch fails nothing is decided; a zero set by hand stays."""
    spec = AibrixSpec(strategy=Strategy.APA, targets=(0.5,), min_replicas=1, max_replicas=9)
    made, decision, history = decide(spec, started(spec), 2, [[None, None]], 0.0)
    assert (made, decision) == (None, None)
    assert decide(spec, history, 0, [[]], 10.0)[1] == 0
