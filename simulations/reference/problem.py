"""What the search for a reference plan works on: the demand, what fleets carry, who pays what."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulations.reference.misses import LEVELS, STEP, MissLaw, rates_from_capacity
from simulations.reference.path import Billing
from simulations.reference.programme import Stages, positions
from simulations.traces.trace import Demand

#: Buckets whose mean tokens lie in one cell of this relative width share a capacity table.
MIX_CELL = 0.04
#: More cells than this are made wider: each asks for a capacity table.
MOST_MIXES = 200
#: Fleets are looked at up to this many times what buckets ask for ...
HEADROOM = 1.3
#: ... that together have this share of the requests.
COVERED = 0.9995
#: The miss level at which a fleet counts as carrying a bucket.
_CARRIED = LEVELS.index(0.02)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CapacityTable:
    """What allocations carry for one token mix, shape (N + 1,) or (N + 1, F + 1).

    ``requests_per_second`` is the fleet's capacity, at the aim's attainment; or, with
    ``miss_levels`` (``misses.LEVELS``), has an axis of rates at each level before the others.
    ``degraded_share`` is the share of the requests that a fallback serves under the scenario's
    routing. Axis v counts replicas of variant v.
    """

    requests_per_second: NDArray[np.float64]
    degraded_share: NDArray[np.float64]
    miss_levels: tuple[float, ...] = ()


class FleetCapacity(Protocol):
    """Capacity of every allocation for a token mix."""

    def __call__(self, prompt_tokens_mean: float, output_tokens_mean: float) -> CapacityTable:
        """Return the table for requests of this mix."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a plan must reach: the share of good requests and, at most, of degraded ones."""

    attainment: float
    degraded_share: float = 0.0

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for shares outside [0, 1]."""
        for name in ("attainment", "degraded_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}: give a share in [0, 1]")

    def met_by(self, attainment: float, degraded_share: float) -> bool:
        """Whether a run with these shares counts; rounding of counts is forgiven."""
        return attainment >= self.attainment - 1e-9 and degraded_share <= self.degraded_share + 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """The scored buckets with their capacity tables.

    ``requests`` (buckets,); ``rates`` (mixes, N, F, levels) in requests per bucket, ``degraded``
    (mixes, N, F); ``mix`` (buckets,) index into both. ``skipped`` buckets before the first are not
    scored.
    """

    bucket_seconds: float
    skipped: int
    requests: NDArray[np.float64]
    mix: NDArray[np.int64]
    rates: NDArray[np.float64]
    degraded: NDArray[np.float64]
    billing: tuple[Billing, ...]
    aim: Aim
    warm: tuple[int, ...] | None

    def stages(self, law: MissLaw, hardness: NDArray[np.float64]) -> Stages:
        """Stages of the programme under ``law``, demand scaled by ``hardness`` (buckets,)."""
        return Stages(
            requests=self.requests * hardness,
            mix=self.mix,
            rates=self.rates,
            degraded=self.degraded,
            miss_share=law.share,
            miss_step=STEP,
        )

    def positions(
        self, replicas: NDArray[np.int64], hardness: NDArray[np.float64] | float = 1.0
    ) -> NDArray[np.float64]:
        """Position of every scored bucket's load along the miss levels, on a path (buckets, V)."""
        second = replicas[:, 1] if replicas.shape[1] > 1 else np.zeros(len(replicas), np.int64)
        return positions(self.requests * hardness, self.rates[self.mix, replicas[:, 0], second])


