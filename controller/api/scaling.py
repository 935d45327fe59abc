"""``spec.behavior`` and ``spec.schedules``: how fast replicas may change, and when they must."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from controller.api.fields import Cron, LabelName, Replicas, StrictInt, TimeZone, VariantName
from controller.api.rules import Part, Rule

#: What HorizontalPodAutoscaler does where a stabilization window down is not set.
HPA_DOWN_WINDOW_SECONDS: Final = 300


class RatePolicySpec(Part):
    """One rate policy, with HorizontalPodAutoscaler's meaning."""

    type: Annotated[
        Literal["Pods", "Percent"], Field(description="Whether value is pods or per cent.")
    ]
    value: Annotated[
        StrictInt, Field(ge=1, le=100_000, description="Largest change within the period.")
    ]
    period_seconds: Annotated[
        StrictInt, Field(ge=1, le=1800, description="Seconds over which the change is counted.")
    ]


class _ScalingRules(Part):
    """One direction, with HorizontalPodAutoscaler's meaning."""

    select_policy: Annotated[
        Literal["Max", "Min", "Disabled"],
        Field(
            description="Max: the policy that allows most change counts. Min: the least. "
            "Disabled: no change in this direction."
        ),
    ] = "Max"


class ScaleUpRules(_ScalingRules):
    """Scaling up, with HorizontalPodAutoscaler's meaning and defaults."""

    stabilization_window_seconds: Annotated[
        StrictInt,
        Field(ge=0, le=3600, description="Seconds whose lowest recommendation counts."),
    ] = 0
    policies: Annotated[
        tuple[RatePolicySpec, ...],
        Field(
            min_length=1,
            max_length=8,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
            description="Rate policies.",
        ),
    ] = (
        RatePolicySpec(type="Pods", value=4, periodSeconds=15),
        RatePolicySpec(type="Percent", value=100, periodSeconds=15),
    )


class ScaleDownRules(_ScalingRules):
    """Scaling down, with HorizontalPodAutoscaler's meaning and defaults."""

    stabilization_window_seconds: Annotated[
        StrictInt,
        Field(ge=0, le=3600, description="Seconds whose highest recommendation counts."),
    ] = HPA_DOWN_WINDOW_SECONDS
    policies: Annotated[
        tuple[RatePolicySpec, ...],
        Field(
            min_length=1,
            max_length=8,
            json_schema_extra={"x-kubernetes-list-type": "atomic"},
            description="Rate policies.",
        ),
    ] = (RatePolicySpec(type="Percent", value=100, periodSeconds=15),)


class BehaviorSpec(Part):
    """HorizontalPodAutoscaler's behavior block, with its field names and meaning.

    Without either direction steelyard's own rule holds: a replica is released only when it is not
    needed for one cold start. With one direction set, the other takes HorizontalPodAutoscaler's
    defaults.
    """

    scale_up: Annotated[ScaleUpRules | None, Field(description="Rules for scaling up.")] = None
    scale_down: Annotated[ScaleDownRules | None, Field(description="Rules for scaling down.")] = (
        None
    )


class ScheduleSpec(Part):
    """A floor, a ceiling or both for one variant, inside recurring windows."""

    RULES: ClassVar = (
        Rule(
            holds=lambda s: s.min_replicas is not None or s.max_replicas is not None,
            cel="has(self.minReplicas) || has(self.maxReplicas)",
            message="give minReplicas (a floor), maxReplicas (a ceiling) or both",
        ),
        Rule(
            holds=lambda s: (
                s.min_replicas is None or s.max_replicas is None or s.min_replicas <= s.max_replicas
            ),
            cel="!has(self.minReplicas) || !has(self.maxReplicas) || "
            "self.minReplicas <= self.maxReplicas",
            message="must be at least minReplicas",
            field="maxReplicas",
        ),
    )

    name: Annotated[LabelName, Field(description="Name of the schedule, unique in this object.")]
    variant: Annotated[VariantName, Field(description="Name of the variant it is for.")]
    cron: Annotated[
        Cron,
        Field(
            description="When the windows start: minute, hour, day of month, month, day of week, "
            "as numbers."
        ),
    ]
    time_zone: Annotated[
        TimeZone, Field(description="Time zone of cron, by its name in the tz database.")
    ] = "UTC"
    duration_seconds: Annotated[
        StrictInt, Field(ge=60, le=604_800, description="Length of each window, in seconds.")
    ]
    min_replicas: Annotated[
        Replicas | None, Field(description="Floor inside the windows; maxReplicas still holds.")
    ] = None
    max_replicas: Annotated[Replicas | None, Field(description="Ceiling inside the windows.")] = (
        None
    )
