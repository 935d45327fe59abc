"""Screening: of thousands of allocations, the few worth scoring in full.

Everything that does not depend on the tick (cost, capacity and what is degraded of every
allocation) is laid out once for a capacity table, by rising cost. A tick then prices the capacity
that is short over the demand's distribution, which is the fluid limit of the full score, and keeps
the best few. What costs clearly more by itself than the best allocation without Fallbacks costs
with its misses is not looked at.

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


#: How far above that cost is clear: a share, and so many of the dearest replicas, since the full
#: score sees misses where the fluid limit sees none.
_CLEAR_SHARE: Final = 0.1
_CLEAR_REPLICAS: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """All allocations within bounds, by rising ``handicap``; arrays share their first axis.

    ``handicap`` is the cost per second, with so much on top for those that hold a replica of no use
    that they come after all others. ``degraded_share`` of the arrivals is degraded, and of those
    beyond ``overflow_rates`` all: either of them is None where there is no such thing.
    ``plain_capacity`` and ``plain_handicap`` are of those with no more Fallbacks than they must
    have.
    """

    counts: NDArray[np.int64]
    capacity: NDArray[np.float64]
    handicap: NDArray[np.float64]
    degraded_share: NDArray[np.float64] | None
    overflow_rates: NDArray[np.float64] | None
    plain_capacity: NDArray[np.float64]
    plain_handicap: NDArray[np.float64]


@lru_cache(maxsize=2048)
def _grid(
    fleet: FleetCapacity, prices: tuple[float, ...], low: Allocation, high: Allocation
) -> _Grid:
    table = fleet.table(high)[tuple(slice(n, None) for n in low)]
    counts = np.indices(table.shape).reshape(len(low), -1).T + np.array(low)
    handicap = counts @ np.array(prices) / 3600.0 + _IDLE * _idle(table)
    order = np.argsort(handicap, kind="stable")
    counts = counts[order]
    fallbacks = [v for v, variant in enumerate(fleet.variants) if variant.role is Role.FALLBACK]
    overflows = bool(fallbacks) and fleet.routing.law is RoutingLaw.OVERFLOW
    capacity, handicap = table.reshape(-1)[order], handicap[order]
    plain = (counts[:, fallbacks] == np.array([low[v] for v in fallbacks])).all(axis=1)
    return _Grid(
        counts=counts,
        capacity=capacity,
        handicap=handicap,
        degraded_share=fleet.degraded_shares(counts) if fallbacks and not overflows else None,
        overflow_rates=fleet.overflow_rates(counts) if overflows else None,
        plain_capacity=capacity[plain],
        plain_handicap=handicap[plain],
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
    shortfall = _shortfall(demand, mean)
    plain = grid.plain_handicap + prices.miss * np.interp(grid.plain_capacity, *shortfall)
    bound = float(plain.min())
    bound += _CLEAR_SHARE * bound + _CLEAR_REPLICAS * max(unit_prices) / 3600.0
    end = max(int(grid.handicap.searchsorted(bound, side="right")), at_most)
    anyhow = grid.handicap[:end] + prices.miss * np.interp(grid.capacity[:end], *shortfall)
    if grid.overflow_rates is not None:
        degraded = np.interp(grid.overflow_rates[:end], *shortfall)
    elif grid.degraded_share is not None:
        degraded = grid.degraded_share[:end] * mean
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


def _shortfall(demand: DemandNodes, mean: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expected demand (requests/s) above a limit, at rising limits; linear between them.

    ``mean`` is the mean of the demand in requests/s.
    """
    rates = demand.rates
    above = np.maximum(rates - rates[:, None], 0.0) @ demand.weights
    return np.concatenate(((0.0,), rates)), np.concatenate(((mean,), above))
