"""KEDA's fallback values and its loop between 0 and 1 on hand-made cases.

Its own answers are compared in test_vectors.py.
"""

import pytest

from simulations.peers.keda.executor import ExecutorHistory, ExecutorSpec, poll
from simulations.peers.keda.fallback import Fallback, FallbackBehavior, Workload, handed_on


def test_a_failed_trigger_is_made_up_for_only_after_its_threshold() -> None:
    """Failures are counted up to the threshold without a value, and a success clears them."""
    fallback = Fallback(failure_threshold=2, replicas=6)
    failures, handed = 0, []
    for value in (None, None, None, 700, None):
        made, failures = handed_on(fallback, value, 1000, Workload(replicas=4), failures)
        handed.append(made)
    assert handed == [None, None, 6000, 700, None]


@pytest.mark.parametrize(
    ("behavior", "current", "expected"),
    [
        (FallbackBehavior.STATIC, 9, 4),
        (FallbackBehavior.CURRENT, 9, 9),
        (FallbackBehavior.CURRENT_IF_HIGHER, 9, 9),
        (FallbackBehavior.CURRENT_IF_HIGHER, 2, 4),
        (FallbackBehavior.CURRENT_IF_LOWER, 9, 4),
        (FallbackBehavior.CURRENT_IF_LOWER, 2, 2),
    ],
)
def test_the_made_up_value_asks_for_the_fallback(
    behavior: FallbackBehavior, current: int, expected: int
) -> None:
    """The value is the target times replicas; of type Value it is spread over ready ones."""
    fallback = Fallback(failure_threshold=0, replicas=4, behavior=behavior)
    assert handed_on(fallback, None, 500, Workload(replicas=current), 0)[0] == 500 * expected
    spread, _ = handed_on(fallback, None, 500, Workload(replicas=current, ready=2), 0)
    assert spread == 250 * expected
    assert handed_on(fallback, None, 500, Workload(replicas=current, ready=0), 0)[0] is None


def test_the_loop_wakes_at_once_and_sleeps_after_the_cooldown() -> None:
    """An active trigger wakes a workload from zero; only a cooldown without one ends it."""
    spec = ExecutorSpec(min_replicas=0, cooldown_seconds=60.0)
    history = ExecutorHistory(created_at_seconds=0.0)
    replicas, seen = 0, []
    for now, active in ((0.0, False), (30.0, True), (60.0, False), (90.0, False), (120.0, False)):
        replicas, history = poll(spec, history, replicas, active=active, error=False, now=now)
        seen.append(replicas)
    assert seen == [0, 1, 1, 1, 0]


def test_a_failing_trigger_keeps_what_runs() -> None:
    """With a failed trigger nothing is put to sleep, nor does it prolong the cooldown."""
    spec = ExecutorSpec(min_replicas=0, cooldown_seconds=60.0)
    history = ExecutorHistory(created_at_seconds=0.0, active_at_seconds=0.0)
    replicas, after = poll(spec, history, 3, active=False, error=True, now=500.0)
    assert (replicas, after) == (3, history)
    assert poll(spec, history, 3, active=True, error=True, now=500.0) == (3, history)
    assert poll(spec, history, 3, active=False, error=False, now=500.0)[0] == 0


def test_idle_replicas_stand_below_the_minimum() -> None:
    """Asleep there are the idle replicas; awake at least the minimum."""
    spec = ExecutorSpec(min_replicas=3, idle_replicas=1, cooldown_seconds=60.0)
    history = ExecutorHistory(created_at_seconds=0.0, active_at_seconds=0.0)
    assert poll(spec, history, 5, active=False, error=False, now=61.0)[0] == 1
    assert poll(spec, history, 1, active=True, error=False, now=90.0)[0] == 3
    assert poll(spec, history, 1, active=False, error=False, now=90.0)[0] == 1
