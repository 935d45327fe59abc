"""Crane's DSP on hand-made series; its own answers are compared in test_vectors.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.peers.crane.estimators import FftEstimator, MaxValueEstimator
from simulations.peers.crane.law import Forecast, backtest_error, fitted, refit
from simulations.peers.crane.periodicity import DAY_SECONDS, WEEK_SECONDS, period_seconds
from simulations.peers.crane.preprocessing import preprocessed, without_outliers

STEP = 600.0
PER_DAY = 144


def daily(days: int, seed: int = 0) -> np.ndarray:
    """A series with a peak each day, some noise, and no trend."""
    phase = 2.0 * np.pi * np.arange(days * PER_DAY) / PER_DAY
    noise = np.random.default_rng(seed).normal(0.0, 2.0, days * PER_DAY)
    return 100.0 - 50.0 * np.cos(phase) + noise


@pytest.mark.parametrize(("short", "error"), [(0.1, 0.472), (0.5, 3.106)])
def test_an_estimate_too_low_counts_for_more(short: float, error: float) -> None:
    """The amplified errors are those that the reference computes by hand."""
    actual = np.full(4, 10.0)
    assert backtest_error(actual, actual * (1.0 - short)) == pytest.approx(error, abs=5e-4)
    assert backtest_error(actual, actual * (1.0 + short)) == pytest.approx(short)


def test_one_value_next_to_zero_makes_the_error_absolute() -> None:
    """Relative errors give way to the mean absolute one as soon as any actual value is zero."""
    assert backtest_error(np.array([0.0, 100.0]), np.array([3.0, 101.0])) == pytest.approx(2.0)


def test_short_gaps_are_filled_and_long_ones_forget() -> None:
    """Gaps up to an hour are interpolated; what lies before a longer one is dropped."""
    at = [0.0, 1200.0, 7200.0, 7800.0, 8400.0, 9600.0, 10200.0]
    values = [9.0, 9.0, 1.0, 2.0, 3.0, 5.0, 6.0]
    assert preprocessed(at, values, STEP).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert len(preprocessed(at[:5], values[:5], STEP)) == 0


@pytest.mark.parametrize("bad", [[0.0, 0.0], [600.0, 0.0], [0.0, 700.0]])
def test_uneven_samples_are_told(bad: list[float]) -> None:
    """Samples that are not a positive multiple of the step apart are no series."""
    with pytest.raises(ValueError, match="multiple of 600"):
        preprocessed(bad, [1.0, 2.0], STEP)


def test_outliers_repeat_the_sample_before() -> None:
    """From 1,000 samples on, what lies outside the percentiles repeats its predecessor."""
    series = np.sin(np.arange(2000.0))
    series[500:502] = 90.0
    clean = without_outliers(series)
    assert clean[499] == clean[500] == clean[501] == series[499]
    assert without_outliers(series[:900]).max() == 90.0


def test_a_day_is_found_and_noise_is_not() -> None:
    """The period test accepts a daily series, and neither noise nor a constant."""
    noise = np.random.default_rng(1).normal(50.0, 9.0, 4 * PER_DAY)
    assert period_seconds(daily(4), STEP, np.random.default_rng(0)) == DAY_SECONDS
    assert period_seconds(noise, STEP, np.random.default_rng(0)) is None
    assert period_seconds(np.full(4 * PER_DAY, 7.0), STEP, np.random.default_rng(0)) is None


def test_a_week_needs_two_of_them() -> None:
    """Weekly load is a week where two are known, and at most a day before."""
    days = np.repeat(np.tile([1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1], 2), PER_DAY)
    series = daily(14) * days
    assert period_seconds(series, STEP, np.random.default_rng(0)) == WEEK_SECONDS
    found = period_seconds(series[: 13 * PER_DAY], STEP, np.random.default_rng(0))
    assert found in (None, DAY_SECONDS)


def test_less_than_two_days_is_no_forecast() -> None:
    """Before 48 h there is no forecast, from then on there is."""
    random = np.random.default_rng(0)
    assert refit(daily(2)[1:], STEP, random) is None
    assert refit(daily(2), STEP, random) is not None


def test_a_clean_season_is_forecast_as_it_was() -> None:
    """Noise-free load comes back with the least margin, phase by phase."""
    phase = 2.0 * np.pi * np.arange(4 * PER_DAY) / PER_DAY
    series = 100.0 - 50.0 * np.cos(phase)
    fit = fitted(series, STEP, DAY_SECONDS)
    assert fit is not None
    assert fit.best == 0
    assert fit.forecast == pytest.approx(1.01 * series[:PER_DAY])


def test_the_highest_of_every_phase() -> None:
    """The max-value estimator looks at each phase by itself."""
    series = np.array([1.0, 8.0, 3.0, 4.0, 2.0, 9.0])
    assert MaxValueEstimator(margin=0.5).estimate(series, 2, STEP).tolist() == [4.5, 13.5]


def test_an_estimate_is_above_zero() -> None:
    """What the filter leaves below zero is a hundredth, since zero would be no metric."""
    phase = 2.0 * np.pi * np.arange(2 * PER_DAY) / PER_DAY
    below = 10.0 - 50.0 * np.cos(phase)
    estimator = FftEstimator(least_items=3, low_amplitude=1.0, margin=0.1)
    estimate = estimator.estimate(below, PER_DAY, STEP)
    assert estimate.min() == pytest.approx(0.011)
    assert estimate.max() == pytest.approx(66.0)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 4), st.floats(0.5, 20.0), st.integers(0, 9))
def test_a_forecast_scales_with_its_series_but_for_the_amplitudes(
    days: int, factor: float, seed: int
) -> None:
    """With thresholds scaled alike, twice the load is twice the forecast."""
    series = daily(days, seed)
    small = FftEstimator(least_items=3, low_amplitude=1.0, margin=0.1)
    large = FftEstimator(least_items=3, low_amplitude=factor, margin=0.1)
    once, scaled = (
        estimator.estimate(load, PER_DAY, STEP)
        for estimator, load in ((small, series), (large, factor * series))
    )
    # A bin on the threshold may go either way by rounding: it is worth the threshold at most.
    assert np.abs(scaled / factor - once).max() <= 2.0 * 1.1 * np.abs(series).max() * 0.02


def test_the_metric_is_the_highest_of_the_coming_hour() -> None:
    """Both ends of the hour count, its beginning is cut to the step, and an end is an end."""
    forecast = Forecast(from_seconds=6000.0, step_seconds=600.0, values=np.arange(10.0)[::-1])
    assert forecast.highest(6000.0) == 9.0
    assert forecast.highest(6599.0) == 9.0
    assert forecast.highest(6600.0) == 8.0
    assert forecast.highest(2400.0) == 9.0
    assert forecast.highest(2399.0) is None
    assert forecast.highest(11_400.0) == 0.0
    assert forecast.highest(12_000.0) is None
