"""Averages over a sliding window of one-second buckets, as Knative's collector keeps them."""

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

#: Decimals to which the linear average is rounded.
AVERAGE_DIGITS = 6
#: Share of the weight that a window of the weighted-exponential average must hold, and the
#: least weight of its newest second.
EXPONENTIAL_COVERAGE = 0.9999
EXPONENTIAL_LEAST_WEIGHT = 0.2


class Aggregation(StrEnum):
    """How a window is averaged."""

    LINEAR = "linear"
    WEIGHTED_EXPONENTIAL = "weighted-exponential"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Sums per second in the last ``seconds`` up to the newest write.

    ``sums`` holds (second, sum) in order of time. ``first`` is the first second written since the
    last silence as long as the window; None before any write.
    """

    seconds: int
    sums: tuple[tuple[int, float], ...] = ()
    first: int | None = None

    @property
    def last(self) -> int | None:
        """The newest second written."""
        return self.sums[-1][0] if self.sums else None

    def recorded(self, samples: Iterable[tuple[float, float]]) -> "Window":
        """Add values as (seconds, value); several in one second add up.

        Oldest first; a value older than the window is ignored.
        """
        sums, first = list(self.sums), self.first
        for at_seconds, value in samples:
            second = math.floor(at_seconds)
            if first is None or second - sums[-1][0] >= self.seconds:
                sums, first = [(second, value)], second
            elif second > sums[-1][0]:
                sums.append((second, value))
            elif second > sums[-1][0] - self.seconds:
                merged = dict(sums)
                merged[second] = merged.get(second, 0.0) + value
                sums, first = sorted(merged.items()), min(first, second)
        if not sums:
            return self
        oldest = sums[-1][0] - self.seconds + 1
        kept = bisect_left(sums, (oldest, -math.inf))
        return Window(seconds=self.seconds, sums=tuple(sums[kept:]), first=first)

    def empty(self, now: float) -> bool:
        """Whether nothing was written for longer than the window."""
        return self.last is None or math.floor(now) - self.last > self.seconds

    def average(self, now: float, aggregation: Aggregation) -> float:
        """Average at ``now``; 0 where the window holds no write."""
        if self.last is None or self.first is None:
            return 0.0
        second = max(math.floor(now), self.last)
        silent = second - self.last
        if silent >= self.seconds:
            return 0.0
        recent = self._since(second - self.seconds + 1)
        if aggregation is Aggregation.WEIGHTED_EXPONENTIAL:
            missing_weight = math.pow(1.0 - EXPONENTIAL_COVERAGE, 1.0 / self.seconds)
            newest = max(1.0 - missing_weight, EXPONENTIAL_LEAST_WEIGHT)
            return math.fsum(
                total * newest * math.pow(1.0 - newest, second - at) for at, total in recent
            )
        # Seconds between writes count as 0; those since the newest write are left out.
        counted = min(self.last - self.first + 1, self.seconds - silent)
        return round(sum(total for _, total in recent) / counted, AVERAGE_DIGITS)

    def _since(self, second: int) -> tuple[tuple[int, float], ...]:
        """Sums from ``second`` on."""
        return self.sums[bisect_left(self.sums, (second, -math.inf)) :]
