"""KEDA ScaledObjects on a ModelDeployment's variants, with Prometheus triggers, as a planner."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from controller.core.domain.decision import Decision
from controller.core.domain.observation import (
    Missing,
    MissingReason,
    Observation,
    PastTraffic,
    TrafficReading,
    VariantObservation,
)
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Variant
from simulations.peers.hpa.behavior import HpaBehavior
from simulations.peers.hpa.law import HpaHistory, HpaOutcome, HpaSpec, sync
from simulations.peers.hpa.metrics import Tolerance, external_average_proposal
from simulations.peers.hpa.planner import (
    AverageTarget,
    ExternalAverage,
    Signal,
    readings,
    told,
)
from simulations.peers.keda.executor import (
    POLL_SECONDS,
    ExecutorHistory,
    ExecutorSpec,
    poll,
)
from simulations.peers.keda.fallback import Fallback, Workload, handed_on
from simulations.world.engine_view import EngineView, ScrapedVariant

#: What the Prometheus scaler takes for zero by default (ignoreNullValues): an empty result. A
#: series whose samples are stale is no longer in the result.
NULL_VALUES = frozenset({MissingReason.ABSENT, MissingReason.STALE, MissingReason.NOT_A_NUMBER})

#: How far back the scrapes go that a query may look at.
SCRAPES_SECONDS = 120.0
#: KEDA's own triggers here read gauges; one on the gateway's counter would fail.
_NO_ARRIVALS = Missing(MissingReason.QUERY_FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scraped:
    """What Prometheus has of one variant: the newest observation, and past scrapes, ascending."""

    seen: VariantObservation
    engines: tuple[EngineView, ...]
    now: float

    @property
    def newest(self) -> EngineView | None:
        """The scrape that an instant query sees; None where the series are gone or were not got."""
        return self.seen.engines if isinstance(self.seen, ScrapedVariant) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query(AverageTarget):
    """A trigger, or a formula over triggers, that looks at more than one gauge; None: it failed."""

    value: Callable[[Scraped], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledObject:
    """One ScaledObject. ``behavior`` None: KEDA then creates an HPA without a behavior block.

    Where the variant's minimum is 0, KEDA's own loop sleeps after ``cooldown_seconds`` without
    activity; arrivals at the gateway count as activity, as the engine shows none at zero.
    """

    triggers: tuple[ExternalAverage | Query, ...]
    behavior: HpaBehavior | None = None
    fallback: Fallback | None = None
    cooldown_seconds: float = 300.0
    poll_seconds: float = POLL_SECONDS

    @property
    def looks_back(self) -> bool:
        """Whether past scrapes are needed."""
        return any(isinstance(trigger, Query) for trigger in self.triggers)


@dataclass(frozen=True, slots=True)
class ScaledObjectHistory:
    """Memory of one ScaledObject and of its HPA; ``failures`` in a row per trigger.

    ``engines`` are the scrapes that queries look back on.
    """

    hpa: HpaHistory
    failures: tuple[int, ...]
    executor: ExecutorHistory | None
    polled_at_seconds: float
    engines: tuple[EngineView, ...] = ()


class KedaPlanner:
    """Every variant under its own ScaledObject; a variant without one stays at its minimum."""

    def __init__(self, objects: tuple[ScaledObject | None, ...]) -> None:
        self._objects = objects

    def initial(
        self, policy: Policy, past: PastTraffic | None
    ) -> tuple[ScaledObjectHistory | None, ...]:
        """Nothing is remembered at the start."""
        del past
        if len(self._objects) != len(policy.variants):
            raise ValueError(
                f"objects: {len(self._objects)} entries for {len(policy.variants)} variants of "
                f"{policy.namespace}/{policy.name}; give one per variant, None for none"
            )
        return tuple(
            None
            if scaled is None
            else ScaledObjectHistory(HpaHistory(), (0,) * len(scaled.triggers), None, -math.inf)
            for scaled in self._objects
        )

    def plan(
        self,
        policy: Policy,
        observation: Observation,
        history: tuple[ScaledObjectHistory | None, ...],
        now: float,
    ) -> tuple[Decision, tuple[ScaledObjectHistory | None, ...]]:
        """Sync every HPA once, and poll the triggers where 30 s have passed."""
        outcomes: list[HpaOutcome | None] = []
        remembered: list[ScaledObjectHistory | None] = []
        allocation: list[int] = []
        rows = zip(self._objects, policy.variants, observation.variants, history, strict=True)
        for scaled, variant, seen, memory in rows:
            if scaled is None or memory is None:
                outcomes.append(None)
                remembered.append(None)
                allocation.append(variant.min_replicas)
                continue
            outcome, replicas, memory_after = _scaled(
                scaled, variant, seen, memory, observation.traffic, now
            )
            outcomes.append(outcome)
            remembered.append(memory_after)
            allocation.append(replicas)
        return told(policy, observation, outcomes, tuple(allocation)), tuple(remembered)


def _scaled(
    scaled: ScaledObject,
    variant: Variant,
    seen: VariantObservation,
    memory: ScaledObjectHistory,
    traffic: TrafficReading,
    now: float,
) -> tuple[HpaOutcome, int, ScaledObjectHistory]:
    """One ScaledObject: what its HPA came to, and the replicas after KEDA's own loop."""
    engines = _scrapes(memory.engines, seen, now) if scaled.looks_back else ()
    scraped = Scraped(seen=seen, engines=engines, now=now)
    values = [_value_milli(trigger, scraped) for trigger in scaled.triggers]
    outcome, memory_after = _sync(
        scaled, variant, seen, replace(memory, engines=engines), values, now
    )
    busy = _activity(values, traffic)
    replicas, memory_after = _polled(scaled, variant, outcome.desired, memory_after, busy, now)
    return outcome, replicas, memory_after


