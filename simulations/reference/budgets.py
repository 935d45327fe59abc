"""Finds the prices of misses and of degraded requests at which a plan just keeps its budgets."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulations.reference.misses import MissLaw
from simulations.reference.path import Billing
from simulations.reference.problem import Problem
from simulations.reference.programme import Solution, Stages, predict, solve

#: Prices searched, in seconds of the first variant's replica; the upper end as good as forbids.
LOWEST, HIGHEST = 1e-3, 1e5
#: A price is found to this ratio, and to a coarser one while another price is being searched:
#: the last where a pass over all buckets and allocations visits more than ``LARGE`` states.
FINE, COARSE, COARSEST = 1.03, 1.1, 1.3
LARGE = 5_000_000
#: From the last price found, the search widens by this ratio, squared each time, until it brackets
#: the next.
WIDENING = 1.5
#: A solution this far below the degraded budget is spliced with the one beyond it.
SPLICED_BELOW = 0.5


@dataclass(frozen=True, slots=True)
class Budget:
    """Requests that may be missed and degraded, as shares of the scored requests."""

    missed: float
    degraded: float


class Budgets:
    """Solves the programme for a budget, starting from the prices of the last time."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._unit = problem.billing[0].cost_per_second
        self._miss_price = 1.0
        self._degraded_price = 0.1
        self._has_fallback = any(b.fallback for b in problem.billing)

    @property
    def miss_cost(self) -> float:
        """Price of a miss at the last solution, in the price table's currency."""
        return self._miss_price * self._unit

    def solve(self, law: MissLaw, hardness: NDArray[np.float64], budget: Budget) -> Solution:
        """Return the cheapest path predicted to keep ``budget``."""
        stages = self._problem.stages(law, hardness)
        total = float(np.sum(stages.requests))
        allowed, most = budget.missed * total, budget.degraded * total
        if not self._has_fallback:
            return self._price_misses(stages, allowed, 0.0, FINE)

        states = len(stages.requests) * stages.degraded[0].size
        ratio = COARSEST if states > LARGE else COARSE

        def degraded_at(price: float) -> Solution:
            return self._price_misses(stages, allowed, price, ratio)

        self._degraded_price, kept, over = _least(
            degraded_at, lambda found: found.degraded <= most, self._degraded_price, ratio
        )
        if over is not None and kept.degraded < SPLICED_BELOW * most:
            return _spliced(stages, self._problem.billing, kept, over, most)
        return self._price_misses(stages, allowed, self._degraded_price, FINE)

    def _price_misses(
        self, stages: Stages, allowed: float, degraded_price: float, ratio: float
    ) -> Solution:
        """Return the cheapest solution within the misses allowed, at a price of degraded ones."""

        def at(price: float) -> Solution:
            return solve(
                stages,
                self._problem.billing,
                self._problem.bucket_seconds,
                miss_price=price * self._unit,
                degraded_price=degraded_price * self._unit,
                warm=self._problem.warm,
            )

        self._miss_price, found, _ = _least(
            at, lambda found: found.missed <= allowed, self._miss_price, ratio
        )
        return found


def _least(
    at: Callable[[float], Solution],
    kept: Callable[[Solution], bool],
    start: float,
    ratio: float,
) -> tuple[float, Solution, Solution | None]:
    """Lowest price (to ``ratio``) at which a budget is kept, the solution there, and the last not.

    Where no price keeps it the price is ``HIGHEST``; where every price does, nothing is last.
    """
    over: Solution | None = None
    widening = WIDENING
    high = low = min(max(start, LOWEST), HIGHEST)
    found = at(high)
    if kept(found):
        while low > LOWEST:
            low = max(low / widening, LOWEST)
            widening **= 2
            tried = at(low)
            if not kept(tried):
                over = tried
                break
            high, found = low, tried
    else:
        while high < HIGHEST:
            low, over = high, found
            high = min(high * widening, HIGHEST)
            widening **= 2
            found = at(high)
            if kept(found):
                break
    while high > ratio * low:
        middle = float(np.sqrt(low * high))
        tried = at(middle)
        if kept(tried):
            high, found = middle, tried
        else:
            low, over = middle, tried
    return high, found, over


def _spliced(
    stages: Stages,
    billing: tuple[Billing, ...],
    kept: Solution,
    over: Solution,
    most: float,
) -> Solution:
    """``kept`` with one stretch of ``over``, the one that saves most within ``most`` degraded.

    At the critical price a fallback may pay everywhere or nowhere; then neither solution is near
    the budget, and a stretch of the one in the other is.
    """
    here, there = (predict(stages, s.replicas)[1] for s in (kept, over))
    extra = np.concatenate(([0.0], np.cumsum(np.maximum(there - here, 0.0))))
    price = np.array([b.cost_per_second for b in billing])
    saved = np.concatenate(([0.0], np.cumsum((kept.replicas - over.replicas) @ price)))
    room = most - kept.degraded
    ends = np.searchsorted(extra, extra + room, side="right") - 1
    first = int(np.argmax(saved[ends] - saved))
    replicas = kept.replicas.copy()
    replicas[first : ends[first]] = over.replicas[first : ends[first]]
    missed, degraded = (float(np.sum(a)) for a in predict(stages, replicas))
    return replace(kept, replicas=replicas, missed=missed, degraded=degraded)
