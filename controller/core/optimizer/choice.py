"""The choice: of all allocations, the one that costs least at the prices of the two budgets.

The cost of an allocation is its replicas' price plus the price of the requests it is expected to
miss and to degrade over the demand's distribution. Screening leaves the few worth scoring.
"""

from dataclasses import dataclass
from typing import NamedTuple

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


class Scored(NamedTuple):
    """One allocation with its price and expected misses; ``total`` is the price per second."""

    allocation: Allocation
    cost_per_hour: float
    missed_per_second: float
    degraded_per_second: float
    total: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The cheapest allocation, why nothing cheaper was taken, and all that were scored.

    ``degraded_allowed`` is in requests/s.
    """

    best: Scored
    reason: Reason
    scored: tuple[Scored, ...]
    degraded_allowed: float

    def rejected(self) -> tuple[RejectedAlternative, ...]:
        """The nearest alternatives, best first."""
        others = sorted((s for s in self.scored if s is not self.best), key=lambda s: s.total)
        return tuple(
            RejectedAlternative(
                allocation=s.allocation,
                cost_per_hour=s.cost_per_hour,
                missed_per_second=s.missed_per_second,
                degraded_per_second=s.degraded_per_second,
                reason=Reason.QUALITY_BUDGET_SPENT
                if s.degraded_per_second > self.degraded_allowed
                else Reason.CHEAPEST_WITHIN_BUDGETS,
            )
            for s in others[:EXPLAINED_AT_MOST]
        )


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
    median = demand.median
    degraded_allowed = prices.degraded_share_allowed * median + 1e-9
    candidates = screen(policy, fleet, demand, prices, bounds, degraded_allowed, SCORED_AT_MOST)
    scored = score(policy, fleet, demand, prices, candidates)
    allowed = [s for s in scored if s.degraded_per_second <= degraded_allowed]
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
    return Choice(best, reason, tuple(scored), degraded_allowed)


def score(
    policy: Policy,
    fleet: FleetCapacity,
    demand: DemandNodes,
    prices: Prices,
    allocations: list[Allocation],
) -> list[Scored]:
    """Expected misses, degraded requests and total price of each allocation."""
    missed_shares, degraded_shares = fleet.shares_of(allocations, demand.rates)
    weighted = demand.weights * demand.rates
    missed, degraded = (missed_shares @ weighted).tolist(), (degraded_shares @ weighted).tolist()
    scored = []
    for allocation, late, spilled in zip(allocations, missed, degraded, strict=True):
        cost = cost_per_hour(policy, allocation)
        total = cost / 3600.0 + prices.miss * late + prices.degraded * spilled
        scored.append(Scored(allocation, cost, late, spilled, total))
    return scored


def cost_per_hour(policy: Policy, allocation: Allocation) -> float:
    """Price of an allocation, in the price table's currency per hour."""
    return sum(
        [
            n * variant.cost_per_replica_hour
            for n, variant in zip(allocation, policy.variants, strict=True)
        ]
    )
