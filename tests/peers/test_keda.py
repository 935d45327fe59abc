"""KEDA's fallback values and its loop between 0 and 1, with and without its own answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from simulations.peers.keda.executor import ExecutorHistory, ExecutorSpec, poll
from simulations.peers.keda.fallback import Fallback, FallbackBehavior, Workload, handed_on

GOLDEN = Path(__file__).parents[3] / "shared" / "reference" / "golden"

needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"golden vectors of the peers are not at {GOLDEN}"
)


def load(name: str) -> list[Any]:
    """Read the series of one vector file."""
    series = json.loads((GOLDEN / f"{name}.json").read_text())["ticks"]
    assert series
    return list(series)


@needs_golden
def test_fallback_values_follow_keda() -> None:
    """The value handed to the HPA and the failures counted equal KEDA's at every poll."""
    for config, rows in load("keda-fallback-fuzz"):
        block = config["fallback"]
        fallback = block and Fallback(
            failure_threshold=block["failure_threshold"],
            replicas=block["replicas"],
            behavior=FallbackBehavior(block["behavior"] or "static"),
        )
        failures = 0
        for value, replicas, ready, expected, made_up, stored in rows:
            workload = Workload(
                replicas=replicas, ready=ready if config["type"] == "Value" else None
            )
            handed, failures = handed_on(
                fallback, value, config["target_milli"], workload, failures
            )
            assert handed == expected, (config, value, replicas, ready)
            assert (value is None and handed is not None) == made_up
            if fallback is not None:
                assert failures == stored


@needs_golden
def test_executor_follows_keda() -> None:
    """Replicas after every poll equal those of KEDA's own scale executor."""
    for config, rows in load("keda-zero-one-fuzz"):
        cooldown, initial = config["cooldown_s"], config["initial_cooldown_s"]
        spec = ExecutorSpec(
            min_replicas=config["min"],
            idle_replicas=config["idle"],
            cooldown_seconds=300.0 if cooldown is None else cooldown,
            initial_cooldown_seconds=initial or 0.0,
            fallback_replicas=config["fallback"] and config["fallback"]["replicas"],
        )
        history = ExecutorHistory(created_at_seconds=0.0)
        for now, before, active, error, after, _, _ in rows:
            replicas, history = poll(spec, history, before, active=active, error=error, now=now)
            assert replicas == after, (config, now)
