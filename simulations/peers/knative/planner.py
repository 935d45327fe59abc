"""The KPA on a ModelDeployment's variants as a planner.

Knative samples queue proxies every second and decides every 2 s. Here it decides once per plan
call, on the outstanding requests last scraped, held over the seconds since the previous call: a
one-second sample of its own would show it what no metrics pipeline of the other policies shows.
"""

from dataclasses import dataclass

from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import Measured, Observation, PastTraffic
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role
from simulations.peers.account import peer_decision
from simulations.peers.hpa.setups import outstanding_target
from simulations.peers.knative.law import KpaHistory, KpaSpec, decide, started

#: Knative's default container-concurrency-target-percentage, as a share.
TARGET_UTILIZATION = 0.7


@dataclass(frozen=True, slots=True)
class KpaPlannerHistory:
    """One autoscaler's memory per variant (None: no KPA, or not started), and the last call."""

    kpas: tuple[KpaHistory | None, ...]
    planned_at_seconds: float | None


class KpaPlanner:
    """Every variant with a KPA of its own; a variant without one (None) stays at its minimum."""

    def __init__(self, specs: tuple[KpaSpec | None, ...]) -> None:
        self._specs = specs

    def initial(self, policy: Policy, past: PastTraffic | None) -> KpaPlannerHistory:
        """Autoscalers start with empty windows."""
        del past
        if len(self._specs) != len(policy.variants):
            raise ValueError(
                f"specs: {len(self._specs)} entries for {len(policy.variants)} variants of "
                f"{policy.namespace}/{policy.name}; give one per variant, None for no KPA"
            )
        return KpaPlannerHistory((None,) * len(self._specs), None)

    def plan(
        self, policy: Policy, observation: Observation, history: KpaPlannerHistory, now: float
    ) -> tuple[Decision, KpaPlannerHistory]:
        """Record what was scraped and decide; without data for a whole window nothing changes."""
        observed = tuple(variant.desired for variant in observation.variants)
        since = history.planned_at_seconds
        held_seconds = 1 if since is None else max(1, round(now - since))
        wanted = [variant.min_replicas for variant in policy.variants]
        kpas = list(history.kpas)
        blind = False
        for position, spec in enumerate(self._specs):
            if spec is None:
                continue
            seen = observation.variants[position]
            kpa = kpas[position] or started(spec, seen.ready, now)
            if isinstance(seen.waiting, Measured) and isinstance(seen.running, Measured):
                outstanding = seen.waiting.value + seen.running.value
                held = [(now - back, outstanding) for back in range(held_seconds - 1, -1, -1)]
                kpa = kpa.recorded(held)
            outcome, kpas[position] = decide(spec, kpa, seen.ready, now)
            blind = blind or outcome is None
            wanted[position] = seen.desired if outcome is None else outcome.desired
        proposed = tuple(wanted)
        at_least = tuple(
            max(count, variant.min_replicas, 0 if spec is None else 1)
            for count, variant, spec in zip(proposed, policy.variants, self._specs, strict=True)
        )
        at_most = tuple(
            min(count, variant.max_replicas)
            for count, variant in zip(at_least, policy.variants, strict=True)
        )
        decision = peer_decision(
            policy,
            observed,
            proposed,
            [(Reason.MIN_REPLICAS, at_least), (Reason.MAX_REPLICAS, at_most)],
            Reason.METRICS_MISSING if blind else None,
        )
        return decision, KpaPlannerHistory(tuple(kpas), now)


def concurrency_kpa(
    policy: Policy, knees: tuple[float, ...], *, scale_down_delay_seconds: float = 0.0
) -> KpaPlanner:
    """A KPA on every Primary variant, its soft concurrency limit at the knee; Knative's defaults.

    ``knees`` are in the policy's order.
    """
    return KpaPlanner(
        tuple(
            KpaSpec(
                target=outstanding_target(variant, knee, TARGET_UTILIZATION),
                scale_down_delay_seconds=scale_down_delay_seconds,
            )
            if variant.role is Role.PRIMARY
            else None
            for variant, knee in zip(policy.variants, knees, strict=True)
        )
    )
