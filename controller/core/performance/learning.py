"""Online capacity factor: how much faster (above 1) replicas are than their profiles say.

A replica f times as fast carries f times the load with the same number outstanding, so the factor
shows in the requests outstanding at the observed arrival rate: it is the observed rate over the
rate at which the model predicts what is outstanding. One look is noisy, because the outstanding
fluctuate by themselves; its variance is known from the model, and a scalar Kalman filter on log f
weighs it. The factor wanders (``_WANDER``), returns to 1 when nothing is seen (``_MEMORY_SECONDS``)
and stays within ``BOUNDS``.
"""

import math
from dataclasses import dataclass
from typing import Final, Protocol

from controller.core.domain.decision import Allocation

#: A factor outside says that the profile is of something else, not that it is a little off.
BOUNDS: Final = (0.4, 2.5)
#: Standard deviation of the profile's log factor before anything is seen.
_PRIOR: Final = 0.2
#: Random walk of the log factor: variance per second; it may move by .1 in 30 min. Hardware changes
#: slowly: a looser walk takes the load's own fluctuations for speed and sizes the fleet by them.
_WANDER: Final = 0.1**2 / 1800.0
#: Time for the factor to fall back towards 1 by 1/e while nothing is learned.
_MEMORY_SECONDS: Final = 6 * 3600.0
#: Outstanding are correlated for about the life of a request: looks in that time count as one.
_CORRELATION_SECONDS: Final = 30.0
#: Error of the model's own outstanding, as standard deviation of the log factor.
_MODEL_ERROR: Final = 0.05
#: One look moves the log factor by no more than this: bursts and half-warm replicas happen.
_LARGEST_STEP: Final = 0.1
_LEAST_OUTSTANDING: Final = 2.0


class PredictsOutstanding(Protocol):
    """What learning asks of a fleet's capacity model."""

    def outstanding(self, allocation: Allocation, arrival_rate: float) -> float:
        """Mean requests outstanding in the fleet at an arrival rate."""
        ...

    def rate_at(self, allocation: Allocation, outstanding: float) -> float:
        """Arrival rate at which so many are outstanding in the mean."""
        ...


@dataclass(frozen=True, slots=True)
class CapacityLearning:
    """What was learned so far: all plain floats, so it serialises as it is.

    ``log_factor`` and its ``variance`` as of ``at_seconds`` (Unix time; None: nothing seen yet).
    """

    log_factor: float = 0.0
    variance: float = _PRIOR**2
    at_seconds: float | None = None

    @property
    def factor(self) -> float:
        """Capacity over the profile's: multiply capacities by it."""
        return math.exp(self.log_factor)

    def update(
        self,
        fleet: PredictsOutstanding,
        ready: Allocation,
        arrival_rate: float,
        outstanding: float,
        at_seconds: float,
    ) -> "CapacityLearning":
        """Take in ``outstanding`` seen with ``ready`` replicas while ``arrival_rate`` arrived.

        ``fleet`` predicts by the profiles (correction 1). A look that says nothing (no replicas,
        next to no load, nothing new since the last look) changes nothing.
        """
        elapsed = math.inf if self.at_seconds is None else at_seconds - self.at_seconds
        if elapsed <= 0.0 or sum(ready) == 0 or arrival_rate <= 0.0:
            return self
        if not math.isfinite(arrival_rate + outstanding) or outstanding < _LEAST_OUTSTANDING:
            return self
        log_factor, variance = self._aged(elapsed)
        implied = fleet.rate_at(ready, outstanding)
        if implied <= 0.0:
            return self
        noise = _noise(fleet, ready, implied, outstanding, elapsed)
        gain = variance / (variance + noise)
        error = math.log(arrival_rate) - math.log(implied) - log_factor
        step = min(max(gain * error, -_LARGEST_STEP), _LARGEST_STEP)
        low, high = (math.log(bound) for bound in BOUNDS)
        return CapacityLearning(
            log_factor=min(max(log_factor + step, low), high),
            variance=(1.0 - gain) * variance,
            at_seconds=at_seconds,
        )

    def _aged(self, elapsed: float) -> tuple[float, float]:
        """State after ``elapsed`` seconds unseen."""
        if math.isinf(elapsed):
            return self.log_factor, self.variance
        kept = math.exp(-elapsed / _MEMORY_SECONDS)
        return self.log_factor * kept, min(self.variance + _WANDER * elapsed, _PRIOR**2)


def _noise(
    fleet: PredictsOutstanding,
    ready: Allocation,
    rate: float,
    outstanding: float,
    elapsed: float,
) -> float:
    """Variance of the log factor one look implies.

    With elasticity e of the rate in the outstanding, the outstanding vary by about their mean
    times a factor of 2 over e, and log f by e^2 / outstanding^2 of that.
    """
    more = fleet.rate_at(ready, 1.1 * outstanding)
    elasticity = min(max(math.log(more / rate) / math.log(1.1), 0.01), 1.0) if more > rate else 0.01
    once = 2.0 * elasticity / outstanding
    looks = max(1.0, _CORRELATION_SECONDS / elapsed)
    return looks * (once + _MODEL_ERROR**2)