def pose(
    demand: Demand,
    capacity: FleetCapacity,
    billing: tuple[Billing, ...],
    aim: Aim,
    *,
    warm: tuple[int, ...] | None = None,
    scored_from_seconds: float = 0.0,
) -> Problem:
    """Group the buckets by token mix and ask for the capacity tables.

    Traffic, misses and cost before ``scored_from_seconds`` do not count; ``warm`` is the fleet
    there (None: any, for nothing).

    Raises:
        ValueError: a table does not cover the allocations up to every ``max_replicas``, or no
            bucket is known.
    """
    skipped = min(int(scored_from_seconds // demand.bucket_seconds), len(demand.requests) - 1)
    requests = demand.requests[skipped:]
    tokens = np.stack([demand.prompt_tokens_mean, demand.output_tokens_mean])[:, skipped:]
    known = np.all(np.isfinite(tokens), axis=0) & (requests > 0.0)
    if not np.any(known):
        raise ValueError("demand has no bucket with requests and token means: nothing to plan")
    group = _grouped(tokens[:, known])
    mix = np.zeros(len(requests), np.int64)
    mix[known] = group
    weight = np.bincount(group, weights=requests[known])
    prompt, output = (
        np.bincount(group, weights=requests[known] * row) / weight for row in tokens[:, known]
    )
    tables = [
        _table(capacity(p, o), billing, aim)
        for p, o in zip(prompt.tolist(), output.tolist(), strict=True)
    ]
    rates = np.array([rates for rates, _ in tables]) * demand.bucket_seconds
    ends = _worth_looking_at(rates, requests, mix, billing)
    return Problem(
        bucket_seconds=demand.bucket_seconds,
        skipped=skipped,
        requests=requests,
        mix=mix,
        rates=np.ascontiguousarray(rates[:, : ends[0], : ends[1]]),
        degraded=np.array([share for _, share in tables])[:, : ends[0], : ends[1]].copy(),
        billing=billing,
        aim=aim,
        warm=warm,
    )


def _grouped(tokens: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number the cells that mixes (2, buckets) lie in, the cells wide enough to be few."""
    width = MIX_CELL
    while True:
        cells = np.rint(np.log(tokens) / np.log1p(width)).astype(np.int64)
        found, group = np.unique(cells, axis=1, return_inverse=True)
        if found.shape[1] <= MOST_MIXES:
            return np.asarray(group.reshape(-1), np.int64)
        width *= 1.5


def _table(
    table: CapacityTable, billing: tuple[Billing, ...], aim: Aim
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rates (N, F, levels) and degraded shares (N, F) of a table."""
    shape = tuple(b.max_replicas + 1 for b in billing)
    if table.miss_levels not in {(), LEVELS}:
        raise ValueError(f"capacity table's miss_levels are {table.miss_levels}: give {LEVELS}")
    levels = (len(LEVELS),) if table.miss_levels else ()
    for name, wanted in (
        ("requests_per_second", levels + shape),
        ("degraded_share", shape),
    ):
        if getattr(table, name).shape != wanted:
            raise ValueError(
                f"capacity table's {name} has shape {getattr(table, name).shape}: "
                f"give one entry per allocation up to max_replicas, {wanted}"
            )
    degraded = table.degraded_share.reshape(shape[0], -1)
    if table.miss_levels:
        rates = table.requests_per_second.reshape(len(LEVELS), shape[0], -1)
        return np.moveaxis(rates, 0, -1), degraded
    capacity = table.requests_per_second.reshape(shape[0], -1)
    return capacity[:, :, None] * rates_from_capacity(aim.attainment), degraded


def _worth_looking_at(
    rates: NDArray[np.float64],
    requests: NDArray[np.float64],
    mix: NDArray[np.int64],
    billing: tuple[Billing, ...],
) -> tuple[int, int]:
    """End of each axis: beyond, one variant alone carries far more than nearly all buckets ask.

    Buckets that no fleet carries do not count: they are missed whatever is planned.
    """
    ends = [rates.shape[1], rates.shape[2]]
    alone = (rates[:, :, 0, _CARRIED], rates[:, 0, :, _CARRIED])
    for axis, bill in enumerate(billing):
        table = alone[axis][mix]
        reachable = np.where(table[:, -1] >= HEADROOM * requests, requests, 0.0)
        covered = reachable @ (table >= HEADROOM * requests[:, None])
        most = int(np.argmax(covered >= COVERED * np.sum(reachable)))
        ends[axis] = min(ends[axis], max(most, bill.min_replicas) + 1)
    return ends[0], ends[1]
