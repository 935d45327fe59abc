"""The observer of a real cluster: workloads and metrics of every object, joined to observations."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from controller.core.domain.observation import GaugeReading, Observation, VariantObservation
from controller.core.domain.policy import ObjectKey, Policy
from controller.ports import (
    Metrics,
    MetricsQuestion,
    MetricsReading,
    PortError,
    Replica,
    TargetNotFound,
    Workload,
    Workloads,
)

Gauges: TypeAlias = tuple[GaugeReading, GaugeReading, GaugeReading]

#: The replicas of a target that does not exist.
_NOTHING = Workload(desired=0, replicas=())


@dataclass(slots=True, kw_only=True)
class ClusterObserver:
    """Joins what the API server and the metrics store show.

    A target that does not exist has no replicas; the actuator says so when it is to be scaled. An
    object of which it is not known how a target is cannot be decided on.
    ``findings`` holds, by object, what the last reading of the metrics has to say to people.
    """

    workloads: Workloads
    metrics: Metrics
    findings: dict[ObjectKey, str] = field(default_factory=dict)
    _seen_ready: dict[ObjectKey, tuple[frozenset[str], ...]] = field(default_factory=dict)

    async def observe(
        self, policies: Sequence[Policy], now: float
    ) -> Sequence[Observation | PortError]:
        """See ``ports.Observer``."""
        targets = [_known(row) for row in await self.workloads.read(policies, now)]
        seen = [
            (policy, workloads)
            for policy, workloads in zip(policies, targets, strict=True)
            if not isinstance(workloads, PortError)
        ]
        readings = await self.metrics.read(
            [
                MetricsQuestion(policy=policy, replicas=tuple(one.replicas for one in workloads))
                for policy, workloads in seen
            ],
            now,
        )
        joined = iter(
            [
                self._joined(policy, workloads, reading, now)
                for (policy, workloads), reading in zip(seen, readings, strict=True)
            ]
        )
        kept = {policy.key for policy in policies}
        self._seen_ready = {k: names for k, names in self._seen_ready.items() if k in kept}
        self.findings = {
            policy.key: reading.finding
            for (policy, _), reading in zip(seen, readings, strict=True)
            if reading.finding
        }
        return [one if isinstance(one, PortError) else next(joined) for one in targets]

    def _joined(
        self,
        policy: Policy,
        workloads: tuple[Workload, ...],
        reading: MetricsReading,
        now: float,
    ) -> Observation:
        nothing = (frozenset[str](),) * len(workloads)
        before = self._seen_ready.get(policy.key)
        ready = tuple(
            _names([r for r in one.replicas if r.ready_since_seconds is not None])
            for one in workloads
        )
        # A replica that was Ready once and is again did not start anew.
        self._seen_ready[policy.key] = tuple(
            now_ready | (once & _names(one.replicas))
            for now_ready, once, one in zip(ready, before or nothing, workloads, strict=True)
        )
        variants = []
        for v, (workload, gauges) in enumerate(zip(workloads, reading.gauges, strict=True)):
            # What was Ready before this process first looked may have been restarted since.
            known = ready[v] if before is None else before[v]
            variants.append(_variant(workload, gauges, known))
        return Observation(
            workloads_at_seconds=now,
            variants=tuple(variants),
            traffic=reading.traffic,
            outcomes=reading.outcomes,
        )


def _known(workloads: Sequence[Workload | PortError]) -> tuple[Workload, ...] | PortError:
    """All targets of an object, or why it is not known how they are."""
    known = []
    for one in workloads:
        if isinstance(one, Workload):
            known.append(one)
        elif isinstance(one, TargetNotFound):
            known.append(_NOTHING)
        else:
            return one
    return tuple(known)


def _variant(workload: Workload, gauges: Gauges, known_ready: frozenset[str]) -> VariantObservation:
    live = [replica for replica in workload.replicas if not replica.draining]
    starting = [replica for replica in live if replica.ready_since_seconds is None]
    running, waiting, kv_use = gauges
    return VariantObservation(
        desired=workload.desired,
        ready=len(live) - len(starting),
        starting_since_seconds=tuple(replica.created_at_seconds for replica in starting),
        unschedulable=sum(not replica.scheduled for replica in starting),
        draining=len(workload.replicas) - len(live),
        ready_after_seconds=tuple(
            replica.ready_since_seconds - replica.created_at_seconds
            for replica in live
            if replica.ready_since_seconds is not None and replica.name not in known_ready
        ),
        running=running,
        waiting=waiting,
        kv_use=kv_use,
    )


def _names(replicas: Sequence[Replica]) -> frozenset[str]:
    return frozenset(replica.name for replica in replicas)
