"""Misses along a path of arrival rates: a fluid of the requests outstanding.

A steady-state miss share says little about an overload of minutes: without a queue limit the
outstanding grow until the SLO breaks for *everybody*, and stay above while the fleet drains, long
after arrivals have fallen. The fluid follows that: outstanding m change by arrivals less what the
pool finishes, arrivals at m are bad with the pool's P(bad | m), and those beyond a queue limit are
refused at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.performance.pool import Pool

Array = NDArray[np.float64]

_PIECE_SECONDS: Final = 2.0


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
    missed = 0.0
    refused = np.zeros(len(path))
    for piece, rate in enumerate(path.tolist()):
        arrived = rate * step
        done = float(np.interp(outstanding, held, finished)) * step
        # A pool finishes no more than it holds.
        after = max(outstanding + arrived - done, 0.0)
        if pool.limited and after > top:
            refused[piece] = min(after - top, arrived)
            after = top
        chance = float(np.interp(0.5 * (outstanding + after), held, bad))
        missed += (arrived - float(refused[piece])) * chance
        outstanding = after
    return missed, refused
