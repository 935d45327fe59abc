"""The GPU optimizer's integer programme (Melange): the cheapest replicas for a load by size.

The load of every size bucket is cut into slices, every slice goes to one kind of GPU, and a kind's
replicas, in hundredths, cover the time its slices take. The peer has a binary variable for every
slice and kind; slices of a bucket are alike, so here an integer counts those that go to a kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

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


@dataclass(frozen=True, slots=True)
class Bucket:
    """Requests of one size: their rate per second, and what a replica of every kind carries.

    A throughput of 0 (requests/s) says that the kind does not meet the SLO at this size.
    """

    requests_per_second: float
    throughputs: tuple[float, ...]


@lru_cache(maxsize=8192)
def cheapest_parts(costs: tuple[float, ...], buckets: tuple[Bucket, ...]) -> tuple[int, ...]:
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
    parts = _solved(costs, served) if served else np.zeros(len(costs), dtype=np.int64)
    # What nothing serves goes to the cheapest kind, at a load without measure.
    unserved = sum(b.requests_per_second for b in buckets if max(b.throughputs) <= 0.0)
    parts[int(np.argmin(costs))] += round(PARTS * unserved * HOPELESS_LOAD)
    return tuple(int(count) for count in parts)


def _solved(costs: tuple[float, ...], buckets: Sequence[Bucket]) -> NDArray[np.int64]:
    """Variables are the slices by bucket and kind, then the parts by kind."""
    kinds, slices = len(costs), len(buckets) * len(costs)
    throughputs = np.array([bucket.throughputs for bucket in buckets])
    rates = np.array([bucket.requests_per_second for bucket in buckets])
    able = throughputs > 0.0
    loads = PARTS * rates[:, None] / SLICES / np.where(able, throughputs, 1.0)
    whole = np.hstack(
        [np.kron(np.eye(len(buckets)), np.ones(kinds)), np.zeros((len(buckets), kinds))]
    )
    covered = np.hstack(
        [(loads[:, :, None] * np.eye(kinds)).reshape(slices, kinds).T, -np.eye(kinds)]
    )
    answer = milp(
        c=np.concatenate([np.zeros(slices), np.array(costs) / PARTS]),
        integrality=np.ones(slices + kinds),
        bounds=Bounds(0.0, np.concatenate([SLICES * able.ravel(), np.full(kinds, np.inf)])),
        constraints=[
            LinearConstraint(whole, SLICES, SLICES),
            LinearConstraint(covered, -np.inf, 0.0),
        ],
        options={"mip_rel_gap": 1e-9},
    )
    if answer.x is None:
        raise RuntimeError(f"no allocation found for {buckets}: {answer.message}")
    return np.asarray(np.rint(answer.x[slices:]), dtype=np.int64)


def replicas(parts: int, target: float = PARTS) -> int:
    """Replicas for so many hundredths at ``target`` hundredths each."""
    return int(np.ceil(parts / target))
