"""The dynamic programme behind the reference plan: the cheapest path for given prices of misses.

Running costs are linear in replicas and a start has a price, so the cost to move separates by
variant: a bucket's best predecessor is found with one running minimum up and one down along each
variant's axis, whatever the size of the move. The result is exact over all paths, in
O(buckets x allocations), and replica level by replica level it is the on/off rule of ski rental:
an idle replica is kept over a gap exactly when the gap is shorter than a start.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulations.reference.path import Billing

#: At most this many variants may move together.
MAX_VARIANTS = 2
#: Allocations are kept as bytes for the way back.
MAX_REPLICAS = 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stages:
    """What every bucket asks, for B buckets, M mixes, allocations (N, F) and L miss levels.

    ``requests`` (B,); ``mix`` (B,) index into ``rates`` (M, N, F, L), requests per bucket up to
    which no more than each level is missed (rising along L), and ``degraded`` (M, N, F), the share
    a fallback serves. ``miss_share`` (K,) is the share missed at position ``k * miss_step`` along
    the levels (see ``position``); the last entry holds beyond.
    """

    requests: NDArray[np.float64]
    mix: NDArray[np.int64]
    rates: NDArray[np.float64]
    degraded: NDArray[np.float64]
    miss_share: NDArray[np.float64]
    miss_step: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solution:
    """The cheapest path at the given prices: ``replicas`` (buckets, 2) and its predictions.

    ``value`` is cost plus priced misses and degraded requests.
    """

    replicas: NDArray[np.int64]
    value: float
    cost: float
    missed: float
    degraded: float


@njit(cache=True)
def position(requests: float, rates: NDArray[np.float64]) -> float:
    """Where a load lies along the miss levels whose ``rates`` (L,) an allocation has.

    0 without load, l + 1 at level l, linear between; beyond the last level by doublings of load.
    """
    if requests <= 0.0:
        return 0.0
    last = len(rates) - 1
    if requests >= rates[last]:
        beyond = np.log2(requests / rates[last]) if rates[last] > 0.0 else np.inf
        return float(last + 1 + beyond)
    level = 0
    while requests >= rates[level]:
        level += 1
    below = rates[level - 1] if level > 0 else 0.0
    return float(level + (requests - below) / (rates[level] - below))


@njit(cache=True)
def _missed(
    requests: float, rates: NDArray[np.float64], miss_share: NDArray[np.float64], miss_step: float
) -> float:
    """Predicted misses in one bucket, linear between the law's points."""
    at = position(requests, rates) / miss_step
    last = len(miss_share) - 1
    if at >= last:
        return float(requests * miss_share[last])
    low = int(at)
    part = at - low
    return float(requests * ((1.0 - part) * miss_share[low] + part * miss_share[low + 1]))


@njit(cache=True)
def _transform(value: NDArray[np.float64], start: float, source: NDArray[np.uint8]) -> None:
    """Replace ``value[n]`` by min over m of value[m] + start (n - m)+, noting the m in ``source``.

    Releases are free; both running minima are exact for any size of move.
    """
    size = len(value)
    below = value.copy()
    origin = np.arange(size)
    for n in range(1, size):
        if below[n - 1] + start < below[n]:
            below[n] = below[n - 1] + start
            origin[n] = origin[n - 1]
    best, at = np.inf, size - 1
    for n in range(size - 1, -1, -1):
        if value[n] < best:
            best, at = value[n], n
        if below[n] <= best:
            source[n] = origin[n]
            value[n] = below[n]
        else:
            source[n] = at
            value[n] = best


