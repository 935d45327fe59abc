"""Misses along a path of arrival rates: a noisy fluid of the requests outstanding.

A steady-state miss share says little about an overload of minutes: without a queue limit the
outstanding grow until the SLO breaks for *everybody*, and stay above while the fleet drains, long
after arrivals have fallen. The fluid follows that: outstanding m change by arrivals less what the
pool finishes, arrivals at m are bad with the pool's P(bad | m), and those beyond a queue limit are
refused at once. Prefill goes first: while more arrive than finish, the pool finishes less than in a
steady state with as many outstanding.

Fluctuations matter near capacity, where little pulls the outstanding back, so mean and variance are
carried: a normal distribution is sent through every step at its Gauss-Hermite nodes, and widened by
the noise that in steady state gives the variance of the pool's stationary density.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.performance.pool import Pool

Array = NDArray[np.float64]

_PIECE_SECONDS: Final = 5.0
_HERMITE = np.polynomial.hermite_e.hermegauss(7)
#: Nodes and weights of the standard normal distribution.
_NODES: Final[Array] = _HERMITE[0]
_WEIGHTS: Final[Array] = _HERMITE[1] / _HERMITE[1].sum()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stream:
    """``copies`` equal pools, each given ``share`` of the arrivals."""

    copies: int
    share: float
    pool: Pool


def transient_misses(
    streams: Sequence[Stream],
    spilled: Sequence[Stream],
    backlog: float,
    rates: Array,
    step_seconds: float,
) -> float:
    """Requests missed while ``rates`` (steps,) arrive for ``step_seconds`` each.

    The ``backlog`` outstanding at the start is shared out like the arrivals. What ``streams``
    refuse goes to ``spilled`` where there are any, else it is missed.
    """
    pieces = max(1, round(step_seconds / _PIECE_SECONDS))
    path = np.repeat(rates, pieces)
    step = step_seconds / pieces
    if not streams:
        streams, spilled = spilled, ()
    if not streams:
        return float(path.sum()) * step
    missed, refused = _through(streams, backlog, path, step)
    if not spilled:
        return missed + float(refused.sum())
    late, lost = _through(spilled, 0.0, refused / step, step)
    return missed + late + float(lost.sum())


def _through(
    streams: Sequence[Stream], backlog: float, path: Array, step: float
) -> tuple[float, Array]:
    """Accepted requests that are missed, and those refused in every piece, shape (pieces,)."""
    missed = 0.0
    refused = np.zeros(len(path))
    for stream in streams:
        one, turned_away = _one_pool(stream.pool, stream.share * backlog, stream.share * path, step)
        missed += stream.copies * one
        refused += stream.copies * turned_away
    return missed, refused


def _one_pool(pool: Pool, outstanding: float, path: Array, step: float) -> tuple[float, Array]:
    held, finished, bad = pool.held, pool.finished, pool.bad
    top = float(held[-1])
    noise = 2.0 * pool.spread * finished
    slope = np.maximum(np.gradient(finished, held), 1e-3)
    deviation = math.sqrt(float(np.interp(outstanding, held, 0.5 * noise / slope)))
    missed = 0.0
    refused = np.zeros(len(path))
    for piece, rate in enumerate(path.tolist()):
        arrived = rate * step
        before = np.maximum(outstanding + deviation * _NODES, 0.0)
        balanced = np.interp(before, held, finished)
        busy = np.interp(before, held, pool.prefilling)
        # Prompts come at the rate of arrivals, and leave the decodes that much less of the time.
        left = np.maximum(1.0 - busy * rate / np.maximum(balanced, 1e-9), 0.0) / (1.0 - busy)
        after = np.maximum(before + arrived - step * balanced * left, 0.0)
        turned_away = np.zeros(len(_NODES))
        if pool.limited:
            # A full pool takes in no more than it finishes: prompts are in balance again.
            full = before + arrived - step * balanced
            turned_away = np.where(after > top, np.clip(full - top, 0.0, arrived), 0.0)
            after = np.where(after > top, np.minimum(full, top), after)
        chance = np.interp(0.5 * (before + after), held, bad)
        missed += float(_WEIGHTS @ ((arrived - turned_away) * chance))
        refused[piece] = _WEIGHTS @ turned_away
        outstanding = float(_WEIGHTS @ after)
        variance = float(_WEIGHTS @ (after - outstanding) ** 2)
        variance += step * float(np.interp(outstanding, held, noise))
        deviation = math.sqrt(variance)
    return missed, refused
