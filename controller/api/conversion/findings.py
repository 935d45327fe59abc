"""From observation and decision to findings: one function per condition."""

from dataclasses import dataclass
from typing import Final

from controller.api.conditions import (
    ConditionReason,
    ConditionStatus,
    ConditionType,
    Finding,
)
from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import Missing, MissingReason, Observation
from controller.core.domain.policy import Mode, Pause, Policy
from controller.core.domain.variant import Role

_TRUE: Final = ConditionStatus.TRUE
_FALSE: Final = ConditionStatus.FALSE
_UNKNOWN: Final = ConditionStatus.UNKNOWN

#: Decision reasons that say the allocation was kept from what was wanted.
LIMITING: Final = frozenset(
    {
        Reason.MIN_REPLICAS,
        Reason.MAX_REPLICAS,
        Reason.MAX_COST_PER_HOUR,
        Reason.MAX_GPUS,
        Reason.GPU_SHORTAGE,
        Reason.SCHEDULE_FLOOR,
        Reason.SCHEDULE_CEILING,
        Reason.SCALE_RATE_LIMITED,
    }
)

#: Decision reasons that say the SLO cannot be kept by what is allowed.
RISKY: Final = frozenset({Reason.DEMAND_ABOVE_CAPACITY, Reason.INFEASIBLE_WITHIN_LIMITS})

_MISSING: Final = {
    MissingReason.ABSENT: ConditionReason.METRICS_ABSENT,
    MissingReason.STALE: ConditionReason.METRICS_STALE,
    MissingReason.NOT_A_NUMBER: ConditionReason.METRICS_NOT_A_NUMBER,
    MissingReason.PARTIAL: ConditionReason.METRICS_PARTIAL,
    MissingReason.QUERY_FAILED: ConditionReason.METRICS_QUERY_FAILED,
}

