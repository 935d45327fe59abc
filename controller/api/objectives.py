"""``spec.slo``, ``spec.quality`` and ``spec.limits``: what is promised, and what it may cost."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from controller.api.fields import Money, Share, StrictInt
from controller.api.rules import ListMap, Part, Rule


class Objective(Part):
    """One latency that a good request keeps."""

    metric: Annotated[
        Literal["TimeToFirstToken", "TimePerOutputToken"],
        Field(
            description="TimeToFirstToken: from arrival to the first token. TimePerOutputToken: "
            "the request's mean gap between tokens after its first."
        ),
    ]
    threshold_milliseconds: Annotated[
        StrictInt, Field(ge=1, le=3_600_000, description="Highest good value, in milliseconds.")
    ]


class SloSpec(Part):
    """A request is good when it meets every objective; a refused or failed one never is."""

    RULES: ClassVar = (
        Rule(
            holds=lambda slo: 0 < float(slo.target) < 1,
            cel="double(self.target) > 0.0 && double(self.target) < 1.0",
            message='must lie between 0 and 1, for example "0.99": a target of 1 leaves no '
            "error budget to decide with",
            field="target",
        ),
    )

    objectives: Annotated[
        tuple[Objective, ...],
        Field(min_length=1, max_length=2, description="Latencies that a good request keeps."),
        ListMap("metric"),
    ]
    target: Annotated[
        Share,
        Field(
            examples=["0.99"],
            description="Share of requests that must be good, a decimal between 0 and 1.",
        ),
    ] = "0.99"
    window_seconds: Annotated[
        StrictInt,
        Field(
            ge=300,
            le=2_592_000,
            description="Seconds over which the target holds: the window of the error budget and "
            "of the quality budget.",
        ),
    ] = 86400
    planned_budget_share: Annotated[
        Share,
        Field(
            examples=["0.5"],
            description="Share of the error budget (1 - target) that may be spent on purpose to "
            "save cost; the rest is kept for incidents.",
        ),
    ] = "0.5"


class QualitySpec(Part):
    """The quality budget: how much a fallback may serve."""

    max_degraded_share: Annotated[
        Share,
        Field(description="Share of requests that a fallback may serve over slo.windowSeconds."),
    ] = "0"
    on_exhausted: Annotated[
        Literal["Hold", "Degrade"],
        Field(
            description="Once the budget is spent. Hold: never exceed it, even where the SLO "
            "suffers. Degrade: keep the SLO, exceed the budget and say so."
        ),
    ] = "Hold"


class LimitsSpec(Part):
    """Upper limits over all variants together."""

    max_cost_per_hour: Annotated[
        Money | None,
        Field(
            examples=["120"],
            description="Highest cost of an hour, as a decimal in the currency of the price "
            "table. Absent: no limit.",
        ),
    ] = None
    max_gpus: Annotated[
        StrictInt | None,
        Field(ge=1, le=1_000_000, description="Most GPUs held at once. Absent: no limit."),
    ] = None
