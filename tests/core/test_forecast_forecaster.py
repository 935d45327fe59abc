"""The forecasting stage as the planner sees it."""

import json
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from controller.core.domain.observation import PastTraffic, Traffic
from controller.core.forecasting import forecaster
from controller.core.forecasting.candidates import Candidate
from controller.core.forecasting.forecaster import Forecast, ForecastState
from controller.core.forecasting.serialization import from_json, to_json
from controller.core.forecasting.trust import judged

WEEK = 7 * 86_400.0
START = 2810 * WEEK
HORIZON = 75.0


def window(end: float, rate: float, seconds: float = 15.0) -> Traffic:
    """Traffic at ``rate`` with 200 prompt and 50 output tokens a request."""
    requests = rate * seconds
    return Traffic(
        from_seconds=end - seconds,
        to_seconds=end,
        requests=requests,
        refused=0.0,
        token_requests=requests,
        prompt_tokens=200.0 * requests,
        output_tokens=50.0 * requests,
    )


def past(rates: NDArray[np.float64], start: float) -> PastTraffic:
    """Past traffic by the minute."""
    return PastTraffic(
        from_seconds=start,
        step_seconds=60.0,
        requests=60.0 * rates,
        prompt_tokens_mean=np.full(len(rates), 200.0),
        output_tokens_mean=np.full(len(rates), 50.0),
    )


def scheduled(minutes: int, seed: int = 0) -> NDArray[np.float64]:
    """20/s, and six minutes of 60/s from minute :32 of every hour, counted with noise."""
    rng = np.random.default_rng(seed)
    minute = np.arange(minutes)
    rates = np.where((minute % 60 >= 32) & (minute % 60 < 38), 60.0, 20.0)
    return np.asarray(rng.poisson(60.0 * rates) / 60.0)


def told(state: ForecastState, horizon: float = HORIZON) -> Forecast:
    """The forecast right after the last observation."""
    forecast = forecaster.forecast(state, horizon, state.series.end_seconds)
    assert forecast is not None
    return forecast


def lived(
    state: ForecastState, rates: list[float | None], start: float = START
) -> list[ForecastState]:
    """The states after ticks of 15 s at these rates, None: missing."""
    states = []
    for i, rate in enumerate(rates):
        now = start + 15.0 * (i + 1)
        state = forecaster.observe(state, None if rate is None else window(now, rate), now)
        states.append(state)
    return states


def fresh(**changes: Any) -> ForecastState:
    """A state of one horizon that has seen nothing."""
    return forecaster.initial(None, horizons_seconds=(HORIZON,), **changes)


def two_and_a_half_days(start: float = START, *, prepare: bool = True) -> ForecastState:
    """A state whose past holds scheduled jumps."""
    rates = scheduled(3600)
    return forecaster.initial(past(rates, start), horizons_seconds=(HORIZON,), prepare=prepare)


def test_nothing_seen_gives_no_forecast() -> None:
    """Before any observation, and after only missing ones, there is no forecast, not zero."""
    assert forecaster.forecast(fresh(), HORIZON, START) is None
    assert forecaster.forecast(lived(fresh(), [None] * 5)[-1], HORIZON, START + 75) is None


def test_the_first_forecast_is_persistence_with_a_margin() -> None:
    """One tick is enough to say the level, a spread around it, and that it is not trusted."""
    forecast = told(lived(fresh(), [10.0])[-1])
    assert forecast.source is Candidate.PERSISTENCE
    assert forecast.source == "persistence"
    assert forecast.level == pytest.approx(10.0)
    assert not forecast.trust.trusted
    assert forecast.trust.reason == "0 of 500 targets scored"
    assert forecast.quantiles[0] == pytest.approx(10.0, rel=0.01)
    assert 1.1 < forecast.quantiles[3] / forecast.level < 1.4
    assert forecast.at_seconds == START + 15.0 + HORIZON
    assert forecast.prompt_tokens_mean == pytest.approx(200.0)
    assert forecaster.token_means(lived(fresh(), [10.0])[-1]) == pytest.approx((200.0, 50.0))