@dataclass(frozen=True, slots=True)
class _Activity:
    active: bool
    error: bool


def _scrapes(
    before: tuple[EngineView, ...], seen: VariantObservation, now: float
) -> tuple[EngineView, ...]:
    """Add the scrape that is seen, and forget those that no query looks back on."""
    newest = seen.engines if isinstance(seen, ScrapedVariant) else None
    last = before[-1].at_seconds if before else -math.inf
    if newest is not None and newest.at_seconds > last:
        before = (*before, newest)
    return tuple(view for view in before if view.at_seconds > now - SCRAPES_SECONDS)


def _value_milli(trigger: ExternalAverage | Query, scraped: Scraped) -> int | None:
    if isinstance(trigger, ExternalAverage):
        return gauge_milli(trigger.signal, scraped.seen)
    value = trigger.value(scraped)
    return None if value is None else math.ceil(1000 * max(0.0, value))


def gauge_milli(signal: Signal, seen: VariantObservation) -> int | None:
    """A gauge's sum by the Prometheus scaler's defaults; None when the query failed."""
    total = 0
    empty = False
    for reading in readings(signal, seen, _NO_ARRIVALS):
        if isinstance(reading, Missing):
            if reading.reason not in NULL_VALUES:
                return None
            empty = True
        else:
            total += math.ceil(1000 * reading.value)
    return 0 if empty else total


def _activity(values: Sequence[int | None], traffic: TrafficReading) -> _Activity:
    """Whether any trigger is above its activation threshold of 0, or failed."""
    arrivals = 0.0
    error = None in values
    if isinstance(traffic, Missing):
        error = error or traffic.reason not in NULL_VALUES
    else:
        arrivals = traffic.requests
    return _Activity(arrivals > 0.0 or any(value for value in values), error)


def _sync(
    scaled: ScaledObject,
    variant: Variant,
    seen: VariantObservation,
    memory: ScaledObjectHistory,
    values: Sequence[int | None],
    now: float,
) -> tuple[HpaOutcome, ScaledObjectHistory]:
    """Sync the HPA that KEDA manages: its range starts at 1, zero is not its business."""
    spec = HpaSpec(
        min_replicas=max(1, variant.min_replicas),
        max_replicas=variant.max_replicas,
        behavior=scaled.behavior,
    )
    status_replicas = seen.ready + len(seen.starting_since_seconds)
    proposals: list[int | None] = []
    failures: list[int] = []
    for trigger, value, failed in zip(scaled.triggers, values, memory.failures, strict=True):
        handed, failed_now = handed_on(
            scaled.fallback, value, trigger.target_milli, Workload(replicas=seen.desired), failed
        )
        failures.append(failed_now)
        proposals.append(
            None
            if handed is None
            else external_average_proposal(
                handed, trigger.target_milli, status_replicas, Tolerance()
            )
        )
    outcome, hpa = sync(spec, memory.hpa, seen.desired, proposals, now)
    return outcome, replace(memory, hpa=hpa, failures=tuple(failures))


def _polled(
    scaled: ScaledObject,
    variant: Variant,
    replicas: int,
    memory: ScaledObjectHistory,
    busy: _Activity,
    now: float,
) -> tuple[int, ScaledObjectHistory]:
    """Run KEDA's own loop where a poll is due."""
    if now < memory.polled_at_seconds + scaled.poll_seconds:
        return replicas, memory
    spec = ExecutorSpec(
        min_replicas=variant.min_replicas,
        cooldown_seconds=scaled.cooldown_seconds,
        fallback_replicas=None if scaled.fallback is None else scaled.fallback.replicas,
    )
    before = memory.executor or ExecutorHistory(created_at_seconds=now)
    replicas, executor = poll(spec, before, replicas, active=busy.active, error=busy.error, now=now)
    return replicas, replace(memory, executor=executor, polled_at_seconds=now)
