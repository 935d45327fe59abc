"""Dynamo's planner (1.6.1) on a ModelDeployment: each Primary one component of mode `agg`.

Our replicas prefill and decode, as aggregated engines do. Dynamo's load loop acts every 5 s on
every engine's last pass; here it acts once a call on the last scrape, so it may move one replica a
call. Passes, and the model that tells their time, are made from the performance profile
(passes.py). An engine that refuses beyond a queue limit shows neither long queues nor long passes:
there this loop sees an overload only by targets or thresholds well below the SLO.

Requests that *started* are those that ended plus the change of those in flight, refused attempts
included, as Dynamo's frontend counts them. Engines hit no prefix cache and decode a token a pass.

Dynamo's GPU budget of 8 would bind in most scenarios: it is lifted to the variant's maximum. There
is always one replica at least, as min_endpoint is 1. Where Prometheus is blind nothing changes.
"""

from dataclasses import dataclass, replace

from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import Observation, PastTraffic, VariantObservation
from controller.core.domain.policy import Policy
from controller.core.domain.variant import PerformanceProfile
from simulations.peers.account import peer_decision
from simulations.peers.dynamo.capacity import (
    EngineLimits,
    LatencyTargets,
    PassTime,
    RequestShape,
    capacity,
)
from simulations.peers.dynamo.classic_planner import Counters
from simulations.peers.dynamo.load import EngineLoad, Estimator, RecentPasses, SlaSpec
from simulations.peers.dynamo.passes import PassMix, load_tested, modelled, scraped
from simulations.peers.dynamo.pipeline import (
    Inventory,
    PipelineState,
    carried_out,
    load_target,
)
from simulations.peers.dynamo.predictors import PredictorKind, PredictorSpec
from simulations.peers.dynamo.regression import PassKind, PassModel
from simulations.peers.dynamo.thresholds import Thresholds, engines_wanted, kv_ratios
from simulations.peers.dynamo.throughput import GpuBand, ThroughputSpec, engines_for
from simulations.peers.dynamo.traffic import TrafficMemory, TrafficWindow, predict_traffic
from simulations.world.engine_view import EngineView, ScrapedVariant

#: Passes shown to the estimator in a call: its samples are 64 of each kind, however many come.
_LEARNED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A variant under the planner.

    ``tokens`` are the (prompt, output) means of the user's load test, taken until any are seen.
    ``thresholds`` are those of a static target, on the share of the KV room; None: `sla`.
    ``predictor`` None: no throughput loop. ``learned``: the time of passes is a line through those
    seen, not a model of the engine.
    """

    engine: PerformanceProfile
    mix: PassMix
    tokens: tuple[float, float]
    band: GpuBand
    targets: LatencyTargets
    thresholds: Thresholds | None = None
    load_loop: bool = True
    predictor: PredictorKind | None = None
    learned: bool = False
    load_interval_seconds: float = 5.0
    throughput_interval_seconds: float = 180.0

    @property
    def limits(self) -> EngineLimits:
        """What an engine takes."""
        return EngineLimits(
            max_running=self.engine.max_running,
            kv_capacity_tokens=self.engine.kv_capacity_tokens,
            max_batched_tokens=self.engine.max_batched_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Counters at a scrape, and requests in flight there."""

    at_seconds: float
    counters: Counters
    in_flight: float

    @classmethod
    def of(cls, engines: EngineView) -> "Mark":
        """Read it off a scrape."""
        return cls(
            at_seconds=engines.at_seconds,
            counters=Counters.of(engines),
            in_flight=float(engines.running.sum() + engines.waiting.sum()),
        )

    def since(self, before: "Mark", interval_seconds: float) -> TrafficWindow:
        """What started in between, told for an interval's length; NaN tokens where none ended."""
        ended = self.counters.since(before.counters).window
        started = ended.requests + self.in_flight - before.in_flight
        scale = interval_seconds / (self.at_seconds - before.at_seconds)
        return replace(ended, requests=max(0.0, scale * started))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ComponentHistory:
    """What is remembered of a component; None until its engines were first seen.

    ``mark`` is where the throughput loop's interval began, ``tokens`` the (prompt, output) means of
    the last one in which requests ended. ``passes`` counts those seen.
    """

    pipeline: PipelineState = PipelineState()  # noqa: RUF009 - frozen, without state of its own
    mark: Mark | None = None
    tokens: tuple[float, float] | None = None
    load_at_seconds: float | None = None
    passes: int = 0
    model: PassModel | None = None
    recent: RecentPasses = RecentPasses()  # noqa: RUF009 - frozen, without state of its own
    traffic: TrafficMemory | None = None