rate = st.none() | st.floats(0.0, 1e4)


@settings(deadline=None, max_examples=25)
@given(st.lists(rate, min_size=1, max_size=120))
def test_quantiles_are_finite_ascending_and_never_negative(rates: list[float | None]) -> None:
    """Whatever comes or stays away, a forecast is usable."""
    for state in lived(fresh(), rates):
        if state.seen:
            forecast = told(state)
            assert np.isfinite(forecast.quantiles).all()
            assert (forecast.quantiles >= 0).all()
            assert (np.diff(forecast.quantiles) >= 0).all()
            assert forecast.level >= 0


@settings(deadline=None, max_examples=15)
@given(st.lists(rate, min_size=5, max_size=60), st.integers(1, 100))
def test_whole_weeks_change_nothing(rates: list[float | None], weeks: int) -> None:
    """The same demand weeks later is forecast the same."""
    here = lived(fresh(), rates)[-1]
    later = lived(fresh(), rates, START + weeks * WEEK)[-1]
    if here.seen:
        np.testing.assert_array_equal(told(here).candidates, told(later).candidates)


def test_whole_weeks_change_no_fit() -> None:
    """Fits, selection and regression quantiles are the same three weeks later."""
    here, later = two_and_a_half_days(), two_and_a_half_days(START + 3 * WEEK)
    np.testing.assert_array_equal(told(here).candidates, told(later).candidates)
    assert told(here).source is told(later).source


def test_blindness_lowers_nothing() -> None:
    """While observations are missing the forecast stays what it was."""
    states = lived(fresh(), [50.0] * 40 + [None] * 40)
    np.testing.assert_array_equal(told(states[39]).quantiles, told(states[-1]).quantiles)
    after = forecaster.observe(states[-1], window(START + 1215, 50.0), START + 1215)
    assert told(after).level == pytest.approx(50.0)
    assert told(after).quantiles[0] == pytest.approx(50.0, rel=0.05)


def test_scheduled_jumps_are_forecast_and_chosen() -> None:
    """With days of jumps at minute :32 the regression is chosen, trusted, and rises in time."""
    state = two_and_a_half_days()
    now = START + 3600 * 60.0
    seen: dict[int, Forecast] = {}
    for i, rate_now in enumerate(np.repeat(scheduled(45, seed=9), 4)):
        end = now + 15.0 * (i + 1)
        state = forecaster.observe(state, window(end, float(rate_now)), end)
        seen[i + 1] = told(state)
    # 75 s ahead of minute :32 is tick 4 * 32 - 5; well before, the level is all there is.
    before, quiet = seen[4 * 32 - 5], seen[4 * 20]
    for forecast in (before, quiet):
        assert forecast.source is Candidate.REGRESSION
        assert forecast.trust.trusted
    assert before.level < 25.0
    assert before.quantiles[2] > 50.0
    assert before.persistence_quantiles[2] < 40.0
    assert quiet.quantiles[2] < 27.0
    assert 50.0 < before.attaining_rate < 80.0
    trust = told(state).trust
    assert trust.coverage[3] == pytest.approx(0.95, abs=0.02)
    assert trust.wape < judged(state.horizons[0].calibration, 0).wape


def test_without_regression_persistence_decides() -> None:
    """The ablation keeps plain persistence with its calibrated spread."""
    state = forecaster.initial(
        past(scheduled(3600), START), horizons_seconds=(HORIZON,), regression=False
    )
    forecast = told(state)
    assert forecast.source is Candidate.PERSISTENCE
    assert forecast.trust.trusted
    assert np.isnan(forecast.candidates[2]).all()


