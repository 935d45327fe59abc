"""Replays one scenario under one planner: the same reconciler as the operator's, simulated ports.

Time advances tick by tick; between ticks the engine runs request by request and the cluster
changes when its own events are due.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from controller.core.domain.decision import Decision
from controller.core.domain.observation import Observation, PastTraffic, VariantObservation
from controller.core.domain.policy import Policy
from controller.ports import HistoryT, Planner
from controller.reconciler import Reconciler
from simulations.engine.fleet import EngineConfig, Fleet, PoolSpec, Totals
from simulations.results import PolicyResult
from simulations.traces.trace import Arrivals, Trace
from simulations.world.cluster import Cluster
from simulations.world.conditions import Conditions
from simulations.world.metrics import SimulatedPrometheus
from simulations.world.recorder import Recorder, percentiles
from simulations.world.stepping import step


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Everything a replay needs, resolved: nothing is left to look up.

    ``pools`` are the true replicas of the variants, in the policy's order. ``origin_seconds`` is
    the Unix time at which the replayed part of ``trace`` starts.
    """

    policy: Policy
    trace: Trace
    past: PastTraffic | None
    pools: tuple[PoolSpec, ...]
    engine: EngineConfig
    conditions: Conditions
    initial_allocation: tuple[int, ...]
    max_replicas: int
    warmup_seconds: float
    origin_seconds: float
    seed: int


class ArrivalStream:
    """Hands out a trace's arrivals in slices of time, keeping one chunk in memory."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._index = -1
        self._chunk: Arrivals | None = None

    def between(self, from_seconds: float, to_seconds: float) -> list[Arrivals]:
        """Arrivals in [from_seconds, to_seconds); slices are asked for in order."""
        parts = []
        size = self._trace.chunk_seconds
        first, last = int(from_seconds // size), int(np.ceil(to_seconds / size))
        for index in range(first, last):
            if index * size >= self._trace.duration_seconds:
                break
            chunk = self._load(index)
            low, high = np.searchsorted(chunk.seconds, (from_seconds, to_seconds))
            if high > low:
                parts.append(
                    Arrivals(
                        seconds=chunk.seconds[low:high],
                        prompt_tokens=chunk.prompt_tokens[low:high],
                        output_tokens=chunk.output_tokens[low:high],
                    )
                )
        return parts

    def _load(self, index: int) -> Arrivals:
        if index != self._index or self._chunk is None:
            self._chunk, self._index = self._trace.chunk(index), index
        return self._chunk


class World:
    """The simulated cluster, data plane and metrics store of one replay, and its four ports."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.fleet = Fleet(setup.pools, setup.engine, setup.max_replicas)
        self.cluster = Cluster(setup.policy.variants, setup.conditions, self.fleet, setup.seed)
        self.prometheus = SimulatedPrometheus(
            setup.policy, setup.conditions, self.fleet, setup.origin_seconds
        )
        self._stream = ArrivalStream(setup.trace)
        self._next_scrape = 0.0
        self.seconds = 0.0
        self.decision: Decision | None = None
        for variant, replicas in enumerate(setup.initial_allocation):
            self.cluster.place_ready(variant, replicas, 0.0)

    def advance(self, until_seconds: float) -> int:
        """Run to ``until_seconds`` of scenario time; returns the requests that arrived."""
        arrived = 0
        while self.seconds < until_seconds:
            stop = min(until_seconds, self._next_scrape, self.cluster.next_event())
            if stop > self.seconds:
                arrived += self._run_engine(stop)
            self.seconds = max(self.seconds, stop)
            self.cluster.settle(self.seconds)
            self._scrape_if_due()
        self._scrape_if_due()
        return arrived

    def _run_engine(self, stop: float) -> int:
        arrived = 0
        for part in self._stream.between(self.seconds, stop):
            arrived += len(part)
            self.fleet.advance(
                float(part.seconds[-1]), part.seconds, part.prompt_tokens, part.output_tokens
            )
        self.fleet.advance(stop)
        return arrived

    def _scrape_if_due(self) -> None:
        if self.seconds >= self._next_scrape:
            self.prometheus.scrape(self.seconds)
            self._next_scrape += self.setup.conditions.metrics.scrape_interval_seconds

    # --- ports ---------------------------------------------------------------------------------

    async def observe(self, policies: Sequence[Policy], now: float) -> Sequence[Observation]:
        """Observer: what Prometheus and the API server show of the one object."""
        traffic, outcomes, gauges = self.prometheus.query(self.seconds)
        cluster = self.cluster
        origin = self.setup.origin_seconds
        variants = tuple(
            VariantObservation(
                desired=cluster.desired[v],
                ready=cluster.ready(v),
                starting_since_seconds=tuple(origin + s for s in cluster.starting_since(v)),
                unschedulable=cluster.unschedulable(v),
                draining=cluster.draining(v),
                ready_after_seconds=cluster.take_ready_after(v),
                running=running,
                waiting=waiting,
                kv_use=kv_use,
            )
            for v, (running, waiting, kv_use) in enumerate(gauges)
        )
        observation = Observation(
            workloads_at_seconds=now, variants=variants, traffic=traffic, outcomes=outcomes
        )
        return [observation for _ in policies]

    async def past(self, policy: Policy, now: float) -> PastTraffic | None:  # noqa: ARG002 - port
        """Traffic archive: the part of the trace before the replay."""
        return self.setup.past

    async def actuate(self, policy: Policy, decision: Decision, now: float) -> None:  # noqa: ARG002 - port
        """Actuator: the scale subresource and the route."""
        for v, replicas in enumerate(decision.allocation):
            if replicas != self.cluster.desired[v]:
                self.cluster.scale(v, replicas, self.seconds)
        if decision.weights is not None:
            self.fleet.set_weights(decision.weights)

    async def report(
        self, policy: Policy, observation: Observation, decision: Decision, now: float
    ) -> None:
        """Reporter: keeps the decision for the record."""
        del policy, observation, now
        self.decision = decision


