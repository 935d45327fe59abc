"""Turns a performance model into the tables a plan is made with."""

from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulations.reference.misses import LEVELS
from simulations.reference.problem import CapacityTable

#: Rates at which a fleet's misses are asked for, from this part of its capacity on ...
LOWEST_RATE = 0.02
POINTS = 160
#: ... up to the first doubling at which it misses this share.
HOPELESS = 0.95


class FleetModel(Protocol):
    """What a fleet misses and degrades under one token mix."""

    def capacity(self, allocation: tuple[int, ...]) -> float:
        """Highest arrival rate at which the target share of requests is good."""
        ...

    def shares(
        self, allocation: tuple[int, ...], arrival_rates: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Missed and degraded shares at many arrival rates, both of their shape."""
        ...


def tabulate(model: FleetModel, most: tuple[int, ...]) -> CapacityTable:
    """Rates at every miss level, and degraded shares, of all allocations up to ``most``.

    Asked of the model at 0, 1, 2, 3, 4, 6, 8, 12 ... replicas of each variant, else interpolated.
    """
    axes = [_ladder(n) for n in most]
    shape = tuple(len(axis) for axis in axes)
    rates = np.zeros((*shape, len(LEVELS)))
    degraded = np.zeros(shape)
    for index in product(*(range(n) for n in shape)):
        allocation = tuple(int(axis[i]) for axis, i in zip(axes, index, strict=True))
        if sum(allocation) > 0:
            rates[index], degraded[index] = _curve(model, allocation)
    for axis, known in enumerate(axes):
        rates = _between(rates, known, axis, most[axis])
        degraded = _between(degraded, known, axis, most[axis])
    return CapacityTable(
        requests_per_second=np.ascontiguousarray(np.moveaxis(rates, -1, 0)),
        degraded_share=degraded,
        miss_levels=LEVELS,
    )


def _ladder(most: int) -> NDArray[np.int64]:
    """0, 1, 2, 3, 4, 6, 8, 12, 16 ... and the last."""
    steps = {0, most}
    step = 1
    while step <= most:
        steps |= {step, min(3 * step // 2, most)}
        step *= 2
    return np.array(sorted(steps), np.int64)


def _between(
    values: NDArray[np.float64], known: NDArray[np.int64], axis: int, most: int
) -> NDArray[np.float64]:
    """Interpolate along one axis to every count."""
    wanted = np.arange(most + 1)
    high = np.clip(np.searchsorted(known, wanted), 1, len(known) - 1) if most else 0 * wanted
    low = np.maximum(high - 1, 0)
    width = np.maximum(known[high] - known[low], 1)
    part = ((wanted - known[low]) / width).reshape(
        [-1 if a == axis else 1 for a in range(values.ndim)]
    )
    below, above = np.take(values, low, axis), np.take(values, high, axis)
    return np.asarray(below * (1.0 - part) + above * part)


def _curve(model: FleetModel, allocation: tuple[int, ...]) -> tuple[NDArray[np.float64], float]:
    """Rates at every miss level, and the degraded share at capacity."""
    capacity = model.capacity(allocation)
    if not capacity > 0.0:
        return np.zeros(len(LEVELS)), 0.0
    high = 2.0 * capacity
    while model.shares(allocation, np.array([high]))[0][0] < HOPELESS and high < 1e4 * capacity:
        high *= 2.0
    asked = np.geomspace(LOWEST_RATE * capacity, high, POINTS)
    missed = np.maximum.accumulate(model.shares(allocation, asked)[0])
    at = np.searchsorted(missed, LEVELS, side="right")
    inner = np.clip(at, 1, POINTS - 1)
    low, top = missed[inner - 1], missed[inner]
    part = np.clip((np.array(LEVELS) - low) / np.maximum(top - low, 1e-300), 0.0, 1.0)
    found = asked[inner - 1] + part * (asked[inner] - asked[inner - 1])
    # A level missed even when next to nothing arrives has no rate.
    rates = np.where(at == 0, 0.0, found)
    degraded = float(model.shares(allocation, np.array([capacity]))[1][0])
    return np.maximum.accumulate(rates), degraded
