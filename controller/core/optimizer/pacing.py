"""Dual pacing: the prices of a missed and of a degraded request, moved by the observed burn.

Spending an error budget evenly over its window is a constraint; its multiplier is a price. The
ledger keeps what was allowed and what was spent, both forgotten exponentially over the window, and
the price is the base price times ``exp(gain * overspend)``, with overspend in units of what one
pacing period allows. This is the exponentiated dual step of online allocation under a budget
(Balseiro, Lu, Mirrokni: Dual mirror descent for online allocation problems, 2020), written as
a function of the running balance so that a restart or a gap cannot make it drift.
"""

from dataclasses import dataclass
from math import exp

from controller.core.domain.observation import Missing, OutcomesReading
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role

#: Cost of the whole planned miss budget, in units of the cost of all requests served.
BUDGET_WORTH = 0.04
#: Price of a degraded request where its budget is spent evenly, in costs of serving one.
DEGRADED_WORTH = 0.05
#: How far a price may be driven from its base, as a factor either way.
PRICE_RANGE = 4.0
#: Seconds of planned misses that, overspent, multiply the price by e. Misses come in bursts, and a
#: price that followed each of them would buy headroom where it saves little.
MISS_PACING_SECONDS = 6 * 3600.0
#: The same for degraded requests, which are chosen and not suffered.
DEGRADED_PACING_SECONDS = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What was spent of the two budgets, in requests, forgotten over the SLO window.

    ``missed`` is the most that may have been, which the budget takes, ``surely_missed`` the least.
    """

    at_seconds: float | None = None
    ended: float = 0.0
    missed: float = 0.0
    surely_missed: float = 0.0
    degraded: float = 0.0

    def record(self, outcomes: OutcomesReading, window_seconds: float) -> "Ledger":
        """Book outcomes; missing ones book nothing."""
        if isinstance(outcomes, Missing):
            return self
        elapsed = outcomes.to_seconds - (self.at_seconds or outcomes.from_seconds)
        kept = exp(-max(elapsed, 0.0) / window_seconds)
        # One request can miss both objectives; the budget takes the larger possible count.
        missed = min(outcomes.failed + outcomes.bad_ttft + outcomes.bad_tpot, outcomes.ended)
        surely = min(outcomes.failed + max(outcomes.bad_ttft, outcomes.bad_tpot), outcomes.ended)
        return Ledger(
            at_seconds=outcomes.to_seconds,
            ended=self.ended * kept + outcomes.ended,
            missed=self.missed * kept + missed,
            surely_missed=self.surely_missed * kept + surely,
            degraded=self.degraded * kept + outcomes.degraded,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Price of one missed and of one degraded request, and the degraded share still allowed."""

    miss: float
    degraded: float
    degraded_share_allowed: float


def _factor(spent: float, allowed: float, allowed_per_period: float) -> float:
    """Price factor for a balance of ``spent - allowed`` requests."""
    if allowed_per_period <= 0.0:
        return 1.0
    exponent = (spent - allowed) / allowed_per_period
    return min(max(exp(min(max(exponent, -20.0), 20.0)), 1.0 / PRICE_RANGE), PRICE_RANGE)


def prices(
    policy: Policy, ledger: Ledger, cost_per_request: float, requests_per_second: float
) -> Prices:
    """Prices for this tick.

    ``cost_per_request`` is the cost of serving one request on a fully used Primary replica.
    """
    planned = max(policy.slo.planned_miss_share, 1e-6)
    misses_per_period = planned * requests_per_second * MISS_PACING_SECONDS
    miss = BUDGET_WORTH * cost_per_request / planned
    miss *= _factor(ledger.missed, planned * ledger.ended, misses_per_period)
    budget = policy.quality.max_degraded_share
    if not policy.indices(Role.FALLBACK) or budget <= 0.0:
        return Prices(miss=miss, degraded=miss, degraded_share_allowed=0.0)
    per_period = requests_per_second * DEGRADED_PACING_SECONDS
    spare = budget * ledger.ended - ledger.degraded
    factor = _factor(ledger.degraded, budget * ledger.ended, budget * per_period)
    return Prices(
        miss=miss,
        degraded=min(DEGRADED_WORTH * cost_per_request * factor, miss),
        degraded_share_allowed=min(max(budget + spare / max(per_period, 1e-9), 0.0), 1.0),
    )
