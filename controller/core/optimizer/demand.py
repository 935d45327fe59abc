"""The demand a decision faces: a forecast's quantiles as a few weighted arrival rates."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Probabilities at which the quantile function is read: fine where misses come from.
_EDGES = np.array([0.0, 0.3, 0.5, 0.65, 0.8, 0.88, 0.94, 0.97, 0.985, 0.995, 1.0])
_MIDDLES = (_EDGES[1:] + _EDGES[:-1]) / 2.0
_WEIGHTS = np.diff(_EDGES)


@dataclass(frozen=True, slots=True, eq=False)
class DemandNodes:
    """Arrival rates (R,) in requests/s and their probabilities (R,), which sum to 1."""

    rates: NDArray[np.float64]
    weights: NDArray[np.float64]

    def over(self, factor: float) -> "DemandNodes":
        """The same demand in units of replicas that are ``factor`` times as fast."""
        return DemandNodes(self.rates / factor, self.weights)


def nodes(levels: NDArray[np.float64], quantiles: NDArray[np.float64]) -> DemandNodes:
    """Read a quantile function given at ``levels`` (Q,), ascending, at fixed probabilities.

    Between levels it is linear. Below the lowest it mirrors the upper side about the median where
    that is known, else stays flat; above the highest it goes on exponentially, as its last two
    levels have it.
    """
    probabilities, values = levels, quantiles
    if levels[0] > 0.3:
        low = np.maximum(2.0 * quantiles[0] - quantiles[1:2], 0.0)
        probabilities = np.concatenate(([1.0 - levels[1]], levels))
        values = np.concatenate((low, quantiles))
    rates = np.interp(_MIDDLES, probabilities, values)
    top = probabilities[-1]
    beyond = top < _MIDDLES
    if beyond.any():
        spread = values[-1] - values[-2]
        tail = np.log((1.0 - probabilities[-2]) / (1.0 - top))
        steps = np.log((1.0 - top) / (1.0 - _MIDDLES[beyond]))
        rates[beyond] = values[-1] + spread * steps / tail
    return DemandNodes(rates, _WEIGHTS)
