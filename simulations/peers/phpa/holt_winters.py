"""The Holt-Winters model: level, trend and season of the HPA's proposals, one sync ahead.

statsmodels' exponential smoothing with fixed parameters, an additive trend, and a heuristic start
(baselines section 7). The original fits the whole history at every sync. A fit's start depends on
its first seasons alone, so here a fit goes on from one sync to the next, and is made anew only when
the history has grown by a season or lost one: the predictions are the same.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from simulations.peers.phpa.linear import Proposals

#: Averages that the first level and trend are fitted to.
_AVERAGES = 10
#: Seasons that the start is made of, where there are as many.
_START_SEASONS = 5


class Seasonal(StrEnum):
    """Whether the season adds to the level or multiplies it."""

    ADDITIVE = "add"
    MULTIPLICATIVE = "mul"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Fit:
    """Level, trend and season (by phase, shape (length,)) after the history's last point."""

    start_points: int
    level: float
    trend: float
    season: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HoltWintersMemory:
    """Proposals kept, in time order, and the fit that has seen all of them (None: not one yet)."""

    points: NDArray[np.float64]
    fit: _Fit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoltWintersModel:
    """Smoothing ``alpha`` (level), ``beta`` (trend), ``gamma`` (season), seasons of ``length``.

    ``stored_seasons`` whole seasons and what has begun of one more are kept. ``quirk_reversed``
    fits in the order of the original: the stored proposals newest first, then the present one.
    """

    length: int
    stored_seasons: int = 4
    alpha: float = 0.9
    beta: float = 0.9
    gamma: float = 0.9
    seasonal: Seasonal = Seasonal.ADDITIVE
    quirk_reversed: bool = False

    def __post_init__(self) -> None:
        """Reject what has no season."""
        if self.length < 2:
            raise ValueError(f"length: a season has at least 2 syncs, got {self.length}")
        if self.stored_seasons < 1:
            raise ValueError(f"stored_seasons: must be at least 1, got {self.stored_seasons}")

    @property
    def least_points(self) -> int:
        """Points below which the prediction is 0."""
        return max(2 * self.length, self._averaged_points)

    @property
    def _averaged_points(self) -> int:
        return _AVERAGES + 2 * (self.length // 2)

    def start_points(self, points: int) -> int:
        """How many of a history of so many points its fit starts from: whole seasons if it can."""
        seasons = min(_START_SEASONS, points // self.length)
        least = math.ceil(self._averaged_points / self.length)
        return min(points, max(seasons, least) * self.length)

    def begun(self, proposals: Proposals) -> HoltWintersMemory:
        """What is kept of proposals made before."""
        points = np.array([replicas for _, replicas in proposals], dtype=np.float64)
        return HoltWintersMemory(points=points[_pruned(self, len(points)) :])

    def synced(
        self, memory: HoltWintersMemory, at_seconds: float, replicas: int
    ) -> tuple[int, HoltWintersMemory]:
        """Predict the next sync's replicas, 0 with too few points, and remember this one's."""
        del at_seconds
        points = np.append(memory.points, float(replicas))
        if len(points) < self.least_points:
            return 0, _remembered(self, points, None)
        if self.quirk_reversed:
            as_given = np.append(memory.points[::-1], float(replicas))
            prediction = _forecast(self, _fitted(self, as_given), len(points))
            return prediction, _remembered(self, points, None)
        if memory.fit is None or memory.fit.start_points != self.start_points(len(points)):
            fit = _fitted(self, points)
        else:
            fit = _smoothed(self, memory.fit, points[-1:], len(points) - 1)
        return _forecast(self, fit, len(points)), _remembered(self, points, fit)


def _remembered(
    model: HoltWintersModel, points: NDArray[np.float64], fit: _Fit | None
) -> HoltWintersMemory:
    """Forget whole seasons, the oldest; a fit that began with them begins anew."""
    forgotten = _pruned(model, len(points))
    return HoltWintersMemory(points=points[forgotten:], fit=None if forgotten else fit)


def _pruned(model: HoltWintersModel, points: int) -> int:
    return max(0, points // model.length - model.stored_seasons) * model.length


def _forecast(model: HoltWintersModel, fit: _Fit, points: int) -> int:
    season = float(fit.season[points % model.length])
    ahead = fit.level + fit.trend
    additive = model.seasonal is Seasonal.ADDITIVE
    return math.ceil(ahead + season if additive else ahead * season)


def _fitted(model: HoltWintersModel, points: NDArray[np.float64]) -> _Fit:
    return _smoothed(model, _started(model, points), points, 0)


def _started(model: HoltWintersModel, points: NDArray[np.float64]) -> _Fit:
    """Season by phase around a centred moving average, level and trend by a line through it."""
    length = model.length
    first = points[: model.start_points(len(points))]
    # An even season has no middle point: its average is that of two windows.
    window = np.ones(length) / length
    if length % 2 == 0:
        window = np.convolve(window, (0.5, 0.5))
    averages = np.convolve(first, window, "valid")
    lead = length // 2
    phases = (np.arange(len(averages)) + lead) % length
    middle = first[lead : lead + len(averages)]
    additive = model.seasonal is Seasonal.ADDITIVE
    apart = middle - averages if additive else middle / averages
    season = np.bincount(phases, apart, length) / np.bincount(phases, minlength=length)
    season = season - season.mean() if additive else season / season.mean()
    places = np.arange(1.0, _AVERAGES + 1.0)
    trend, level = np.polyfit(places, averages[:_AVERAGES], 1)
    return _Fit(start_points=len(first), level=float(level), trend=float(trend), season=season)


def _smoothed(model: HoltWintersModel, fit: _Fit, points: NDArray[np.float64], before: int) -> _Fit:
    """Go on over ``points``, the first of which is number ``before`` of the history.

    The season follows what is left of a point beside level and trend *before* it.
    """
    level, trend = fit.level, fit.trend
    season = fit.season.copy()
    alpha, beta, gamma = model.alpha, model.beta, model.gamma
    additive = model.seasonal is Seasonal.ADDITIVE
    for place, point in enumerate(points.tolist(), before):
        phase = place % model.length
        ahead, usual = level + trend, float(season[phase])
        after = alpha * (point - usual if additive else point / usual) + (1.0 - alpha) * ahead
        trend = beta * (after - level) + (1.0 - beta) * trend
        season[phase] = (
            gamma * (point - ahead if additive else point / ahead) + (1.0 - gamma) * usual
        )
        level = after
    return _Fit(start_points=fit.start_points, level=level, trend=trend, season=season)
