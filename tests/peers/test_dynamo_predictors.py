"""Dynamo's predictors and regression of forward passes, on hand-made cases and by their laws."""

import importlib
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.peers.dynamo import predictors
from simulations.peers.dynamo.predictors import (
    CLASSIC,
    PRESENT,
    PredictorKind,
    PredictorMemory,
    PredictorSpec,
    predict,
    require,
)
from simulations.peers.dynamo.regression import (
    MIN_SAMPLES,
    ForwardPass,
    PassKind,
    PassModel,
    fitted_from_1_5,
    fitted_until_1_2,
    regression_until_1_2,
)
from simulations.peers.dynamo.samples import SampleStore
from simulations.peers.dynamo.traffic import TrafficMemory, TrafficWindow, predict_traffic
from simulations.peers.peer import NotApplicable

CHEAP = (PredictorKind.CONSTANT, PredictorKind.KALMAN)
LOADS = st.lists(st.floats(0.0, 1e6), max_size=30)
NOISY = [200.0, 230.0, 190.0, 260.0, 250.0, 300.0, 240.0, 310.0]


def followed(
    kind: PredictorKind, values: Sequence[float], spec: PredictorSpec = PRESENT
) -> tuple[list[float], PredictorMemory | None]:
    """Forecast after each point, and the last memory."""
    memory = None
    forecasts = []
    for value in values:
        forecast, memory = predict(kind, (value,), memory, spec=spec)
        forecasts.append(forecast)
    return forecasts, memory


@pytest.mark.parametrize("kind", list(PredictorKind))
def test_zeros_before_the_first_load_are_no_points(kind: PredictorKind) -> None:
    """An idle start leaves no trace, and what is no number counts as a 0."""
    forecasts, memory = followed(kind, [0.0, math.nan, math.inf, 0.0])
    assert forecasts == [0.0] * 4
    assert memory is not None
    assert memory.count == 0
    forecast, memory = predict(kind, (7.0,), memory)
    assert (forecast, memory.count) == (7.0, 1)
    assert predict(kind, (0.0,), memory)[1].count == 2


@pytest.mark.parametrize("kind", list(PredictorKind))
def test_a_few_points_are_repeated(kind: PredictorKind) -> None:
    """Below their least number of points all predictors forecast the last one."""
    assert followed(kind, NOISY[:4])[0] == NOISY[:4]


@pytest.mark.parametrize("kind", CHEAP)
@settings(deadline=None)
@given(values=LOADS, cut=st.integers(0, 30))
def test_points_may_come_in_any_portions(
    kind: PredictorKind, values: list[float], cut: int
) -> None:
    """A forecast depends on the points, not on how many were shown at once, nor on being asked."""
    at_once, _ = predict(kind, values, None)
    _, memory = predict(kind, values[:cut], None)
    _, memory = predict(kind, (), memory)
    in_two, memory = predict(kind, values[cut:], memory)
    assert in_two == at_once
    assert predict(kind, (), memory)[0] == at_once


@settings(deadline=None)
@given(values=LOADS, log1p=st.booleans())
def test_no_present_forecast_is_below_zero(values: list[float], log1p: bool) -> None:  # noqa: FBT001 - a case
    """From 1.6 on a falling load is never forecast below 0."""
    forecast, _ = predict(PredictorKind.KALMAN, values, None, log1p=log1p)
    assert forecast >= 0.0


def test_the_classic_kalman_goes_below_zero_and_starts_at_once() -> None:
    """Up to 1.0 a forecast may be negative, and the trend is followed from the second point."""
    falling = [1000.0, 600.0, 200.0, 0.0]
    assert followed(PredictorKind.KALMAN, falling, CLASSIC)[0][-1] < 0.0
    assert followed(PredictorKind.KALMAN, [100.0, 200.0], CLASSIC)[0][1] > 200.0


def test_kalman_follows_a_ramp() -> None:
    """On a straight line the forecast closes in on the next point."""
    ramp = [50.0 + 10.0 * step for step in range(40)]
    forecasts, _ = followed(PredictorKind.KALMAN, ramp)
    errors = [abs(forecast - then) for forecast, then in zip(forecasts, ramp[1:], strict=False)]
    assert max(errors[20:]) < 0.05 * max(errors)


