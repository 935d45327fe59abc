"""The regression candidate: fitted in pieces over several ticks, and read in microseconds."""

from dataclasses import dataclass, replace
from math import exp
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.forecasting import jumps
from controller.core.forecasting.calibration import LEVELS
from controller.core.forecasting.features import (
    LINEAR_TERMS,
    SMOOTHING,
    Row,
    Rows,
    design_with_minutes,
    minute_bins,
    rows_of,
)
from controller.core.forecasting.regression import LogRatioQuantileRegressor
from controller.core.forecasting.series import DAY_MINUTES, DemandSeries

#: Levels that are fitted; the highest published level is the highest of these, calibrated further.
FITTED_LEVELS: Final[tuple[float, ...]] = LEVELS[:-1]
#: Learnable minutes below which nothing is fitted.
MIN_MINUTES: Final = DAY_MINUTES + DAY_MINUTES // 2
#: Origins that are fitted on, at most: a week, which bounds the time of a fit.
MOST_MINUTES: Final = 7 * DAY_MINUTES
_RIDGE: Final = 1e-3
_COLD_ITERATIONS: Final = 25
_WARM_ITERATIONS: Final = 6
#: Levels fitted per piece, so that one tick bears some tens of milliseconds.
_PIECES: Final = (slice(0, 1), slice(1, 3), slice(3, 5))
#: Pieces of one fit: the odds of a jump, then the levels.
FIT_STEPS: Final = 1 + len(_PIECES)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """Fitted coefficients: ``jump`` (1 + p + 60,) or empty, ``levels`` (fitted, 1 + p + hinges).

    Between the pieces of a fit ``levels`` has fewer rows. ``until_minute`` is the Unix minute after
    the last one it has seen.
    """

    until_minute: int
    jump: NDArray[np.float64]
    levels: NDArray[np.float64]

    @property
    def complete(self) -> bool:
        """Whether all levels are fitted."""
        return len(self.levels) == len(FITTED_LEVELS)


def begun(until_minute: int) -> Model:
    """Return a fit on the minutes before ``until_minute`` with no piece done."""
    return Model(
        until_minute=until_minute,
        jump=np.zeros(0),
        levels=np.zeros((0, 1 + LINEAR_TERMS + jumps.HINGES)),
    )


def advanced(
    model: Model, step: int, series: DemandSeries, horizon_seconds: float, last: Model | None
) -> Model:
    """Return ``model`` with piece ``step`` fitted; ``last`` is a like model to start from."""
    rows = rows_of(series, horizon_seconds)
    chosen = _learnable(rows, series, horizon_seconds, model.until_minute)
    if step == 0:
        design = design_with_minutes(rows, chosen)
        jumped = rows.target[chosen] > jumps.JUMP * rows.base[chosen]
        start = last.jump if last is not None and len(last.jump) else None
        coefficients = jumps.fitted(design, jumped, start)
        return model if coefficients is None else replace(model, jump=coefficients)
    piece = _PIECES[step - 1]
    # The hinges move with the jump coefficients, so only the linear terms of the last fit still
    # hold; that is enough of a start.
    warm = last is not None and last.complete and len(last.jump) == len(model.jump)
    regression = LogRatioQuantileRegressor(
        quantiles=tuple(FITTED_LEVELS[piece]),
        ridge=_RIDGE,
        iterations=_WARM_ITERATIONS if warm else _COLD_ITERATIONS,
    ).fit(
        _design(model, rows, chosen),
        rows.target[chosen],
        rows.base[chosen],
        start=last.levels[piece] if warm and last is not None else None,
    )
    fitted = np.column_stack((regression.intercept_, regression.coef_))
    return replace(model, levels=np.concatenate((model.levels, fitted)))


def _learnable(
    rows: Rows, series: DemandSeries, horizon_seconds: float, until_minute: int
) -> NDArray[np.intp]:
    """Origins whose row and target were seen before ``until_minute``, the last of them."""
    origin = series.first_minute + np.arange(1, len(rows.base) + 1)
    ends = origin + horizon_seconds / 60.0 + 1.0
    known = np.isfinite(rows.base) & np.isfinite(rows.target)
    known &= (origin > series.learnable_from) & (ends <= until_minute)
    return np.flatnonzero(known)[-MOST_MINUTES:]


def _design(model: Model, rows: Rows, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    """Linear terms and hinges (rows, p + hinges) of some origins."""
    linear = rows.linear[chosen]
    if not len(model.jump):
        return np.column_stack((linear, np.zeros((len(chosen), jumps.HINGES))))
    odds = design_with_minutes(rows, chosen) @ model.jump
    return np.column_stack((linear, jumps.hinges(odds)))


def quantiles_of(model: Model, rows: Rows, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    """Quantiles (n, L) in requests/s that ``model`` gives at some origins."""
    design = np.column_stack((np.ones(len(chosen)), _design(model, rows, chosen)))
    return _published(rows.base[chosen, None], design @ model.levels.T)


def quantiles_at(model: Model, row: Row) -> NDArray[np.float64]:
    """Quantiles (L,) in requests/s at one origin."""
    odds = [0.0] * jumps.HINGES
    if len(model.jump):
        first, second, share = minute_bins(row.target_minute)
        minutes = model.jump[1 + LINEAR_TERMS :]
        log_odds = model.jump[0] + row.linear.dot(model.jump[1 : 1 + LINEAR_TERMS])
        log_odds += (1.0 - share) * minutes[first] + share * minutes[second]
        odds = jumps.hinges_at(float(log_odds))
    split = 1 + LINEAR_TERMS
    ratios = model.levels[:, 1:split].dot(row.linear)
    ratios += model.levels[:, 0] + model.levels[:, split:].dot(np.array(odds))
    rates = [max(row.base * exp(ratio) - SMOOTHING, 0.0) for ratio in sorted(ratios.tolist())]
    return np.array((*rates, rates[-1]))


def _published(base: NDArray[np.float64], ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rates of log ratios (n, fitted), ascending, the highest repeated for the level above it."""
    rates = base * np.exp(np.sort(ratios, axis=1)) - SMOOTHING
    return np.maximum(np.column_stack((rates, rates[:, -1])), 0.0)
