"""Shortened timelines: no peak is lost, and nothing is drawn that did not happen."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulations.report.reduction import reduced
from simulations.results import Comparison, Timeline

VALUES = st.one_of(st.floats(0.0, 1e6), st.just(float("nan")))


def _timeline(series: NDArray[np.float64]) -> Timeline:
    ticks = len(series)
    replicas = np.nan_to_num(series).astype(np.int64)[:, None]
    return Timeline(
        variants=("only",),
        quantile_levels=(0.5, 0.9),
        at_seconds=np.arange(ticks) * 15.0,
        arrivals_per_second=series,
        wanted=replicas,
        ready=replicas,
        ttft_p95_seconds=series,
        tpot_p95_seconds=series,
        good_share=series,
        cumulative_cost=np.cumsum(np.nan_to_num(series)),
        forecast=np.column_stack((series, series + 1.0)),
        forecast_for_seconds=np.arange(ticks) * 15.0 + 120.0,
        reasons=tuple((tick, f"reason {tick}") for tick in range(0, ticks, 7)),
    )


@settings(deadline=None)
@given(series=st.lists(VALUES, min_size=1, max_size=300), points=st.integers(4, 400))
def test_extremes_survive_and_no_value_is_invented(series: list[float], points: int) -> None:
    """The whole range of every series is kept, within the number of points asked for."""
    full = _timeline(np.array(series))
    short = reduced(full, points)
    assert len(short.at_seconds) <= max(points, 2)
    known = full.arrivals_per_second[np.isfinite(full.arrivals_per_second)]
    for name in ("arrivals_per_second", "ttft_p95_seconds", "good_share"):
        kept = getattr(short, name)
        assert len(kept) == len(short.at_seconds)
        kept = kept[np.isfinite(kept)]
        assert np.isin(kept, known).all()
        if len(known):
            assert kept.max() == known.max()
            assert kept.min() == known.min()
    assert short.wanted.max() == full.wanted.max()
    assert np.all(np.diff(short.at_seconds) >= 0.0)
    assert np.all(np.diff(short.cumulative_cost) >= 0.0)
    assert short.wanted.shape == short.ready.shape == (len(short.at_seconds), 1)


@settings(deadline=None)
@given(series=st.lists(VALUES, min_size=20, max_size=300))
def test_a_forecast_keeps_its_levels_and_target_together(series: list[float]) -> None:
    """Each drawn forecast is one that was made, for the time it was made for."""
    full = _timeline(np.array(series))
    short = reduced(full, 10)
    for target, row in zip(short.forecast_for_seconds, short.forecast, strict=True):
        tick = int((target - 120.0) / 15.0)
        np.testing.assert_array_equal(row, full.forecast[tick])


def test_a_short_timeline_is_left_alone() -> None:
    """What fits is drawn tick by tick."""
    full = _timeline(np.arange(100.0))
    assert reduced(full, 100) is full


def test_reasons_point_to_the_row_at_or_before_their_tick() -> None:
    """A reason never moves to a later moment, nor by more than a row."""
    full = _timeline(np.arange(1000.0))
    short = reduced(full, 50)
    gap = np.max(np.diff(short.at_seconds))
    for (row, text), (tick, same) in zip(short.reasons, full.reasons, strict=True):
        assert text == same
        assert 0.0 <= full.at_seconds[tick] - short.at_seconds[row] < gap


def test_a_spike_of_one_tick_is_still_there(make_comparison: Callable[[int], Comparison]) -> None:
    """A fortnight on 3000 points keeps the one tick on which latency was worst."""
    timeline = make_comparison(5760).policies[0].timeline
    ttft = timeline.ttft_p95_seconds.copy()
    ttft[4321] = 77.0
    short = reduced(replace(timeline, ttft_p95_seconds=ttft), 200)
    assert np.nanmax(short.ttft_p95_seconds) == 77.0


def test_a_policy_without_forecast_is_shortened_too(
    make_comparison: Callable[[int], Comparison],
) -> None:
    """No quantile levels means no forecast columns, before and after."""
    timeline = make_comparison(1000).policies[0].timeline
    assert timeline.forecast.shape == (1000, 0)
    short = reduced(timeline, 100)
    assert short.forecast.shape == (len(short.at_seconds), 0)