class TimedPlanner:
    """Times the calls of a planner; the time never reaches the simulation."""

    def __init__(self, planner: Planner[HistoryT]) -> None:
        self._planner = planner
        self.seconds: list[float] = []

    def initial(self, policy: Policy, past: PastTraffic | None) -> object:
        """As the planner's."""
        return self._planner.initial(policy, past)

    def plan(
        self, policy: Policy, observation: Observation, history: HistoryT, now: float
    ) -> tuple[Decision, HistoryT]:
        """As the planner's, timed."""
        start = perf_counter()
        answer = self._planner.plan(policy, observation, history, now)
        self.seconds.append(perf_counter() - start)
        return answer


@dataclass(frozen=True, slots=True)
class Baseline:
    """Counters at the end of the warm-up, which results leave out."""

    totals: Totals
    cost: float
    starting_gpu_seconds: float
    churn: int


def _baseline(world: World) -> Baseline:
    cluster = world.cluster
    return Baseline(
        world.fleet.totals(),
        cluster.cost(world.seconds),
        cluster.starting_gpu_seconds(world.seconds),
        cluster.bill.churn,
    )


def simulate(setup: Setup, planner: Planner[HistoryT], name: str) -> PolicyResult:
    """Replay ``setup`` under ``planner``.

    Requests that end after the warm-up are scored; cost runs from the end of the warm-up to the
    end of the trace. What is still in flight at the end may finish, at no further cost.

    Raises:
        PortError: a simulated port failed, which none does: outages arrive as missing readings.
    """
    world = World(setup)
    tick_seconds = setup.policy.tick_seconds
    ticks = int(setup.trace.duration_seconds // tick_seconds)
    from_tick = min(int(setup.warmup_seconds // tick_seconds), ticks - 1)
    recorder = Recorder(setup.policy, ticks, tick_seconds, world.fleet.fine_edges_seconds)
    timed = TimedPlanner(planner)
    reconciler = Reconciler(
        planner=timed, observer=world, archive=world, actuator=world, reporter=world
    )
    baseline = _baseline(world)
    before = world.fleet.totals()
    for tick in range(ticks):
        if tick == from_tick:
            baseline = _baseline(world)
        for failure in step(reconciler.cycle([setup.policy], setup.origin_seconds + world.seconds)):
            raise failure.error
        variants = range(len(setup.policy.variants))
        if world.decision is not None:
            recorder.decision(
                tick,
                world.decision,
                list(world.cluster.desired),
                [world.cluster.ready(v) for v in variants],
            )
        arrived = world.advance((tick + 1) * tick_seconds)
        after = world.fleet.totals()
        recorder.traffic(tick, arrived, before, after, world.cluster.cost(world.seconds))
        before = after
    end = _baseline(world)
    world.fleet.finish()
    return _result(world, recorder, timed.seconds, name, baseline, end, from_tick)


def _result(
    world: World,
    recorder: Recorder,
    plan_seconds: list[float],
    name: str,
    start: Baseline,
    end: Baseline,
    from_tick: int,
) -> PolicyResult:
    final, first = world.fleet.totals(), start.totals
    edges = world.fleet.fine_edges_seconds
    ended = final.ended - first.ended
    good = int(np.sum(final.good) - np.sum(first.good))
    fallback = [i for i, pool in enumerate(world.setup.pools) if pool.fallback]
    degraded = int(np.sum(final.finished[fallback]) - np.sum(first.finished[fallback]))
    times = np.array(plan_seconds[from_tick:])
    return PolicyResult(
        name=name,
        cost=end.cost - start.cost,
        attainment=good / max(ended, 1),
        degraded_share=degraded / max(ended, 1),
        requests=ended,
        good=good,
        refused=final.lost_refused - first.lost_refused,
        timed_out=final.lost_timed_out - first.lost_timed_out,
        failed=final.lost_failed - first.lost_failed,
        ttft_seconds=percentiles(edges, np.sum(final.ttft_fine - first.ttft_fine, axis=0)),
        tpot_seconds=percentiles(edges, np.sum(final.tpot_fine - first.tpot_fine, axis=0)),
        churn=end.churn - start.churn,
        starting_gpu_hours=(end.starting_gpu_seconds - start.starting_gpu_seconds) / 3600.0,
        forecast=recorder.score(from_tick),
        plan_seconds_mean=float(np.mean(times)),
        plan_seconds_p99=float(np.quantile(times, 0.99)),
        seen_attainment=_seen_attainment(world, final, first, ended),
        digest=final.digest,
        timeline=recorder.timeline(from_tick),
    )


def _seen_attainment(
    world: World, final: Totals, first: Totals, ended: int
) -> tuple[float, float]:
    """What Prometheus would show: an interval, since each objective has its own histogram."""
    bad_ttft, bad_tpot = world.prometheus.bad(first, final)
    lost = final.lost - first.lost
    total = max(ended, 1)
    upper = 1.0 - (lost + max(bad_ttft, bad_tpot)) / total
    return max(0.0, 1.0 - (lost + bad_ttft + bad_tpot) / total), upper

