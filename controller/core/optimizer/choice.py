"""The choice: of all allocations, the one that costs least at the prices of the two budgets.

The cost of an allocation is its replicas' price plus the price of the requests it is expected to
miss and to degrade over the demand's distribution. Screening leaves the few worth scoring.
"""

from dataclasses import dataclass

import numpy as np

from controller.core.domain.decision import Allocation, Reason, RejectedAlternative
from controller.core.domain.policy import OnExhausted, Policy
from controller.core.optimizer.demand import DemandNodes
from controller.core.optimizer.pacing import Prices
from controller.core.optimizer.screening import screen
from controller.core.performance.capacity import FleetCapacity

#: Allocations scored in full.
SCORED_AT_MOST = 5
#: Rejected alternatives kept for the explanation.
EXPLAINED_AT_MOST = 3


@dataclass(frozen=True, slots=True)
class Scored:
    """One allocation with its price and expected misses; ``total`` is the price per second."""

    allocation: Allocation
    cost_per_hour: float
    missed_per_second: float
    degraded_per_second: float
    total: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The cheapest allocation, why nothing cheaper was taken, and the nearest alternatives."""

    best: Scored
    reason: Reason
    rejected: tuple[RejectedAlternative, ...]


def choose(
    policy: Policy,
    fleet: FleetCapacity,
    demand: DemandNodes,
    prices: Prices,
    bounds: tuple[Allocation, Allocation],
) -> Choice:
    """Return the allocation of least total price within ``bounds`` (lowest, highest).

    Allocations whose degraded share at the median exceeds what the quality budget still allows
    are left out, unless the policy says ``onExhausted: Degrade`` and nothing else carries the
    demand.
    """
    candidates = screen(policy, fleet, demand, prices, bounds, SCORED_AT_MOST)
    scored = [_score(policy, fleet, demand, prices, a) for a in candidates]
    median = float(np.interp(0.5, np.cumsum(demand.weights), demand.rates))
    allowed = [
        s for s in scored if s.degraded_per_second <= prices.degraded_share_allowed * median + 1e-9
    ]
    reason = Reason.CHEAPEST_WITHIN_BUDGETS
    if len(allowed) < len(scored):
        reason = Reason.QUALITY_BUDGET_SPENT
    if not allowed or (
        policy.quality.on_exhausted is OnExhausted.DEGRADE
        and min(s.missed_per_second for s in allowed) > policy.slo.planned_miss_share * median
    ):
        allowed = scored
    best = min(allowed, key=lambda s: (s.total, s.cost_per_hour))
    if fleet.capacity(best.allocation) < median and best.allocation == bounds[1]:
        reason = Reason.INFEASIBLE_WITHIN_LIMITS
    return Choice(best, reason, _rejected(best, scored, prices, median))


def _score(
    policy: Policy,
    fleet: FleetCapacity,
    demand: DemandNodes,
    prices: Prices,
    allocation: Allocation,
) -> Scored:
    cost = cost_per_hour(policy, allocation)
    missed_share, degraded_share = fleet.shares(allocation, demand.rates)
    weighted = demand.weights * demand.rates
    missed, degraded = float(weighted @ missed_share), float(weighted @ degraded_share)
    total = cost / 3600.0 + prices.miss * missed + prices.degraded * degraded
    return Scored(allocation, cost, missed, degraded, total)


def cost_per_hour(policy: Policy, allocation: Allocation) -> float:
    """Price of an allocation, in the price table's currency per hour."""
    return sum(
        n * variant.cost_per_replica_hour
        for n, variant in zip(allocation, policy.variants, strict=True)
    )


def _rejected(
    best: Scored, scored: list[Scored], prices: Prices, median: float
) -> tuple[RejectedAlternative, ...]:
    others = sorted((s for s in scored if s is not best), key=lambda s: s.total)
    return tuple(
        RejectedAlternative(
            allocation=s.allocation,
            cost_per_hour=s.cost_per_hour,
            missed_per_second=s.missed_per_second,
            degraded_per_second=s.degraded_per_second,
            reason=Reason.QUALITY_BUDGET_SPENT
            if s.degraded_per_second > prices.degraded_share_allowed * median + 1e-9
            else Reason.CHEAPEST_WITHIN_BUDGETS,
        )
        for s in others[:EXPLAINED_AT_MOST]
    )
