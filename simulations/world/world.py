"""The world of one replay: cluster, data plane and metrics store behind the reconciler's ports.

Time advances tick by tick; between ticks the engine runs request by request and the cluster
changes when its own events are due.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.core.domain.decision import Decision
from controller.core.domain.observation import Observation, PastTraffic
from controller.core.domain.policy import Policy, RoutingLaw
from controller.core.domain.variant import Role
from controller.ports import Planned, PortError, Report
from simulations.engine.fleet import EngineConfig, Fleet, PoolSpec, Totals
from simulations.traces.trace import Arrivals, Trace
from simulations.world.cluster import Cluster
from simulations.world.conditions import Conditions
from simulations.world.engine_view import ScrapedVariant
from simulations.world.metrics import SimulatedPrometheus


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


@dataclass(frozen=True, slots=True)
class Arrived:
    """Requests that arrived, and their tokens."""

    requests: int
    prompt_tokens: int
    output_tokens: int

    def plus(self, other: "Arrived") -> "Arrived":
        """Both together."""
        return Arrived(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.output_tokens + other.output_tokens,
        )


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
    """The simulated cluster, data plane and metrics store of one replay, and its four ports.

    ``warm`` replicas are there at the start (None: the setup's). A world that nobody observes need
    not be ``scraped``.
    """

    def __init__(
        self, setup: Setup, warm: tuple[int, ...] | None = None, *, scraped: bool = True
    ) -> None:
        self.setup = setup
        self.fleet = Fleet(setup.pools, setup.engine, setup.max_replicas)
        self.cluster = Cluster(setup.policy.variants, setup.conditions, self.fleet, setup.seed)
        self.prometheus = SimulatedPrometheus(
            setup.policy, setup.conditions, self.fleet, setup.origin_seconds
        )
        self._stream = ArrivalStream(setup.trace)
        self._entry = _entry_pool(setup)
        self._scraped = scraped
        self._next_scrape = 0.0 if scraped else np.inf
        self.seconds = 0.0
        self.decision: Decision | None = None
        for variant, replicas in enumerate(warm or setup.initial_allocation):
            self.cluster.place_ready(variant, replicas, 0.0)
        self.route(tuple(float(n) for n in self.cluster.desired))

    def advance(self, until_seconds: float) -> Arrived:
        """Run to ``until_seconds`` of scenario time; returns what arrived."""
        arrived = Arrived(0, 0, 0)
        while self.seconds < until_seconds:
            stop = min(until_seconds, self._next_scrape, self.cluster.next_event())
            if stop > self.seconds:
                arrived = arrived.plus(self._run_engine(stop))
            self.seconds = max(self.seconds, stop)
            self.cluster.settle(self.seconds)
            self._scrape_if_due()
        self._scrape_if_due()
        return arrived

    def totals(self) -> Totals:
        """Counters as of now: those of the scrape where one was just taken."""
        latest = self.prometheus.latest
        if latest is not None and latest.at_seconds == self.seconds:
            return latest.totals
        return self.fleet.totals()

    def route(self, weights: tuple[float, ...]) -> None:
        """Weigh the pools; one without a Ready replica gets nothing until the next write."""
        shown = tuple(
            weight if self.cluster.ready(v) > 0 else 0.0 for v, weight in enumerate(weights)
        )
        if any(shown):
            self.fleet.set_weights(shown)

    def _run_engine(self, stop: float) -> Arrived:
        arrived = Arrived(0, 0, 0)
        for part in self._stream.between(self.seconds, stop):
            prompt, output = int(part.prompt_tokens.sum()), int(part.output_tokens.sum())
            arrived = arrived.plus(Arrived(len(part), prompt, output))
            if self._scraped:
                self.prometheus.count_lengths(part.prompt_tokens, part.output_tokens)
            self.fleet.advance(
                float(part.seconds[-1]),
                part.seconds,
                part.prompt_tokens,
                part.output_tokens,
                np.full(0 if self._entry is None else len(part), self._entry or 0, np.int64),
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
            ScrapedVariant(
                desired=cluster.desired[v],
                ready=cluster.ready(v),
                starting_since_seconds=tuple(origin + s for s in cluster.starting_since(v)),
                unschedulable=cluster.unschedulable(v),
                draining=cluster.draining(v),
                ready_after_seconds=cluster.take_ready_after(v),
                running=running,
                waiting=waiting,
                kv_use=kv_use,
                engines=engines,
            )
            for v, ((running, waiting, kv_use), engines) in enumerate(
                zip(gauges, self.prometheus.engines(), strict=True)
            )
        )
        observation = Observation(
            workloads_at_seconds=now, variants=variants, traffic=traffic, outcomes=outcomes
        )
        return [observation for _ in policies]

    async def past(self, policy: Policy, now: float) -> PastTraffic | None:  # noqa: ARG002 - port
        """Traffic archive: the part of the trace before the replay."""
        return self.setup.past

    async def actuate(
        self,
        planned: Sequence[Planned],
        now: float,  # noqa: ARG002 - port
    ) -> Sequence[PortError | None]:
        """Actuator: the route, then the scale subresource, so that no drained pool is routed to."""
        for one in planned:
            if one.decision.weights is not None:
                self.route(one.decision.weights)
            for v, replicas in enumerate(one.decision.allocation):
                if replicas != self.cluster.desired[v]:
                    self.cluster.scale(v, replicas, self.seconds)
        return [None] * len(planned)

    async def report(
        self,
        reports: Sequence[Report],
        now: float,  # noqa: ARG002 - port
    ) -> Sequence[PortError | None]:
        """Reporter: keeps the decision for the record."""
        for report in reports:
            self.decision = report.planned.decision
        return [None] * len(reports)


def _entry_pool(setup: Setup) -> int | None:
    """The pool that every request names where variants have clients of their own; else None.

    A trace holds the requests of the preferred quality.
    """
    if setup.policy.routing.law is not RoutingLaw.SEPARATE:
        return None
    return setup.policy.indices(Role.PRIMARY)[0]
