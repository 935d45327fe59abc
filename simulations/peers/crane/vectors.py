"""Our law beside the answers of Crane's own functions, one refit per file."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulations.peers.crane.estimators import Estimator, FftEstimator, MaxValueEstimator
from simulations.peers.crane.law import DspFit, Forecast, fitted
from simulations.peers.crane.periodicity import period_seconds
from simulations.peers.crane.preprocessing import preprocessed
from simulations.peers.vectors import Compared, VectorSet

#: Margin of the max-value estimator of the vectors, which their configuration does not list.
_MAX_VALUE_MARGIN = 0.1
#: Of sums in another order.
_ROUNDING = 1e-9


def _replay(document: dict[str, Any]) -> Iterator[Compared]:
    """Series, period, back-test and forecasts of every refit in a file."""
    config, tolerance = document["config"], document["tolerance"]
    step = float(config["step_s"])
    estimators = tuple(
        FftEstimator(
            least_items=one["minItems"],
            low_amplitude=one["lowAmp"],
            margin=one["margin"],
            most_items=config["maxItems"],
            high_frequency_hertz=config["highFrequencyHz"],
        )
        for one in config["estimators"]
    )
    for number, tick in enumerate(document["ticks"]):
        at = f"refit {number}"
        series = preprocessed(_times(tick), tick["values"], step)
        yield from _series(at, tick, series)
        # Where the recording imposed a period, the test's own answer was not kept.
        period = tick["forced_period_s"]
        if period is None:
            period = period_seconds(series, step, np.random.default_rng(number))
            expected = None if tick["period_s"] == -1 else float(tick["period_s"])
            yield Compared(at=f"{at} period", expected=expected, found=period)
        fit = None if period is None else fitted(series, step, period, estimators)
        periods = None if fit is None else fit.periods
        yield Compared(at=f"{at} periods", expected=tick["periods"] or None, found=periods)
        if fit is not None:
            steps = len(fit.forecast)
            yield from _fit(at, tick, fit, tolerance)
            yield from _estimates(at, tick, series[-fit.periods * steps :], estimators, tolerance)


def _times(tick: dict[str, Any]) -> list[float]:
    """Times of the samples: ``irregular_steps`` are the gaps longer than one step."""
    gaps = dict(tick["irregular_steps"])
    times, place = [], 0
    for index in range(len(tick["values"])):
        place += gaps.get(index, 1) if index else 0
        times.append(tick["start"] + place * tick["step_s"])
    return times


def _series(at: str, tick: dict[str, Any], series: NDArray[np.float64]) -> Iterator[Compared]:
    count = tick["samples_after_preprocess"]
    yield Compared(at=f"{at} samples", expected=count, found=len(series))
    sums = (series[0], series[-1], series.sum())
    for name, expected, found in zip(
        ("first", "last", "sum"), tick["pre_first_last_sum"], sums, strict=True
    ):
        yield Compared(at=f"{at} {name}", expected=expected, found=float(found), relative=_ROUNDING)


def _fit(at: str, tick: dict[str, Any], fit: DspFit, tolerance: float) -> Iterator[Compared]:
    """Back-test, choice and forecast, and the scaling metric at the forecast's beginning."""
    yield Compared(at=f"{at} best", expected=tick["best_estimator"], found=fit.best)
    hour = Forecast.of(fit, 0.0, float(tick["step_s"])).highest(0.0)
    expected = tick["max_next_hour_from_first_forecast_sample"]
    yield Compared(at=f"{at} next hour", expected=expected, found=hour, relative=tolerance)
    yield from _all(f"{at} error", tick["backtest_errors"], fit.errors, tolerance)
    yield from _all(f"{at} forecast", tick["forecast_one_period"], fit.forecast, tolerance)


def _estimates(
    at: str,
    tick: dict[str, Any],
    series: NDArray[np.float64],
    estimators: Sequence[Estimator],
    tolerance: float,
) -> Iterator[Compared]:
    """What every estimator makes of the series, the one by highest values besides."""
    step = float(tick["step_s"])
    steps = len(tick["forecast_one_period"])
    highest = MaxValueEstimator(margin=_MAX_VALUE_MARGIN).estimate(series, steps, step)
    yield from _all(f"{at} max value", tick["max_value_estimator"], highest, _ROUNDING)
    for number, first in enumerate(tick.get("forecast_by_estimator_first_12", ())):
        found = estimators[number].estimate(series, steps, step)[: len(first)]
        yield from _all(f"{at} estimator {number}", first, found, tolerance)


def _all(
    at: str, expected: Sequence[float], found: Sequence[float] | NDArray[np.float64], within: float
) -> Iterator[Compared]:
    for place, (theirs, ours) in enumerate(zip(expected, found, strict=True)):
        yield Compared(at=f"{at} {place}", expected=theirs, found=float(ours), relative=within)


VECTORS: tuple[VectorSet, ...] = (
    VectorSet(
        law="Crane DSP",
        files=tuple(
            f"crane-dsp-{name}"
            for name in (
                "daily-10min",
                "daily-1min",
                "gap-10min",
                "missing-10min",
                "noise-10min",
                "small-10min",
                "spike-10min",
                "weekly-30min",
                "zeros-10min",
            )
        ),
        replay=_replay,
    ),
)
