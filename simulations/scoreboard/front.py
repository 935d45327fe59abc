"""Steelyard's front: what it costs and misses at its SLO targets, and what lies between two."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: A share missed below which nothing is told apart.
LEAST_MISSED = 1e-6


@dataclass(frozen=True, slots=True)
class Front:
    """(Attainment, cost), ascending in both; between two the cost goes with the log of the misses.

    Nothing is extrapolated: beyond either end there is that end's figure or none.
    """

    points: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, points: Iterable[tuple[float, float]]) -> "Front":
        """The points worth having: one that attains more for less makes those below useless."""
        front: list[tuple[float, float]] = []
        for point in sorted(points, reverse=True):
            if not front or point[1] < front[-1][1]:
                front.append(point)
        return cls(tuple(front[::-1]))

    def cost_at(self, attainment: float) -> float | None:
        """Cost of so much attainment; None above the dearest point.

        Below the cheapest the cost of that one stands: steelyard would not pay more for less.
        """
        if not self.points or attainment > self.points[-1][0]:
            return None
        wanted = np.log(max(1.0 - attainment, LEAST_MISSED))
        return float(np.interp(-wanted, -self._log_missed(), [cost for _, cost in self.points]))

    def missed_at(self, cost: float) -> float | None:
        """Share missed at a cost; None below the cheapest point, which no fleet of ours shows.

        Above the dearest no more is missed than there.
        """
        if not self.points or cost < self.points[0][1]:
            return None
        costs = [known for _, known in self.points]
        return float(np.exp(np.interp(cost, costs, self._log_missed())))

    def _log_missed(self) -> NDArray[np.float64]:
        attained = np.array([attainment for attainment, _ in self.points])
        return np.asarray(np.log(np.maximum(1.0 - attained, LEAST_MISSED)))
