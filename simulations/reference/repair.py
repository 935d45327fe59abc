"""Moves a replayed path onto its target: the cheapest small changes by what the replay saw.

The dynamic programme proposes paths only at the corners of its trade-off, and its law is of the
whole trace. From a replayed path the misses of every bucket are known, so a replica taken out of,
or added to, one bucket or one stretch of equal buckets has a price in misses that starts from what
was seen there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.reference.misses import MissLaw
from simulations.reference.problem import Problem

#: Changes tried at most; each moves at least one bucket.
MOST_CHANGES = 300
#: Misses of a bucket whose law is next to nothing are taken for at least this share.
_LEAST_SHARE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What a replay saw in the scored buckets; arrays have shape (buckets,)."""

    misses: NDArray[np.float64]
    requests: NDArray[np.float64]


@dataclass(slots=True)
class _Changes:
    """Candidate changes of one variant: buckets [first, end), their cost and misses."""

    first: NDArray[np.int64]
    end: NDArray[np.int64]
    cost: NDArray[np.float64]
    misses: NDArray[np.float64]
    variant: int


class Repair:
    """Changes paths of one problem under what was learned so far."""

    def __init__(self, problem: Problem, law: MissLaw, hardness: NDArray[np.float64]) -> None:
        self._problem = problem
        self._law = law
        self._hardness = hardness

    def onto(self, replicas: NDArray[np.int64], seen: Seen, surplus: float) -> NDArray[np.int64]:
        """Return ``replicas`` (buckets, variants) changed by about ``surplus`` more misses.

        A negative surplus buys misses off; a positive one is spent on fewer replica-seconds.
        """
        replicas = replicas.copy()
        for _ in range(MOST_CHANGES):
            step = -1 if surplus > 0.0 else 1
            best = self._best(replicas, seen, step, surplus)
            if best is None:
                break
            changes, at = best
            first, end = changes.first[at], changes.end[at]
            replicas[first:end, changes.variant] += step
            surplus -= float(changes.misses[at])
            if step == 1 and surplus >= 0.0:
                break
        return replicas

    def _best(
        self, replicas: NDArray[np.int64], seen: Seen, step: int, surplus: float
    ) -> tuple[_Changes, int] | None:
        """The change with the best rate; replicas are added to primaries only."""
        best: tuple[float, _Changes, int] | None = None
        for variant, bill in enumerate(self._problem.billing):
            if step > 0 and bill.fallback:
                continue
            changes = self._changes(replicas, seen, variant, step)
            if step < 0:
                useful = (changes.cost < 0.0) & (changes.misses <= surplus)
                rate = -changes.cost / np.maximum(changes.misses, 1e-9)
            else:
                useful = changes.misses < -1e-9
                rate = -changes.misses / np.maximum(changes.cost, 1e-12)
            if not np.any(useful):
                continue
            at = int(np.argmax(np.where(useful, rate, -np.inf)))
            if best is None or rate[at] > best[0]:
                best = (float(rate[at]), changes, at)
        return None if best is None else best[1:]

    def _changes(
        self, replicas: NDArray[np.int64], seen: Seen, variant: int, step: int
    ) -> _Changes:
        """Every bucket, and every stretch of equal buckets, with one replica more or less."""
        problem = self._problem
        n = replicas[:, variant]
        bill = problem.billing[variant]
        misses = self._change_in_misses(replicas, seen, variant, step)
        edges = np.flatnonzero(np.diff(n)) + 1
        single = np.arange(len(n))
        first = np.concatenate([single, [0], edges]).astype(np.int64)
        end = np.concatenate([single + 1, edges, [len(n)]]).astype(np.int64)
        level = n[first]
        before = np.where(first > 0, n[np.maximum(first - 1, 0)], level)
        after = np.where(end < len(n), n[np.minimum(end, len(n) - 1)], 0)

        def starts(here: NDArray[np.int64]) -> NDArray[np.int64]:
            up = np.where(first > 0, np.maximum(here - before, 0), 0)
            return np.asarray(up + np.maximum(after - here, 0))

        running = step * (end - first).astype(np.float64) * problem.bucket_seconds
        started = (starts(level + step) - starts(level)).astype(np.float64)
        cost = running * bill.cost_per_second + started * bill.start_cost
        total = np.concatenate(([0.0], np.cumsum(misses)))
        return _Changes(first, end, cost, total[end] - total[first], variant)

    def _change_in_misses(
        self, replicas: NDArray[np.int64], seen: Seen, variant: int, step: int
    ) -> NDArray[np.float64]:
        """Misses that each bucket gains (infinite where the change is not allowed)."""
        problem = self._problem
        bill = problem.billing[variant]
        changed = replicas.copy()
        changed[:, variant] += step
        top = min(bill.max_replicas, problem.rates.shape[1 + variant] - 1)
        allowed = (changed[:, variant] >= bill.min_replicas) & (changed[:, variant] <= top)
        changed[~allowed] = replicas[~allowed]
        now = np.maximum(self._share(replicas), _LEAST_SHARE)
        then = np.maximum(self._share(changed), _LEAST_SHARE)
        # Pessimistic both ways: what was seen, or what the law has it, whichever is worse.
        base = seen.misses if step > 0 else np.maximum(seen.misses, now * seen.requests)
        gained = np.minimum(base * then / now, seen.requests) - base
        # Prefix sums must stay finite: a forbidden change costs all requests there are.
        return np.where(allowed, gained, float(np.sum(seen.requests)) + 1.0)

    def _share(self, replicas: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._law.at(self._problem.positions(replicas, self._hardness))
