"""Requests/s by the minute, before and since the replay began: what forecasting peers fit on.

A sample is what rate() over the last minute answers at a whole minute (Unix), as a metrics store
returns it to a range query. A minute that was not seen has no sample.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.observation import GaugeReading, Measured, PastTraffic

MINUTE_SECONDS = 60.0

#: Samples after which recent ones are folded into the arrays: a copy of days each minute is dear.
_FOLDED = 128


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RateHistory:
    """Samples of the last ``kept_seconds``, in time order; nothing is changed in place.

    ``at_seconds`` and ``per_second`` have shape (samples,); ``recent`` are newer ones as
    (at seconds, per second).
    """

    kept_seconds: float
    at_seconds: NDArray[np.float64]
    per_second: NDArray[np.float64]
    recent: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(cls, past: PastTraffic | None, kept_seconds: float) -> "RateHistory":
        """What a metrics store remembers, at whole minutes; steps of less share a minute's mean."""
        nothing = np.empty(0)
        if past is None or not len(past.requests):
            return cls(kept_seconds=kept_seconds, at_seconds=nothing, per_second=nothing)
        ends = past.from_seconds + (np.arange(len(past.requests)) + 1) * past.step_seconds
        seen = np.isfinite(past.requests)
        minutes = np.ceil(ends[seen] / MINUTE_SECONDS - 1e-9) * MINUTE_SECONDS
        at, place, counts = np.unique(minutes, return_inverse=True, return_counts=True)
        rates = np.bincount(place, past.requests[seen] / past.step_seconds, len(at)) / counts
        kept = at > ends[-1] - kept_seconds
        return cls(kept_seconds=kept_seconds, at_seconds=at[kept], per_second=rates[kept])

    @property
    def until_seconds(self) -> float:
        """Time of the newest sample; minus infinity before any."""
        if self.recent:
            return self.recent[-1][0]
        return float(self.at_seconds[-1]) if len(self.at_seconds) else -np.inf

    def scraped(self, per_second: GaugeReading, now: float) -> "RateHistory":
        """Add the rate at the minute that has ended, where it was seen and is not there yet."""
        minute = now // MINUTE_SECONDS * MINUTE_SECONDS
        if not isinstance(per_second, Measured) or minute <= self.until_seconds:
            return self
        grown = replace(self, recent=(*self.recent, (minute, per_second.value)))
        return grown if len(grown.recent) < _FOLDED else grown.folded()

    def folded(self) -> "RateHistory":
        """All samples in the arrays, without those older than what is kept."""
        if not self.recent:
            return self
        at, rates = np.array(self.recent).T
        at = np.concatenate((self.at_seconds, at))
        kept = at > at[-1] - self.kept_seconds
        return RateHistory(
            kept_seconds=self.kept_seconds,
            at_seconds=at[kept],
            per_second=np.concatenate((self.per_second, rates))[kept],
        )

    def between(self, after_seconds: float, until_seconds: float) -> NDArray[np.float64]:
        """Rates of the samples in (after, until], shape (samples,)."""
        first, last = np.searchsorted(self.at_seconds, (after_seconds, until_seconds), "right")
        old = self.per_second[first:last]
        new = [rate for at, rate in self.recent if after_seconds < at <= until_seconds]
        return np.concatenate((old, new)) if new else old
