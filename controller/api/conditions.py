"""Conditions of a ModelDeployment: their types, their closed list of reasons, and their clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import ConfigDict, Field

from controller.api.rules import Part

#: Longest message: nine of them must leave room for the rest of a 4 KiB status.
MESSAGE_CHARACTERS: Final = 76


class ConditionType(StrEnum):
    """What is judged. The first four are good when True, the others when False."""

    READY = "Ready"
    METRICS_AVAILABLE = "MetricsAvailable"
    FORECAST_TRUSTED = "ForecastTrusted"
    ABLE_TO_SCALE = "AbleToScale"
    SCALING_LIMITED = "ScalingLimited"
    SLO_AT_RISK = "SloAtRisk"
    BUDGET_EXHAUSTED = "BudgetExhausted"
    DEGRADED = "Degraded"
    PAUSED = "Paused"


class ConditionStatus(StrEnum):
    """Kubernetes' three answers."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionReason(StrEnum):
    """Why a condition has its status: a closed list, so that alerts can be written on it."""

    # Ready
    SPEC_VALID = "SpecValid"
    SPEC_INVALID = "SpecInvalid"
    # MetricsAvailable
    METRICS_FRESH = "MetricsFresh"
    METRICS_ABSENT = "MetricsAbsent"
    METRICS_STALE = "MetricsStale"
    METRICS_NOT_A_NUMBER = "MetricsNotANumber"
    METRICS_PARTIAL = "MetricsPartial"
    METRICS_QUERY_FAILED = "MetricsQueryFailed"
    # ForecastTrusted
    FORECAST_TRUSTED = "ForecastTrusted"
    FORECAST_UNTRUSTED = "ForecastUntrusted"
    NO_FORECAST = "NoForecast"
    # AbleToScale
    TARGETS_SCALABLE = "TargetsScalable"
    TARGET_NOT_FOUND = "TargetNotFound"
    TARGET_CONFLICT = "TargetConflict"
    TARGET_FORBIDDEN = "TargetForbidden"
    ANOTHER_WRITER = "AnotherWriter"
    WRITE_FAILED = "WriteFailed"
    # ScalingLimited
    WITHIN_LIMITS = "WithinLimits"
    MIN_REPLICAS = "MinReplicas"
    MAX_REPLICAS = "MaxReplicas"
    MAX_COST_PER_HOUR = "MaxCostPerHour"
    MAX_GPUS = "MaxGpus"
    GPU_SHORTAGE = "GpuShortage"
    SCHEDULE_FLOOR = "ScheduleFloor"
    SCHEDULE_CEILING = "ScheduleCeiling"
    SCALE_RATE_LIMITED = "ScaleRateLimited"
    # SloAtRisk
    WITHIN_SLO = "WithinSlo"
    ATTAINMENT_BELOW_TARGET = "AttainmentBelowTarget"
    DEMAND_ABOVE_CAPACITY = "DemandAboveCapacity"
    INFEASIBLE_WITHIN_LIMITS = "InfeasibleWithinLimits"
    SLO_NOT_MEASURABLE = "SloNotMeasurable"
    # BudgetExhausted
    BUDGETS_LEFT = "BudgetsLeft"
    ERROR_BUDGET_SPENT = "ErrorBudgetSpent"
    QUALITY_BUDGET_SPENT = "QualityBudgetSpent"
    # Degraded
    PREFERRED_QUALITY = "PreferredQuality"
    FALLBACK_SERVING = "FallbackServing"
    # Paused
    MODE_AUTO = "ModeAuto"
    MODE_RECOMMEND = "ModeRecommend"
    MODE_OFF = "ModeOff"
    PAUSED_BY_ANNOTATION = "PausedByAnnotation"
    # SloAtRisk, BudgetExhausted and Degraded before anything was measured
    NOT_MEASURED = "NotMeasured"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one condition, before it is known when that changed."""

    type: ConditionType
    status: ConditionStatus
    reason: ConditionReason
    message: str = ""


class Condition(Part):
    """One aspect of the object's state, as in any Kubernetes object."""

    model_config = ConfigDict(extra="ignore", validate_by_name=True)

    type: Annotated[ConditionType, Field(description="What is judged.")]
    status: Annotated[ConditionStatus, Field(description="True, False or Unknown.")]
    reason: Annotated[ConditionReason, Field(description="Why, out of a closed list.")]
    message: Annotated[str, Field(max_length=MESSAGE_CHARACTERS, description="Why, for people.")]
    last_transition_time: Annotated[
        str,
        Field(
            max_length=20,
            json_schema_extra={"format": "date-time"},
            description="When status last changed.",
        ),
    ]


def timestamp(now: float) -> str:
    """Return Unix seconds as Kubernetes writes times, to the second."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def updated(
    previous: Sequence[Condition], findings: Sequence[Finding], now: float
) -> tuple[Condition, ...]:
    """Return the conditions of ``findings``; the time moves only where the status changed."""
    before = {condition.type: condition for condition in previous}
    return tuple(_updated(before.get(finding.type), finding, now) for finding in findings)


def _updated(before: Condition | None, finding: Finding, now: float) -> Condition:
    unchanged = before is not None and before.status is finding.status
    return Condition(
        type=finding.type,
        status=finding.status,
        reason=finding.reason,
        message=_shortened(finding.message),
        last_transition_time=(
            before.last_transition_time if before is not None and unchanged else timestamp(now)
        ),
    )


def _shortened(message: str) -> str:
    """Cut to the limit, in characters that JSON writes as one byte each."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in message.replace("\n", " "))
    plain = plain.replace('"', "'").replace("\\", "/")
    if len(plain) <= MESSAGE_CHARACTERS:
        return plain
    return plain[: MESSAGE_CHARACTERS - 3] + "..."
