"""From spec to policy: defaults, prices and profiles filled in, decimals turned into numbers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from controller.api.conversion.windows import check_cron
from controller.api.errors import InvalidModelDeployment
from controller.api.objectives import SloSpec
from controller.api.prices import PriceTable
from controller.api.scaling import BehaviorSpec, ScaleDownRules, ScaleUpRules, ScheduleSpec
from controller.api.v1alpha1 import PAUSED_ANNOTATION, ModelDeployment
from controller.api.variants import PerformanceParameters, VariantSpec
from controller.core.domain.policy import (
    Balancing,
    Behavior,
    Limits,
    Mode,
    OnExhausted,
    Pause,
    Policy,
    QualityBudget,
    RatePolicy,
    Routing,
    RoutingLaw,
    ScalingRules,
    Schedule,
    SelectPolicy,
    Slo,
)
from controller.core.domain.variant import PerformanceProfile, Role, Variant
from controller.core.performance import catalog

#: Looks a built-in profile up by name; raises LookupError or ValueError naming the known ones.
CatalogLookup = Callable[[str], catalog.CatalogEntry]

_NOTHING_OBSERVED: Final[Mapping[str, int]] = MappingProxyType({})

#: Slack of cost comparisons, in the currency of the price table.
_CENTS: Final = 1e-6


@dataclass(frozen=True, slots=True)
class _Resolved:
    """A variant's GPUs and timing; ``path`` is where it stands in the document."""

    path: str
    gpus: int
    profile: PerformanceProfile


def to_policy(
    md: ModelDeployment,
    prices: PriceTable,
    tick_seconds: float,
    *,
    pod_gpus: Mapping[str, int] = _NOTHING_OBSERVED,
    lookup: CatalogLookup = catalog.entry,
) -> Policy:
    """Return the policy that ``md`` asks for, its defaults, prices and profiles filled in.

    ``pod_gpus`` holds, by variant name, the GPUs per replica read off the pod templates; a
    declared ``gpusPerReplica`` wins over it, and it wins over the built-in profile's.

    Raises:
        InvalidModelDeployment: one line per field that cannot be resolved.
        ValueError: for a tick that is not positive.
    """
    if not tick_seconds > 0:
        raise ValueError(f"tick_seconds must be above 0, not {tick_seconds}")
    spec = md.spec
    lines: list[str] = []
    variants = []
    for i, variant in enumerate(spec.variants):
        try:
            resolved = _resolve(variant, f"spec.variants[{i}]", pod_gpus, lookup)
            variants.append(_variant(variant, resolved, prices))
        except InvalidModelDeployment as error:
            lines.extend(error.lines)
    schedules = _schedules(spec.schedules, lines)
    limits = Limits(
        max_cost_per_hour=_decimal(spec.limits.max_cost_per_hour) if spec.limits else None,
        max_gpus=spec.limits.max_gpus if spec.limits else None,
    )
    if not lines:
        lines.extend(_minimums_above(limits, variants))
    if lines:
        raise InvalidModelDeployment(*lines)
    routing = spec.routing
    return Policy(
        namespace=md.metadata.namespace,
        name=md.metadata.name,
        mode=Mode(spec.mode),
        slo=_slo(spec.slo),
        quality=QualityBudget(
            max_degraded_share=float(spec.quality.max_degraded_share),
            on_exhausted=OnExhausted(spec.quality.on_exhausted),
        ),
        variants=tuple(variants),
        routing=Routing(
            law=RoutingLaw(routing.type) if routing else RoutingLaw.SEPARATE,
            balancing=Balancing(routing.balancing) if routing else Balancing.PER_ENDPOINT,
        ),
        limits=limits,
        tick_seconds=tick_seconds,
        behavior=_behavior(spec.behavior),
        schedules=schedules,
        pause=_pause(md.metadata.annotations.get(PAUSED_ANNOTATION)),
    )


def _pause(asked: str | None) -> Pause:
    if asked is None or asked.lower() == "false":
        return Pause.NONE
    return {"in": Pause.IN, "out": Pause.OUT}.get(asked.lower(), Pause.ALL)


def _decimal(text: str | None) -> float | None:
    return None if text is None else float(text)


def _slo(slo: SloSpec) -> Slo:
    seconds = {o.metric: o.threshold_milliseconds / 1000.0 for o in slo.objectives}
    return Slo(
        ttft_seconds=seconds.get("TimeToFirstToken", math.inf),
        tpot_seconds=seconds.get("TimePerOutputToken", math.inf),
        target=float(slo.target),
        window_seconds=float(slo.window_seconds),
        planned_budget_share=float(slo.planned_budget_share),
    )


