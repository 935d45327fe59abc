"""AIBrix's autoscalers on hand-made cases; their own answers are compared in test_vectors.py."""

import pytest

from simulations.peers.aibrix.law import AibrixSpec, Strategy, decide, started


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
