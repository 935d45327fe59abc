"""What the engine has counted: cumulative totals per pool, and gauges."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.engine import kernel

Counts = NDArray[np.int64]

#: Lower edges of the fine buckets in seconds; the last bucket takes all from its edge on.
FINE_LOWER_SECONDS = (
    (np.arange(kernel.FINE_BUCKETS, dtype=np.int64) + kernel.FINE_BASE) << kernel.FINE_SHIFT
).view(np.float64)

#: Upper edges of the fine buckets in seconds, shape (fine buckets,); the last is infinite.
FINE_EDGES_SECONDS = np.append(FINE_LOWER_SECONDS[1:], np.inf)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Totals:
    """Cumulative counts since the fleet began; arrays have shape (pools,) unless said otherwise.

    ``offered`` counts client requests; each ends exactly once: ``finished``, ``refused_for_good``,
    ``timed_out``, ``failed`` (its replica crashed) or ``too_large`` (for a replica's KV room).
    ``routed``, ``refused`` and ``overflowed`` count attempts, so a retry counts again: taken by a
    replica; taken by none; refused by a primary and taken by a fallback. ``good``
    requests met both thresholds. ``bad_ttft`` is counted at the first token and ``bad_tpot`` at
    the last one, as an engine's histograms do. ``prompt_tokens`` are counted at the first token,
    ``output_tokens`` one by one, ``finished_*`` when a request finishes.

    ``ttft_histogram`` (pools, edges + 1) and ``tpot_histogram`` count per bucket of the configured
    edges, upper edge included, the last bucket beyond all edges. ``ttft_fine`` and ``tpot_fine``
    (pools, fine buckets) have edges ``FINE_EDGES_SECONDS``, .8 % apart. ``digest`` depends on the
    order of completions, ``digest_unordered`` does not.
    """

    offered: int
    routed: Counts
    refused: Counts
    overflowed: Counts
    finished: Counts
    good: Counts
    bad_ttft: Counts
    bad_tpot: Counts
    prompt_tokens: Counts
    output_tokens: Counts
    finished_prompt_tokens: Counts
    finished_output_tokens: Counts
    refused_for_good: Counts
    timed_out: Counts
    failed: Counts
    too_large: Counts
    preemptions: Counts
    ttft_histogram: Counts
    tpot_histogram: Counts
    ttft_fine: Counts
    tpot_fine: Counts
    digest: str
    digest_unordered: str

    @property
    def lost_refused(self) -> int:
        """Requests that ended refused, too large ones included."""
        return int(self.refused_for_good.sum() + self.too_large.sum())

    @property
    def lost_timed_out(self) -> int:
        """Requests whose client gave up."""
        return int(self.timed_out.sum())

    @property
    def lost_failed(self) -> int:
        """Requests that ended because their replica crashed."""
        return int(self.failed.sum())

    @property
    def lost(self) -> int:
        """Requests that ended without a full answer."""
        return self.lost_refused + self.lost_timed_out + self.lost_failed

    @property
    def ended(self) -> int:
        """Requests that ended, one way or another."""
        return int(self.finished.sum()) + self.lost


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gauges:
    """State now, shape (pools,): sums over replicas, and the mean share of KV room in use.

    ``kv_use`` is 0 where the pool has no replica.
    """

    running: Counts
    waiting: Counts
    kv_tokens: Counts
    outstanding: Counts
    kv_use: NDArray[np.float64]


def place_edges(edges_seconds: tuple[float, ...], name: str) -> NDArray[np.float64]:
    """Put each visible edge into the fine bucket that holds it; infinite elsewhere.

    Raises:
        ValueError: edges are not ascending and positive, or two share a fine bucket.
    """
    placed = np.full(kernel.FINE_BUCKETS, np.inf)
    edges = np.asarray(edges_seconds, np.float64)
    if np.any(edges <= 0.0) or np.any(np.diff(edges) <= 0.0) or not np.all(np.isfinite(edges)):
        raise ValueError(f"{name} must be finite, positive and ascending, got {edges_seconds}")
    buckets = np.clip(
        np.searchsorted(FINE_LOWER_SECONDS, edges, side="right") - 1, 0, len(placed) - 1
    )
    if len(np.unique(buckets)) < len(buckets):
        raise ValueError(f"{name} must lie at least 1 % apart, got {edges_seconds}")
    placed[buckets] = edges
    return placed
