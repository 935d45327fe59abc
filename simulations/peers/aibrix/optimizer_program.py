"""The GPU optimizer's integer programme (Melange): the cheapest replicas for a load by size.

The load of every size bucket is cut into slices, every slice goes to one kind of GPU, and a kind's
replicas, in hundredths, cover the time its slices take. The peer has a binary variable for every
slice and kind; slices of a bucket are alike, so here an integer counts those that go to a kind.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

Array = NDArray[np.float64]

#: Slices of a bucket's load.
SLICES = 4
#: Parts of a replica in which the peer plans and its pod autoscaler is told.
PARTS = 100
#: Load of a request where a kind of GPU does not meet the SLO.
HOPELESS_LOAD = 1e6
#: Ways to share all slices out that are looked at one by one; of more the solver takes care.
_MOST_LISTED = 20_000
#: What a sum of loads may be above a whole number without asking for the next: the solver's own.
_ROUNDING = 1e-6
#: Relative distance from the optimum at which the solver stops.
_GAP = 1e-6


@dataclass(frozen=True, slots=True)
class Bucket:
    """Requests of one size: their rate per second, and what a replica of every kind carries.

    A throughput of 0 (requests/s) says that the kind does not meet the SLO at this size.
    """

    requests_per_second: float
    throughputs: tuple[float, ...]


def cheapest_parts(costs: Sequence[float], buckets: Sequence[Bucket]) -> tuple[int, ...]:
    """Hundredths of a replica of every kind, ``costs`` per replica; kinds in one order throughout.

    Raises:
        ValueError: a bucket does not have a throughput per kind.
        RuntimeError: the solver found no answer, which every load has.
    """
    for bucket in buckets:
        if len(bucket.throughputs) != len(costs):
            raise ValueError(
                f"throughputs: need one for each of {len(costs)} kinds, got {bucket.throughputs}"
            )
    served = [bucket for bucket in buckets if max(bucket.throughputs) > 0.0]
    parts = np.zeros(len(costs))
    if served:
        able = np.array([bucket.throughputs for bucket in served]) > 0.0
        few = math.comb(SLICES + len(costs) - 1, SLICES) ** len(served) <= _MOST_LISTED
        solve = _listed if few else _solved
        parts = solve(np.array(costs) / PARTS, _slice_loads(served, able), able)
    # What nothing serves goes to the cheapest kind, at a load without measure.
    unserved = sum(b.requests_per_second for b in buckets if max(b.throughputs) <= 0.0)
    parts[int(np.argmin(costs))] += PARTS * unserved * HOPELESS_LOAD
    return tuple(math.ceil(count) for count in parts)


def _slice_loads(buckets: Sequence[Bucket], able: NDArray[np.bool_]) -> Array:
    """Hundredths of a replica that one slice takes, by bucket and kind; 0 where it cannot go."""
    rates = np.array([bucket.requests_per_second for bucket in buckets])
    throughputs = np.array([bucket.throughputs for bucket in buckets])
    loads = PARTS * rates[:, None] / SLICES / np.where(able, throughputs, 1.0)
    return np.asarray(np.where(able, loads, 0.0))


def _listed(costs: Array, loads: Array, able: NDArray[np.bool_]) -> Array:
    """Look at every way to share the slices out: of few buckets quicker than any solver's start."""
    shares = _shares(len(costs))
    totals = np.zeros((1, len(costs)))
    for load, possible in zip(loads, able, strict=True):
        ways = shares[(shares[:, ~possible] == 0.0).all(axis=1)] * load
        totals = (totals[:, None, :] + ways).reshape(-1, len(costs))
    parts = np.ceil(totals - _ROUNDING)
    return np.asarray(parts[np.argmin(parts @ costs)])


@cache
def _shares(kinds: int) -> Array:
    """Every way to give ``SLICES`` slices to ``kinds`` kinds, shape (ways, kinds)."""
    ways = product(range(SLICES + 1), repeat=kinds)
    return np.array([way for way in ways if sum(way) == SLICES], dtype=np.float64)


def _solved(costs: Array, loads: Array, able: NDArray[np.bool_]) -> Array:
    """Variables are the slices by bucket and kind, then the hundredths by kind."""
    buckets, kinds = loads.shape
    slices = loads.size
    whole = np.hstack([np.kron(np.eye(buckets), np.ones(kinds)), np.zeros((buckets, kinds))])
    used = (loads[:, :, None] * np.eye(kinds)).reshape(slices, kinds).T
    answer = milp(
        c=np.concatenate([np.zeros(slices), costs]),
        integrality=np.ones(slices + kinds),
        bounds=Bounds(0.0, np.concatenate([SLICES * able.ravel(), np.full(kinds, np.inf)])),
        constraints=[
            LinearConstraint(whole, SLICES, SLICES),
            LinearConstraint(np.hstack([used, -np.eye(kinds)]), -np.inf, 0.0),
        ],
        options={"mip_rel_gap": _GAP},
    )
    if answer.x is None:
        raise RuntimeError(f"no allocation found for loads {loads.tolist()}: {answer.message}")
    return np.asarray(np.rint(answer.x[slices:]))


def replicas(parts: int, target: float = PARTS) -> int:
    """Replicas for so many hundredths at ``target`` hundredths each."""
    return math.ceil(parts / target)
