"""The KPA on a ModelDeployment's variants as a planner.

Knative samples queue proxies every second and decides every 2 s. Here it decides once per plan
call, on the outstanding requests last scraped, held over the seconds since the previous call: a
one-second sample of its own would show it what no metrics pipeline of the other policies shows.
"""

from dataclasses import dataclass, replace

from controller.core.domain.decision import Allocation, Decision, Reason
from controller.core.domain.observation import (
    Measured,
    Missing,
    Observation,
    PastTraffic,
    TrafficReading,
    VariantObservation,
)
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role, Variant
from simulations.peers.account import peer_decision
from simulations.peers.hpa.setups import outstanding_target
from simulations.peers.knative.law import (
    KpaHistory,
    KpaOutcome,
    KpaSpec,
    decide,
    excess_burst_capacity,
    started,
)
from simulations.peers.knative.zero import Applied, ZeroHistory, ZeroSpec, created, reconcile

#: Knative's default container-concurrency-target-percentage, as a share.
TARGET_UTILIZATION = 0.7
#: Knative's default target-burst-capacity.
TARGET_BURST_CAPACITY = 211.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A revision on a variant; the replica range is the variant's.

    ``capacity`` is the concurrency of one replica, of which ``autoscaling.target`` is a share.
    """

    autoscaling: KpaSpec
    capacity: float
    target_burst_capacity: float = TARGET_BURST_CAPACITY


@dataclass(frozen=True, slots=True)
class RevisionHistory:
    """Memory of one revision's decider and of its life cycle."""

    decider: KpaHistory
    zero: ZeroHistory
    planned_at_seconds: float


class KpaPlanner:
    """Every variant as a revision; a variant without one (None) stays at its minimum."""

    def __init__(self, revisions: tuple[Revision | None, ...]) -> None:
        self._revisions = revisions

    def initial(
        self, policy: Policy, past: PastTraffic | None
    ) -> tuple[RevisionHistory | None, ...]:
        """Revisions are created at the first call, with empty windows."""
        del past
        if len(self._revisions) != len(policy.variants):
            raise ValueError(
                f"revisions: {len(self._revisions)} entries for {len(policy.variants)} variants "
                f"of {policy.namespace}/{policy.name}; give one per variant, None for none"
            )
        return (None,) * len(self._revisions)

    def plan(
        self,
        policy: Policy,
        observation: Observation,
        history: tuple[RevisionHistory | None, ...],
        now: float,
    ) -> tuple[Decision, tuple[RevisionHistory | None, ...]]:
        """Record what was scraped and decide; without data for a whole window nothing changes."""
        observed = tuple(variant.desired for variant in observation.variants)
        proposed = [variant.min_replicas for variant in policy.variants]
        allocation = list(proposed)
        remembered = list(history)
        blind = False
        for position, revision in enumerate(self._revisions):
            if revision is None:
                continue
            seen = observation.variants[position]
            memory = _recorded(
                revision, history[position], seen, _arrives(observation.traffic), now
            )
            outcome, decider = decide(revision.autoscaling, memory.decider, seen.ready, now)
            remembered[position] = replace(memory, decider=decider)
            proposed[position] = allocation[position] = seen.desired
            blind = blind or outcome is None
            if outcome is not None:
                proposed[position] = outcome.desired
                applied, zero = _reconciled(
                    revision, policy.variants[position], memory.zero, outcome, seen.ready, now
                )
                remembered[position] = replace(memory, decider=decider, zero=zero)
                allocation[position] = applied.want if applied.apply else seen.desired
        decision = peer_decision(
            policy,
            observed,
            tuple(proposed),
            _limits(policy, tuple(proposed), tuple(allocation)),
            Reason.METRICS_MISSING if blind else None,
        )
        return decision, tuple(remembered)


def _arrives(traffic: TrafficReading) -> bool:
    """Whether any request arrived since the last counters; missing counters show none."""
    return not isinstance(traffic, Missing) and traffic.requests > 0.0


def _recorded(
    revision: Revision,
    memory: RevisionHistory | None,
    seen: VariantObservation,
    arriving: bool,  # noqa: FBT001 - read beside the gauges
    now: float,
) -> RevisionHistory:
    """Take in what was scraped, held since the previous call."""
    if memory is None:
        decider = started(revision.autoscaling, seen.ready, now)
        memory = RevisionHistory(decider, created(now), now - 1.0)
    held_seconds = max(1, round(now - memory.planned_at_seconds))
    decider = memory.decider
    if isinstance(seen.waiting, Measured) and isinstance(seen.running, Measured):
        outstanding = seen.waiting.value + seen.running.value
        if seen.ready == 0 and arriving:
            # The activator holds the request that an engine without replicas cannot show.
            outstanding = max(outstanding, 1.0)
        decider = decider.recorded(
            [(now - back, outstanding) for back in range(held_seconds - 1, -1, -1)]
        )
    return RevisionHistory(decider, memory.zero, now)


def _reconciled(
    revision: Revision,
    variant: Variant,
    zero: ZeroHistory,
    outcome: KpaOutcome,
    ready: int,
    now: float,
) -> tuple[Applied, ZeroHistory]:
    """Bring a decision into the replica range and past the rules of the last replica."""
    left = excess_burst_capacity(
        revision.capacity, ready, outcome.panic_average, revision.target_burst_capacity
    )
    spec = ZeroSpec(
        min_replicas=variant.min_replicas,
        max_replicas=variant.max_replicas,
        stable_window_seconds=revision.autoscaling.stable_window_seconds,
    )
    return reconcile(spec, zero, outcome.desired, ready, bursts_need_activator=left < 0.0, now=now)


def _limits(
    policy: Policy, proposed: Allocation, allocation: Allocation
) -> list[tuple[Reason, Allocation]]:
    """What cut the proposal: the maximum, the minimum, or the wait of the last replica."""
    pairs = list(zip(proposed, policy.variants, strict=True))
    at_most = tuple(min(count, variant.max_replicas) for count, variant in pairs)
    at_least = tuple(
        max(count, variant.min_replicas)
        for count, variant in zip(at_most, policy.variants, strict=True)
    )
    return [
        (Reason.MAX_REPLICAS, at_most),
        (Reason.MIN_REPLICAS, at_least),
        (Reason.HOLD_NOT_EXPIRED, allocation),
    ]


def concurrency_kpa(
    policy: Policy,
    knees: tuple[float, ...],
    *,
    utilization: float = TARGET_UTILIZATION,
    scale_down_delay_seconds: float = 0.0,
) -> KpaPlanner:
    """A KPA on every Primary variant, its soft concurrency limit at the knee; Knative's defaults.

    ``knees`` are in the policy's order.
    """
    return KpaPlanner(
        tuple(
            Revision(
                autoscaling=KpaSpec(
                    target=outstanding_target(variant, knee, utilization),
                    scale_down_delay_seconds=scale_down_delay_seconds,
                ),
                capacity=outstanding_target(variant, knee, 1.0),
            )
            if variant.role is Role.PRIMARY
            else None
            for variant, knee in zip(policy.variants, knees, strict=True)
        )
    )
