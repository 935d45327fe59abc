"""The throughput loop: forecast requests/s over what one engine carries, within a band of GPUs."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuBand:
    """GPUs that may be used, and those of one engine; None: without that bound.

    The floor gives way by one engine where there is a ceiling too, as whole engines may not hit it.
    """

    gpus_per_engine: int = 1
    min_endpoint: int = 1
    min_gpus: int | None = None
    max_gpus: int | None = None

    def guarded(self, current: int, asked: int) -> int:
        """Engines after the band, from ``current`` to ``asked``.

        Outside the band the current count is brought back, whatever is asked; at a bound nothing
        moves beyond it; and the band never turns a move around.
        """
        gpus = current * self.gpus_per_engine
        if not self._holds(current):
            return self._clamped(current)
        if self.min_gpus is not None and gpus <= self.min_gpus and asked < current:
            return current
        if self.max_gpus is not None and gpus >= self.max_gpus and asked > current:
            return current
        kept = self._clamped(asked)
        return kept if min(current, asked) <= kept <= max(current, asked) else current

    def _holds(self, engines: int) -> bool:
        gpus = engines * self.gpus_per_engine
        if self.max_gpus is not None and gpus > self.max_gpus:
            return False
        slack = 0 if self.max_gpus is None else self.gpus_per_engine
        return self.min_gpus is None or gpus >= self.min_gpus - slack

    def _clamped(self, engines: int) -> int:
        """Engines within the band; 0 where the least number of them does not fit it."""
        if self._holds(engines):
            return engines
        most = None if self.max_gpus is None else self.max_gpus // self.gpus_per_engine
        if most is not None and most < self.min_endpoint:
            return 0
        wanted = engines
        if self.min_gpus is not None:
            wanted = max(engines, math.ceil(self.min_gpus / self.gpus_per_engine))
        if most is not None:
            wanted = min(wanted, most)
        return max(wanted, self.min_endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputSpec:
    """Engines that one decision may add or remove at most, and the band of GPUs."""

    band: GpuBand
    most_moved: int = 8


def engines_for(
    spec: ThroughputSpec,
    current: int,
    requests_per_second: float,
    engine_requests_per_second: float,
) -> int:
    """Engines that carry the rate, no further from ``current`` than a decision may go."""
    carried = math.ceil(requests_per_second / engine_requests_per_second)
    asked = max(carried, spec.band.min_endpoint)
    return min(max(asked, current - spec.most_moved), current + spec.most_moved)
