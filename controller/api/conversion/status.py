"""From observation and decision to the status that users read."""

from collections.abc import Sequence
from itertools import repeat

from controller.api.conditions import (
    ConditionReason,
    ConditionStatus,
    ConditionType,
    Finding,
    updated,
)
from controller.api.conversion.findings import Assessment, findings
from controller.api.errors import InvalidModelDeployment
from controller.api.status import (
    COLD_START_MAX_SECONDS,
    SOURCE_CHARACTERS,
    STEPS_KEPT,
    AttainmentStatus,
    BudgetsStatus,
    CostStatus,
    CoverageStatus,
    DecisionStatus,
    ForecastStatus,
    Status,
    StepStatus,
    VariantStatus,
    number,
    ready_of_desired,
)
from controller.core.domain.decision import Decision, DecisionStep
from controller.core.domain.observation import Observation
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role


def to_status(
    policy: Policy,
    observation: Observation,
    decision: Decision,
    *,
    now: float,
    generation: int,
    assessment: Assessment | None = None,
    previous: Status | None = None,
) -> Status:
    """Return the status after ``decision``, made at Unix time ``now`` on spec ``generation``.

    ``previous`` is the status before it: a condition keeps its time while its status stays.
    """
    known = assessment or Assessment()
    return Status(
        observed_generation=generation,
        conditions=updated(
            previous.conditions if previous else (),
            findings(policy, observation, decision, known),
            now,
        ),
        primary=_replicas(policy, observation, decision, Role.PRIMARY),
        fallback=_replicas(policy, observation, decision, Role.FALLBACK),
        variants=_variants(policy, observation, decision, known),
        forecast=_forecast(decision, known),
        attainment=_attainment(known),
        budgets=_budgets(known),
        cost=_cost(decision, known),
        decision=_decision(decision),
    )


def invalid_status(
    error: InvalidModelDeployment, *, now: float, generation: int, previous: Status | None = None
) -> Status:
    """Return the status of an object that cannot be used: not Ready, the rest as it was."""
    old = previous or Status()
    finding = Finding(
        ConditionType.READY,
        ConditionStatus.FALSE,
        ConditionReason.SPEC_INVALID,
        "; ".join(error.lines),
    )
    (ready,) = updated(old.conditions, [finding], now)
    others = tuple(c for c in old.conditions if c.type is not ConditionType.READY)
    return old.model_copy(
        update={"observed_generation": generation, "conditions": (ready, *others)}
    )


def _replicas(
    policy: Policy, observation: Observation, decision: Decision, role: Role
) -> str | None:
    mine = policy.indices(role)
    return ready_of_desired(
        [observation.variants[i].ready for i in mine], [decision.allocation[i] for i in mine]
    )


def _variants(
    policy: Policy, observation: Observation, decision: Decision, known: Assessment
) -> tuple[VariantStatus, ...]:
    rows = zip(
        policy.variants,
        observation.variants,
        decision.allocation,
        known.cold_start_seconds or repeat(None),
        known.capacities or repeat(None),
        strict=False,
    )
    return tuple(
        VariantStatus(
            name=variant.name,
            ready=seen.ready,
            desired=desired,
            cold_start_seconds=_cold_start(cold_start),
            capacity=number(capacity),
        )
        for variant, seen, desired, cold_start, capacity in rows
    )


def _cold_start(seconds: float | None) -> int | None:
    return None if seconds is None else round(min(seconds, COLD_START_MAX_SECONDS))


def _forecast(decision: Decision, known: Assessment) -> ForecastStatus | None:
    forecast = decision.forecast
    if forecast is None:
        return None
    coverage = None
    if known.forecast_coverage is not None:
        nominal, observed = (number(share) for share in known.forecast_coverage)
        if nominal is not None and observed is not None:
            coverage = CoverageStatus(nominal=nominal, observed=observed)
    highest = max(forecast.quantiles, default=None)
    return ForecastStatus(
        source=forecast.source[:SOURCE_CHARACTERS],
        horizon_seconds=round(forecast.horizon_seconds),
        requests_per_second=number(forecast.level_requests_per_second),
        high_requests_per_second=None if highest is None else number(highest[1]),
        error=number(known.forecast_error),
        coverage=coverage,
    )


def _attainment(known: Assessment) -> AttainmentStatus | None:
    if known.attainment is None:
        return None
    lower, upper = (number(share) for share in known.attainment)
    if lower is None or upper is None:
        return None
    return AttainmentStatus(lower=lower, upper=upper)


def _budgets(known: Assessment) -> BudgetsStatus | None:
    if known.errors_left is None and known.quality_left is None:
        return None
    return BudgetsStatus(
        errors_left=number(known.errors_left), quality_left=number(known.quality_left)
    )


def _cost(decision: Decision, known: Assessment) -> CostStatus | None:
    per_hour = number(decision.cost_per_hour)
    if per_hour is None:
        return None
    peak = known.static_peak_cost_per_hour
    return CostStatus(
        per_hour=per_hour,
        static_peak_per_hour=number(peak),
        saved=number(1.0 - decision.cost_per_hour / peak) if peak else None,
    )


def _decision(decision: Decision) -> DecisionStatus:
    return DecisionStatus(
        reason=decision.binding.value,
        miss_price=number(decision.miss_price),
        degraded_price=number(decision.degraded_price),
        steps=tuple(
            StepStatus(stage=step.stage.value, reason=step.reason.value, after=step.after)
            for step in _telling(decision.steps)
        ),
    )


def _telling(steps: Sequence[DecisionStep]) -> list[DecisionStep]:
    """Pick the steps that fit, those that changed something first, the newest first; in order."""
    by_worth = sorted(
        range(len(steps)), key=lambda i: (steps[i].before != steps[i].after, i), reverse=True
    )
    return [steps[i] for i in sorted(by_worth[:STEPS_KEPT])]
