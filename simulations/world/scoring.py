"""Scores a replay: what is counted, from when, and how it becomes a result.

Requests that end after the warm-up are scored; cost runs from the end of the warm-up to the end
of the trace. What is still in flight at the end may finish, at no further cost; what has no
answer after an hour counts as timed out.
"""

from dataclasses import dataclass

import numpy as np

from controller.core.domain.decision import Decision
from simulations.engine.fleet import Totals
from simulations.results import PolicyResult
from simulations.world.recorder import Recorder, percentiles
from simulations.world.world import World

#: Seconds after the trace's end in which what is in flight may finish.
FINISH_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class _Mark:
    """Counters at one moment."""

    totals: Totals
    cost: float
    starting_gpu_seconds: float
    churn: int


def _mark(world: World) -> _Mark:
    cluster = world.cluster
    return _Mark(
        world.totals(),
        cluster.cost(world.seconds),
        cluster.starting_gpu_seconds(world.seconds),
        cluster.bill.churn,
    )


class Scorer:
    """Advances a world tick by tick and keeps the score."""

    def __init__(self, world: World, name: str) -> None:
        setup = world.setup
        self._world = world
        self._name = name
        self._tick_seconds = setup.policy.tick_seconds
        self.ticks = int(setup.trace.duration_seconds // self._tick_seconds)
        self.from_tick = min(int(setup.warmup_seconds // self._tick_seconds), self.ticks - 1)
        edges = world.fleet.fine_edges_seconds
        self._recorder = Recorder(setup.policy, self.ticks, self._tick_seconds, edges)
        self._start = self._before = _mark(world)

    def decided(self, tick: int, decision: Decision) -> None:
        """Note the decision of this tick."""
        cluster = self._world.cluster
        ready = [cluster.ready(v) for v in range(len(cluster.desired))]
        self._recorder.decision(tick, decision, list(cluster.desired), ready)

    def placed(self, tick: int) -> None:
        """Note the replicas of a tick that took no decision."""
        cluster = self._world.cluster
        ready = [cluster.ready(v) for v in range(len(cluster.desired))]
        self._recorder.replicas(tick, list(cluster.desired), ready)

    def advance(self, tick: int) -> tuple[int, int]:
        """Run the tick; returns the requests that ended in it and the good ones among them."""
        if tick == self.from_tick:
            self._start = _mark(self._world)
        before = self._before.totals
        arrived = self._world.advance((tick + 1) * self._tick_seconds)
        self._before = after = _mark(self._world)
        self._recorder.traffic(tick, arrived, before, after.totals, after.cost)
        good = int(np.sum(after.totals.good) - np.sum(before.good))
        return after.totals.ended - before.ended, good

    def result(self, plan_seconds: list[float]) -> PolicyResult:
        """Let what is in flight finish, and sum up."""
        end, world = self._before, self._world
        world.fleet.advance(world.seconds + FINISH_SECONDS)
        final, first = world.fleet.totals(), self._start.totals
        edges = world.fleet.fine_edges_seconds
        unanswered = world.fleet.live
        ended = final.ended - first.ended + unanswered
        good = int(np.sum(final.good) - np.sum(first.good))
        fallback = [i for i, pool in enumerate(world.setup.pools) if pool.fallback]
        degraded = int(np.sum(final.finished[fallback]) - np.sum(first.finished[fallback]))
        times = np.array(plan_seconds[self.from_tick :] or [np.nan])
        return PolicyResult(
            name=self._name,
            cost=end.cost - self._start.cost,
            attainment=good / max(ended, 1),
            degraded_share=degraded / max(ended, 1),
            requests=ended,
            good=good,
            refused=final.lost_refused - first.lost_refused,
            timed_out=final.lost_timed_out - first.lost_timed_out + unanswered,
            failed=final.lost_failed - first.lost_failed,
            ttft_seconds=percentiles(edges, np.sum(final.ttft_fine - first.ttft_fine, axis=0)),
            tpot_seconds=percentiles(edges, np.sum(final.tpot_fine - first.tpot_fine, axis=0)),
            churn=end.churn - self._start.churn,
            starting_gpu_hours=(end.starting_gpu_seconds - self._start.starting_gpu_seconds)
            / 3600.0,
            forecast=self._recorder.score(self.from_tick),
            plan_seconds_mean=float(np.mean(times)),
            plan_seconds_p99=float(np.quantile(times, 0.99)),
            seen_attainment=self._seen(first, final, ended, unanswered),
            digest=final.digest,
            timeline=self._recorder.timeline(self.from_tick),
        )

    def _seen(
        self, first: Totals, final: Totals, ended: int, unanswered: int
    ) -> tuple[float, float]:
        """What Prometheus would show: an interval, since each objective has its own histogram.

        A request that was refused is in no histogram. One that timed out or failed may be in that
        of the first token, but never in that of the gaps, which is written at the end.
        """
        bad_ttft, bad_tpot = self._world.prometheus.bad(first, final)
        lost, total = final.lost - first.lost + unanswered, max(ended, 1)
        refused = final.lost_refused - first.lost_refused
        lower = 1.0 - (lost + bad_ttft + bad_tpot) / total
        return max(0.0, lower), 1.0 - max(refused + bad_ttft, lost + bad_tpot) / total
