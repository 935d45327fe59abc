"""HPAs on a ModelDeployment's variants as a planner: one HPA object per scaled variant.

This is what a user sets up who has Prometheus, an adapter for external metrics and no steelyard:
each HPA reads the engine's own gauges of its own variant, and nothing of the others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from controller.core.domain.decision import Allocation, Decision, Reason
from controller.core.domain.observation import (
    GaugeReading,
    Measured,
    Missing,
    MissingReason,
    Observation,
    PastTraffic,
    TrafficReading,
    VariantObservation,
)
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Variant
from simulations.peers.account import peer_decision
from simulations.peers.hpa.behavior import HpaBehavior, Limit
from simulations.peers.hpa.law import HpaHistory, HpaOutcome, HpaSpec, sync
from simulations.peers.hpa.metrics import Tolerance, external_average_proposal
from simulations.peers.promql import Samples, rate

#: Range of rate() over the requests at the gateway, as adapters' and exporters' guides have it.
RATE_WINDOW_SECONDS = 60.0


class Signal(StrEnum):
    """What a metric reads: a variant's gauges, summed over its replicas, or the gateway's rate."""

    WAITING = "waiting"
    RUNNING = "running"
    OUTSTANDING = "waiting + running"
    ARRIVALS = "requests per second"


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageTarget:
    """What a metric of type AverageValue is to be per replica."""

    target: float

    def __post_init__(self) -> None:
        """Reject a target that the API would not take."""
        if not (math.isfinite(self.target) and self.target_milli >= 1):
            raise ValueError(f"target: must be at least 0.001 per replica, got {self.target}")

    @property
    def target_milli(self) -> int:
        """The target as a quantity carries it."""
        return round(1000 * self.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAverage(AverageTarget):
    """An External metric of type AverageValue: ``target`` requests (or requests/s) per replica."""

    signal: Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantHpa:
    """The HPA object on one variant. ``behavior`` None: no behavior block.

    Its minReplicas is at least 1: at zero replicas the engine's gauges cannot show demand. Its
    Deployment is created with that many, since an HPA leaves a target alone that it finds at zero.
    """

    metrics: tuple[ExternalAverage, ...]
    behavior: HpaBehavior | None
    tolerance: Tolerance = Tolerance()  # noqa: RUF009 - frozen, without state


@dataclass(frozen=True, slots=True)
class HpaPlannerHistory:
    """One HPA's memory per variant, in the policy's order; None where the variant has no HPA.

    ``arrivals`` are the samples of the gateway's counter of requests that rate() can see.
    """

    hpas: tuple[HpaHistory | None, ...]
    arrivals: Samples = ()


class HpaPlanner:
    """Every variant under its own HPA; a variant without one (None) stays at its minimum.

    A metric that is missing is a failed metric to the HPA: alone it means no action, beside
    others it only vetoes a scale-down.
    """

    def __init__(self, hpas: tuple[VariantHpa | None, ...]) -> None:
        self._hpas = hpas

    def initial(self, policy: Policy, past: PastTraffic | None) -> HpaPlannerHistory:
        """Controllers start with nothing remembered, whatever the metrics store holds."""
        del past
        if len(self._hpas) != len(policy.variants):
            raise ValueError(
                f"hpas: {len(self._hpas)} entries for {len(policy.variants)} variants of "
                f"{policy.namespace}/{policy.name}; give one per variant, None for no HPA"
            )
        return HpaPlannerHistory(tuple(None if hpa is None else HpaHistory() for hpa in self._hpas))

    def plan(
        self, policy: Policy, observation: Observation, history: HpaPlannerHistory, now: float
    ) -> tuple[Decision, HpaPlannerHistory]:
        """Sync every HPA once; a sync is every plan call, 15 s by default for both."""
        outcomes: list[HpaOutcome | None] = []
        remembered: list[HpaHistory | None] = []
        arrivals = scraped_arrivals(history.arrivals, observation.traffic, now)
        per_second = arrival_rate(arrivals, observation.traffic, now)
        rows = zip(self._hpas, policy.variants, observation.variants, history.hpas, strict=True)
        for hpa, variant, seen, memory in rows:
            if hpa is None or memory is None:
                outcomes.append(None)
                remembered.append(None)
                continue
            outcome, memory_after = _sync(hpa, variant, seen, memory, per_second, now)
            outcomes.append(outcome)
            remembered.append(memory_after)
        return told(policy, observation, outcomes), HpaPlannerHistory(tuple(remembered), arrivals)


def scraped_arrivals(before: Samples, traffic: TrafficReading, now: float) -> Samples:
    """Add what the gateway counted, as (seconds, requests so far), and forget what is out of range.

    The counter starts where it is first seen: a rate asks for differences only.
    """
    before = before or (() if isinstance(traffic, Missing) else ((traffic.from_seconds, 0.0),))
    if not isinstance(traffic, Missing) and traffic.to_seconds > before[-1][0]:
        before = (*before, (traffic.to_seconds, before[-1][1] + traffic.requests))
    return tuple(sample for sample in before if sample[0] > now - RATE_WINDOW_SECONDS)


def arrival_rate(arrivals: Samples, traffic: TrafficReading, now: float) -> GaugeReading:
    """Requests/s as a query for rate() would answer now."""
    if isinstance(traffic, Missing) and traffic.reason is MissingReason.QUERY_FAILED:
        return traffic
    per_second = rate(arrivals, RATE_WINDOW_SECONDS, now)
    return Missing(MissingReason.ABSENT) if per_second is None else Measured(per_second, now)


def _sync(
    hpa: VariantHpa,
    variant: Variant,
    seen: VariantObservation,
    memory: HpaHistory,
    per_second: GaugeReading,
    now: float,
) -> tuple[HpaOutcome, HpaHistory]:
    spec = HpaSpec(
        min_replicas=max(1, variant.min_replicas),
        max_replicas=variant.max_replicas,
        behavior=hpa.behavior,
    )
    created_now = memory.recommendations is None and seen.desired == 0
    replicas = spec.min_replicas if created_now else seen.desired
    status_replicas = seen.ready + len(seen.starting_since_seconds)
    proposals = []
    for metric in hpa.metrics:
        total_milli = _total_milli(metric.signal, seen, per_second)
        proposals.append(
            None
            if total_milli is None
            else external_average_proposal(
                total_milli, metric.target_milli, status_replicas, hpa.tolerance
            )
        )
    return sync(spec, memory, replicas, proposals, now)


def _total_milli(signal: Signal, seen: VariantObservation, per_second: GaugeReading) -> int | None:
    """The signal summed over replicas, in milli-requests; None when any part is missing."""
    total = 0
    for reading in readings(signal, seen, per_second):
        if isinstance(reading, Missing):
            return None
        total += math.ceil(1000 * reading.value)
    return total


def readings(
    signal: Signal, seen: VariantObservation, per_second: GaugeReading
) -> tuple[GaugeReading, ...]:
    """The readings whose sum the signal is."""
    if signal is Signal.ARRIVALS:
        return (per_second,)
    if signal is Signal.WAITING:
        return (seen.waiting,)
    if signal is Signal.RUNNING:
        return (seen.running,)
    return (seen.waiting, seen.running)


_REASONS = {
    Limit.WITHIN_RANGE: Reason.MIN_REPLICAS,  # only a minimum raised at zero changes it unlimited
    Limit.TOO_MANY: Reason.MAX_REPLICAS,
    Limit.TOO_FEW: Reason.MIN_REPLICAS,
    Limit.SCALE_UP: Reason.SCALE_RATE_LIMITED,
    Limit.SCALE_DOWN: Reason.SCALE_RATE_LIMITED,
}


def told(
    policy: Policy,
    observation: Observation,
    outcomes: Sequence[HpaOutcome | None],
    afterwards: Allocation | None = None,
) -> Decision:
    """Tell all HPAs' outcomes as one decision: windows first, then each variant's limit.

    ``afterwards`` is what another loop of the same peer made of it.
    """
    observed = tuple(variant.desired for variant in observation.variants)
    floors = tuple(variant.min_replicas for variant in policy.variants)
    stages: list[Allocation] = [
        tuple(
            floor if outcome is None else replicas(outcome)
            for outcome, floor in zip(outcomes, floors, strict=True)
        )
        for replicas in (_proposed, _calmed)
    ]
    limits = [(Reason.STABILIZATION_WINDOW, stages[1])]
    after = list(stages[1])
    for position, outcome in enumerate(outcomes):
        if outcome is not None and outcome.desired != after[position]:
            after[position] = outcome.desired
            limits.append((_REASONS[outcome.limit], tuple(after)))
    if afterwards is not None:
        limits.append((Reason.PEER_LAW, afterwards))
    return peer_decision(policy, observed, stages[0], limits, _kept_for(observed, outcomes))


def _kept_for(observed: Allocation, outcomes: Sequence[HpaOutcome | None]) -> Reason | None:
    """Why some HPA took no action: its metrics failed, or its target was switched off by hand."""
    idle = [
        replicas
        for replicas, outcome in zip(observed, outcomes, strict=True)
        if outcome is not None and not outcome.active
    ]
    if not idle:
        return None
    return Reason.METRICS_MISSING if any(idle) else Reason.CURRENT_ALLOCATION_KEPT


def _proposed(outcome: HpaOutcome) -> int:
    return outcome.stabilized if outcome.proposal is None else outcome.proposal


def _calmed(outcome: HpaOutcome) -> int:
    return outcome.stabilized
