"""A pool that sends every request to the replica with the least outstanding.

Balanced so, all replicas of a pool hold the same number x outstanding (a kind at its queue limit
stays there), and the pool is one birth-death process: births at rate lambda, deaths at
X(x) = sum n_v X_v(x). Its stationary density is exp(sum of log(lambda / X)) over the requests
outstanding, each step divided by the spread factor of replica.py, which widens the fluctuation.
Everything is evaluated for a ladder of arrival rates in one pass of numpy.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

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


def pool(
    counts: tuple[int, ...], tables: tuple[BadTable, ...], limits: tuple[int | None, ...]
) -> Pool:
    """Put ``counts[v]`` replicas of kind v, at least one in total, into one pool."""
    present = [v for v, count in enumerate(counts) if count > 0]
    number = np.array([float(counts[v]) for v in present])
    size = int(number.sum())
    # Outstanding ends at the queue limit, or where everything is late anyway.
    caps = np.array([_cap(tables[v], limits[v]) for v in present])
    x = _grid(float(caps.max()), max(tables[v].hopeless for v in present))
    kinds = [_kind(tables[v], x, cap, size) for v, cap in zip(present, caps, strict=True)]
    throughput, spread, prefilling, bad = (np.stack(column) for column in zip(*kinds, strict=True))
    flow = number[:, None] * throughput
    total = flow.sum(axis=0)
    part = flow / total
    share = np.zeros((len(counts), len(x)))
    share[present] = part
    return Pool(
        outstanding=x,
        finished=total * 1e3,
        share=share,
        bad=(part * bad).sum(axis=0),
        held=number @ np.minimum(x[None, :], caps[:, None]),
        growing=number @ (x[None, :] <= caps[:, None] * (1.0 + 1e-9)).astype(np.float64),
        spread=(part * spread).sum(axis=0),
        prefilling=(part * prefilling).sum(axis=0),
        limited=all(limits[v] is not None for v in present),
    )


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


def _kind(table: BadTable, x: Array, cap: float, size: int) -> tuple[Array, ...]:
    """Throughput per ms, spread, prefilling and P(bad) of a kind whose pool holds x a replica.

    A death is counted between m - 1 and m requests, hence the half step; an arrival finds x and
    then counts itself.
    """
    curve = table.curve
    middle = np.minimum(x + 0.5 / size, cap)
    throughput = np.interp(middle, curve.outstanding, curve.throughput)
    # Below the first grid point throughput is in proportion.
    below = middle / curve.outstanding[0]
    throughput = np.where(below < 1.0, below * curve.throughput[0], throughput)
    spread = np.interp(middle, curve.outstanding, curve.spread)
    bad = table.at(np.minimum(x, cap), size)
    prefilling = throughput * np.interp(middle, curve.outstanding, curve.prefill)
    return throughput, spread, prefilling, bad


def load_curve(pool: Pool) -> LoadCurve:
    """Evaluate a pool at a ladder of steady arrival rates."""
    x, total, growing, spread = pool.outstanding, pool.finished, pool.growing, pool.spread
    half = int(np.argmax(pool.bad >= 0.5)) if pool.bad.max() >= 0.5 else len(x) - 1
    rates = float(total[max(half, 1)]) * _LOADS
    slope = (np.log(rates)[:, None] - np.log(total)[None, :]) * (growing / spread)
    width = np.diff(x)
    exponent = np.zeros(slope.shape)
    np.cumsum(0.5 * (slope[:, 1:] + slope[:, :-1]) * width, axis=1, out=exponent[:, 1:])
    weight = np.empty(len(x))
    states = growing / spread
    weight[1:-1] = 0.5 * (width[1:] + width[:-1]) * states[1:-1]
    # A sum over whole requests has half a request more at either end than the trapezium.
    weight[0] = 0.5 * width[0] * states[0] + 0.5
    weight[-1] = 0.5 * width[-1] * states[-1] + 0.5
    density = np.exp(exponent - exponent.max(axis=1, keepdims=True)) * weight
    density /= density.sum(axis=1, keepdims=True)
    refused = np.zeros(len(rates))
    if pool.limited:
        # Share of time with every place taken: a last step as wide as the fluctuation's. No less
        # than what a full pool cannot finish.
        full = density[:, -1] * min(1.0 / weight[-1], 1.0)
        refused = np.maximum(full, 1.0 - total[-1] / rates)
    # Arrivals find the state the pool is in; those refused are not bad twice.
    accepted_bad = np.minimum(density @ pool.bad, 1.0 - refused)
    missed = np.clip(refused + (1.0 - refused) * accepted_bad, LEAST_MISS, 1.0)
    idle = np.minimum(np.maximum(pool.bad[:1], LEAST_MISS), missed[:1])
    served = density @ pool.share.T
    return LoadCurve(
        rates=np.concatenate([[0.0], rates]),
        bad=np.maximum.accumulate(np.concatenate([idle, missed])),
        refused=np.concatenate([[0.0], refused]),
        served=np.concatenate([served[:1], served]),
        outstanding=np.concatenate([[0.0], density @ pool.held]),
    )