def _resolve(
    variant: VariantSpec, path: str, pod_gpus: Mapping[str, int], lookup: CatalogLookup
) -> _Resolved:
    """Find a variant's timing and GPUs."""
    performance = variant.performance
    catalog_gpus = None
    if performance is None:
        raise InvalidModelDeployment(
            f"{path}.performance: missing; write {{profile: NAME}} with one of "
            f"{', '.join(catalog.CATALOG)}, or {{parameters: ...}}: the speed of a replica is "
            "not learned from nothing yet"
        )
    if performance.parameters is not None:
        profile = _profile(performance.parameters)
    else:
        try:
            entry = lookup(performance.profile or "")
        except (LookupError, ValueError) as error:
            raise InvalidModelDeployment(f"{path}.performance.profile: {error}") from error
        profile, catalog_gpus = entry.profile, entry.gpus_per_replica
    gpus = variant.gpus_per_replica or pod_gpus.get(variant.name) or catalog_gpus
    if gpus is None:
        raise InvalidModelDeployment(
            f"{path}.gpusPerReplica: missing, and no pod template tells it; write an integer"
        )
    return _Resolved(path, gpus, profile)


def _profile(parameters: PerformanceParameters) -> PerformanceProfile:
    return PerformanceProfile(
        t0_milliseconds=float(parameters.t0_milliseconds),
        delta_milliseconds=float(parameters.delta_milliseconds),
        epsilon_milliseconds=float(parameters.epsilon_milliseconds),
        kappa_milliseconds=float(parameters.kappa_milliseconds),
        beta_milliseconds=float(parameters.beta_milliseconds),
        kv_capacity_tokens=parameters.kv_capacity_tokens,
        max_running=parameters.max_running,
        max_batched_tokens=parameters.max_batched_tokens,
    )


def _variant(variant: VariantSpec, resolved: _Resolved, prices: PriceTable) -> Variant:
    return Variant(
        name=variant.name,
        role=Role(variant.role),
        cost_per_replica_hour=_cost(variant, resolved, prices),
        quality=float(variant.quality),
        min_replicas=variant.minimum,
        max_replicas=variant.max_replicas,
        gpus_per_replica=resolved.gpus,
        cold_start_seconds=float(variant.cold_start_seconds),
        profile=resolved.profile,
        queue_limit=variant.queue_limit,
    )


def _cost(variant: VariantSpec, resolved: _Resolved, prices: PriceTable) -> float:
    """Price of one replica for an hour; the declared one wins over the table's."""
    if variant.cost_per_replica_hour is not None:
        return float(variant.cost_per_replica_hour)
    accelerator = prices.accelerators.get(variant.accelerator or "")
    if accelerator is None:
        raise InvalidModelDeployment(
            f'{resolved.path}.accelerator: found "{variant.accelerator}", which the price '
            f"table does not have; write one of {', '.join(prices.accelerators)}, or give "
            "costPerReplicaHour"
        )
    return accelerator.per_gpu_hour * resolved.gpus


def _minimums_above(limits: Limits, variants: list[Variant]) -> list[str]:
    """Check the limits again, now that every price and GPU count is known."""
    lines = []
    gpus = sum(v.min_replicas * v.gpus_per_replica for v in variants)
    if limits.max_gpus is not None and gpus > limits.max_gpus:
        lines.append(
            f"spec.limits.maxGpus: found {limits.max_gpus}; the variants' minReplicas need {gpus}"
        )
    cost = sum(v.min_replicas * v.cost_per_replica_hour for v in variants)
    if limits.max_cost_per_hour is not None and cost > limits.max_cost_per_hour + _CENTS:
        lines.append(
            f"spec.limits.maxCostPerHour: found {limits.max_cost_per_hour:g}; the variants' "
            f"minReplicas cost {cost:g}"
        )
    return lines


def _behavior(behavior: BehaviorSpec | None) -> Behavior | None:
    """Fill the other direction with HPA's defaults where one is set; none set is no block."""
    if behavior is None or (behavior.scale_up is None and behavior.scale_down is None):
        return None
    return Behavior(
        scale_up=_rules(behavior.scale_up or ScaleUpRules()),
        scale_down=_rules(behavior.scale_down or ScaleDownRules()),
    )


def _rules(rules: ScaleUpRules | ScaleDownRules) -> ScalingRules:
    return ScalingRules(
        stabilization_window_seconds=rules.stabilization_window_seconds,
        select_policy=SelectPolicy(rules.select_policy),
        policies=tuple(
            RatePolicy(
                percent=policy.type == "Percent",
                value=policy.value,
                period_seconds=policy.period_seconds,
            )
            for policy in rules.policies
        ),
    )


def _schedules(schedules: tuple[ScheduleSpec, ...], lines: list[str]) -> tuple[Schedule, ...]:
    """Convert the schedules, their windows not yet expanded; what cannot be read adds a line."""
    for i, schedule in enumerate(schedules):
        try:
            check_cron(schedule.cron)
        except ValueError as error:
            lines.append(f"spec.schedules[{i}].cron: {error}")
        try:
            ZoneInfo(schedule.time_zone)
        except (LookupError, ValueError, OSError):
            lines.append(
                f'spec.schedules[{i}].timeZone: found "{schedule.time_zone}"; write a name of '
                "the tz database such as Europe/Berlin"
            )
    return tuple(
        Schedule(
            variant=schedule.variant,
            cron=schedule.cron,
            time_zone=schedule.time_zone,
            duration_seconds=float(schedule.duration_seconds),
            min_replicas=schedule.min_replicas,
            max_replicas=schedule.max_replicas,
        )
        for schedule in schedules
    )