class DynamoPlanner:
    """Every component by itself; a variant that is none (None) stays at its minimum."""

    def __init__(self, components: tuple[Component | None, ...]) -> None:
        self._components = components

    def initial(self, policy: Policy, past: PastTraffic | None) -> tuple[ComponentHistory, ...]:
        """Nothing is known at the start: a warm-up trace is an option that users rarely have."""
        del past
        if len(self._components) != len(policy.variants):
            raise ValueError(
                f"components: {len(self._components)} entries for {len(policy.variants)} variants "
                f"of {policy.namespace}/{policy.name}; give one per variant, None for none"
            )
        return (ComponentHistory(),) * len(self._components)

    def plan(
        self,
        policy: Policy,
        observation: Observation,
        history: tuple[ComponentHistory, ...],
        now: float,
    ) -> tuple[Decision, tuple[ComponentHistory, ...]]:
        """Run the loops that are due on every component whose engines are seen."""
        wanted, remembered = [], []
        blind = False
        rows = zip(self._components, policy.variants, observation.variants, history, strict=True)
        for component, variant, seen, memory in rows:
            if component is None:
                wanted.append(variant.min_replicas)
                remembered.append(memory)
                continue
            engines = seen.engines if isinstance(seen, ScrapedVariant) else None
            if engines is None:
                blind = True
                wanted.append(seen.desired)
                remembered.append(memory)
                continue
            asked, after = _ticked(component, seen, engines, memory, now)
            wanted.append(seen.desired if asked is None else asked)
            remembered.append(after)
        floored = tuple(
            max(replicas, variant.min_replicas, int(component is not None))
            for replicas, variant, component in zip(
                wanted, policy.variants, self._components, strict=True
            )
        )
        within = tuple(
            min(replicas, variant.max_replicas)
            for replicas, variant in zip(floored, policy.variants, strict=True)
        )
        decision = peer_decision(
            policy,
            tuple(seen.desired for seen in observation.variants),
            tuple(wanted),
            limits=((Reason.MIN_REPLICAS, floored), (Reason.MAX_REPLICAS, within)),
            kept_for=Reason.METRICS_MISSING if blind else None,
        )
        return decision, tuple(remembered)


def _ticked(
    component: Component,
    seen: VariantObservation,
    engines: EngineView,
    memory: ComponentHistory,
    now: float,
) -> tuple[int | None, ComponentHistory]:
    """Replicas asked for, None to leave them, and the memory after."""
    inventory = Inventory(
        ready=seen.ready, pending=len(seen.starting_since_seconds), expected=seen.desired
    )
    last = memory.load_at_seconds
    load_due = last is None or now - last >= component.load_interval_seconds
    loads: list[EngineLoad] = []
    if load_due:
        loads, memory = _observed(component, engines, replace(memory, load_at_seconds=now))
    asked, memory = _throughput(component, inventory.ready, engines, memory)
    if component.load_loop:
        if not load_due or len(loads) != inventory.ready:
            return None, memory
        asked = _load(component, loads, memory)
    elif asked is None:
        return None, memory
    replicas, pipeline = carried_out(
        memory.pipeline,
        inventory,
        asked,
        now=now,
        load_interval_seconds=component.load_interval_seconds,
    )
    return replicas, replace(memory, pipeline=pipeline)