def test_arima_repeats_a_constant_and_leaves_its_memory() -> None:
    """Equal points are forecast as they are, and the same memory gives the same forecast again."""
    pytest.importorskip("pmdarima")
    assert followed(PredictorKind.ARIMA, [5.0] * 8)[0] == [5.0] * 8
    forecasts, memory = followed(PredictorKind.ARIMA, NOISY)
    assert forecasts[-1] != NOISY[-1]
    first, _ = predict(PredictorKind.ARIMA, (280.0,), memory)
    predict(PredictorKind.ARIMA, (90.0,), memory)
    assert predict(PredictorKind.ARIMA, (280.0,), memory)[0] == first
    assert predict(PredictorKind.ARIMA, (), memory)[0] == forecasts[-1]


def test_arima_that_fails_forecasts_the_last_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in the fit, the last point is forecast, and the next fit has them all."""
    pytest.importorskip("pmdarima")
    arima = importlib.import_module("simulations.peers.dynamo.arima")

    def failing(points: Sequence[float], *, log1p: bool) -> None:
        raise ValueError(len(points), log1p)

    with monkeypatch.context() as broken:
        broken.setattr(arima, "fitted", failing)
        forecasts, memory = followed(PredictorKind.ARIMA, NOISY[:-1])
    assert forecasts[-1] == NOISY[-2]
    healed, _ = predict(PredictorKind.ARIMA, NOISY[-1:], memory)
    at_once, _ = predict(PredictorKind.ARIMA, NOISY, None)
    assert healed == at_once


def test_prophet_sees_its_window_only() -> None:
    """What lies before the last points does not matter, but for the place on the time axis."""
    pytest.importorskip("prophet")
    spec = PredictorSpec(prophet_points=6)
    one, memory = predict(PredictorKind.PROPHET, [900.0, 10.0, *NOISY], None, spec=spec)
    other, _ = predict(PredictorKind.PROPHET, [1.0, 70.0, *NOISY], None, spec=spec)
    assert one == other
    assert memory.points == tuple(NOISY[-6:])


def test_the_classic_prophet_forecasts_its_beginning() -> None:
    """Up to 1.0 it is asked for a time seconds, not intervals, after the series began."""
    pytest.importorskip("prophet")
    ramp = [100.0 + 10.0 * step for step in range(12)]
    present, _ = predict(PredictorKind.PROPHET, ramp, None)
    classic, _ = predict(PredictorKind.PROPHET, ramp, None, spec=CLASSIC)
    assert present == pytest.approx(220.0, rel=0.02)
    assert classic == pytest.approx(100.0, rel=0.02)


def test_an_absent_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a predictor's library is not installed the message says what to install."""

    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(predictors, "import_module", absent)
    require(PredictorKind.CONSTANT)
    require(PredictorKind.KALMAN)
    for kind in (PredictorKind.ARIMA, PredictorKind.PROPHET):
        with pytest.raises(NotApplicable, match=r"steelyard\[peers\]"):
            require(kind)


def test_an_idle_window_repeats_its_tokens() -> None:
    """No requests is a point of 0 requests and of the last tokens; missing tokens are no point."""
    memory: TrafficMemory | None = None
    rows = [(0.0, math.nan), (100.0, 3000.0), (0.0, math.nan), (50.0, math.nan)]
    answers = []
    for requests, tokens in rows:
        window = TrafficWindow(requests=requests, prompt_tokens=tokens, output_tokens=tokens)
        forecast, memory = predict_traffic(PredictorKind.CONSTANT, window, memory)
        answers.append((forecast.requests, forecast.prompt_tokens, forecast.output_tokens))
    assert answers == [(0.0, 0.0, 0.0), (100.0, 3e3, 3e3), (0.0, 3e3, 3e3), (50.0, 3e3, 3e3)]
    assert memory is not None
    assert memory.prompt is not None
    assert memory.prompt.count == 2


PASSES = st.lists(
    st.tuples(st.floats(0.0, 8192.0), st.floats(0.0, 4e5), st.floats(0.1, 500.0)),
    min_size=1,
    max_size=120,
)


