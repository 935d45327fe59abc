"""The odds that demand doubles within the horizon: a ridge-penalised logistic regression.

Demand that jumps on a schedule is bimodal: at minute :32 it doubles or it does not. Its quantile is
then a step in the odds of a jump, at odds of (1 - tau)/tau, which a regression linear in
the calendar cannot follow. So the odds are fitted first, and the quantile regression is
given their piecewise linear pieces between ``_KNOTS``.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

#: A jump is a target above this multiple of the level.
JUMP: Final = 2.0
#: With fewer jumps than this on record there are no odds to speak of.
MIN_JUMPS: Final = 20
_RIDGE: Final = 0.3
_ITERATIONS: Final = 15
_LONGEST_STEP: Final = 3.0
_STILL: Final = 0.01
_PROBABILITIES: Final = np.array((0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6))
_KNOTS: Final = np.log(_PROBABILITIES / (1.0 - _PROBABILITIES))
_KNOT_LIST: Final = tuple(_KNOTS.tolist())
_REACH: Final = 1.5
HINGES: Final = len(_KNOTS)


def fitted(
    design: NDArray[np.float64],
    jumped: NDArray[np.bool_],
    start: NDArray[np.float64] | None = None,
) -> NDArray[np.float64] | None:
    """Coefficients (p,) of the log odds on ``design`` (n, p), or None with too few jumps.

    Newton's method from ``start``; the first column, the intercept, is not penalised.
    """
    if jumped.sum() < MIN_JUMPS:
        return None
    penalty = np.full(design.shape[1], _RIDGE)
    penalty[0] = 1e-6
    coefficients = np.zeros(design.shape[1]) if start is None else start
    for _ in range(_ITERATIONS):
        odds = 1.0 / (1.0 + np.exp(-np.clip(design @ coefficients, -30.0, 30.0)))
        weight = odds * (1.0 - odds) + 1e-6
        normal = (design * weight[:, None]).T @ design
        normal[np.diag_indices_from(normal)] += penalty
        step = np.linalg.solve(normal, design.T @ (jumped - odds) - penalty * coefficients)
        coefficients = coefficients + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        if np.abs(step).max() < _STILL:
            break
    return coefficients


def hinges(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pieces (n, HINGES) of log odds (n,): how far each knot is passed, up to a bound."""
    return np.clip(log_odds[..., None] - _KNOTS, 0.0, _REACH)


def hinges_at(log_odds: float) -> list[float]:
    """``hinges`` of one origin, as plain floats."""
    return [min(max(log_odds - knot, 0.0), _REACH) for knot in _KNOT_LIST]
