"""How many requests are missed under a load: the model's levels, corrected by what replays show.

The performance model says at which rate a fleet misses each of ``LEVELS``. A load's position along
them (``programme.position``) is its predicted misses on a scale on which all fleets and mixes are
alike; the law maps that position to the share really missed, which depends on bursts inside a
bucket and on what earlier buckets left behind, so replays tell.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

#: Shares missed at which fleets' rates are asked for.
LEVELS = (1e-4, 1e-3, 3e-3, 6e-3, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 0.9)
#: Grid of the law along the positions; it ends three doublings of load beyond the last level.
STEP = 0.05
POINTS = round((len(LEVELS) + 3) / STEP) + 1
#: Requests a prior point is worth when a replay is mixed in.
PRIOR_REQUESTS = 300.0
#: Where only a capacity is known, misses below it fall by e for each of these parts of it, ...
KNEE = 0.02
#: ... and beyond it, with a queue limit, are this many times the shortfall (1.1 to 1.2 measured).
SHORTFALL_FACTOR = 1.15


def rates_from_capacity(target: float) -> NDArray[np.float64]:
    """Rates at ``LEVELS`` over the capacity at ``target``: what is usual where nothing is known."""
    level = np.array(LEVELS)
    allowed = max(1.0 - target, LEVELS[0])
    below = 1.0 + KNEE * np.log(np.minimum(level, allowed) / allowed)
    short = np.maximum(level - allowed, 0.0) / SHORTFALL_FACTOR
    return np.asarray(np.maximum(below, 0.1) / (1.0 - short))


@dataclass(frozen=True, slots=True, eq=False)
class MissLaw:
    """Share missed at positions 0, ``STEP``, 2 ``STEP`` ...; shape (POINTS,), never falling."""

    share: NDArray[np.float64]

    @classmethod
    def prior(cls) -> "MissLaw":
        """The model's own word: each level's share at its position."""
        last = len(LEVELS)
        known = np.concatenate(([0.0], np.arange(1.0, last + 1.0), [last + 1.0, last + 3.0]))
        share = np.array([0.0, *LEVELS, 0.95, 0.99])
        return cls(np.interp(np.arange(POINTS) * STEP, known, share))

    def at(self, position: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share missed at each position."""
        return np.interp(position, np.arange(POINTS) * STEP, self.share)

    def learned_from(
        self,
        position: list[NDArray[np.float64]],
        misses: list[NDArray[np.float64]],
        requests: list[NDArray[np.float64]],
    ) -> "MissLaw":
        """Return this law mixed with replays (each a list of arrays (buckets,)), made monotone."""
        at = np.concatenate(position)
        bins = np.rint(np.minimum(at / STEP, POINTS - 1.0)).astype(np.int64)
        seen = np.bincount(bins, weights=np.concatenate(requests), minlength=POINTS)
        lost = np.bincount(bins, weights=np.concatenate(misses), minlength=POINTS)
        weight = seen + PRIOR_REQUESTS
        mixed = (lost + PRIOR_REQUESTS * self.share) / weight
        rising = isotonic_regression(mixed, weights=weight).x
        return MissLaw(np.clip(rising, 0.0, 1.0))
