"""SkyServe's controller on a ModelDeployment's variants as a planner.

The controller decides every 20 s (5 s at zero replicas) and counts decisions. A plan call makes
all decisions that fell due since the last one, on the load and the replicas it sees, so that the
delays keep their meaning under any tick; between decisions nothing changes.

Its load balancer counts requests over 60 s. Here they are counted from what the gateway exports,
over what was seen of the last 60 s; while nothing was, no decision is made.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import (
    Missing,
    Observation,
    PastTraffic,
    TrafficReading,
    VariantObservation,
)
from controller.core.domain.policy import Policy, RoutingLaw
from simulations.peers.account import peer_decision
from simulations.peers.skyserve.fleet import Replica, Status
from simulations.peers.skyserve.law import (
    WINDOW_SECONDS,
    SkyHistory,
    SkySpec,
    decide,
    mixed,
    wanted_by_instances,
    wanted_by_rate,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyService:
    """A service on a ModelDeployment; the replica range is that of its variants.

    ``target_qps`` are requests/s per replica and variant, in the policy's order. ``primaries``
    are the variants whose replicas are launched, in this order, and ``standin`` the one that
    stands in for those not Ready (None: none does).
    """

    target_qps: tuple[float, ...]
    primaries: tuple[int, ...]
    standin: int | None = None
    instance_aware: bool = False
    upscale_delay_seconds: float = 300.0
    downscale_delay_seconds: float = 1200.0

    def __post_init__(self) -> None:
        """Reject a target that no load could be divided by."""
        for target in self.target_qps:
            if not (math.isfinite(target) and target > 0.0):
                raise ValueError(f"target_qps: must be above 0 per replica, got {target}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SkyPlannerHistory:
    """The controller's counts (None: not started), when it decides next, and what was counted.

    ``counted`` are (from seconds, to seconds, requests), ascending and apart.
    """

    counts: SkyHistory | None = None
    due_seconds: float = -math.inf
    counted: tuple[tuple[float, float, float], ...] = ()


class SkyPlanner:
    """One service over the variants; those it does not use stay at their minimum."""

    def __init__(self, service: SkyService) -> None:
        self._service = service

    def initial(self, policy: Policy, past: PastTraffic | None) -> SkyPlannerHistory:
        """Nothing is counted at the start."""
        del past
        if len(self._service.target_qps) != len(policy.variants):
            raise ValueError(
                f"target_qps: {len(self._service.target_qps)} entries for {len(policy.variants)} "
                f"variants of {policy.namespace}/{policy.name}; give one per variant"
            )
        return SkyPlannerHistory()

    def plan(
        self, policy: Policy, observation: Observation, history: SkyPlannerHistory, now: float
    ) -> tuple[Decision, SkyPlannerHistory]:
        """Make the decisions that are due. A controller takes the fleet that it finds over."""
        service = self._service
        spec = _spec(service, policy)
        observed = tuple(variant.desired for variant in observation.variants)
        counted = _counted(history.counted, observation.traffic, now)
        found = sum(observed[v] for v in service.primaries)
        counts = history.counts or SkyHistory(target=spec.clipped(found))
        if not counted:
            # Decisions that were not made while blind are not made up for.
            kept = _ranged(policy, _held(service, policy, observed))
            decision = peer_decision(policy, observed, kept, kept_for=Reason.METRICS_MISSING)
            return decision, SkyPlannerHistory(counts=counts, due_seconds=now)
        wanted = _wanted(service, spec, _qps(counted), observation.variants)
        due = max(history.due_seconds, now - WINDOW_SECONDS) if history.counts else now
        decided = False
        while due <= now:
            counts, decided = decide(spec, counts, wanted), True
            due += counts.next_decision_seconds
        remembered = SkyPlannerHistory(counts=counts, due_seconds=due, counted=counted)
        if not decided:
            kept = _ranged(policy, _held(service, policy, observed))
            reason = Reason.CURRENT_ALLOCATION_KEPT
            return peer_decision(policy, observed, kept, kept_for=reason), remembered
        proposed, allocation = (
            _ranged(policy, _allocated(service, spec, policy, observation.variants, target))
            for target in (wanted, counts.target)
        )
        decision = peer_decision(
            policy, observed, proposed, limits=[(Reason.STABILIZATION_WINDOW, allocation)]
        )
        if policy.routing.law is RoutingLaw.WEIGHTED:
            decision = replace(decision, weights=_weights(service, observation.variants))
        return decision, remembered


def _spec(service: SkyService, policy: Policy) -> SkySpec:
    used = [policy.variants[v] for v in service.primaries]
    return SkySpec(
        min_replicas=sum(variant.min_replicas for variant in used),
        max_replicas=sum(variant.max_replicas for variant in used),
        upscale_delay_seconds=service.upscale_delay_seconds,
        downscale_delay_seconds=service.downscale_delay_seconds,
        dynamic_ondemand=service.standin is not None,
    )


def _counted(
    before: tuple[tuple[float, float, float], ...], traffic: TrafficReading, now: float
) -> tuple[tuple[float, float, float], ...]:
    """What was counted and reaches into the last 60 s."""
    if not isinstance(traffic, Missing) and traffic.from_seconds >= _counted_until(before):
        before = (*before, (traffic.from_seconds, traffic.to_seconds, traffic.requests))
    return tuple(part for part in before if part[1] > now - WINDOW_SECONDS)


def _counted_until(counted: Sequence[tuple[float, float, float]]) -> float:
    return counted[-1][1] if counted else -math.inf


def _qps(counted: Sequence[tuple[float, float, float]]) -> float:
    """Requests/s over what was seen of the 60 s up to the newest count.

    Of a part that began earlier, the share inside the window is taken.
    """
    since = counted[-1][1] - WINDOW_SECONDS
    seconds = requests = 0.0
    for start, end, count in counted:
        inside = end - max(start, since)
        if inside > 0.0:
            seconds += inside
            requests += count * inside / (end - start)
    return requests / seconds


def _wanted(
    service: SkyService, spec: SkySpec, qps: float, seen: Sequence[VariantObservation]
) -> int:
    if not service.instance_aware:
        return wanted_by_rate(spec, qps, service.target_qps[service.primaries[0]])
    records: list[Replica] = []
    for v in service.primaries:
        for status, count in (
            (Status.READY, seen[v].ready),
            (Status.STARTING, len(seen[v].starting_since_seconds)),
            (Status.SHUTTING_DOWN, seen[v].draining),
        ):
            first = len(records)
            records += [
                Replica(number=first + i, status=status, target_qps=service.target_qps[v])
                for i in range(count)
            ]
    best = max(service.target_qps[v] for v in service.primaries)
    return wanted_by_instances(spec, qps, records, best)


def _allocated(
    service: SkyService,
    spec: SkySpec,
    policy: Policy,
    seen: Sequence[VariantObservation],
    target: int,
) -> list[int]:
    """Replicas per variant for a target: launches in order, the slowest go first."""
    allocation = _held(service, policy, [variant.desired for variant in seen])
    missing = target - sum(allocation[v] for v in service.primaries)
    for v in service.primaries:
        added = min(max(missing, 0), policy.variants[v].max_replicas - allocation[v])
        allocation[v] += max(added, 0)
        missing -= max(added, 0)
    for v in sorted(service.primaries, key=lambda v: service.target_qps[v]):
        removed = min(max(-missing, 0), allocation[v] - policy.variants[v].min_replicas)
        allocation[v] -= max(removed, 0)
        missing += max(removed, 0)
    if service.standin is not None:
        ready = sum(seen[v].ready for v in service.primaries)
        first = service.target_qps[service.primaries[0]]
        worth = first / service.target_qps[service.standin]
        gap = mixed(spec, target, ready).ondemand
        low = policy.variants[service.standin].min_replicas
        allocation[service.standin] = low + math.ceil(worth * gap)
    return allocation


def _held(service: SkyService, policy: Policy, observed: Sequence[int]) -> list[int]:
    """What is there of the variants in use, and the minimum of the others."""
    standin = () if service.standin is None else (service.standin,)
    used = (*service.primaries, *standin)
    return [
        observed[v] if v in used else variant.min_replicas
        for v, variant in enumerate(policy.variants)
    ]


def _ranged(policy: Policy, allocation: Sequence[int]) -> tuple[int, ...]:
    return tuple(
        min(max(replicas, variant.min_replicas), variant.max_replicas)
        for replicas, variant in zip(allocation, policy.variants, strict=True)
    )


def _weights(service: SkyService, seen: Sequence[VariantObservation]) -> tuple[float, ...] | None:
    """Shares as the service's own load balancer gives them: by what the Ready replicas carry."""
    carried = [
        variant.ready * target for variant, target in zip(seen, service.target_qps, strict=True)
    ]
    whole = sum(carried)
    return tuple(one / whole for one in carried) if whole > 0.0 else None
