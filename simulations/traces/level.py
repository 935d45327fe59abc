"""The arrival rate inside coarse buckets: linear pieces that keep every bucket's total.

A file that gives ten-minute counts says nothing of the rate inside them, and holding it constant
makes a staircase whose jumps no service sees. Each bucket gets a straight line through its mean at
its middle, with the slope the neighbours suggest, limited so that neither end passes the
neighbour's mean (monotonised central limiter, van Leer, J. Comput. Phys. 23, 1977): totals stay
exact, the rate is never negative, a steady ramp is reproduced, and a step stays a step.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Buckets up to this long are taken as given: the counts themselves resolve the ramps.
STAIRCASE_UP_TO_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """An arrival rate over time, piecewise linear; arrays have shape (buckets,).

    ``mean`` is requests/s averaged over the bucket, ``rise`` the rate at its end less that at its
    start. Time starts at 0.
    """

    bucket_seconds: float
    mean: NDArray[np.float64]
    rise: NDArray[np.float64]

    def bucket_of(self, seconds: NDArray[np.float64]) -> NDArray[np.int64]:
        """Index of the bucket each time lies in; times outside belong to the nearest one."""
        at = np.floor(seconds / self.bucket_seconds).astype(np.int64)
        return np.clip(at, 0, len(self.mean) - 1)

    def before(self, share: NDArray[np.float64], bucket: NDArray[np.int64]) -> NDArray[np.float64]:
        """Rate integrated over the first ``share`` u of a bucket: mean u + rise u (u - 1) / 2.

        In units of one bucket's length.
        """
        return share * (self.mean[bucket] + 0.5 * self.rise[bucket] * (share - 1.0))


def level_of(requests: NDArray[np.float64], bucket_seconds: float) -> Level:
    """Level of counts per bucket: linear pieces above ``STAIRCASE_UP_TO_SECONDS``, else flat."""
    mean = requests / bucket_seconds
    rise = np.zeros_like(mean)
    if bucket_seconds > STAIRCASE_UP_TO_SECONDS and len(mean) > 2:
        before, after = np.diff(mean)[:-1], np.diff(mean)[1:]
        limit = 2.0 * np.minimum(np.abs(before), np.abs(after))
        central = 0.5 * (before + after)
        same = before * after > 0.0
        rise[1:-1] = np.where(same, np.sign(central) * np.minimum(np.abs(central), limit), 0.0)
    return Level(bucket_seconds=bucket_seconds, mean=mean, rise=rise)
