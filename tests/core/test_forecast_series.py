"""The bounded history of demand: what was seen is counted once, what was not is never zero."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.observation import PastTraffic, Traffic
from controller.core.forecasting import series as demand
from controller.core.forecasting.candidates import level_of
from controller.core.forecasting.series import DemandSeries

START = 1_700_006_400.0  # a whole number of minutes


def window(start: float, end: float, requests: float, tokens: float = 0.0) -> Traffic:
    """Traffic of which every request had ``tokens`` prompt and half as many output tokens."""
    return Traffic(
        from_seconds=start,
        to_seconds=end,
        requests=requests,
        refused=0.0,
        token_requests=requests if tokens else 0.0,
        prompt_tokens=requests * tokens,
        output_tokens=requests * tokens / 2,
    )


def fed(counts: list[float | None], step: float = 15.0) -> DemandSeries:
    """A series fed window by window; None is a window that was not seen."""
    series = demand.empty()
    for i, count in enumerate(counts):
        if count is not None:
            start = START + i * step
            series = demand.appended(series, window(start, start + step, count))
    return series


def past(requests: list[float], step: float = 60.0) -> PastTraffic:
    """Past traffic without known tokens."""
    unknown = np.full(len(requests), np.nan)
    return PastTraffic(
        from_seconds=START,
        step_seconds=step,
        requests=np.array(requests),
        prompt_tokens_mean=unknown,
        output_tokens_mean=unknown,
    )


def test_recent_rates_are_those_of_their_windows() -> None:
    """The rate over the last 15, 30 and 60 s is the mean of as many windows."""
    series = fed([15.0, 30.0, 45.0, 60.0, 75.0])
    rates = [series.recent_rate(seconds) for seconds in (15.0, 30.0, 60.0)]
    assert rates == pytest.approx([5.0, 4.5, 3.5])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.none() | st.floats(0, 1e5), min_size=8, max_size=60))
def test_minutes_are_means_of_what_was_seen(counts: list[float | None]) -> None:
    """A closed minute is the mean of its seen windows, and unseen below half of it."""
    series = fed(counts)
    for i, minute in enumerate(series.minutes):
        first = 4 * (series.first_minute + i - int(START // 60))
        seen = [count for count in counts[first : first + 4] if count is not None]
        if len(seen) >= 2:
            assert minute == pytest.approx(np.mean(seen) / 15.0, rel=1e-5, abs=1e-6)
        else:
            assert np.isnan(minute)


def test_a_gap_is_not_zero() -> None:
    """Unseen windows leave the recent rate at what was seen before and after."""
    series = fed([30.0] * 8 + [None] * 40 + [30.0] * 2)
    assert series.recent_rate(60.0) == pytest.approx(2.0)
    assert series.recent_rate(600.0) == pytest.approx(2.0)
    assert np.isnan(series.minutes).any()
    assert np.nanmin(series.minutes) == pytest.approx(2.0)


def test_one_long_window_fills_its_minutes_with_its_mean() -> None:
    """Counters read again after ten minutes give the mean of those ten minutes."""
    series = demand.appended(fed([30.0] * 8), window(START + 120, START + 720, 1200.0))
    assert series.minutes[2:] == pytest.approx([2.0] * 10)


def test_repeated_and_overlapping_windows_count_once() -> None:
    """A window seen twice adds nothing; of an overlapping one its later part counts."""
    once = fed([30.0] * 8)
    again = demand.appended(once, window(START + 105, START + 120, 30.0))
    assert again is once
    overlapping = demand.appended(once, window(START + 105, START + 135, 60.0))
    assert overlapping.fine[2, -1] - once.fine[2, -1] == pytest.approx(30.0)


@pytest.mark.parametrize("requests", [-1.0, float("nan")])
def test_impossible_counts_are_refused(requests: float) -> None:
    """Negative and NaN counts are errors that name the way to say missing."""
    with pytest.raises(ValueError, match="pass Missing"):
        demand.appended(demand.empty(), window(START, START + 15, requests))


def test_memory_is_bounded() -> None:
    """Ten days in 1 s windows keep the fine part and the minutes within their bounds."""
    series = demand.seeded(past([60.0] * 30_000))
    assert len(series.minutes) == demand.MAX_MINUTES
    end = series.end_seconds
    for i in range(2000):
        series = demand.appended(series, window(end + i, end + i + 1, 1.0))
    assert series.fine.shape[1] <= demand.MAX_FINE
    assert len(series.minutes) == demand.MAX_MINUTES
    assert series.end_seconds == end + 2000


def test_appending_leaves_the_old_series_as_it_was() -> None:
    """The state before a tick is not changed by the tick."""
    old = fed([30.0] * 20)
    fine, minutes = old.fine.copy(), old.minutes.copy()
    demand.appended(old, window(START + 300, START + 360, 600.0))
    np.testing.assert_array_equal(old.fine, fine)
    np.testing.assert_array_equal(old.minutes, minutes)


def test_token_means_cover_fifteen_minutes_and_then_stay() -> None:
    """Means come from requests with known tokens, and hold while none are known."""
    series = demand.empty()
    for i in range(240):
        tokens = 100.0 if i < 120 else 300.0
        start = START + 15.0 * i
        series = demand.appended(series, window(start, start + 15.0, 100.0, tokens))
    assert series.prompt_tokens_mean == pytest.approx(300.0, rel=1e-4)
    assert series.output_tokens_mean == pytest.approx(150.0, rel=1e-4)
    for i in range(240, 400):
        start = START + 15.0 * i
        series = demand.appended(series, window(start, start + 15.0, 10.0))
    assert series.prompt_tokens_mean == pytest.approx(300.0, rel=1e-4)


def test_a_few_odd_requests_after_a_pause_do_not_make_the_mean() -> None:
    """What was known before counts as some requests more than a window's own."""
    series = demand.appended(demand.empty(), window(START, START + 60.0, 1000.0, 100.0))
    later = START + 3600.0
    series = demand.appended(series, window(later, later + 60.0, 5.0, 1000.0))
    assert 100.0 < series.prompt_tokens_mean < 150.0


