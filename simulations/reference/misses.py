"""How the share of missed requests grows with a fleet's utilisation, learned from replays.

Utilisation is a bucket's arrival rate over the capacity of the fleet that serves it; at 1 the
target share of requests is good, by the definition of capacity. What lies beyond depends on the
queue limit, on bursts inside a bucket and on what earlier buckets left behind, so a replay tells.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

#: Grid of the law: utilisation 0 .. 4.
STEP = 0.01
POINTS = 401
#: Requests a prior point is worth when a replay is mixed in.
PRIOR_REQUESTS = 300.0
#: Below the knee misses fall by e for each of these steps of utilisation.
KNEE = 0.02
#: With a queue limit an overload misses this many times the shortfall (1.1 to 1.2 measured).
SHORTFALL_FACTOR = 1.15


def utilisations() -> NDArray[np.float64]:
    """Utilisation at every point of a law."""
    return np.arange(POINTS, dtype=np.float64) * STEP


@dataclass(frozen=True, slots=True, eq=False)
class MissLaw:
    """Share missed at every point of ``utilisations()``, never falling."""

    share: NDArray[np.float64]

    @classmethod
    def prior(cls, target: float) -> "MissLaw":
        """Return the law before any replay: 1 - target at the knee, the shortfall beyond."""
        u = utilisations()
        below = (1.0 - target) * np.exp(np.minimum(u - 1.0, 0.0) / KNEE)
        shortfall = SHORTFALL_FACTOR * np.maximum(0.0, 1.0 - 1.0 / np.maximum(u, STEP))
        share = np.minimum(1.0, below + shortfall)
        return cls(np.maximum.accumulate(share))

    def at(self, utilisation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share missed at each utilisation."""
        return np.interp(utilisation, utilisations(), self.share)

    def learned_from(
        self,
        utilisation: list[NDArray[np.float64]],
        misses: list[NDArray[np.float64]],
        requests: list[NDArray[np.float64]],
    ) -> "MissLaw":
        """Return this law mixed with replays (each a list of arrays (buckets,)), made monotone."""
        share = np.concatenate(utilisation)
        bins = np.rint(np.minimum(share / STEP, POINTS - 1.0)).astype(np.int64)
        seen = np.bincount(bins, weights=np.concatenate(requests), minlength=POINTS)
        lost = np.bincount(bins, weights=np.concatenate(misses), minlength=POINTS)
        weight = seen + PRIOR_REQUESTS
        mixed = (lost + PRIOR_REQUESTS * self.share) / weight
        rising = isotonic_regression(mixed, weights=weight).x
        return MissLaw(np.clip(rising, 0.0, 1.0))
