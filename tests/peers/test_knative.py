"""The KPA on hand-made cases; its own answers are compared in test_vectors.py."""

import pytest

from simulations.peers.knative.law import KpaSpec, decide, started
from simulations.peers.knative.windows import Aggregation, Window


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
