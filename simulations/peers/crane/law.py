"""One refit of DSP: the best estimator by back-test, and the forecast of one period it makes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.peers.crane.estimators import DEFAULT_ESTIMATORS, Estimator
from simulations.peers.crane.periodicity import period_seconds

#: How far ahead the scaling metric looks: DSP's window, far beyond any cold start.
AHEAD_SECONDS = 3600.0
#: Base of the logarithm that makes an estimate too low count for more than one too high.
_UNDER_BASE = 1.25
#: An actual value below this makes relative errors meaningless.
_LEAST_ACTUAL = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DspFit:
    """What one refit came to.

    ``errors`` of the back-test are by estimator and ``best`` is the place of the least;
    ``forecast`` has one value per step and is ``period_seconds`` long.
    """

    period_seconds: float
    periods: int
    errors: tuple[float, ...]
    best: int
    forecast: NDArray[np.float64]


def refit(
    series: NDArray[np.float64],
    step_seconds: float,
    random: np.random.Generator,
    estimators: Sequence[Estimator] = DEFAULT_ESTIMATORS,
) -> DspFit | None:
    """Fit a preprocessed series; None where it is not periodic, or not for two periods."""
    period = period_seconds(series, step_seconds, random)
    return None if period is None else fitted(series, step_seconds, period, estimators)


def fitted(
    series: NDArray[np.float64],
    step_seconds: float,
    period: float,
    estimators: Sequence[Estimator] = DEFAULT_ESTIMATORS,
) -> DspFit | None:
    """Fit a series known to have this period, in seconds; None where it has not two of them."""
    steps = round(period / step_seconds)
    periods = len(series) // steps
    if periods < 2:
        return None
    whole = series[-periods * steps :]
    before, actual = whole[:-steps], whole[-steps:]
    errors = tuple(
        backtest_error(actual, one.estimate(before, steps, step_seconds)) for one in estimators
    )
    best = int(np.argmin(errors))
    return DspFit(
        period_seconds=period,
        periods=periods,
        errors=errors,
        best=best,
        forecast=estimators[best].estimate(whole, steps, step_seconds),
    )


def backtest_error(actual: NDArray[np.float64], estimate: NDArray[np.float64]) -> float:
    """Mean relative error, amplified where the estimate is too low.

    Where any actual value is next to zero it is the mean absolute error instead: of the whole
    series, and so in other units.
    """
    if (actual < _LEAST_ACTUAL).any():
        return float(np.abs(actual - estimate).mean())
    relative = (estimate - actual) / actual
    short = np.clip(-relative, 0.0, None)
    return float(
        np.where(relative < 0.0, -np.log1p(-short) / math.log(_UNDER_BASE), relative).mean()
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """Forecast values by time: value i is for ``from_seconds + i * step_seconds`` (Unix)."""

    from_seconds: float
    step_seconds: float
    values: NDArray[np.float64]

    @classmethod
    def of(cls, fit: DspFit, from_seconds: float, step_seconds: float) -> "Forecast":
        """Return the forecast of a fit whose series ended one step before ``from_seconds``."""
        return cls(from_seconds=from_seconds, step_seconds=step_seconds, values=fit.forecast)

    def highest(self, now: float) -> float | None:
        """The scaling metric: the highest value of the coming hour, both its ends included.

        None where the forecast does not reach into it. Untruncated, where Crane cuts to a whole
        number (which makes a small request rate 0).
        """
        start = now // self.step_seconds * self.step_seconds - self.from_seconds
        first = max(0, math.ceil(start / self.step_seconds))
        after = math.floor((start + AHEAD_SECONDS) / self.step_seconds) + 1
        ahead = self.values[first : max(after, 0)]
        return float(ahead.max()) if len(ahead) else None
