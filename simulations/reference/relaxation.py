"""The least cost of any path of replicas that does the work in time, given what a miss is worth.

A dynamic programme over (replicas, work that is released and not done), step by step, forwards.
Everything it leaves out of the world makes a path cheaper: within a step a replica that is on at
all is on throughout and pays for less, work is infinitely divisible and runs at the best batch on
any replica, and whoever is refused, or served by another variant, leaves at once for a price.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True)
def _move(value: NDArray[np.float64], start: float, stop: float) -> None:
    """Replace value[n] by the least over m of value[m] + start (n - m)+ - stop (m - n)+."""
    size = len(value)
    above = value.copy()
    for n in range(size - 2, -1, -1):
        above[n] = min(above[n], above[n + 1] - stop)
    for n in range(1, size):
        value[n] = min(value[n], value[n - 1] + start)
    for n in range(size):
        value[n] = min(value[n], above[n])


@njit(cache=True)
def _best_origin(
    before: NDArray[np.float64],
    leave: NDArray[np.float64],
    x: int,
    net: int,
    origins: tuple[int, int],
) -> tuple[float, int]:
    """Least before[y - net] + leave[y - x] over the origins y, and where it is reached."""
    last = len(leave) - 1
    slope = leave[last] - leave[last - 1]
    best, at = np.inf, origins[0]
    for y in range(origins[0], origins[1] + 1):
        j = y - x
        price = leave[j] if j <= last else leave[last] + slope * (j - last)
        if before[y - net] + price < best:
            best, at = before[y - net] + price, y
    return best, at


@njit(cache=True)
def _serve(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    held: int,
    allowed: int,
    net: int,
    leave: NDArray[np.float64],
    origin: NDArray[np.int64],
) -> None:
    """Carry one row of costs by backlog over one step.

    ``before[r]`` (r <= held) becomes ``after[x]`` (x <= allowed), where x = r + net - j grains for
    j leaving grains at the price ``leave[j]`` (its last slope goes on), and x is 0 where it would
    be negative. As ``leave`` is convex the best origin never falls as x rises: rows are filled in
    at halving distances, each between the origins of its neighbours. ``origin`` is scratch space.
    """
    after[: allowed + 1] = np.inf
    highest = held + net
    top = min(allowed, highest)
    if top >= 0:
        after[0], origin[0] = _best_origin(before, leave, 0, net, (max(0, net), highest))
    distance = 1
    while distance <= top:
        distance *= 2
    while distance > 1:
        distance //= 2
        for x in range(distance, top + 1, 2 * distance):
            low = max(x, origin[x - distance])
            high = origin[x + distance] if x + distance <= top else highest
            after[x], origin[x] = _best_origin(before, leave, x, net, (low, high))
    for r in range(min(held, -net) + 1):  # served to the end
        after[0] = min(after[0], before[r])


@njit(cache=True)
def _departures(
    dearest: NDArray[np.float32],
    grain: float,
    prices: tuple[float, float, float, float],
    leave: NDArray[np.float64],
) -> None:
    """Set ``leave[j]``, the price at which j grains of a step's work leave, dearest first.

    Each grain costs what the dearest request left in it would: convex, and never too high.
    """
    missed, elsewhere, degraded, fallback = prices
    for j in range(len(dearest)):
        work = dearest[j]
        each = min(missed / work, elsewhere, degraded / work + fallback)
        leave[j + 1] = leave[j] + grain * each


@njit(cache=True)
def _finish_least(value: NDArray[np.float64], held: int) -> float:
    """Least entry of the backlogs up to ``held``."""
    return float(np.min(value[:, : held + 1]))


@njit(cache=True)
def _move_all(
    value: NDArray[np.float64], held: int, start: float, stop: float, row: NDArray[np.float64]
) -> None:
    """Let the replicas change, at every backlog."""
    for r in range(held + 1):
        row[:] = value[:, r]
        _move(row, start, stop)
        value[:, r] = row


@njit(cache=True)
def least_cost(  # noqa: PLR0913, PLR0917 - a jitted kernel takes plain arrays
    upper: NDArray[np.int64],
    lower: NDArray[np.int64],
    dearest: NDArray[np.float32],
    grain: float,
    grains_per_step: int,
    replicas: tuple[int, int],
    run: float,
    start: float,
    stop: float,
    prices: tuple[float, float, float, float],
) -> float:
    """Least cost over the window of any path, misses and departures priced.

    ``upper`` and ``lower`` (S + 1,) bound the grains done by each edge; ``dearest`` (S, J) is the
    work of the marginal request by grains left; ``replicas`` are the least and the most; ``run``
    is the price of a replica and step, ``start`` of a start's GPU time (no more than has passed
    since the window began), ``stop`` what rounding gives back at either end of an interval.
    ``prices``: of a missed request; per unit of work on another primary; of a degraded request,
    and per unit of its work on a fallback.
    """
    fewest, most = replicas
    steps = len(dearest)
    columns = dearest.shape[1]
    widest = np.max(upper - lower)
    count = most - fewest + 1
    value = np.full((count, widest + 1), np.inf)
    after = np.full((count, widest + 1), np.inf)
    held = upper[0] - lower[0]
    for n in range(count):
        value[n, held] = 0.0
    leave = np.zeros(columns + 1)
    row = np.empty(count)
    origin = np.zeros(widest + 1, np.int64)
    for t in range(steps):
        _departures(dearest[t], grain, prices, leave)
        allowed = upper[t + 1] - lower[t + 1]
        if t > 0:  # before the first step any fleet is there, for nothing
            _move_all(value, held, min(start, t * run) - stop, stop, row)
        for n in range(count):
            running = fewest + n
            net = upper[t + 1] - upper[t] - running * grains_per_step
            _serve(value[n], after[n], held, allowed, net, leave, origin)
            for x in range(allowed + 1):
                after[n, x] += running * run
        value, after = after, value
        held = allowed
    return _finish_least(value, held)