# What most objects are found in, each cycle: made once.
_VALID: Final = Finding(ConditionType.READY, _TRUE, ConditionReason.SPEC_VALID)
_FRESH: Final = Finding(ConditionType.METRICS_AVAILABLE, _TRUE, ConditionReason.METRICS_FRESH)
_TRUSTED: Final = Finding(ConditionType.FORECAST_TRUSTED, _TRUE, ConditionReason.FORECAST_TRUSTED)
_SCALABLE: Final = Finding(ConditionType.ABLE_TO_SCALE, _TRUE, ConditionReason.TARGETS_SCALABLE)
_UNLIMITED: Final = Finding(ConditionType.SCALING_LIMITED, _FALSE, ConditionReason.WITHIN_LIMITS)
_WITHIN_SLO: Final = Finding(ConditionType.SLO_AT_RISK, _FALSE, ConditionReason.WITHIN_SLO)
_LEFT: Final = Finding(ConditionType.BUDGET_EXHAUSTED, _FALSE, ConditionReason.BUDGETS_LEFT)
_PREFERRED: Final = Finding(ConditionType.DEGRADED, _FALSE, ConditionReason.PREFERRED_QUALITY)
_PAUSED: Final = {
    Mode.AUTO: Finding(ConditionType.PAUSED, _FALSE, ConditionReason.MODE_AUTO),
    Mode.RECOMMEND: Finding(
        ConditionType.PAUSED,
        _TRUE,
        ConditionReason.MODE_RECOMMEND,
        "decides, and sets no replicas",
    ),
    Mode.OFF: Finding(ConditionType.PAUSED, _TRUE, ConditionReason.MODE_OFF, "decides nothing"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """What is known beyond one observation and its decision; None is not known yet.

    ``attainment`` is (lower, upper) over the SLO window, ``errors_left`` and ``quality_left`` the
    shares of the budgets that are left, ``forecast_coverage`` (nominal, observed).
    ``cold_start_seconds`` and ``capacities`` (requests/s of the Ready replicas) are by variant.
    ``unable`` says why a target cannot be scaled, ``unmeasurable`` names the engine flag without
    which the SLO cannot be read off the histograms, and ``metrics`` is what is wrong with them.
    """

    attainment: tuple[float, float] | None = None
    errors_left: float | None = None
    quality_left: float | None = None
    forecast_error: float | None = None
    forecast_coverage: tuple[float, float] | None = None
    cold_start_seconds: tuple[float | None, ...] | None = None
    capacities: tuple[float | None, ...] | None = None
    static_peak_cost_per_hour: float | None = None
    unable: tuple[ConditionReason, str] | None = None
    unmeasurable: str | None = None
    metrics: str = ""


def findings(
    policy: Policy, observation: Observation, decision: Decision, assessment: Assessment
) -> tuple[Finding, ...]:
    """Judge every condition, in the order they are shown."""
    return (
        _VALID,
        _metrics(observation, assessment),
        _forecast(decision),
        _able(assessment),
        _limited(decision),
        _at_risk(policy, decision, assessment),
        _exhausted(assessment),
        _degraded(policy, observation),
        _paused(policy),
    )


def _paused(policy: Policy) -> Finding:
    if policy.mode is Mode.AUTO and policy.pause is not Pause.NONE:
        stopped = "scaling" if policy.pause is Pause.ALL else f"scaling {policy.pause.value}"
        message = f"{stopped} is paused by annotation"
        return Finding(ConditionType.PAUSED, _TRUE, ConditionReason.PAUSED_BY_ANNOTATION, message)
    return _PAUSED[policy.mode]


def _metrics(observation: Observation, assessment: Assessment) -> Finding:
    kind = ConditionType.METRICS_AVAILABLE
    for name, reading in (("arrivals", observation.traffic), ("latencies", observation.outcomes)):
        if isinstance(reading, Missing):
            message = assessment.metrics or f"{name} not seen; nothing is released"
            return Finding(kind, _FALSE, _MISSING[reading.reason], message)
    if not assessment.metrics:
        return _FRESH
    return Finding(kind, _TRUE, ConditionReason.METRICS_FRESH, assessment.metrics)


def _forecast(decision: Decision) -> Finding:
    kind = ConditionType.FORECAST_TRUSTED
    if decision.forecast is None:
        return Finding(kind, _UNKNOWN, ConditionReason.NO_FORECAST)
    if decision.forecast.trusted:
        return _TRUSTED
    message = f"{decision.forecast.source} with a margin decides"
    return Finding(kind, _FALSE, ConditionReason.FORECAST_UNTRUSTED, message)


def _able(assessment: Assessment) -> Finding:
    if assessment.unable is not None:
        return Finding(ConditionType.ABLE_TO_SCALE, _FALSE, *assessment.unable)
    return _SCALABLE


def _limited(decision: Decision) -> Finding:
    limiting = [
        step.reason
        for step in decision.steps
        if step.reason in LIMITING and step.before != step.after
    ]
    if decision.binding in LIMITING:
        limiting.append(decision.binding)
    if limiting:
        reason = ConditionReason(limiting[-1].value)
        return Finding(ConditionType.SCALING_LIMITED, _TRUE, reason)
    return _UNLIMITED


def _at_risk(policy: Policy, decision: Decision, assessment: Assessment) -> Finding:
    kind = ConditionType.SLO_AT_RISK
    risks = [r for r in (*(s.reason for s in decision.steps), decision.binding) if r in RISKY]
    if risks:
        return Finding(kind, _TRUE, ConditionReason(risks[-1].value))
    if assessment.unmeasurable is not None:
        return Finding(kind, _UNKNOWN, ConditionReason.SLO_NOT_MEASURABLE, assessment.unmeasurable)
    if assessment.attainment is None:
        return Finding(kind, _UNKNOWN, ConditionReason.NOT_MEASURED)
    if assessment.attainment[0] < policy.slo.target:
        message = (
            f"{assessment.attainment[0]:.4f} of requests are good, {policy.slo.target:g} asked"
        )
        return Finding(kind, _TRUE, ConditionReason.ATTAINMENT_BELOW_TARGET, message)
    return _WITHIN_SLO


def _exhausted(assessment: Assessment) -> Finding:
    kind = ConditionType.BUDGET_EXHAUSTED
    left = (
        (assessment.errors_left, ConditionReason.ERROR_BUDGET_SPENT),
        (assessment.quality_left, ConditionReason.QUALITY_BUDGET_SPENT),
    )
    for share, reason in left:
        if share is not None and share <= 0:
            return Finding(kind, _TRUE, reason)
    if assessment.errors_left is None:
        return Finding(kind, _UNKNOWN, ConditionReason.NOT_MEASURED)
    return _LEFT


def _degraded(policy: Policy, observation: Observation) -> Finding:
    kind = ConditionType.DEGRADED
    if not policy.indices(Role.FALLBACK):
        return _PREFERRED
    outcomes = observation.outcomes
    if isinstance(outcomes, Missing):
        return Finding(kind, _UNKNOWN, ConditionReason.NOT_MEASURED)
    if outcomes.degraded > 0:
        message = f"{outcomes.degraded / max(outcomes.ended, 1.0):.3f} of requests by a fallback"
        return Finding(kind, _TRUE, ConditionReason.FALLBACK_SERVING, message)
    return _PREFERRED
