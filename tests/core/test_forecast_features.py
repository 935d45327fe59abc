"""Features tell the same at a tick as in training, and use nothing that came later."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from controller.core.domain.observation import PastTraffic
from controller.core.forecasting import features, jumps
from controller.core.forecasting import model as regression
from controller.core.forecasting import series as demand
from controller.core.forecasting.series import DemandSeries

START = 2810 * 7 * 86_400.0  # whole weeks
HORIZON = 75.0


def seeded(rates: NDArray[np.float64], start: float = START) -> DemandSeries:
    """A history of minutes with these rates."""
    unknown = np.full(len(rates), np.nan)
    return demand.seeded(
        PastTraffic(
            from_seconds=start,
            step_seconds=60.0,
            requests=60.0 * rates,
            prompt_tokens_mean=unknown,
            output_tokens_mean=unknown,
        )
    )


def jumping(days: float, seed: int = 0) -> NDArray[np.float64]:
    """Rates by the minute: 20/s, and five minutes of 60/s from minute :30 of every second hour."""
    rng = np.random.default_rng(seed)
    minute = np.arange(int(1440 * days))
    high = (minute % 120 >= 30) & (minute % 120 < 35)
    rates = np.where(high, 60.0, 20.0)
    return np.asarray(rng.poisson(60.0 * rates) / 60.0)


def test_a_tick_on_a_minute_reads_the_row_it_is_trained_on() -> None:
    """At the end of a clock minute, the live row is the training row."""
    series = seeded(jumping(9))
    rows = features.rows_of(series, HORIZON)
    row = features.row_of(series, HORIZON)
    assert row is not None
    np.testing.assert_allclose(row.linear, rows.linear[-1], atol=1e-5)
    np.testing.assert_allclose(row.base, rows.base[-1], rtol=1e-6)
    assert row.target_minute == rows.target_minute[-1]


@settings(deadline=None, max_examples=20)
@given(cut=st.integers(1500, 2800), horizon=st.sampled_from((60.0, 75.0, 150.0, 210.0)))
def test_rows_know_nothing_of_what_comes_later(cut: int, horizon: float) -> None:
    """The row of an origin is the same with all later minutes cut off."""
    rates = jumping(2)
    whole = features.rows_of(seeded(rates), horizon)
    part = features.rows_of(seeded(rates[:cut]), horizon)
    np.testing.assert_allclose(part.linear, whole.linear[:cut], atol=1e-9)
    assert np.isnan(part.target[-1])


def test_targets_lie_one_horizon_ahead() -> None:
    """The target is the minute that begins a horizon later, mixed where it lies between two."""
    rates = np.arange(10.0)
    np.testing.assert_array_equal(features.targets(rates, 60.0)[:3], [2.0, 3.0, 4.0])
    np.testing.assert_array_equal(features.targets(rates, 75.0)[:3], [2.25, 3.25, 4.25])
    assert np.isnan(features.targets(rates, 75.0)[-3:]).all()


def test_unseen_minutes_count_as_no_change() -> None:
    """Rows beside a gap are finite; a row whose own minute is unseen has no base."""
    rates = jumping(2)
    rates[2000:2030] = np.nan
    rows = features.rows_of(seeded(rates), HORIZON)
    assert np.isfinite(rows.linear).all()
    assert np.isnan(rows.base[2000:2030]).all()
    assert features.row_of(seeded(rates[:2010]), HORIZON) is None


def test_silence_has_features() -> None:
    """No arrivals at all is a rate of zero, not a crash."""
    row = features.row_of(seeded(np.zeros(200)), HORIZON)
    assert row is not None
    assert np.isfinite(row.linear).all()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 100) | st.just(float("nan")), min_size=1, max_size=80))
def test_rolling_maximum_is_the_maximum_of_the_window(values: list[float]) -> None:
    """Doubling gives what a plain loop gives, NaN left out."""
    rates = np.array(values)
    for length in (1, 2, 7, 60):
        fast = features.rolling_maximum(rates, length)
        for i, got in enumerate(fast):
            window = rates[max(i - length + 1, 0) : i + 1]
            assert np.array_equal(got, np.fmax.reduce(window), equal_nan=True)


def fitted(series: DemandSeries, horizon: float = HORIZON) -> regression.Model:
    """A model of the whole series."""
    model = regression.begun(series.end_minute)
    for step in range(regression.FIT_STEPS):
        model = regression.advanced(model, step, series, horizon, None)
    return model


def test_scheduled_jumps_are_learnt() -> None:
    """Before a jump on the schedule high levels rise to it, and stay down at other times."""
    rates = jumping(5)
    series = seeded(rates)
    model = fitted(series)
    assert model.complete
    assert len(model.jump) == 1 + features.LINEAR_TERMS + features.MINUTE_TERMS
    jump_ahead, no_jump = 4 * 1440 + 29, 4 * 1440 + 10
    said = {}
    for end in (jump_ahead, no_jump):
        row = features.row_of(seeded(rates[:end]), HORIZON)
        assert row is not None
        said[end] = regression.quantiles_at(model, row)
    assert said[jump_ahead][3] > 45.0
    assert said[no_jump][3] < 30.0


def test_a_live_quantile_is_the_trained_one() -> None:
    """The fast path at a tick and the one over many origins give the same quantiles."""
    series = seeded(jumping(3))
    model = fitted(series)
    rows = features.rows_of(series, HORIZON)
    row = features.row_of(series, HORIZON)
    assert row is not None
    many = regression.quantiles_of(model, rows, np.array([len(rows.base) - 1]))
    np.testing.assert_allclose(regression.quantiles_at(model, row), many[0], rtol=1e-4)


def test_without_jumps_there_are_no_odds() -> None:
    """Smooth demand gives no jump coefficients, and the levels are fitted all the same."""
    minute = np.arange(2 * 1440)
    model = fitted(seeded(50.0 + 20.0 * np.sin(2 * np.pi * minute / 1440)))
    assert len(model.jump) == 0
    assert model.complete


def test_a_fit_ends_where_it_is_told() -> None:
    """Minutes after the end of a fit change nothing in it: the back-test does not leak."""
    rates = jumping(3)
    other = rates.copy()
    other[2880:] *= 3.0
    models = []
    for values in (rates, other):
        series = seeded(values)
        model = regression.begun(series.first_minute + 2880)
        for step in range(regression.FIT_STEPS):
            model = regression.advanced(model, step, series, HORIZON, None)
        models.append(model)
    np.testing.assert_array_equal(models[0].jump, models[1].jump)
    np.testing.assert_array_equal(models[0].levels, models[1].levels)


def test_log_odds_recover_probabilities() -> None:
    """The logistic fit finds the share of jumps in each of two groups."""
    rng = np.random.default_rng(0)
    group = np.repeat((0.0, 1.0), 5000)
    jumped = rng.random(10_000) < np.where(group > 0, 0.3, 0.02)
    design = np.column_stack((np.ones(10_000), group))
    coefficients = jumps.fitted(design, jumped)
    assert coefficients is not None
    odds = 1 / (1 + np.exp(-np.array((coefficients[0], coefficients.sum()))))
    np.testing.assert_allclose(odds, (0.02, 0.3), atol=0.02)
    np.testing.assert_allclose(
        jumps.hinges(np.array([-3.0, 0.0])), [jumps.hinges_at(-3.0), jumps.hinges_at(0.0)]
    )


def test_rows_do_not_change_with_whole_weeks() -> None:
    """The same demand three weeks later has the same features."""
    series = seeded(jumping(2))
    later = replace(series, first_minute=series.first_minute + 3 * 7 * 1440)
    np.testing.assert_array_equal(
        features.rows_of(series, HORIZON).linear, features.rows_of(later, HORIZON).linear
    )
