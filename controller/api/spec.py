"""``spec`` of a ModelDeployment, and the rules that concern several of its parts."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from controller.api.objectives import LimitsSpec, QualitySpec, SloSpec
from controller.api.routing import ArrivalsSpec, RoutingSpec
from controller.api.rules import ListMap, Part, Rule
from controller.api.scaling import BehaviorSpec, ScheduleSpec
from controller.api.variants import MINIMUM_OF_V, VariantSpec

#: Sums of decimals are compared with this slack, in the currency of the price table.
_CENTS = 0.000001


def _targets_are_unique(spec: "ModelDeploymentSpec") -> bool:
    targets = [(v.target_ref.kind, v.target_ref.name) for v in spec.variants]
    return len(set(targets)) == len(targets)


def _backends_are_unique(spec: "ModelDeploymentSpec") -> bool:
    backends = [
        (v.backend_ref.kind, v.backend_ref.name, v.backend_ref.port)
        for v in spec.variants
        if v.backend_ref is not None
    ]
    return not spec.is_weighted or len(set(backends)) == len(backends)


def _minimums_fit_gpus(spec: "ModelDeploymentSpec") -> bool:
    if spec.limits is None or spec.limits.max_gpus is None:
        return True
    gpus = sum(v.minimum * (v.gpus_per_replica or 0) for v in spec.variants)
    return gpus <= spec.limits.max_gpus


def _minimums_fit_cost(spec: "ModelDeploymentSpec") -> bool:
    if spec.limits is None or spec.limits.max_cost_per_hour is None:
        return True
    cost = sum(v.minimum * float(v.cost_per_replica_hour or 0) for v in spec.variants)
    return cost <= float(spec.limits.max_cost_per_hour) + _CENTS


def _schedules_name_variants(spec: "ModelDeploymentSpec") -> bool:
    names = {v.name for v in spec.variants}
    return all(schedule.variant in names for schedule in spec.schedules)


class ModelDeploymentSpec(Part):
    """What the owner of one served model asks for."""

    RULES: ClassVar = (
        Rule(
            holds=lambda spec: any(v.role == "Primary" for v in spec.variants),
            cel="self.variants.exists(v, v.role == 'Primary')",
            message="at least one variant must have the role Primary",
            field="variants",
        ),
        Rule(
            holds=_targets_are_unique,
            cel="self.variants.all(v, self.variants.exists_one(w, "
            "w.targetRef.kind == v.targetRef.kind && w.targetRef.name == v.targetRef.name))",
            message="every variant needs a targetRef of its own",
            field="variants",
        ),
        Rule(
            holds=lambda spec: len(spec.variants) == 1 or spec.routing is not None,
            cel="size(self.variants) == 1 || has(self.routing)",
            message="with several variants say how requests reach them: routing.type is Separate, "
            "Shared, Weighted or Overflow",
            field="routing",
        ),
        Rule(
            holds=lambda spec: (
                not spec.is_weighted or all(v.backend_ref is not None for v in spec.variants)
            ),
            cel="!has(self.routing) || self.routing.type != 'Weighted' || "
            "self.variants.all(v, has(v.backendRef))",
            message="Weighted routing needs a backendRef on every variant",
            field="variants",
        ),
        Rule(
            holds=_backends_are_unique,
            cel="!has(self.routing) || self.routing.type != 'Weighted' || "
            "self.variants.all(v, !has(v.backendRef) || self.variants.exists_one(w, "
            "has(w.backendRef) && w.backendRef.kind == v.backendRef.kind && "
            "w.backendRef.name == v.backendRef.name && has(w.backendRef.port) == "
            "has(v.backendRef.port) && (!has(w.backendRef.port) || !has(v.backendRef.port) || "
            "w.backendRef.port == v.backendRef.port)))",
            message="Weighted routing needs a backendRef of its own for every variant",
            field="variants",
        ),
        Rule(
            holds=lambda spec: (
                spec.arrivals is not None or sum(v.minimum for v in spec.variants) >= 1
            ),
            cel=f"has(self.arrivals) || self.variants.map(v, {MINIMUM_OF_V}).sum() >= 1",
            message="the sum of minReplicas must be at least 1 unless arrivals names a counter "
            "outside the engine: an engine scaled to zero shows no arrivals",
            field="variants",
        ),
        Rule(
            holds=_minimums_fit_gpus,
            cel="!has(self.limits) || !has(self.limits.maxGpus) || "
            f"self.variants.map(v, has(v.gpusPerReplica) ? v.gpusPerReplica * {MINIMUM_OF_V} : 0)"
            ".sum() <= self.limits.maxGpus",
            message="must hold the GPUs of every variant's minReplicas",
            field="limits.maxGpus",
        ),
        Rule(
            holds=_minimums_fit_cost,
            cel="!has(self.limits) || !has(self.limits.maxCostPerHour) || "
            "self.variants.map(v, has(v.costPerReplicaHour) ? "
            f"double({MINIMUM_OF_V}) * double(v.costPerReplicaHour) : 0.0).sum() <= "
            f"double(self.limits.maxCostPerHour) + {_CENTS:.6f}",
            message="must pay for every variant's minReplicas",
            field="limits.maxCostPerHour",
        ),
        Rule(
            holds=_schedules_name_variants,
            cel="!has(self.schedules) || self.schedules.all(s, "
            "self.variants.exists(v, v.name == s.variant))",
            message="every schedule must name one of the variants",
            field="schedules",
        ),
    )

    mode: Annotated[
        Literal["Recommend", "Auto", "Off"],
        Field(
            description="Recommend: decide and write only the status. Auto: also set replicas and "
            'weights. "Off" (quoted, since YAML reads a bare Off as false): do nothing.'
        ),
    ] = "Recommend"
    slo: Annotated[SloSpec, Field(description="Latencies promised, for which share of requests.")]
    quality: Annotated[
        QualitySpec, Field(description="How much of the traffic a fallback may serve.")
    ] = QualitySpec()
    variants: Annotated[
        tuple[VariantSpec, ...],
        Field(
            min_length=1,
            max_length=8,
            description="Servable forms of the model: the preferred one and its fallbacks.",
        ),
        ListMap("name"),
    ]
    routing: Annotated[
        RoutingSpec | None,
        Field(
            description="How requests reach the variants; needed with more than one. Default for "
            "one: type Separate, balancing PerEndpoint."
        ),
    ] = None
    arrivals: Annotated[
        ArrivalsSpec | None,
        Field(
            description="Where arrivals are counted outside the engine; needed where every "
            "minReplicas is 0."
        ),
    ] = None
    limits: Annotated[
        LimitsSpec | None, Field(description="Upper limits over all variants together.")
    ] = None
    behavior: Annotated[
        BehaviorSpec | None,
        Field(
            description="How fast replicas may change. Absent: steelyard's own rule, a hold of "
            "one cold start."
        ),
    ] = None
    schedules: Annotated[
        tuple[ScheduleSpec, ...],
        Field(max_length=16, description="Floors and ceilings at certain times."),
        ListMap("name"),
    ] = ()

    @property
    def is_weighted(self) -> bool:
        """Whether steelyard writes the weights of an HTTPRoute."""
        return self.routing is not None and self.routing.type == "Weighted"
