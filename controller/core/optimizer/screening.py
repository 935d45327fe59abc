"""Screening: of thousands of allocations, the few worth scoring in full.

Everything that does not depend on the tick (cost, capacity and what is degraded of every
allocation) is laid out once for a capacity table. A tick then prices the capacity that is short
over the demand's distribution, which is the fluid limit of the full score, and keeps the best few.

What is degraded is a share of the arrivals where variants share their traffic. An ``Overflow``
Fallback serves what the Primaries refuse, in the fluid limit all beyond what they can finish: a
lower bound, so that no allocation within the quality budget is left out for it.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.decision import Allocation
from controller.core.domain.policy import OnExhausted, Policy, RoutingLaw
from controller.core.domain.variant import Role
from controller.core.optimizer.demand import DemandNodes
from controller.core.optimizer.pacing import Prices
from controller.core.performance.capacity import FleetCapacity

#: Price per second above every other, yet finite: allocations that pay it come last.
_IDLE: Final = 1e6

#: Degraded shares between the rungs of a table are within this factor of the exact ones.
_SHARE_ERROR: Final = 1.03


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """All allocations within bounds, by rising capacity; arrays share their first axis.

    ``handicap`` is the cost per second, with so much on top for those that hold a replica of no use
    that they come after all others. ``degraded_share`` of the arrivals is degraded, and of those
    beyond ``overflow_rates`` all: either of them is None where there is no such thing.
    """

    counts: NDArray[np.int64]
    capacity: NDArray[np.float64]
    handicap: NDArray[np.float64]
    degraded_share: NDArray[np.float64] | None
    overflow_rates: NDArray[np.float64] | None


@lru_cache(maxsize=256)
def _grid(
    fleet: FleetCapacity, prices: tuple[float, ...], low: Allocation, high: Allocation
) -> _Grid:
    table = fleet.table(high)[tuple(slice(n, None) for n in low)]
    counts = np.indices(table.shape).reshape(len(low), -1).T + np.array(low)
    capacity = table.reshape(-1)
    order = np.argsort(capacity, kind="stable")
    counts = counts[order]
    any_fallback = any(variant.role is Role.FALLBACK for variant in fleet.variants)
    overflows = any_fallback and fleet.routing.law is RoutingLaw.OVERFLOW
    return _Grid(
        counts=counts,
        capacity=capacity[order],
        handicap=counts @ np.array(prices) / 3600.0 + _IDLE * _idle(table)[order],
        degraded_share=fleet.degraded_shares(counts) if any_fallback and not overflows else None,
        overflow_rates=fleet.overflow_rates(counts) if overflows else None,
    )


def _idle(capacity: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether an allocation carries what it would with a replica less of some variant, flat."""
    idle = np.zeros(capacity.shape, dtype=bool)
    for axis in range(capacity.ndim):
        along, found = np.moveaxis(capacity, axis, 0), np.moveaxis(idle, axis, 0)
        found[1:] |= np.abs(along[1:] - along[:-1]) <= 1e-9 * along[1:]
    return idle.reshape(-1)


def screen(
    policy: Policy,
    fleet: FleetCapacity,
    demand: DemandNodes,
    prices: Prices,
    bounds: tuple[Allocation, Allocation],
    degraded_allowed: float,
    at_most: int,
) -> list[Allocation]:
    """Return the ``at_most`` allocations within ``bounds`` that look cheapest in the fluid limit.

    Those that degrade more than ``degraded_allowed`` requests/s are left out as long as others
    remain.
    """
    unit_prices = tuple([variant.cost_per_replica_hour for variant in policy.variants])
    grid = _grid(fleet, unit_prices, *bounds)
    mean = float(demand.rates @ demand.weights)
    anyhow = grid.handicap + _beyond(grid.capacity, demand, mean, prices.miss)
    if grid.overflow_rates is not None:
        degraded = _beyond(grid.overflow_rates, demand, mean, 1.0)
    elif grid.degraded_share is not None:
        degraded = grid.degraded_share * mean
    else:
        return _least(grid, anyhow, at_most)
    within = anyhow + prices.degraded * degraded
    if policy.quality.on_exhausted is OnExhausted.HOLD:
        within[degraded > _SHARE_ERROR * degraded_allowed] = np.inf
    return _least(grid, within, at_most) or _least(grid, anyhow, at_most)


def _least(grid: _Grid, total: NDArray[np.float64], at_most: int) -> list[Allocation]:
    """The ``at_most`` allocations of least finite total."""
    if len(total) > at_most:
        best = total.argpartition(at_most)[:at_most]
        best = best[total[best] < np.inf]
    else:
        best = np.flatnonzero(total < np.inf)
    return [tuple(row) for row in grid.counts[best].tolist()]


def _beyond(
    limit: NDArray[np.float64], demand: DemandNodes, mean: float, price: float
) -> NDArray[np.float64]:
    """Price of the expected demand above each limit, per second: linear between its rates.

    ``mean`` is the mean of the demand in requests/s.
    """
    rates = demand.rates
    above = np.maximum(rates - rates[:, None], 0.0) @ demand.weights
    knots = np.concatenate(((0.0,), rates))
    at_knots = np.concatenate(((mean,), above)) * price
    return np.interp(limit, knots, at_knots)