@settings(deadline=None)
@given(passes=PASSES, capacity=st.integers(1, 64))
def test_a_store_keeps_the_newest_and_never_more_than_it_holds(
    passes: list[tuple[float, float, float]], capacity: int
) -> None:
    """Beyond the capacity one goes for one that comes, never one that was not shown."""
    store = SampleStore(buckets_per_axis=4, capacity=capacity)
    for count, (tokens, kv, time) in enumerate(passes, start=1):
        store = store.added((tokens, kv), time)
        assert len(store) == min(count, capacity)
    shown = [((tokens, kv), time) for tokens, kv, time in passes]
    assert all(sample in shown for sample in store.samples)


def test_a_store_thins_where_there_is_most() -> None:
    """A long steady load does not push out the rare sample of another one."""
    store = SampleStore(buckets_per_axis=16, capacity=8).added((8000.0,), 160.0)
    for step in range(50):
        store = store.added((100.0 + step,), 7.0 + step)
    assert ((8000.0,), 160.0) in store.samples
    kept = [time for (tokens,), time in store.samples if tokens < 200.0]
    assert kept == [7.0 + step for step in range(43, 50)]


@pytest.mark.parametrize("fit", [fitted_until_1_2, fitted_from_1_5])
def test_a_plane_is_found_again(fit: object) -> None:
    """Exact samples give back their line in every kind."""
    samples = [
        ((float(a), 1000.0 * b), 4.0 + 0.03 * a + 0.02 * b) for a in (1, 9, 40) for b in (2, 7)
    ]
    assert callable(fit)
    for kind in (PassKind.DECODE, PassKind.MIXED):
        law = fit(kind, samples)
        assert law.milliseconds((20.0, 5000.0)) == pytest.approx(4.7)
        assert fit(kind, samples[: MIN_SAMPLES - 1]) is None


def test_a_falling_slope_is_refused_cut_or_set_to_zero() -> None:
    """Until 1.2 it makes the fit unsound but for the slope over decodes; from 1.5 on it is 0."""
    falling = [((float(a), 1000.0 * b), 20.0 - 0.1 * a + b) for a in (1, 9, 40) for b in (2, 7)]
    assert fitted_until_1_2(PassKind.MIXED, falling) is None
    cut = fitted_until_1_2(PassKind.DECODE, falling)
    assert cut is not None
    assert cut.slopes[0] == 0.0
    assert cut.intercept == pytest.approx(20.0)
    bounded = fitted_from_1_5(PassKind.MIXED, falling)
    assert bounded is not None
    assert bounded.slopes[0] == 0.0
    assert bounded.intercept < 20.0
    down = [((float(a), 0.0), 50.0 - a) for a in range(8)]
    assert fitted_from_1_5(PassKind.MIXED, down) is None


def test_prefill_bends() -> None:
    """A floor before the tokens is found with its knot."""
    samples = [
        ((t,), 12.0 + 0.02 * max(t - 1000.0, 0.0))
        for t in (100.0, 300.0, 500.0, 1000.0, 4000.0, 8000.0)
    ]
    law = fitted_from_1_5(PassKind.PREFILL, samples)
    assert law is not None
    assert law.milliseconds((200.0,)) == pytest.approx(12.0)
    assert law.milliseconds((6000.0,)) == pytest.approx(112.0)


def test_kinds_of_passes_do_not_mix() -> None:
    """Each kind answers from its own samples, and an empty pass is neither shown nor answered."""
    model = PassModel()
    for count in range(1, 7):
        decode = ForwardPass(decode_requests=float(count), kv_tokens=900.0 * count + count**2)
        model = model.observed(decode, 5.0 + count).observed(ForwardPass(), 3.0)
    assert len(model) == 6
    found = model.milliseconds(ForwardPass(decode_requests=4.0, kv_tokens=3616.0))
    assert found == pytest.approx(9.0, rel=0.01)
    mixed = ForwardPass(prefill_tokens=10.0, decode_requests=4.0, kv_tokens=3616.0)
    assert model.milliseconds(mixed) is None
    assert model.milliseconds(ForwardPass()) is None
    whole = regression_until_1_2(PassKind.MIXED)
    for count in range(1, 7):
        whole = whole.observed(ForwardPass(prefill_tokens=100.0 * count), 5.0 + count)
    assert whole.milliseconds(ForwardPass(prefill_tokens=350.0)) == pytest.approx(8.5)
