"""AIBrix PodAutoscalers on a ModelDeployment's variants as a planner."""

from dataclasses import dataclass
from enum import StrEnum

from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import (
    Measured,
    Observation,
    PastTraffic,
    VariantObservation,
)
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role, Variant
from simulations.peers.account import peer_decision
from simulations.peers.aibrix.law import AibrixHistory, AibrixSpec, Strategy, decide, started
from simulations.peers.hpa.setups import KNEE_SHARE, outstanding_target

#: Target share of the KV cache in AIBrix's own samples (gpu_cache_usage_perc).
KV_TARGET = 0.5


class PodMetric(StrEnum):
    """What is read from every pod."""

    KV_USE = "KV use"
    OUTSTANDING = "waiting + running"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodAutoscaler:
    """A PodAutoscaler with one metric; the replica range is the variant's."""

    strategy: Strategy
    metric: PodMetric
    target: float
    inverted_cooldown: bool = True


class AibrixPlanner:
    """Every variant under its own PodAutoscaler; one without (None) stays at its minimum."""

    def __init__(self, autoscalers: tuple[PodAutoscaler | None, ...]) -> None:
        self._autoscalers = autoscalers

    def initial(self, policy: Policy, past: PastTraffic | None) -> tuple[AibrixHistory | None, ...]:
        """Windows start empty."""
        del past
        if len(self._autoscalers) != len(policy.variants):
            raise ValueError(
                f"autoscalers: {len(self._autoscalers)} entries for {len(policy.variants)} "
                f"variants of {policy.namespace}/{policy.name}; give one per variant, None for none"
            )
        return tuple(
            None if autoscaler is None else started(_spec(autoscaler, variant))
            for autoscaler, variant in zip(self._autoscalers, policy.variants, strict=True)
        )

    def plan(
        self,
        policy: Policy,
        observation: Observation,
        history: tuple[AibrixHistory | None, ...],
        now: float,
    ) -> tuple[Decision, tuple[AibrixHistory | None, ...]]:
        """Reconcile every PodAutoscaler once."""
        observed = tuple(variant.desired for variant in observation.variants)
        proposed = [variant.min_replicas for variant in policy.variants]
        cooled = list(proposed)
        remembered = list(history)
        blind = False
        for position, autoscaler in enumerate(self._autoscalers):
            memory = history[position]
            if autoscaler is None or memory is None:
                continue
            seen = observation.variants[position]
            values = _pod_values(autoscaler.metric, seen)
            spec = _spec(autoscaler, policy.variants[position])
            # A PodAutoscaler leaves a target at zero alone: its Deployment is made with replicas.
            current = max(seen.desired, spec.min_replicas)
            recommendation, desired, remembered[position] = decide(
                spec, memory, current, [values], now
            )
            blind = blind or recommendation is None
            proposed[position] = current if recommendation is None else recommendation
            cooled[position] = current if desired is None else desired
        decision = peer_decision(
            policy,
            observed,
            tuple(proposed),
            [(Reason.STABILIZATION_WINDOW, tuple(cooled))],
            Reason.METRICS_MISSING if blind else None,
        )
        return decision, tuple(remembered)


def kv_autoscaler(
    policy: Policy,
    strategy: Strategy,
    *,
    target: float = KV_TARGET,
    inverted_cooldown: bool = True,
) -> AibrixPlanner:
    """A PodAutoscaler on the KV use of every Primary variant, as in AIBrix's samples."""
    autoscaler = PodAutoscaler(
        strategy=strategy,
        metric=PodMetric.KV_USE,
        target=target,
        inverted_cooldown=inverted_cooldown,
    )
    return AibrixPlanner(
        tuple(autoscaler if variant.role is Role.PRIMARY else None for variant in policy.variants)
    )


def queue_autoscaler(
    policy: Policy, knees: tuple[float, ...], strategy: Strategy, *, share: float = KNEE_SHARE
) -> AibrixPlanner:
    """A PodAutoscaler on the outstanding requests of every Primary variant: the tuned setup.

    ``knees`` are in the policy's order.
    """
    return AibrixPlanner(
        tuple(
            PodAutoscaler(
                strategy=strategy,
                metric=PodMetric.OUTSTANDING,
                target=outstanding_target(variant, knee, share),
            )
            if variant.role is Role.PRIMARY
            else None
            for variant, knee in zip(policy.variants, knees, strict=True)
        )
    )


def _spec(autoscaler: PodAutoscaler, variant: Variant) -> AibrixSpec:
    return AibrixSpec(
        strategy=autoscaler.strategy,
        targets=(autoscaler.target,),
        min_replicas=max(1, variant.min_replicas),
        max_replicas=variant.max_replicas,
        inverted_cooldown=autoscaler.inverted_cooldown,
    )


def _pod_values(metric: PodMetric, seen: VariantObservation) -> list[float | None]:
    """One value per pod with an address; a loading one counts 0, as its scrape is refused.

    The observation has sums and means only, so every Ready pod is given the mean.
    """
    mean = _mean_per_ready(metric, seen)
    loading = len(seen.starting_since_seconds) - seen.unschedulable
    if mean is None:
        return [None] * max(1, seen.ready + loading)
    return [*([mean] * seen.ready), *([0.0] * loading)]


def _mean_per_ready(metric: PodMetric, seen: VariantObservation) -> float | None:
    """Mean of the metric over Ready pods; None when it is missing. 0 without Ready pods."""
    if metric is PodMetric.KV_USE:
        return seen.kv_use.value if isinstance(seen.kv_use, Measured) else None
    if isinstance(seen.waiting, Measured) and isinstance(seen.running, Measured):
        return (seen.waiting.value + seen.running.value) / max(1, seen.ready)
    return None
