"""``status`` of a ModelDeployment: at most 4 KiB of JSON, however many variants it has.

Every string is bounded and every number is text of few digits, so that the bound holds for any
object and so that noise in the last digits does not make a write.
"""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, ValidationError

from controller.api.conditions import Condition
from controller.api.fields import MAX_REPLICAS, VariantName
from controller.api.rules import ListMap, Part

#: What Kubernetes and its clients are asked to carry for one object.
STATUS_BYTES: Final = 4096

#: Steps of the last decision that are shown.
STEPS_KEPT: Final = 5

#: Longest number: a sign, and either all digits of the largest or all places of the smallest.
_NUMBER_CHARACTERS: Final = 12

#: Longest name of a forecaster.
SOURCE_CHARACTERS: Final = 24

#: Longest cold start that is told: a week.
COLD_START_MAX_SECONDS: Final = 604_800

_LARGEST: Final = 1e9
_SMALLEST: Final = 1e-6

Number = Annotated[str, Field(max_length=_NUMBER_CHARACTERS)]
"""A decimal of four significant digits."""

Word = Annotated[str, Field(max_length=32)]
"""A CamelCase word out of a closed list of the core's."""


def number(value: float | None) -> str | None:
    """Return ``value`` with four significant digits, or None where there is no finite value."""
    if value is None or not math.isfinite(value):
        return None
    bounded = max(-_LARGEST, min(value, _LARGEST))
    if abs(bounded) < _SMALLEST:
        return "0"
    text = format(Decimal(f"{bounded:.4g}"), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class StatusPart(Part):
    """An object of the status: read back leniently, since a newer version may have written it."""

    model_config = ConfigDict(extra="ignore", validate_by_name=True)


class VariantStatus(StatusPart):
    """One variant."""

    name: Annotated[VariantName, Field(description="Name of the variant.")]
    ready: Annotated[int, Field(ge=0, description="Replicas that are Ready.")]
    desired: Annotated[int, Field(ge=0, description="Replicas decided on.")]
    cold_start_seconds: Annotated[
        int | None,
        Field(
            ge=0,
            le=COLD_START_MAX_SECONDS,
            description="90th percentile of measured cold starts, seconds.",
        ),
    ] = None
    capacity: Annotated[
        Number | None,
        Field(description="Requests per second that the Ready replicas serve within the SLO."),
    ] = None


class CoverageStatus(StatusPart):
    """How often the load stayed below a quantile of its forecast."""

    nominal: Annotated[Number, Field(description="Level of the quantile.")]
    observed: Annotated[Number, Field(description="Share of targets below it.")]


class ForecastStatus(StatusPart):
    """The forecast the last decision used, and how good forecasts were lately."""

    source: Annotated[
        str, Field(max_length=SOURCE_CHARACTERS, description="Which forecaster made it.")
    ]
    horizon_seconds: Annotated[int, Field(ge=0, description="How far ahead, in seconds.")]
    requests_per_second: Annotated[Number | None, Field(description="Expected arrival rate.")] = (
        None
    )
    high_requests_per_second: Annotated[
        Number | None, Field(description="Highest quantile of the arrival rate.")
    ] = None
    error: Annotated[
        Number | None,
        Field(description="Sum of absolute errors over the sum of arrivals, rolling (WAPE)."),
    ] = None
    coverage: Annotated[CoverageStatus | None, Field(description="Rolling coverage.")] = None


class AttainmentStatus(StatusPart):
    """Share of good requests over the SLO window: an interval.

    Engines export one histogram per objective, and which requests missed both is not told.
    """

    lower: Annotated[Number, Field(description="At least this share; budgets use it.")]
    upper: Annotated[Number, Field(description="At most this share.")]


class BudgetsStatus(StatusPart):
    """Share of each budget that is left in the window; negative once it is overspent."""

    errors_left: Annotated[Number | None, Field(description="Of the error budget.")] = None
    quality_left: Annotated[Number | None, Field(description="Of the quality budget.")] = None


class CostStatus(StatusPart):
    """Cost in the currency of the price table."""

    per_hour: Annotated[Number, Field(description="Cost of an hour at the decision's replicas.")]
    static_peak_per_hour: Annotated[
        Number | None, Field(description="Cost of an hour when held at the window's peak.")
    ] = None
    saved: Annotated[Number | None, Field(description="Share saved against static peak.")] = None


class StepStatus(StatusPart):
    """What one stage made of the allocation."""

    stage: Annotated[Word, Field(description="Observe, Forecast, Optimise or Guard.")]
    reason: Annotated[Word, Field(description="Why, out of a closed list.")]
    after: Annotated[
        tuple[Annotated[int, Field(ge=0, le=MAX_REPLICAS)], ...],
        Field(
            max_length=8,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
            description="Replicas of every variant after the step, in the order of spec.variants.",
        ),
    ]


class DecisionStatus(StatusPart):
    """The last decision."""

    reason: Annotated[Word, Field(description="What kept the decision from being cheaper.")]
    miss_price: Annotated[
        Number | None, Field(description="Price of one missed request that it was made at.")
    ] = None
    degraded_price: Annotated[
        Number | None, Field(description="Price of one degraded request that it was made at.")
    ] = None
    steps: Annotated[
        tuple[StepStatus, ...],
        Field(
            max_length=STEPS_KEPT,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
            description="How it came about, in order.",
        ),
    ] = ()


class Status(StatusPart):
    """What was seen and decided, written by the operator."""

    observed_generation: Annotated[
        int | None,
        Field(ge=0, description="metadata.generation of the spec that this status is about."),
    ] = None
    conditions: Annotated[
        tuple[Condition, ...], Field(max_length=16, description="State by aspect."), ListMap("type")
    ] = ()
    primary: Annotated[
        str | None,
        Field(max_length=16, description="Replicas of the Primary variants: ready/desired."),
    ] = None
    fallback: Annotated[
        str | None,
        Field(max_length=16, description="Replicas of the Fallback variants: ready/desired."),
    ] = None
    variants: Annotated[
        tuple[VariantStatus, ...],
        Field(max_length=8, description="State by variant."),
        ListMap("name"),
    ] = ()
    forecast: Annotated[ForecastStatus | None, Field(description="The forecast in use.")] = None
    attainment: Annotated[
        AttainmentStatus | None, Field(description="Share of good requests over the window.")
    ] = None
    budgets: Annotated[BudgetsStatus | None, Field(description="What is left of the budgets.")] = (
        None
    )
    cost: Annotated[CostStatus | None, Field(description="Cost now and what is saved.")] = None
    decision: Annotated[DecisionStatus | None, Field(description="The last decision.")] = None

    def as_document(self) -> dict[str, Any]:
        """Return the JSON document to write; what is not known is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def read_status(document: Mapping[str, Any]) -> Status:
    """Read an object's status back; one that cannot be read is as good as none."""
    try:
        return Status.model_validate(document.get("status") or {})
    except ValidationError:
        return Status()


def ready_of_desired(ready: Sequence[int], desired: Sequence[int]) -> str | None:
    """Return ``ready/desired`` summed, or None where there is no such variant."""
    return f"{sum(ready)}/{sum(desired)}" if ready else None
