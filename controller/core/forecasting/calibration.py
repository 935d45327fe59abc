"""Adaptive conformal calibration of quantiles, with a multiplicative score.

A candidate says q for level tau; what came is y. The score y/q is kept over a rolling window, and
the calibrated quantile is q times the window's (1 - alpha) quantile of the score, so that a margin
scales with the level. alpha starts at 1 - tau and follows the misses (Gibbs and Candes 2021,
adaptive conformal inference: alpha += gamma ((1 - tau) - miss)), clipped from below at a
quarter of 1 - tau: without a cap the highest levels of bursty demand cost several times the plan.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Levels every candidate gives a quantile at.
LEVELS: Final = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
#: Scores kept per candidate and level: one day of minutes.
WINDOW: Final = 1440
#: Step of alpha per scored target.
GAMMA: Final = 0.005
#: Targets scored between two readings of the window's quantile.
REFRESH_EVERY: Final = 5
#: Targets over which the running coverage and errors are averaged, once there are so many.
MEMORY: Final = 1440
#: What the scores are taken for until there are real ones: standard deviation of log(y/q).
PRIOR_SIGMA: Final = 0.12
PRIOR_SCORES: Final = 30
#: How far alpha may rise above 1 - tau where a candidate covers too much.
_ALPHA_RISE: Final = 0.25
# Standard normal quantiles at LEVELS (Abramowitz and Stegun, table 26.1).
_NORMAL: Final = np.array([0.0, 0.8416, 1.2816, 1.6449, 2.0537, 2.3263])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Margins of C candidates at L levels.

    ``scores`` (C, L, n) float32: log(y/q), oldest first, NaN where a candidate gave nothing.
    ``alpha`` (C, L). ``margin`` (C, L): log of the factor on q now in force. ``scored`` (C,):
    targets scored in all. ``coverage`` (C, L): running share of targets at or below the calibrated
    quantile. ``error`` (C,) and ``actual``: running means of |median - y| and y. ``stale``:
    targets scored since the margins were read.
    """

    scores: NDArray[np.float32]
    alpha: NDArray[np.float64]
    margin: NDArray[np.float64]
    scored: NDArray[np.int64]
    coverage: NDArray[np.float64]
    error: NDArray[np.float64]
    actual: NDArray[np.float64]
    stale: int


def fresh(candidates: int) -> Calibration:
    """Return a calibration that has seen nothing: lognormal margins of ``PRIOR_SIGMA``."""
    levels = np.array(LEVELS)
    return Calibration(
        scores=np.zeros((candidates, len(levels), 0), dtype=np.float32),
        alpha=np.tile(1.0 - levels, (candidates, 1)),
        margin=np.tile(PRIOR_SIGMA * _NORMAL, (candidates, 1)),
        scored=np.zeros(candidates, dtype=np.int64),
        coverage=np.zeros((candidates, len(levels))),
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
    gave nothing, and ``said`` (C, L) as they were published, after calibration.
    """
    gave = np.isfinite(raw[:, 0])
    covered = target <= said
    step = np.where(gave, GAMMA, 0.0)[:, None]
    levels = np.array(LEVELS)
    alpha = calibration.alpha + step * (covered - levels)
    count = calibration.scored + gave
    rate = np.where(gave, 1.0 / np.clip(count, 1, MEMORY), 0.0)
    new = np.log(np.maximum(target, 1e-9) / raw).astype(np.float32)
    scores = np.concatenate((calibration.scores[:, :, -(WINDOW - 1) :], new[:, :, None]), axis=2)
    error = np.where(gave, np.abs(said[:, 0] - target), 0.0)
    stale = calibration.stale + 1
    alpha = np.clip(alpha, (1.0 - levels) / 4.0, (1.0 - levels) + _ALPHA_RISE)
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

    The index ceil((n + 1)(1 - alpha)) - 1 is that of split conformal prediction. While there are
    few scores, the prior's margin is mixed in as ``PRIOR_SCORES`` scores.
    """
    ordered = np.sort(scores, axis=2)
    count = np.isfinite(scores).sum(axis=2)
    index = np.ceil((count + 1) * (1.0 - alpha)).astype(np.int64) - 1
    index = np.clip(index, 0, np.maximum(count - 1, 0))
    if not scores.shape[2]:
        return np.tile(PRIOR_SIGMA * _NORMAL, (scores.shape[0], 1))
    empirical = np.take_along_axis(ordered, index[:, :, None], axis=2)[:, :, 0]
    weight = count / (count + PRIOR_SCORES)
    prior = PRIOR_SIGMA * _NORMAL
    return np.where(count > 0, weight * empirical + (1.0 - weight) * prior, prior)
