"""The WVA (2976e4e) with its HPAs as a planner.

Every 15 s the WVA recommends replicas for the variants it manages; at every plan call an HPA per
variant takes the recommendation for an External metric of 1 per replica. Where Prometheus cannot be
queried both are blind: the recommendation stays and no HPA acts. An HPA's own tolerance is in
force: from 10 replicas on it ignores a recommendation of one more or less, and as V1 waits until
its last recommendation is carried out, V1 then stands still. A tolerance of 0 is the corrected
twin.

A model asleep (no replica of any variant it manages) is woken by a loop of its own at the first
arrival, past the HPAs. To sleep is an option, on where every variant's minimum is 0. The limiter of
GPUs and the endpoint picker's queue are left out: a scenario has neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controller.core.domain.decision import Allocation, Decision
from controller.core.domain.observation import (
    Missing,
    Observation,
    PastTraffic,
    VariantObservation,
)
from controller.core.domain.policy import Policy, RatePolicy, ScalingRules, SelectPolicy
from controller.core.domain.variant import Role, Variant
from simulations.peers.hpa.behavior import HpaBehavior
from simulations.peers.hpa.law import HpaHistory, HpaOutcome, HpaSpec, sync
from simulations.peers.hpa.metrics import Tolerance, external_average_proposal
from simulations.peers.hpa.planner import told
from simulations.peers.wva.capacity_v2 import CapacityMemory
from simulations.peers.wva.enforcer import enforced
from simulations.peers.wva.recommenders import Managed, Recommender
from simulations.peers.wva.scrapes import Scrapes, answered_requests
from simulations.world.engine_view import EngineView, ScrapedVariant

#: How often the WVA's engine decides.
INTERVAL_SECONDS = 15.0
#: The stabilization window of its chart's HPA, up and down.
WINDOW_SECONDS = 240
_EPSILON_SECONDS = 1e-6


def chart_behavior(window_seconds: int = WINDOW_SECONDS) -> HpaBehavior:
    """Behavior of the HPA in the WVA's chart: one window for both ways, 10 pods per 150 s."""
    rules = ScalingRules(
        stabilization_window_seconds=window_seconds,
        select_policy=SelectPolicy.MAX,
        policies=(RatePolicy(percent=False, value=10, period_seconds=150),),
    )
    return HpaBehavior(scale_up=rules, scale_down=rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantMemory:
    """What is remembered of a variant: its scrapes, its recommendation, and its HPA's memory."""

    scrapes: Scrapes
    desired: int | None
    hpa: HpaHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class WvaHistory:
    """Memory of the WVA and its HPAs; ``variants`` has None for one that is not managed."""

    variants: tuple[VariantMemory | None, ...]
    capacities: CapacityMemory
    recommended_at_seconds: float | None = None


class WvaPlanner:
    """The WVA over the variants with one of ``roles``; the others stay at their minimum."""

    def __init__(
        self,
        recommender: Recommender,
        *,
        roles: frozenset[Role] = frozenset(Role),
        behavior: HpaBehavior | None = None,
        tolerance: Tolerance | None = None,
    ) -> None:
        self._recommender = recommender
        self._roles = roles
        self._behavior = behavior or chart_behavior()
        self._tolerance = tolerance or Tolerance()

    def initial(self, policy: Policy, past: PastTraffic | None) -> WvaHistory:
        """Nothing is remembered; a variant found asleep was put to sleep by its HPA."""
        del past
        return WvaHistory(
            variants=tuple(
                VariantMemory(
                    scrapes=Scrapes(),
                    desired=None,
                    hpa=HpaHistory(scaled_to_zero=variant.min_replicas == 0),
                )
                if variant.role in self._roles
                else None
                for variant in policy.variants
            ),
            capacities=CapacityMemory(),
        )

    def plan(
        self, policy: Policy, observation: Observation, history: WvaHistory, now: float
    ) -> tuple[Decision, WvaHistory]:
        """Recommend when the interval has passed, sync every HPA, wake a model asleep."""
        views = [_view(seen) for seen in observation.variants]
        history = replace(
            history,
            variants=tuple(
                memory and replace(memory, scrapes=memory.scrapes.seen(view, now))
                for memory, view in zip(history.variants, views, strict=True)
            ),
        )
        blind = all(view is None for view in views)
        last = history.recommended_at_seconds
        if last is None or now - last >= INTERVAL_SECONDS - _EPSILON_SECONDS:
            history = self._recommended(policy, observation, history, now)
        outcomes: list[HpaOutcome | None] = []
        remembered: list[VariantMemory | None] = []
        rows = zip(history.variants, policy.variants, observation.variants, strict=True)
        for memory, variant, seen in rows:
            outcome = None
            after = memory
            if memory is not None:
                outcome, hpa = self._synced(variant, seen, memory, now, blind=blind)
                after = replace(memory, hpa=hpa)
            outcomes.append(outcome)
            remembered.append(after)
        woken = _woken(policy, observation, remembered)
        if woken is not None:
            remembered = [
                memory and replace(memory, desired=replicas)
                for memory, replicas in zip(remembered, woken, strict=True)
            ]
        decision = told(policy, observation, outcomes, woken)
        return decision, replace(history, variants=tuple(remembered))

    def _recommended(
        self, policy: Policy, observation: Observation, history: WvaHistory, now: float
    ) -> WvaHistory:
        rows = zip(policy.variants, observation.variants, history.variants, strict=True)
        fleet = [
            Managed(variant=variant, seen=seen, scrapes=memory.scrapes, desired=memory.desired)
            for variant, seen, memory in rows
            if memory is not None
        ]
        targets, capacities = self._recommender.recommend(fleet, history.capacities, now)
        targets = enforced(
            targets,
            # The new release takes a cost of 0 for one that is not known.
            {
                one.variant.name: one.variant.cost_per_replica_hour
                for one in fleet
                if one.variant.cost_per_replica_hour > 0.0
            },
            scale_to_zero=all(one.variant.min_replicas == 0 for one in fleet),
            requests=answered_requests([one.scrapes for one in fleet], policy.tick_seconds),
        )
        desired = {one.variant.name: targets.get(one.variant.name, one.kept) for one in fleet}
        return WvaHistory(
            variants=tuple(
                memory and replace(memory, desired=desired[variant.name])
                for variant, memory in zip(policy.variants, history.variants, strict=True)
            ),
            capacities=capacities,
            recommended_at_seconds=now,
        )

    def _synced(
        self,
        variant: Variant,
        seen: VariantObservation,
        memory: VariantMemory,
        now: float,
        *,
        blind: bool,
    ) -> tuple[HpaOutcome, HpaHistory]:
        spec = HpaSpec(
            min_replicas=variant.min_replicas,
            max_replicas=variant.max_replicas,
            behavior=self._behavior,
        )
        created_now = memory.hpa.recommendations is None and seen.desired == 0
        replicas = variant.min_replicas if created_now else seen.desired
        proposal = None
        if memory.desired is not None and not blind:
            status_replicas = seen.ready + len(seen.starting_since_seconds)
            proposal = external_average_proposal(
                1000 * memory.desired, 1000, status_replicas, self._tolerance
            )
        return sync(spec, memory.hpa, replicas, [proposal], now)


def _view(seen: VariantObservation) -> EngineView | None:
    return seen.engines if isinstance(seen, ScrapedVariant) else None


def _woken(
    policy: Policy, observation: Observation, memories: Sequence[VariantMemory | None]
) -> Allocation | None:
    """One replica (or the minimum) of every managed variant as a model asleep is asked for."""
    observed = tuple(seen.desired for seen in observation.variants)
    managed = [memory is not None for memory in memories]
    if any(replicas for replicas, ours in zip(observed, managed, strict=True) if ours):
        return None
    traffic = observation.traffic
    if isinstance(traffic, Missing) or traffic.requests <= 0.0:
        return None
    return tuple(
        min(max(1, variant.min_replicas), variant.max_replicas) if ours else variant.min_replicas
        for variant, ours in zip(policy.variants, managed, strict=True)
    )