@njit(cache=True)
def _forward(  # noqa: PLR0913, PLR0917 - a jitted kernel takes plain arrays
    requests: NDArray[np.float64],
    mix: NDArray[np.int64],
    rates: NDArray[np.float64],
    degraded: NDArray[np.float64],
    miss_share: NDArray[np.float64],
    miss_step: float,
    run: NDArray[np.float64],
    start: NDArray[np.float64],
    least: NDArray[np.int64],
    value: NDArray[np.float64],
    miss_price: float,
    degraded_price: float,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Carry ``value`` (N, F) from before the first bucket to after the last, in place.

    ``run`` and ``start`` are prices per bucket and per start, by variant. Returns where each
    allocation came from along the first and along the second axis, both (B, N, F).
    """
    buckets, first, second = len(requests), value.shape[0], value.shape[1]
    from_first = np.zeros((buckets, first, second), np.uint8)
    from_second = np.zeros((buckets, first, second), np.uint8)
    for t in range(buckets):
        for f in range(second):
            column = value[:, f].copy()
            _transform(column, start[0], from_first[t, :, f])
            value[:, f] = column
        for n in range(first):
            _transform(value[n], start[1], from_second[t, n])
        for n in range(first):
            for f in range(second):
                if n < least[0] or f < least[1]:
                    value[n, f] = np.inf
                    continue
                missed = _missed(requests[t], rates[mix[t], n, f], miss_share, miss_step)
                value[n, f] += (
                    n * run[0]
                    + f * run[1]
                    + miss_price * missed
                    + degraded_price * degraded[mix[t], n, f] * (requests[t] - missed)
                )
    return from_first, from_second


@njit(cache=True)
def _backward(
    from_first: NDArray[np.uint8],
    from_second: NDArray[np.uint8],
    last: tuple[int, int],
) -> NDArray[np.int64]:
    buckets = len(from_first)
    replicas = np.zeros((buckets, 2), np.int64)
    n, f = last
    for t in range(buckets - 1, -1, -1):
        replicas[t, 0], replicas[t, 1] = n, f
        f = int(from_second[t, n, f])
        n = int(from_first[t, n, f])
    return replicas


def predict(
    stages: Stages, replicas: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Predicted missed and degraded requests of every bucket along a path (buckets, variants)."""
    second = replicas[:, 1] if replicas.shape[1] > 1 else np.zeros(len(replicas), np.int64)
    at = (stages.mix, replicas[:, 0], second)
    missed = _missed_along(stages.requests, stages.rates[at], stages.miss_share, stages.miss_step)
    return missed, stages.degraded[at] * (stages.requests - missed)


@njit(cache=True)
def _missed_along(
    requests: NDArray[np.float64],
    rates: NDArray[np.float64],
    miss_share: NDArray[np.float64],
    miss_step: float,
) -> NDArray[np.float64]:
    missed = np.empty(len(requests))
    for t in range(len(requests)):
        missed[t] = _missed(requests[t], rates[t], miss_share, miss_step)
    return missed


@njit(cache=True)
def positions(requests: NDArray[np.float64], rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """``position`` of every bucket: ``requests`` (B,), ``rates`` (B, L)."""
    found = np.empty(len(requests))
    for t in range(len(requests)):
        found[t] = position(requests[t], rates[t])
    return found


def path_cost(
    replicas: NDArray[np.int64],
    billing: tuple[Billing, ...],
    bucket_seconds: float,
    warm: tuple[int, ...] | None = None,
) -> float:
    """Cost of a path (buckets, variants): all running time plus one cold start for each start.

    ``warm`` replicas were Ready before the first bucket (None: as many as the path begins with).
    """
    before = replicas[:1] if warm is None else np.array([warm], np.int64)
    starts = np.maximum(np.diff(replicas, axis=0, prepend=before), 0)
    run = np.array([b.cost_per_second for b in billing]) * bucket_seconds
    start = np.array([b.start_cost for b in billing])
    return float(np.sum(replicas @ run) + np.sum(starts @ start))


def solve(
    stages: Stages,
    billing: tuple[Billing, ...],
    bucket_seconds: float,
    *,
    miss_price: float,
    degraded_price: float = 0.0,
    warm: tuple[int, ...] | None = None,
) -> Solution:
    """Find the cheapest path at a price per missed and per degraded request.

    ``billing`` has one or two variants, in the order of the allocations' axes.

    Raises:
        ValueError: more variants or replicas than the programme can hold.
    """
    if not 1 <= len(billing) <= MAX_VARIANTS:
        raise ValueError(f"{len(billing)} variants: give one or {MAX_VARIANTS} to plan together")
    shape = stages.rates.shape[1:3]
    if max(shape) > MAX_REPLICAS:
        raise ValueError(f"allocations up to {max(shape)}: give at most {MAX_REPLICAS} replicas")
    rows = [*billing, billing[-1]][:MAX_VARIANTS]
    run = np.array([b.cost_per_second * bucket_seconds for b in rows])
    start = np.array([b.start_cost for b in rows])
    least = np.array([b.min_replicas for b in billing] + [0] * (MAX_VARIANTS - len(billing)))
    value = np.zeros(shape)
    if warm is not None:
        value[:] = np.inf
        value[warm if len(warm) == MAX_VARIANTS else (warm[0], 0)] = 0.0
    law = (
        stages.requests,
        stages.mix,
        stages.rates,
        stages.degraded,
        stages.miss_share,
        stages.miss_step,
    )
    ways = _forward(*law, run, start, least, value, miss_price, degraded_price)
    last = np.unravel_index(int(np.argmin(value)), shape)
    replicas = _backward(*ways, (int(last[0]), int(last[1])))
    along = predict(stages, replicas)
    missed, fallen = (float(np.sum(a)) for a in along)
    best = float(value[last])
    return Solution(
        replicas=replicas[:, : len(billing)],
        value=best,
        cost=best - miss_price * missed - degraded_price * fallen,
        missed=missed,
        degraded=fallen,
    )
