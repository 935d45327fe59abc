"""Explanation: the decision as it is told, with its steps, prices and alternatives."""

from controller.core.domain.decision import (
    Allocation,
    Decision,
    DecisionStep,
    ForecastSummary,
    Reason,
    Stage,
    Standing,
)
from controller.core.domain.policy import Policy, RoutingLaw
from controller.core.guarding import Trail
from controller.core.optimizer.choice import cost_per_hour
from controller.core.outlook import Outlook
from controller.core.recommendation import Recommendation


def kept(policy: Policy, current: Allocation, reason: Reason) -> Decision:
    """The decision to leave things as they are."""
    step = DecisionStep(Stage.OBSERVE, reason, current, current)
    return undecided(policy, Trail(current, [step]), reason)


def undecided(policy: Policy, trail: Trail, reason: Reason) -> Decision:
    """What was done without a forecast, for ``reason``."""
    return Decision(
        allocation=trail.allocation,
        weights=None,
        steps=tuple(trail.steps),
        binding=reason,
        cost_per_hour=cost_per_hour(policy, trail.allocation),
    )


def decided(
    policy: Policy,
    trail: Trail,
    recommendation: Recommendation,
    outlook: Outlook,
    standing: Standing,
    now: float,
) -> Decision:
    """The decision that the trail led to."""
    allocation = trail.allocation
    steps = trail.steps or [
        DecisionStep(Stage.OPTIMISE, Reason.CURRENT_ALLOCATION_KEPT, allocation, allocation)
    ]
    if recommendation.short:
        steps = [*steps, DecisionStep(Stage.GUARD, Reason.GPU_SHORTAGE, allocation, allocation)]
    weighted = policy.routing.law is RoutingLaw.WEIGHTED
    weights = outlook.fleet.optimal_weights(allocation) if weighted else None
    return Decision(
        allocation=allocation,
        weights=weights,
        steps=tuple(steps),
        binding=steps[-1].reason,
        rejected=recommendation.choice.rejected(),
        miss_price=outlook.prices.miss,
        degraded_price=outlook.prices.degraded,
        cost_per_hour=cost_per_hour(policy, allocation),
        capacity_requests_per_second=outlook.carries(allocation),
        forecast=_summary(outlook, now, changed=recommendation.changed_by_forecast),
        standing=standing,
    )


def _summary(outlook: Outlook, now: float, *, changed: bool) -> ForecastSummary:
    forecast = outlook.forecast
    values = outlook.quantiles().tolist()
    return ForecastSummary(
        source=forecast.source,
        horizon_seconds=forecast.at_seconds - now,
        level_requests_per_second=forecast.level * outlook.per_reference,
        quantiles=tuple(zip(forecast.levels.tolist(), values, strict=True)),
        requests_per_reference=outlook.per_reference,
        trusted=forecast.trust.trusted,
        changed_decision=changed,
    )
