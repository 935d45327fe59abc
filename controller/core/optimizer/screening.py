"""Screening: of thousands of allocations, the few worth scoring in full.

Everything that does not depend on the tick (cost, capacity, degraded share of every allocation) is
laid out once for a capacity table. A tick then prices the capacity that is short over the
demand's distribution, which is the fluid limit of the full score, and keeps the best few.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.decision import Allocation
from controller.core.domain.policy import OnExhausted, Policy
from controller.core.domain.variant import Role
from controller.core.optimizer.demand import DemandNodes
from controller.core.optimizer.pacing import Prices
from controller.core.performance.capacity import FleetCapacity


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """All allocations within bounds, by rising capacity; arrays share their first axis."""

    counts: NDArray[np.int64]
    capacity: NDArray[np.float64]
    cost_per_second: NDArray[np.float64]
    degraded_share: NDArray[np.float64]


@lru_cache(maxsize=256)
def _grid(
    fleet: FleetCapacity, prices: tuple[float, ...], low: Allocation, high: Allocation
) -> _Grid:
    table = fleet.table(high)[tuple(slice(n, None) for n in low)]
    counts = np.indices(table.shape).reshape(len(low), -1).T + np.array(low)
    capacity = table.reshape(-1)
    order = np.argsort(capacity, kind="stable")
    counts = counts[order]
    return _Grid(
        counts=counts,
        capacity=capacity[order],
        cost_per_second=counts @ np.array(prices) / 3600.0,
        degraded_share=fleet.degraded_shares(counts),
    )


def screen(
    policy: Policy,
    fleet: FleetCapacity,
    demand: DemandNodes,
    prices: Prices,
    bounds: tuple[Allocation, Allocation],
    at_most: int,
) -> list[Allocation]:
    """Return the ``at_most`` allocations within ``bounds`` that look cheapest in the fluid limit.

    Those that would break the quality budget are left out as long as others remain.
    """
    unit_prices = tuple(variant.cost_per_replica_hour for variant in policy.variants)
    grid = _grid(fleet, unit_prices, *bounds)
    short = _shortfall(grid.capacity, demand)
    total = grid.cost_per_second + prices.miss * short
    if policy.indices(Role.FALLBACK):
        total = total + prices.degraded * grid.degraded_share * float(demand.rates @ demand.weights)
        if policy.quality.on_exhausted is OnExhausted.HOLD:
            spent = grid.degraded_share > prices.degraded_share_allowed + 1e-9
            total = np.where(spent, np.inf, total)
        if not np.isfinite(total).any():
            total = grid.cost_per_second + prices.miss * short
    if len(total) > at_most:
        best = np.argpartition(total, at_most)[:at_most]
        best = best[np.isfinite(total[best])]
    else:
        best = np.flatnonzero(np.isfinite(total))
    return [tuple(row) for row in grid.counts[best].tolist()]


def _shortfall(capacity: NDArray[np.float64], demand: DemandNodes) -> NDArray[np.float64]:
    """Expected demand above each capacity, in requests/s: linear between the demand's rates."""
    rates, weights = demand.rates, demand.weights
    above = np.maximum(rates - rates[:, None], 0.0) @ weights
    knots = np.concatenate(([0.0], rates))
    at_knots = np.concatenate(([float(rates @ weights)], above))
    return np.interp(capacity, knots, at_knots)
