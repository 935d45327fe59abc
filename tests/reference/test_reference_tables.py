"""Tables for the plan, made from a performance model."""

import numpy as np
import pytest
from numpy.typing import NDArray

from simulations.reference.misses import LEVELS
from simulations.reference.path import Billing
from simulations.reference.plan import Aim, CapacityTable, pose
from simulations.reference.tables import tabulate
from simulations.traces.trace import Demand


class Model:
    """Misses a fixed share at any load, and more as the load per replica passes 10 a second."""

    def __init__(self, floor: float) -> None:
        self._floor = floor

    def capacity(self, allocation: tuple[int, ...]) -> float:
        """Ten requests a second and replica."""
        return 10.0 * sum(allocation)

    def shares(
        self, allocation: tuple[int, ...], arrival_rates: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A power law over capacity, above the floor; a fallback serves its share of replicas."""
        load = arrival_rates / self.capacity(allocation)
        missed = np.clip(np.maximum(0.01 * load**6, self._floor), 0.0, 1.0)
        fallback = sum(allocation[1:]) / sum(allocation)
        return missed, np.full(len(arrival_rates), fallback)


def test_tables_hold_the_rate_of_every_level_and_allocation() -> None:
    """Rates follow the model's curve, between the counts it was asked at too."""
    table = tabulate(Model(0.0), (9, 3))
    assert table.miss_levels == LEVELS
    assert table.requests_per_second.shape == (len(LEVELS), 10, 4)
    assert table.requests_per_second[LEVELS.index(0.01), 7, 2] == pytest.approx(90.0, rel=0.01)
    assert table.requests_per_second[LEVELS.index(0.64), 5, 0] == pytest.approx(100.0, rel=0.01)
    assert np.all(table.requests_per_second[:, 0, 0] == 0.0)
    assert table.degraded_share[6, 2] == pytest.approx(0.25)
    assert np.all(np.diff(table.requests_per_second, axis=0) >= 0.0)


def test_levels_missed_without_load_have_no_rate() -> None:
    """Where 5 % miss on an idle fleet, rates of lower levels are 0 and of higher ones are kept."""
    table = tabulate(Model(0.05), (4,))
    floor = LEVELS.index(0.04)
    assert np.all(table.requests_per_second[: floor + 1] == 0.0)
    assert np.all(table.requests_per_second[floor + 1 :, 1:] > 0.0)


def test_levels_that_are_not_the_plans_are_refused() -> None:
    """A table by other levels names the ones to give."""
    demand = Demand(
        bucket_seconds=60.0,
        requests=np.array([60.0]),
        prompt_tokens_mean=np.array([100.0]),
        output_tokens_mean=np.array([10.0]),
        imputed=np.array([False]),
    )
    bill = Billing(
        cost_per_replica_hour=1.0, cold_start_seconds=60.0, min_replicas=0, max_replicas=1
    )

    def wrong(prompt_tokens_mean: float, output_tokens_mean: float) -> CapacityTable:
        assert prompt_tokens_mean > output_tokens_mean
        return CapacityTable(
            requests_per_second=np.ones((1, 2)), degraded_share=np.zeros(2), miss_levels=(0.5,)
        )

    with pytest.raises(ValueError, match="miss_levels"):
        pose(demand, wrong, (bill,), Aim(attainment=0.99))
