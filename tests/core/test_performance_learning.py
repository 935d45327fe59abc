"""The online capacity factor."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.decision import Allocation
from controller.core.performance.learning import BOUNDS, CapacityLearning


@dataclasses.dataclass(frozen=True)
class Queue:
    """M/M/1 by replica: a fleet whose outstanding are known in closed form."""

    factor: float = 1.0

    def outstanding(self, allocation: Allocation, arrival_rate: float) -> float:
        """Mean outstanding at an arrival rate."""
        load = arrival_rate / (sum(allocation) * self.factor)
        return 100.0 * load / (1.0 - load)

    def rate_at(self, allocation: Allocation, outstanding: float) -> float:
        """Arrival rate of that mean."""
        part = outstanding / 100.0
        return sum(allocation) * self.factor * part / (1.0 + part)


READY = (20,)


@pytest.mark.parametrize("factor", [0.7, 0.9, 1.0, 1.2, 1.6])
def test_a_wrong_profile_is_found_within_minutes(factor: float) -> None:
    """After 10 minutes of noisy looks the factor is within 8 %."""
    generator = np.random.default_rng(11)
    learning = CapacityLearning()
    for tick in range(40):
        rate = 0.7 * 20 * factor
        seen = Queue(factor).outstanding(READY, rate) * generator.normal(1.0, 0.1)
        noisy = rate * generator.normal(1.0, 0.03)
        learning = learning.update(Queue(), READY, noisy, seen, 15.0 * tick)
    assert learning.factor == pytest.approx(factor, rel=0.08)


def test_a_change_is_followed() -> None:
    """A factor that was learned is unlearned as fast."""
    learning = CapacityLearning()
    for tick in range(120):
        factor = 0.8 if tick < 60 else 1.1
        rate = 0.7 * 20 * factor
        outstanding = Queue(factor).outstanding(READY, rate)
        learning = learning.update(Queue(), READY, rate, outstanding, 15.0 * tick)
        if tick == 59:
            assert learning.factor == pytest.approx(0.8, rel=0.03)
    assert learning.factor == pytest.approx(1.1, rel=0.03)


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 1e4), st.floats(0.0, 1e6), st.integers(0, 30), st.floats(0.0, 1e5)
        ),
        max_size=30,
    )
)
@settings(max_examples=60, deadline=None)
def test_the_factor_stays_within_bounds(looks: list[tuple[float, float, int, float]]) -> None:
    """No sequence of looks, however wild, drives the factor out of its bounds or to NaN."""
    learning = CapacityLearning()
    for rate, outstanding, ready, at in looks:
        learning = learning.update(Queue(), (ready,), rate, outstanding, at)
        assert BOUNDS[0] * 0.999 <= learning.factor <= BOUNDS[1] * 1.001
        assert learning.variance > 0.0


def test_one_look_moves_little() -> None:
    """A burst that trebles the outstanding is no proof of a slow replica."""
    seen = CapacityLearning(at_seconds=0.0)
    once = seen.update(Queue(), READY, 14.0, 3.0 * Queue().outstanding(READY, 14.0), 15.0)
    assert 0.9 <= once.factor < 1.0


@pytest.mark.parametrize(
    ("ready", "rate", "outstanding", "at"),
    [((0,), 10.0, 50.0, 60.0), (READY, 0.0, 50.0, 60.0), (READY, 10.0, 50.0, 0.0)],
)
def test_what_says_nothing_teaches_nothing(
    ready: Allocation, rate: float, outstanding: float, at: float
) -> None:
    """No replicas, no arrivals or no time since: the state stays."""
    seen = CapacityLearning(log_factor=0.1, at_seconds=0.0)
    assert seen.update(Queue(), ready, rate, outstanding, at) == seen


def test_the_state_survives_json() -> None:
    """The state is plain floats."""
    state = CapacityLearning(log_factor=-0.2, variance=0.01, at_seconds=5.0)
    assert CapacityLearning(**json.loads(json.dumps(dataclasses.asdict(state)))) == state
