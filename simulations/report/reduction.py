"""Shortens timelines for the eye: every bucket of ticks keeps its lowest and highest value.

Drawing needs some two points per pixel; a fortnight of ticks has forty times that. Averaging
would hide exactly what a reader looks for (a short burst, a latency spike), so each bucket of
equal length is drawn as its minimum and its maximum, in the order in which they occurred.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from simulations.results import Timeline

ScalarT = TypeVar("ScalarT", np.float64, np.int64)


def _in_buckets(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Shape (T,) to (buckets, width); what the last bucket lacks is NaN."""
    buckets = -(-len(values) // width)
    padded = np.full(buckets * width, np.nan)
    padded[: len(values)] = values
    return padded.reshape(buckets, width)


def _extreme_ticks(values: NDArray[np.float64], width: int) -> NDArray[np.int64]:
    """Ticks of the lowest and highest value of each bucket, (2 buckets,), ascending.

    A bucket without any value gives its first tick twice.
    """
    grid = _in_buckets(values, width)
    start = np.arange(len(grid)) * width
    lowest = start + np.argmin(np.where(np.isnan(grid), np.inf, grid), axis=1)
    highest = start + np.argmax(np.where(np.isnan(grid), -np.inf, grid), axis=1)
    return np.sort(np.column_stack((lowest, highest)), axis=1).ravel()


def _extremes(values: NDArray[ScalarT], width: int) -> NDArray[ScalarT]:
    """The lowest and highest values themselves, column by column of a (T, V) array."""
    if values.ndim == 1:
        return values[_extreme_ticks(values.astype(np.float64), width)]
    columns = [_extremes(values[:, i], width) for i in range(values.shape[1])]
    return np.column_stack(columns) if columns else values[:0].reshape(0, 0)


def reduced(timeline: Timeline, points: int) -> Timeline:
    """The same replay in at most ``points`` rows; unchanged when it is no longer than that.

    Rows are evenly spaced in time. ``reasons`` point to the last row at or before their tick.
    A forecast keeps its own target time and all its levels together: the ticks are those on which
    its highest level is lowest and highest.
    """
    ticks = len(timeline.at_seconds)
    if ticks <= points:
        return timeline
    width = -(-ticks // (points // 2))
    first = np.arange(0, ticks, width)
    rows = np.column_stack((first, np.minimum(first + width // 2, ticks - 1))).ravel()
    levels = timeline.forecast.shape[1]
    top = timeline.forecast[:, -1] if levels else timeline.forecast_for_seconds
    forecast_ticks = _extreme_ticks(top, width)
    return replace(
        timeline,
        at_seconds=timeline.at_seconds[rows],
        arrivals_per_second=_extremes(timeline.arrivals_per_second, width),
        wanted=_extremes(timeline.wanted, width),
        ready=_extremes(timeline.ready, width),
        ttft_p95_seconds=_extremes(timeline.ttft_p95_seconds, width),
        tpot_p95_seconds=_extremes(timeline.tpot_p95_seconds, width),
        good_share=_extremes(timeline.good_share, width),
        cumulative_cost=_extremes(timeline.cumulative_cost, width),
        forecast=timeline.forecast[forecast_ticks],
        forecast_for_seconds=timeline.forecast_for_seconds[forecast_ticks],
        reasons=tuple(
            (int(np.searchsorted(rows, tick, side="right")) - 1, text)
            for tick, text in timeline.reasons
        ),
    )
