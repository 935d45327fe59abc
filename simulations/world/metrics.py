"""What Prometheus would show: counters and histograms scraped at intervals, seen late, with gaps.

A policy never sees the engine. It sees differences of scraped counters, histograms at their
bucket edges, and gauges of the last scrape that can be queried.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.observation import (
    TOKEN_EDGES,
    GaugeReading,
    Measured,
    Missing,
    MissingReason,
    Outcomes,
    OutcomesReading,
    Traffic,
    TrafficReading,
)
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role
from simulations.engine.fleet import Fleet, Totals
from simulations.world.conditions import Conditions, FaultKind
from simulations.world.engine_view import EngineView

#: A sample older than this many scrape intervals is stale (Prometheus' own look-back is 300 s).
STALE_AFTER_INTERVALS = 4.0

_EDGES = np.array(TOKEN_EDGES)


@dataclass(frozen=True, slots=True, eq=False)
class Scrape:
    """Counters and gauges of all pools at ``at_seconds`` of scenario time.

    The histograms count the lengths of all requests so far, per bucket of ``TOKEN_EDGES``.
    ``replica_*`` are as ``Fleet.replica_gauges`` returns them.
    """

    at_seconds: float
    totals: Totals
    running: NDArray[np.int64]
    waiting: NDArray[np.int64]
    kv_use: NDArray[np.float64]
    prompt_histogram: NDArray[np.int64]
    output_histogram: NDArray[np.int64]
    replica_pools: NDArray[np.int64]
    replica_gauges: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Lengths:
    """Lengths of requests that arrived together, after which ``arrived`` had arrived in all."""

    arrived: int
    prompt: NDArray[np.int64]
    output: NDArray[np.int64]


class SimulatedPrometheus:
    """Scrapes the engine and answers for one ModelDeployment."""

    def __init__(self, policy: Policy, conditions: Conditions, fleet: Fleet, origin: float) -> None:
        self._policy = policy
        self._conditions = conditions
        self._fleet = fleet
        self._origin = origin
        seen_late = conditions.metrics.delay_seconds / conditions.metrics.scrape_interval_seconds
        kept = ceil(seen_late + STALE_AFTER_INTERVALS) + 2
        self._scrapes: deque[Scrape] = deque(maxlen=kept)
        self._previous: Scrape | None = None
        self._seen: Scrape | None = None
        self._arrived = 0
        self._unended: deque[_Lengths] = deque()
        self._prompt_histogram = np.zeros(len(TOKEN_EDGES) + 1, np.int64)
        self._output_histogram = np.zeros(len(TOKEN_EDGES) + 1, np.int64)
        self._ttft_bucket = _edge_at_or_below(
            fleet.config.ttft_edges_seconds, policy.slo.ttft_seconds
        )
        self._tpot_bucket = _edge_at_or_below(
            fleet.config.tpot_edges_seconds, policy.slo.tpot_seconds
        )

    def scrape(self, at_seconds: float) -> None:
        """Take the counters now, unless a gap swallows the scrape."""
        if self._conditions.blind(FaultKind.SCRAPE_GAP, at_seconds):
            return
        gauges, totals = self._fleet.gauges(), self._fleet.totals()
        self._show_lengths(totals.ended)
        self._scrapes.append(
            Scrape(
                at_seconds,
                totals,
                gauges.running,
                gauges.waiting,
                gauges.kv_use,
                self._prompt_histogram.copy(),
                self._output_histogram.copy(),
                *self._fleet.replica_gauges(),
            )
        )

    def count_lengths(
        self, prompt_tokens: NDArray[np.int64], output_tokens: NDArray[np.int64]
    ) -> None:
        """Take the lengths of requests that arrive, both (requests,), to be shown as they end."""
        size = len(TOKEN_EDGES) + 1
        self._arrived += len(prompt_tokens)
        self._unended.append(
            _Lengths(
                self._arrived,
                np.bincount(np.searchsorted(_EDGES, prompt_tokens), minlength=size),
                np.bincount(np.searchsorted(_EDGES, output_tokens), minlength=size),
            )
        )

    def _show_lengths(self, ended: int) -> None:
        """Move lengths into the histograms once as many requests have ended as had arrived by then.

        An engine knows a request's output when it ends. Which ones have ended is not asked: those
        that arrived together are shown together, and never before so many are through.
        """
        while self._unended and self._unended[0].arrived <= ended:
            lengths = self._unended.popleft()
            self._prompt_histogram += lengths.prompt
            self._output_histogram += lengths.output

    @property
    def latest(self) -> Scrape | None:
        """The last scrape that was taken."""
        return self._scrapes[-1] if self._scrapes else None

    def query(
        self, now_seconds: float
    ) -> tuple[TrafficReading, OutcomesReading, tuple[tuple[GaugeReading, ...], ...]]:
        """Return traffic and outcomes since the last answered query, and the gauges by variant."""
        scrape = self._visible(now_seconds)
        self._seen = None if isinstance(scrape, Missing) else scrape
        if isinstance(scrape, Missing):
            blank = tuple((scrape, scrape, scrape) for _ in self._policy.variants)
            return scrape, scrape, blank
        gauges = tuple(
            tuple(
                Measured(float(values[v]), self._origin + scrape.at_seconds)
                for values in (scrape.running, scrape.waiting, scrape.kv_use)
            )
            for v in range(len(self._policy.variants))
        )
        previous, self._previous = self._previous, scrape
        if previous is None or previous.at_seconds >= scrape.at_seconds:
            absent = Missing(MissingReason.STALE if previous else MissingReason.ABSENT)
            return absent, absent, gauges
        return self._traffic(previous, scrape), self._outcomes(previous, scrape), gauges

    def engines(self) -> tuple[EngineView | None, ...]:
        """What the engines export themselves at the last scrape that a query saw, by variant."""
        scrape = self._seen
        if scrape is None:
            return (None,) * len(self._policy.variants)
        return tuple(
            EngineView(
                at_seconds=self._origin + scrape.at_seconds,
                running=rows[:, 0],
                waiting=rows[:, 1],
                kv_tokens=rows[:, 2],
                kv_capacity_tokens=pool.profile.kv_capacity_tokens,
                totals=scrape.totals,
                pool=number,
            )
            for number, pool in enumerate(self._fleet.pools)
            for rows in (scrape.replica_gauges[scrape.replica_pools == number],)
        )

    def bad(self, old: Totals, new: Totals) -> tuple[float, float]:
        """Count the answered requests above each objective's visible threshold."""
        return (
            _above(new.ttft_histogram - old.ttft_histogram, self._ttft_bucket),
            _above(new.tpot_histogram - old.tpot_histogram, self._tpot_bucket),
        )

    def _visible(self, now_seconds: float) -> Scrape | Missing:
        """The newest scrape that can be queried, or why there is none."""
        if self._conditions.blind(FaultKind.PROMETHEUS_OUTAGE, now_seconds):
            return Missing(MissingReason.QUERY_FAILED)
        metrics = self._conditions.metrics
        latest = now_seconds - metrics.delay_seconds
        visible = next((s for s in reversed(self._scrapes) if s.at_seconds <= latest), None)
        if visible is None:
            return Missing(MissingReason.ABSENT)
        if visible.at_seconds < latest - STALE_AFTER_INTERVALS * metrics.scrape_interval_seconds:
            return Missing(MissingReason.STALE)
        return visible

    def _traffic(self, before: Scrape, after: Scrape) -> Traffic:
        old, new = before.totals, after.totals
        return Traffic(
            from_seconds=self._origin + before.at_seconds,
            to_seconds=self._origin + after.at_seconds,
            requests=float(new.offered - old.offered),
            refused=float(np.sum(new.refused) - np.sum(old.refused)),
            token_requests=float(np.sum(new.finished) - np.sum(old.finished)),
            prompt_tokens=float(np.sum(new.finished_prompt_tokens - old.finished_prompt_tokens)),
            output_tokens=float(np.sum(new.finished_output_tokens - old.finished_output_tokens)),
            prompt_histogram=_counted(before.prompt_histogram, after.prompt_histogram),
            output_histogram=_counted(before.output_histogram, after.output_histogram),
        )

    def _outcomes(self, before: Scrape, after: Scrape) -> Outcomes:
        old, new = before.totals, after.totals
        failed = float(new.lost - old.lost)
        bad_ttft, bad_tpot = self.bad(old, new)
        finished = new.finished - old.finished
        fallback = [
            i for i, variant in enumerate(self._policy.variants) if variant.role is Role.FALLBACK
        ]
        return Outcomes(
            from_seconds=self._origin + before.at_seconds,
            to_seconds=self._origin + after.at_seconds,
            ended=float(np.sum(finished)) + failed,
            failed=failed,
            bad_ttft=bad_ttft,
            bad_tpot=bad_tpot,
            degraded=float(np.sum(finished[fallback])),
        )


def _edge_at_or_below(edges: tuple[float, ...], threshold: float) -> int:
    """Index of the last bucket whose upper edge is at or below ``threshold``; -1 when none is."""
    if np.isinf(threshold):
        return len(edges)
    return bisect_right(edges, threshold * (1.0 + 1e-9)) - 1


def _above(histogram: NDArray[np.int64], bucket: int) -> float:
    """Count the observations above ``bucket`` in per-bucket counts of shape (pools, buckets)."""
    return float(np.sum(histogram[:, bucket + 1 :]))


def _counted(before: NDArray[np.int64], after: NDArray[np.int64]) -> tuple[float, ...]:
    """Counts between two scrapes."""
    return tuple((after - before).astype(np.float64).tolist())
