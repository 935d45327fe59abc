"""The demand a decision faces: a forecast's quantiles as a few weighted arrival rates."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Probabilities at which the quantile function is read: fine where misses come from.
_EDGES = np.array([0.0, 0.3, 0.5, 0.65, 0.8, 0.88, 0.94, 0.97, 0.985, 0.995, 1.0])
_MIDDLES = (_EDGES[1:] + _EDGES[:-1]) / 2.0
_WEIGHTS = np.diff(_EDGES)
_MEDIAN = int(_EDGES.searchsorted(0.5)) - 1


@dataclass(frozen=True, slots=True, eq=False)
class DemandNodes:
    """Arrival rates (R,) in requests/s and their probabilities (R,), which sum to 1."""

    rates: NDArray[np.float64]
    weights: NDArray[np.float64]

    @property
    def median(self) -> float:
        """Rate below which half of the probability lies, in requests/s."""
        return float(self.rates[_MEDIAN])

    def over(self, factor: float) -> "DemandNodes":
        """The same demand in units of replicas that are ``factor`` times as fast."""
        return DemandNodes(self.rates / factor, self.weights)


def nodes(levels: NDArray[np.float64], quantiles: NDArray[np.float64]) -> DemandNodes:
    """Read a quantile function given at ``levels`` (Q,), ascending, at fixed probabilities.

    Between levels it is linear. Below the lowest it mirrors the upper side about the median where
    that is known, else stays flat; above the highest it goes on exponentially, as its last two
    levels have it.
    """
    low = max(2.0 * float(quantiles[0]) - float(quantiles[1]), 0.0)
    return DemandNodes(_reading(tuple(levels.tolist())) @ np.array([low, *quantiles]), _WEIGHTS)


@lru_cache(maxsize=16)
def _reading(levels: tuple[float, ...]) -> NDArray[np.float64]:
    """What reads the rates off the mirrored value and those at ``levels``: (R, 1 + Q)."""
    mirrored = levels[0] > 0.3
    known = (1.0 - levels[1], *levels) if mirrored else levels
    values = np.eye(1 + len(levels))[0 if mirrored else 1 :]
    rates = np.stack([np.interp(_MIDDLES, known, column) for column in values.T], axis=1)
    beyond = levels[-1] < _MIDDLES
    tail = np.log((1.0 - levels[-2]) / (1.0 - levels[-1]))
    steps = np.log((1.0 - levels[-1]) / (1.0 - _MIDDLES[beyond])) / tail
    rates[beyond] = values[-1] + steps[:, None] * (values[-1] - values[-2])
    return rates
