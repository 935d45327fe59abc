"""A Prometheus histogram of observations that come in bulk."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(slots=True)
class Histogram:
    """Counts per bucket, upper edge included; the last bucket lies beyond all edges."""

    edges: tuple[float, ...]
    total: float = 0.0
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin with nothing observed."""
        self.counts = [0] * (len(self.edges) + 1)

    @property
    def observations(self) -> int:
        """Number of observations."""
        return sum(self.counts)

    def observe(self, value: float, times: int = 1) -> None:
        """Count ``value``, ``times`` times."""
        self.counts[bisect_left(self.edges, value)] += times
        self.total += times * value

    def observe_rising(self, first: float, growth: float, steps: int, times: int = 1) -> None:
        """Count ``first + growth k`` for k = 0 .. steps - 1, each ``times`` times; growth >= 0."""
        low = bisect_left(self.edges, first)
        high = bisect_left(self.edges, first + growth * (steps - 1))
        if low == high:  # nearly always: the steps of one stretch are alike
            self.counts[low] += times * steps
        else:
            values = first + growth * np.arange(steps)
            buckets = np.searchsorted(self.edges, values)
            for bucket, count in enumerate(np.bincount(buckets).tolist()):
                self.counts[bucket] += times * count
        self.total += times * (steps * first + growth * steps * (steps - 1) / 2.0)

    def cumulative(self) -> Sequence[int]:
        """Count of observations up to each edge, and of all: as Prometheus shows it."""
        summed = 0
        result = []
        for count in self.counts:
            summed += count
            result.append(summed)
        return result