def test_peaks_are_the_highest_minutes_of_their_spans() -> None:
    """The peak of an hour forgets what that of six hours and of the week still know."""
    rates = [1.0] * 600
    rates[20], rates[300], rates[570] = 9.0, 7.0, 5.0
    seeded = demand.seeded(past([60.0 * rate for rate in rates]))
    fed_on = demand.appended(seeded, window(START + 36_000, START + 36_060, 60.0))
    for series in (seeded, fed_on):
        peaks = (series.peak_hour, series.peak_six_hours, series.peak_week)
        assert peaks == (5.0, 7.0, 9.0)
        assert series.peak_of(60) == series.peak_hour


def test_coarse_past_is_kept_but_not_learnt_from() -> None:
    """Steps of ten minutes give a line through their middles, and nothing to fit on."""
    series = demand.seeded(past([600.0, 1200.0, np.nan, 1200.0, 1200.0], step=600.0))
    assert series.learnable_from == series.end_minute
    assert series.minutes[9] == pytest.approx(1.475, abs=0.05)
    assert np.isnan(series.minutes[25])
    assert demand.seeded(past([60.0] * 5)).learnable_from == int(START // 60)


def test_seeding_refuses_what_cannot_be() -> None:
    """A step without length and a negative count are errors that name the field."""
    with pytest.raises(ValueError, match="step_seconds"):
        demand.seeded(past([1.0], step=0.0))
    with pytest.raises(ValueError, match="requests"):
        demand.seeded(past([-1.0]))


def test_seeded_history_continues_into_live_windows() -> None:
    """The recent rate and minutes are there from the first tick on, gap or not."""
    series = demand.seeded(past([120.0] * 30))
    assert series.recent_rate(30.0) == pytest.approx(2.0)
    later = demand.appended(series, window(START + 3600, START + 3660, 240.0))
    assert later.recent_rate(60.0) == pytest.approx(4.0)
    assert np.isnan(later.minutes[30:60]).all()
    assert later.minutes[60] == pytest.approx(4.0)


def test_a_jump_is_believed_at_once() -> None:
    """A rate that doubles within the mean's half minute is not averaged with what was before."""
    series = demand.empty()
    for i, requests in enumerate([1500.0] * 8 + [3000.0]):
        start = START + 15.0 * i
        series = demand.appended(series, window(start, start + 15.0, requests))
    assert 180.0 < level_of(series) <= 200.0


@given(count=st.integers(0, 5000))
def test_steady_traffic_is_its_mean(count: int) -> None:
    """Without a jump the level is the mean of half a minute."""
    series = demand.empty()
    for i in range(8):
        start = START + 15.0 * i
        series = demand.appended(series, window(start, start + 15.0, float(count)))
    assert level_of(series) == pytest.approx(count / 15.0)
