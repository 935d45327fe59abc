"""Adaptive conformal calibration of quantiles, with a multiplicative score.

A candidate says q for level tau; what came is y. The score y/q is kept over a rolling window, and
the calibrated quantile is q times the window's (1 - alpha) quantile of the score, so that a margin
scales with the level. alpha starts at 1 - tau and follows the misses (Gibbs and Candes 2021,
adaptive conformal inference: alpha += gamma ((1 - tau) - miss)). It is clipped from below: at a
twentieth of 1 - tau up to level .95 (at a quarter, .95 covered .937 of drifting demand), at a
quarter above, where bursty demand would else drive the margin, and with it the cost, far up.
"""

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Levels every candidate gives a quantile at.
LEVELS: Final[tuple[float, ...]] = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
#: Scores kept per candidate and level: one day of minutes.
WINDOW: Final = 1440
#: Step of alpha per scored target.
GAMMA: Final = 0.01
#: Targets scored between two readings of the window's quantile.
REFRESH_EVERY: Final = 5
#: Targets over which the running coverage and errors are averaged, once there are so many.
MEMORY: Final = 1440
#: Until there are so many scores, evenly drawn ones of this standard deviation of log(y/q) stand in
#: for those still to come: an early jump is then a rare thing that happened, and no rule.
PRIOR_SCORES: Final = 120
PRIOR_SIGMA: Final = 0.12
#: How far alpha may rise above 1 - tau where a candidate covers too much.
_ALPHA_RISE: Final = 0.25
#: Most that a margin may add: log of 1.8. After a jump that nobody could foresee the scores ask
#: for room for another one for as long as they remember it, which attains nothing (on/off traffic
#: without it: 97 for 71 at the same 91 %); recurring bursts ask for as much, and are worth it
#: (m-mid-recon at 99.5 %: 8 to 11 % less than with 1.35).
MOST_MARGIN: Final = 0.6
_LEVELS: Final = np.array(LEVELS)
_LEAST_ALPHA: Final = (1.0 - _LEVELS) / np.array([20.0, 20.0, 20.0, 20.0, 4.0, 4.0])
_MOST_ALPHA: Final = (1.0 - _LEVELS) + _ALPHA_RISE
#: Row of the scores for each candidate (persistence, peak memory, regression) and level. The first
#: two give one base for all levels, the last fits all levels but the highest.
SCORE_ROWS: Final = np.array([[0] * 6, [1] * 6, [2, 3, 4, 5, 6, 6]])
_FIRST_OF_ROW: Final = np.array([0, 6, 12, 13, 14, 15, 16])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Margins of C candidates at L levels.

    ``scores`` (S, n) float32: log(y/q), oldest first, NaN where a candidate gave nothing; row s is
    that of every candidate and level where ``SCORE_ROWS`` is s. ``alpha`` (C, L). ``margin``
    (C, L): log of the factor on q now in force. ``scored`` (C,): targets scored in all.
    ``coverage`` (C, L): running share of targets at or below the calibrated quantile. ``error``
    (C,) and ``actual`` (C,): running means of |median - y| and y. ``stale``: targets scored since
    the margins were read.
    """

    scores: NDArray[np.float32]
    alpha: NDArray[np.float64]
    margin: NDArray[np.float64]
    scored: NDArray[np.int64]
    coverage: NDArray[np.float64]
    error: NDArray[np.float64]
    actual: NDArray[np.float64]
    stale: int


def fresh() -> Calibration:
    """Return a calibration that has seen nothing: margins of the prior."""
    candidates = len(SCORE_ROWS)
    scores = np.zeros((len(_FIRST_OF_ROW), 0), dtype=np.float32)
    alpha = np.tile(1.0 - _LEVELS, (candidates, 1))
    return Calibration(
        scores=scores,
        alpha=alpha,
        margin=margins(scores, alpha),
        scored=np.zeros(candidates, dtype=np.int64),
        coverage=np.zeros((candidates, len(LEVELS))),
        error=np.zeros(candidates),
        actual=np.zeros(candidates),
        stale=0,
    )


def scored(
    calibration: Calibration,
    raw: NDArray[np.float64],
    said: NDArray[np.float64],
    target: float,
) -> Calibration:
    """Return the calibration after ``target`` was observed.

    ``raw`` (C, L) are the quantiles as the candidates gave them for this target, NaN for one that
    gave nothing, and ``said`` (C, L) as they were published, after calibration. All are positive.
    """
    gave = raw[:, 0] == raw[:, 0]  # False where NaN
    covered = target <= said
    weight = gave.astype(np.float64)
    count = calibration.scored + gave
    rate = weight / np.minimum(np.maximum(count, 1), MEMORY)
    alpha = calibration.alpha + (GAMMA * weight)[:, None] * (covered - _LEVELS)
    alpha = np.minimum(np.maximum(alpha, _LEAST_ALPHA), _MOST_ALPHA)
    new = np.log(target / raw.ravel()[_FIRST_OF_ROW]).astype(np.float32)
    scores = np.concatenate((calibration.scores[:, 1 - WINDOW :], new[:, None]), axis=1)
    error = np.where(gave, np.abs(said[:, 0] - target), 0.0)
    stale = calibration.stale + 1
    refresh = stale >= REFRESH_EVERY
    return Calibration(
        scores=scores,
        alpha=alpha,
        margin=margins(scores, alpha) if refresh else calibration.margin,
        scored=count,
        coverage=calibration.coverage + rate[:, None] * (covered - calibration.coverage),
        error=calibration.error + rate * (error - calibration.error),
        actual=calibration.actual + rate * (target - calibration.actual),
        stale=0 if refresh else stale,
    )


def margins(scores: NDArray[np.float32], alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log margins (C, L): the conformal quantile of each window, NaN scores left out.

    The index ceil((n + 1)(1 - alpha)) - 1 is that of split conformal prediction. Rows of fewer than
    ``PRIOR_SCORES`` are filled up with the prior's. No margin is above ``MOST_MARGIN``.
    """
    missing = PRIOR_SCORES - np.isfinite(scores).sum(axis=1)
    if (missing > 0).any():
        filled = np.full((len(scores), PRIOR_SCORES), np.nan, dtype=np.float32)
        for row, count in enumerate(missing.tolist()):
            filled[row, : max(count, 0)] = _prior(max(count, 0))
        scores = np.concatenate((scores, filled), axis=1)
    ordered = np.sort(scores, axis=1)  # NaN last
    count = np.isfinite(scores).sum(axis=1)[SCORE_ROWS]
    index = np.ceil((count + 1) * (1.0 - alpha)).astype(np.int64) - 1
    index = np.clip(index, 0, count - 1)
    return np.asarray(np.minimum(ordered[SCORE_ROWS, index].astype(np.float64), MOST_MARGIN))


@lru_cache(maxsize=PRIOR_SCORES + 1)
def _prior(count: int) -> NDArray[np.float32]:
    """``count`` scores as evenly spread as the prior has them, ascending."""
    normal = NormalDist(0.0, PRIOR_SIGMA)
    return np.array([normal.inv_cdf((i + 0.5) / count) for i in range(count)], dtype=np.float32)
