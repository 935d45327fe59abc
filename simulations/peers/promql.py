"""Functions of PromQL that peers' triggers are written with (Prometheus 3)."""

import math
from collections.abc import Sequence
from typing import TypeAlias

#: Samples of a series: (seconds, value), ascending.
Samples: TypeAlias = tuple[tuple[float, float], ...]

#: Of a gap between a window's edge and its outermost sample, in mean distances between samples:
#: from here on Prometheus takes the series to have begun or ended inside the window.
_EXTRAPOLATED_DISTANCES = 1.1


def inside(times: Sequence[float], window_seconds: float, now: float) -> list[int]:
    """Positions of the samples in the window (now - window, now]."""
    return [i for i, at in enumerate(times) if now - window_seconds < at <= now]


def rate(samples: Samples, window_seconds: float, now: float) -> float | None:
    """Mean increase per second of a counter over the window.

    The increase between the outermost samples is extrapolated to the window's edges; where an edge
    is further than a usual distance between samples, by half of such a distance. None: fewer than
    two samples. The counter never falls, and its rise from zero is not in sight.
    """
    seen = [samples[i] for i in inside([at for at, _ in samples], window_seconds, now)]
    if len(seen) < 2:
        return None
    (first_at, first), (last_at, last) = seen[0], seen[-1]
    sampled = last_at - first_at
    distance = sampled / (len(seen) - 1)
    covered = sampled
    for gap in (first_at - (now - window_seconds), now - last_at):
        covered += gap if gap < _EXTRAPOLATED_DISTANCES * distance else distance / 2.0
    return (last - first) * (covered / sampled) / window_seconds


def histogram_quantile(quantile: float, edges: Sequence[float], counts: Sequence[float]) -> float:
    """Quantile of a histogram, linear within its bucket; NaN where it is empty.

    ``counts`` are per bucket (not cumulative), one more than the upper ``edges``: what lies beyond
    the last edge counts as that edge, and the first bucket begins at 0.
    """
    if len(counts) != len(edges) + 1:
        raise ValueError(f"counts: need {len(edges) + 1}, one per edge and one, got {len(counts)}")
    total = float(sum(counts))
    if not total > 0.0:
        return math.nan
    rank = quantile * total
    below = 0.0
    lower = 0.0
    for edge, count in zip(edges, counts, strict=False):
        if below + count >= rank and count > 0.0:
            return lower + (edge - lower) * (rank - below) / float(count)
        below += float(count)
        lower = edge
    return float(edges[-1])
