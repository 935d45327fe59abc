"""Averages over a sliding window of one-second buckets, as Knative's collector keeps them."""

import math
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

    def recorded(self, at_seconds: float, value: float) -> "Window":
        """Add a value; several in one second add up, and one older than the window is ignored."""
        second = math.floor(at_seconds)
        if self.last is None or self.first is None or second - self.last >= self.seconds:
            return Window(seconds=self.seconds, sums=((second, value),), first=second)
        if second > self.last:
            return Window(
                seconds=self.seconds,
                sums=(*self._since(second - self.seconds + 1), (second, value)),
                first=self.first,
            )
        if second <= self.last - self.seconds:
            return self
        sums = dict(self.sums)
        sums[second] = sums.get(second, 0.0) + value
        return Window(
            seconds=self.seconds, sums=tuple(sorted(sums.items())), first=min(self.first, second)
        )

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
        start = 0
        while start < len(self.sums) and self.sums[start][0] < second:
            start += 1
        return self.sums[start:]