def test_work_is_spread_over_ticks_or_done_at_once() -> None:
    """Unprepared, the same model is there after as many ticks as there are jobs."""
    prepared, lazy = two_and_a_half_days(), two_and_a_half_days(prepare=False)
    assert lazy.horizons[0].model is None
    now = START + 3600 * 60.0
    for i in range(3):  # less than a minute: nothing new to learn from
        lazy = forecaster.observe(lazy, window(now + 15.0 * (i + 1), 20.0), now + 15.0 * (i + 1))
    assert lazy.horizons[0].model is None
    for i in range(3, 20):
        lazy = forecaster.observe(lazy, window(now + 15.0 * (i + 1), 20.0), now + 15.0 * (i + 1))
    model, reference = lazy.horizons[0].model, prepared.horizons[0].model
    assert model is not None
    assert reference is not None
    np.testing.assert_allclose(model.levels, reference.levels, atol=0.3)


def test_horizons_are_tracked_as_asked_for() -> None:
    """A new horizon replaces those no longer asked for; one that drifts a little stays."""
    state = lived(fresh(), [10.0] * 20)[-1]
    now = state.series.end_seconds + 15.0
    drifted = forecaster.observe(state, window(now, 10.0), now, horizons_seconds=(80.0,))
    assert [h.horizon_seconds for h in drifted.horizons] == [75.0]
    moved = forecaster.observe(state, window(now, 10.0), now, horizons_seconds=(80.0, 200.0))
    assert [h.horizon_seconds for h in moved.horizons] == [75.0, 200.0]
    assert told(moved, 190.0).horizon_seconds == 190.0


@pytest.mark.parametrize("horizons", [(), (0.0,), (60.0, 90.0, 120.0, 150.0)])
def test_impossible_horizons_are_refused(horizons: tuple[float, ...]) -> None:
    """None, more than three, and ones not ahead are errors that name the field."""
    with pytest.raises(ValueError, match="horizons_seconds"):
        forecaster.initial(None, horizons_seconds=horizons)


def test_impossible_targets_and_times_are_refused() -> None:
    """An attainment of one cannot be planned for, and nothing is observed before it happens."""
    with pytest.raises(ValueError, match="target_attainment"):
        fresh(target_attainment=1.0)
    with pytest.raises(ValueError, match="lies after now"):
        forecaster.observe(fresh(), window(START + 30, 1.0), START + 15)


def arrays_of(value: object) -> list[NDArray[Any]]:
    """Every array inside a state."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, tuple):
        return [array for item in value for array in arrays_of(item)]
    if is_dataclass(value):
        return [a for field in fields(value) for a in arrays_of(getattr(value, field.name))]
    return []


def test_a_tick_changes_nothing_it_was_given() -> None:
    """All arrays of the old state are as they were."""
    state = lived(fresh(), [10.0] * 50)[-1]
    held = [array.copy() for array in arrays_of(state)]
    lived(state, [10.0] * 10, state.series.end_seconds)
    for array, before in zip(arrays_of(state), held, strict=True):
        np.testing.assert_array_equal(array, before)


def test_the_state_survives_json() -> None:
    """Written out as JSON and read back, a state goes on exactly as the original would."""
    state = two_and_a_half_days()
    copy = from_json(json.loads(json.dumps(to_json(state), allow_nan=False)))
    now = state.series.end_seconds
    rates: list[float | None] = [20.0, None, 25.0, 60.0, 60.0, 20.0]
    ours, theirs = lived(state, rates, now)[-1], lived(copy, rates, now)[-1]
    np.testing.assert_array_equal(told(ours).candidates, told(theirs).candidates)
    assert told(ours).trust == told(theirs).trust


@pytest.mark.parametrize(
    "damaged", [{}, {"version": 99}, {"version": 1}, {"version": 1, "state": {"type": "X"}}]
)
def test_damaged_states_are_refused(damaged: dict[str, Any]) -> None:
    """A state of another version or shape is an error, not a crash later on."""
    with pytest.raises(ValueError, match="forecast state"):
        from_json(damaged)


def test_memory_is_bounded() -> None:
    """A state stays below a megabyte after 14 days."""
    rates = np.tile(scheduled(1440), 15)
    state = forecaster.initial(past(rates, START), horizons_seconds=(HORIZON,), prepare=False)
    end = state.series.end_seconds
    state = lived(state, [20.0] * 60, end)[-1]
    assert sum(array.nbytes for array in arrays_of(state)) < 1_000_000
