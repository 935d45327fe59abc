"""A pool that sends every request to the replica with the least outstanding.

Balanced so, all replicas of a pool hold the same number x outstanding (a kind at its queue limit
stays there), and the pool is one birth-death process: births at rate lambda, deaths at
X(x) = sum n_v X_v(x). Its stationary density is exp(sum of log(lambda / X)) over the requests
outstanding, each step divided by the spread factor of replica.py, which widens the fluctuation.
Pools of the same kinds are evaluated together, for a ladder of arrival rates each, in one pass of
numpy: the exponent is log lambda times one integral less another, neither of which knows the rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.decision import Allocation
from controller.core.performance.load_curve import LEAST_MISS, LoadCurve
from controller.core.performance.requests import BadTable

Array = NDArray[np.float64]

_GRID_POINTS: Final = 104
_QUEUE_POINTS: Final = 24
_GRID_POWER: Final = 2.0
#: Arrival rates of the ladder over the rate at which half of the requests are bad.
_LOADS: Final[Array] = np.concatenate(
    [
        [0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.58, 0.65, 0.7, 0.75, 0.8, 0.84, 0.88, 0.91, 0.94, 0.97],
        [1.0, 1.03, 1.07, 1.12, 1.2, 1.35, 1.6, 2.0, 3.0, 5.0],
    ]
)
#: Pools evaluated at once: more would fall out of the processor's cache.
_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """A pool with x outstanding per replica; arrays (points,), ``share`` (variants, points).

    ``finished`` in requests/s is what the pool completes, ``share`` the part of arrivals each
    variant takes, ``bad`` P(an accepted arrival is bad), ``held`` the requests outstanding in the
    pool, ``growing`` the replicas still below their limit, ``spread`` the widening of the
    fluctuation, ``prefilling`` the share of its time a replica spends on prompts when as many
    arrive as are finished. ``limited``: at the last point the pool refuses.
    """

    outstanding: Array
    finished: Array
    share: Array
    bad: Array
    held: Array
    growing: Array
    spread: Array
    prefilling: Array
    limited: bool


def pools(
    allocations: Sequence[Allocation],
    tables: Sequence[BadTable],
    limits: Sequence[int | None],
) -> list[Pool]:
    """Put ``allocation[v]`` replicas of kind v into a pool, for every allocation.

    All allocations hold the same kinds, of which there is at least one; ``limits`` are the kinds'
    queue limits.
    """
    counts = np.array(allocations, dtype=np.float64)
    present = np.flatnonzero(counts[0] > 0.0).tolist()
    number = counts[:, present]
    sizes = number.sum(axis=1)
    # Outstanding ends at the queue limit, or where everything is late anyway.
    caps = np.array([_cap(tables[v], limits[v]) for v in present])
    x = _grid(float(caps.max()), max(tables[v].hopeless for v in present))
    kinds = [_kind(tables[v], x, cap, sizes) for v, cap in zip(present, caps, strict=True)]
    # Shape (allocations, kinds present, points) from here on.
    throughput, spread, prefilling, bad = (
        np.stack(column, axis=1) for column in zip(*kinds, strict=True)
    )
    flow = number[:, :, None] * throughput
    total = flow.sum(axis=1)
    part = flow / total[:, None, :]
    share = np.zeros((len(counts), counts.shape[1], len(x)))
    share[:, present] = part
    finished = total * 1e3
    bad, spread, prefilling = ((part * of).sum(axis=1) for of in (bad, spread, prefilling))
    held = number @ np.minimum(x[None, :], caps[:, None])
    growing = number @ (x[None, :] <= caps[:, None] * (1.0 + 1e-9)).astype(np.float64)
    limited = all(limits[v] is not None for v in present)
    return [
        Pool(
            outstanding=x,
            finished=finished[row],
            share=share[row],
            bad=bad[row],
            held=held[row],
            growing=growing[row],
            spread=spread[row],
            prefilling=prefilling[row],
            limited=limited,
        )
        for row in range(len(counts))
    ]


def _grid(top: float, full: float) -> Array:
    """Points from 0 to ``top``, fine up to ``full``, where the outcome is decided."""
    inner = min(top, full) * (np.arange(_GRID_POINTS) / (_GRID_POINTS - 1)) ** _GRID_POWER
    if top <= full:
        return inner
    step = (inner[-1] - inner[-2]) / (top - full)
    share = np.linspace(0.0, 1.0, _QUEUE_POINTS + 1)[1:]
    # Steps grow from those inside to whatever reaches the top.
    linear = min(step * _QUEUE_POINTS, 1.0)
    return np.concatenate([inner, full + (top - full) * (linear * share + (1 - linear) * share**3)])


def _cap(table: BadTable, limit: int | None) -> float:
    end = float(table.outstanding[-1])
    return end if limit is None else float(limit)


def _kind(table: BadTable, x: Array, cap: float, sizes: Array) -> tuple[Array, ...]:
    """Throughput per ms, spread, prefilling and P(bad) of a kind whose pools hold x a replica.

    All of shape (pools, points) for pools of ``sizes`` replicas. A death is counted between m - 1
    and m requests, hence the half step; an arrival finds x and then counts itself.
    """
    curve = table.curve
    middle = np.minimum(x[None, :] + 0.5 / sizes[:, None], cap)
    throughput = np.interp(middle, curve.outstanding, curve.throughput)
    # Below the first grid point throughput is in proportion.
    below = middle / curve.outstanding[0]
    throughput = np.where(below < 1.0, below * curve.throughput[0], throughput)
    spread = np.interp(middle, curve.outstanding, curve.spread)
    bad = table.at(np.minimum(x, cap), sizes)
    prefilling = throughput * np.interp(middle, curve.outstanding, curve.prefill)
    return throughput, spread, prefilling, bad


def load_curves(pools: Sequence[Pool]) -> list[LoadCurve]:
    """Evaluate pools of one number of points, each at a ladder of steady arrival rates."""
    return [
        curve
        for start in range(0, len(pools), _AT_ONCE)
        for curve in _load_curves(pools[start : start + _AT_ONCE])
    ]


def _load_curves(pools: Sequence[Pool]) -> list[LoadCurve]:
    total = np.stack([pool.finished for pool in pools])
    bad = np.stack([pool.bad for pool in pools])
    width = np.diff(np.stack([pool.outstanding for pool in pools]), axis=1)
    states = np.stack([pool.growing / pool.spread for pool in pools])
    half = np.where(bad.max(axis=1) >= 0.5, np.argmax(bad >= 0.5, axis=1), bad.shape[1] - 1)
    scale = total[np.arange(len(total)), np.maximum(half, 1)]
    slowness = np.log(total / scale[:, None]) * states
    exponent = (
        np.log(_LOADS)[None, :, None] * _integral(states, width)[:, None, :]
        - _integral(slowness, width)[:, None, :]
    )
    exponent -= exponent.max(axis=2, keepdims=True)
    density = np.exp(exponent, out=exponent)
    weight = np.empty(total.shape)
    weight[:, 1:-1] = 0.5 * (width[:, 1:] + width[:, :-1]) * states[:, 1:-1]
    # A sum over whole requests has half a request more at either end than the trapezium.
    weight[:, 0] = 0.5 * width[:, 0] * states[:, 0] + 0.5
    weight[:, -1] = 0.5 * width[:, -1] * states[:, -1] + 0.5
    # Means over the density: of one, P(bad), requests held and every variant's share.
    ones = np.ones(bad.shape[1])
    columns = np.stack([np.stack([ones, pool.bad, pool.held, *pool.share]) for pool in pools])
    means = density @ (columns * weight[:, None, :]).transpose(0, 2, 1)
    means[:, :, 1:] /= means[:, :, :1]
    # Share of time with every place taken: a last step as wide as the fluctuation's. No less than
    # what a full pool cannot finish.
    full = density[:, :, -1] / means[:, :, 0] * np.minimum(weight[:, -1:], 1.0)
    rates = scale[:, None] * _LOADS
    limited = np.array([pool.limited for pool in pools])[:, None]
    refused = np.where(limited, np.maximum(full, 1.0 - total[:, -1:] / rates), 0.0)
    # Arrivals find the state the pool is in; those refused are not bad twice.
    accepted_bad = np.minimum(means[:, :, 1], 1.0 - refused)
    missed = np.clip(refused + (1.0 - refused) * accepted_bad, LEAST_MISS, 1.0)
    idle = np.minimum(np.maximum(bad[:, :1], LEAST_MISS), missed[:, :1])
    # What holds when nothing arrives goes before the ladder's first rate.
    nothing = np.zeros((len(pools), 1))
    rates, refused, held = (
        np.concatenate([nothing, column], axis=1) for column in (rates, refused, means[:, :, 2])
    )
    missed = np.maximum.accumulate(np.concatenate([idle, missed], axis=1), axis=1)
    served = np.concatenate([means[:, :1, 3:], means[:, :, 3:]], axis=1)
    return [
        LoadCurve(rates=r, bad=b, refused=f, served=s, outstanding=o)
        for r, b, f, s, o in zip(rates, missed, refused, served, held, strict=True)
    ]


def _integral(values: Array, width: Array) -> Array:
    """Running trapezium integral along the points, shape of ``values``."""
    found = np.zeros(values.shape)
    np.cumsum(0.5 * (values[:, 1:] + values[:, :-1]) * width, axis=1, out=found[:, 1:])
    return found
