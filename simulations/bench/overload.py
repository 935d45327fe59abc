"""Misses in an overload over the whole grid of engine-anchors.md section 4.

Tests hold the cells whose scatter over seeds is small; here are all of them, with the scatter, so
that a change of the engine can be judged where five seeds of the prototype cannot tell.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.performance.catalog import profile
from simulations.bench.engine import AZURE
from simulations.engine.capacity import FleetShape, TokenSample
from simulations.engine.fleet import EngineConfig, PoolSpec
from simulations.traces.readers.packed import read_requests

SEEDS: Final = 20
#: Overload as a multiple of capacity, and for how many seconds.
OVERLOADS: Final = ((1.05, 60.0), (1.10, 60.0), (1.20, 60.0), (1.30, 120.0))
#: Replicas, TPOT in ms, capacity per replica, queue limit, and the prototype's ratios.
GRID: Final = (
    (20, 50, 23.5, None, (4.1, 8.7, 9.2, 9.8)),
    (20, 50, 23.5, 140, (1.8, 1.4, 1.2, 1.1)),
    (20, 25, 19.5, None, (1.2, 2.9, 5.5, 4.8)),
    (20, 25, 19.5, 75, (1.6, 1.3, 1.1, 1.1)),
    (5, 50, 23.0, None, (0.7, 3.8, 6.8, 8.1)),
    (5, 50, 23.0, 130, (1.6, 1.2, 1.1, 1.1)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverloadCell:
    """Misses over the fluid shortfall in one overload, over ``SEEDS`` seeds."""

    replicas: int
    tpot_milliseconds: float
    queue_limit: int | None
    overload: float
    seconds: float
    ratio: float
    standard_deviation: float
    prototype: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OverloadFigures:
    """All cells, and how many of the prototype's means of five lie over two errors away."""

    cells: tuple[OverloadCell, ...]
    beyond_two_standard_errors: int


def overload() -> OverloadFigures:
    """Replay every cell of the grid.

    Raises:
        FileNotFoundError: the public traces are not beside the project.
    """
    trace = read_requests(AZURE)
    tokens = TokenSample(
        prompt_tokens=trace.prompt_tokens.astype(np.int64),
        output_tokens=trace.output_tokens.astype(np.int64),
    )
    cells = []
    for replicas, tpot, capacity, limit, prototype in GRID:
        config = EngineConfig(ttft_threshold_seconds=1.0, tpot_threshold_seconds=tpot / 1e3)
        pool = PoolSpec(profile=profile("llama-8b-bf16-h100"), queue_limit=limit)
        shape = FleetShape(pools=[(pool, replicas)], config=config)
        for (load, seconds), expected in zip(OVERLOADS, prototype, strict=True):
            total = capacity * replicas
            missed = [misses(shape, tokens, total, (load, seconds), s) for s in range(SEEDS)]
            ratios = np.array(missed) / ((load - 1.0) * total * seconds)
            cells.append(
                OverloadCell(
                    replicas=replicas,
                    tpot_milliseconds=tpot,
                    queue_limit=limit,
                    overload=load,
                    seconds=seconds,
                    ratio=float(np.mean(ratios)),
                    standard_deviation=float(np.std(ratios, ddof=1)),
                    prototype=expected,
                )
            )
    far = [
        abs(cell.ratio - cell.prototype)
        > 2.0 * cell.standard_deviation * np.sqrt(1 / 5 + 1 / SEEDS) + 0.05  # printed to .1
        for cell in cells
    ]
    return OverloadFigures(cells=tuple(cells), beyond_two_standard_errors=sum(far))


def misses(
    shape: FleetShape,
    tokens: TokenSample,
    capacity: float,
    overload: tuple[float, float],
    seed: int,
) -> int:
    """Requests missed when the load goes from .9 of capacity to ``overload`` and back."""
    rng = np.random.default_rng(seed)
    times, begin = [], 0.0
    for load, seconds in ((0.9, 60.0), overload, (0.9, 400.0)):
        count = rng.poisson(load * capacity * seconds)
        times.append(begin + np.sort(rng.uniform(0.0, seconds, count)))
        begin += seconds
    arrivals = np.concatenate(times)
    drawn = rng.integers(len(tokens.prompt_tokens), size=len(arrivals))
    fleet = shape.start()
    fleet.advance(begin, arrivals, tokens.prompt_tokens[drawn], tokens.output_tokens[drawn])
    fleet.finish()
    totals = fleet.totals()
    return totals.offered - int(totals.good.sum())