def _observed(
    component: Component, engines: EngineView, memory: ComponentHistory
) -> tuple[list[EngineLoad], ComponentHistory]:
    """Every engine's pass and queue, and the memory that has seen them; none where of no use."""
    if not (component.load_loop or component.learned):
        return [], memory
    prompt, output = memory.tokens or component.tokens
    loads, times = [], []
    gauges = zip(
        engines.running.tolist(), engines.waiting.tolist(), engines.kv_tokens.tolist(), strict=True
    )
    if component.thresholds is not None:
        # All that static thresholds look at.
        return [
            EngineLoad(kv_tokens=float(kv), queued_prefill_tokens=waiting * prompt)
            for _, waiting, kv in gauges
        ], memory
    for place, (running, waiting, kv) in enumerate(gauges):
        load, milliseconds = scraped(
            component.engine,
            component.mix,
            turn=memory.passes + place,
            running=running,
            waiting=waiting,
            kv_tokens=kv,
            prompt_mean=prompt,
            output_mean=output,
        )
        loads.append(load)
        times.append(milliseconds)
    memory = replace(memory, passes=memory.passes + len(loads), recent=memory.recent.seen(loads))
    if not component.learned:
        return loads, memory
    model = memory.model
    if model is None:
        model = load_tested(component.engine, component.mix, *component.tokens)
    for shown in range(min(len(loads), _LEARNED)):
        place = (memory.passes + shown) % len(loads)
        model = model.observed(loads[place].forward_pass, times[place])
    return loads, replace(memory, model=model)


def _pass_time(component: Component, memory: ComponentHistory) -> PassTime:
    """What is known of the time of passes."""
    if memory.model is not None:
        return memory.model.milliseconds
    return modelled(component.engine, (memory.tokens or component.tokens)[0])


def _throughput(
    component: Component, ready: int, engines: EngineView, memory: ComponentHistory
) -> tuple[int | None, ComponentHistory]:
    """Replicas that the throughput loop asks for, which become the floor; None: no decision."""
    before, interval = memory.mark, component.throughput_interval_seconds
    if before is None:
        return None, replace(memory, mark=Mark.of(engines))
    if engines.at_seconds - before.at_seconds < interval:
        return None, memory
    mark = Mark.of(engines)
    window = mark.since(before, interval)
    memory = replace(memory, mark=mark)
    if mark.counters.finished > before.counters.finished:
        memory = replace(memory, tokens=(window.prompt_tokens, window.output_tokens))
    if component.predictor is None:
        return None, memory
    forecast, traffic = predict_traffic(
        component.predictor,
        window,
        memory.traffic,
        spec=PredictorSpec(interval_seconds=interval),
    )
    memory = replace(memory, traffic=traffic)
    if forecast.prompt_tokens <= 0.0 or forecast.output_tokens <= 0.0:
        return None, memory
    found = capacity(
        PassKind.MIXED,
        _pass_time(component, memory),
        component.limits,
        component.targets,
        RequestShape(prompt_tokens=forecast.prompt_tokens, output_tokens=forecast.output_tokens),
    )
    if found is None:
        return None, memory
    asked = engines_for(
        ThroughputSpec(band=component.band),
        ready,
        forecast.requests / interval,
        found.requests_per_second,
    )
    asked = component.band.guarded(ready, asked)
    return asked, replace(memory, pipeline=replace(memory.pipeline, floor=asked))


def _load(component: Component, loads: list[EngineLoad], memory: ComponentHistory) -> int | None:
    """Replicas that the load loop asks for; None: no decision."""
    ready = len(loads)
    if component.thresholds is not None:
        ratios = kv_ratios(loads, component.engine.kv_capacity_tokens, PassKind.MIXED)
        asked = engines_wanted(ratios, component.thresholds, role=PassKind.MIXED)
        return None if asked is None else component.band.guarded(ready, asked)
    spec = SlaSpec(role=PassKind.MIXED, limits=component.limits, targets=component.targets)
    estimator = Estimator.of(spec, _pass_time(component, memory), memory.recent)
    return load_target(component.band, ready, estimator.wish(loads), memory.pipeline.floor)
