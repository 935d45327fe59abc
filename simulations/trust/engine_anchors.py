"""The engine and the capacity model beside an independent prototype (``engine-anchors.md``).

The prototype is iteration-exact and was written by others from the same description; its figures
are facts about that description, not about hardware. All are for the tokens of the Azure
conversation trace, TTFT within 1 s and 99 % good.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from controller.core.domain.policy import Balancing, Routing, RoutingLaw
from controller.core.performance.catalog import profile
from controller.core.performance.mix import TokenMix
from simulations.bench.capacity_model import Case, measured, modelled
from simulations.bench.engine import AZURE
from simulations.bench.overload import GRID, OVERLOADS, misses
from simulations.engine.capacity import FleetShape, TokenSample
from simulations.engine.fleet import EngineConfig, PoolSpec
from simulations.traces.readers.packed import read_requests

_MIX: Final = "azure-2023-conv"
_TTFT_SECONDS: Final = 1.0
_TPOT_SECONDS: Final = 0.05
#: Requests replayed at each rate that is tried.
_REQUESTS: Final = 100_000
#: Seeds of an overload: the prototype's own figures are means of 5.
SEEDS: Final = 10
#: Steps of the model's own replay of an overload.
_STEP_SECONDS: Final = 15.0

#: Section 2: kind of replica, TPOT in seconds, capacity per replica of 1, 5 and 20.
_PER_REPLICA: Final = (
    ("8b-bf16-h100", 0.05, (21.4, 23.0, 23.5)),
    ("8b-bf16-h100", 0.025, (16.3, 18.8, 19.5)),
    ("8b-fp8-h100", 0.05, (26.9, 28.1, 28.6)),
    ("8b-fp8-h100", 0.025, (22.6, 25.0, 25.7)),
    ("8b-bf16-a100", 0.05, (5.37, 6.69, 7.08)),
    ("8b-bf16-l40s", 0.05, (2.56, 3.11, 3.25)),
    ("8b-fp8-l40s", 0.05, (5.15, 5.87, 6.09)),
    ("70b-bf16-4xh100", 0.05, (5.09, 6.60, 7.06)),
)
_SIZES: Final = (1, 5, 20)
#: Section 3: fleet; random per endpoint, least outstanding, random by capacity weight.
_FLEETS: Final = (
    ((("8b-bf16-h100", 4),), (86.0, 92.0, 86.0)),
    ((("8b-bf16-h100", 4), ("8b-fp8-l40s", 2)), (33.0, 82.0, 96.0)),
    ((("8b-bf16-h100", 4), ("8b-bf16-l40s", 2)), (18.0, 62.0, 92.0)),
    ((("8b-bf16-h100", 4), ("8b-bf16-a100", 2)), (37.0, 86.0, 98.0)),
    ((("8b-bf16-h100", 4), ("8b-fp8-h100", 2)), (131.0, 149.0, 140.0)),
    ((("8b-fp8-h100", 4), ("8b-fp8-l40s", 2)), (34.0, 100.0, 119.0)),
)
_LEAST_LOADED: Final = Routing(law=RoutingLaw.SHARED, balancing=Balancing.LEAST_LOADED)
_ROUTINGS: Final = (
    Routing(law=RoutingLaw.SHARED, balancing=Balancing.PER_ENDPOINT),
    _LEAST_LOADED,
    Routing(law=RoutingLaw.WEIGHTED, balancing=Balancing.PER_ENDPOINT),
)
_OVERLOADED: Final = "8b-bf16-h100"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityAnchor:
    """Requests/s that the prototype's fleet carries; ``weights`` are the pools' under Weighted."""

    case: Case
    weights: tuple[float, ...]
    requests_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OverloadAnchor:
    """Misses over the fluid shortfall, mean of the prototype's seeds, in one overload."""

    replicas: int
    tpot_seconds: float
    per_replica: float
    queue_limit: int | None
    overload: float
    seconds: float
    ratio: float


def _case(
    replicas: tuple[tuple[str, int], ...], tpot_seconds: float, routing: Routing = _LEAST_LOADED
) -> Case:
    return Case(
        mix=_MIX,
        replicas=replicas,
        routing=routing,
        ttft_seconds=_TTFT_SECONDS,
        tpot_seconds=tpot_seconds,
        limited=False,
    )


def azure_tokens(path: Path = AZURE) -> TokenSample:
    """Token pairs of the Azure conversation trace.

    Raises:
        FileNotFoundError: the public traces are not beside the project.
    """
    trace = read_requests(path)
    return TokenSample(
        prompt_tokens=trace.prompt_tokens.astype(np.int64),
        output_tokens=trace.output_tokens.astype(np.int64),
    )


def pool_anchors() -> Iterator[CapacityAnchor]:
    """Fleets of one kind, of 1, 5 and 20 replicas."""
    for kind, tpot_seconds, figures in _PER_REPLICA:
        for count, figure in zip(_SIZES, figures, strict=True):
            case = _case(((kind, count),), tpot_seconds)
            yield CapacityAnchor(case=case, weights=(1.0,), requests_per_second=count * figure)


def routing_anchors() -> Iterator[CapacityAnchor]:
    """Mixed fleets under three routing laws; weights go with the capacity of one replica."""
    alone = {kind: figures[0] for kind, tpot, figures in _PER_REPLICA if tpot == _TPOT_SECONDS}
    for replicas, figures in _FLEETS:
        weights = tuple(count * alone[kind] for kind, count in replicas)
        for routing, figure in zip(_ROUTINGS, figures, strict=True):
            case = _case(replicas, _TPOT_SECONDS, routing)
            yield CapacityAnchor(case=case, weights=weights, requests_per_second=figure)


def overload_anchors() -> Iterator[OverloadAnchor]:
    """Section 4: every overload of every fleet."""
    for replicas, tpot, per_replica, limit, ratios in GRID:
        for (overload, seconds), ratio in zip(OVERLOADS, ratios, strict=True):
            yield OverloadAnchor(
                replicas=replicas,
                tpot_seconds=tpot / 1e3,
                per_replica=per_replica,
                queue_limit=limit,
                overload=overload,
                seconds=seconds,
                ratio=ratio,
            )


def simulated_capacity(anchor: CapacityAnchor, tokens: TokenSample) -> float:
    """Requests/s of the same fleet in the engine."""
    return measured(anchor.case, None, anchor.weights, tokens, _REQUESTS)


def modelled_capacity(anchor: CapacityAnchor, mix: TokenMix) -> float:
    """Requests/s of the same fleet by the model that decides, at its own weights."""
    counts = tuple(count for _, count in anchor.case.replicas)
    return modelled(anchor.case, mix, None).capacity(counts)


def simulated_ratio(
    anchor: OverloadAnchor, tokens: TokenSample, seeds: int = SEEDS
) -> tuple[float, float]:
    """Misses over the fluid shortfall in the engine: mean over seeds, and its standard error."""
    config = EngineConfig(
        ttft_threshold_seconds=_TTFT_SECONDS, tpot_threshold_seconds=anchor.tpot_seconds
    )
    pool = PoolSpec(profile=profile(f"llama-{_OVERLOADED}"), queue_limit=anchor.queue_limit)
    shape = FleetShape(pools=[(pool, anchor.replicas)], config=config)
    capacity = anchor.replicas * anchor.per_replica
    load = (anchor.overload, anchor.seconds)
    missed = np.array([misses(shape, tokens, capacity, load, seed) for seed in range(seeds)])
    ratios = missed / ((anchor.overload - 1.0) * capacity * anchor.seconds)
    return float(np.mean(ratios)), float(np.std(ratios, ddof=1) / np.sqrt(seeds))


def modelled_ratio(anchor: OverloadAnchor, mix: TokenMix) -> float:
    """The same by the model: fluid, and relative to the capacity that it believes in."""
    counts = (anchor.replicas,)
    case = _case(((_OVERLOADED, anchor.replicas),), anchor.tpot_seconds)
    capacity = modelled(case, mix, None).capacity(counts)
    fleet = modelled(case, mix, anchor.queue_limit)
    steps = round(anchor.seconds / _STEP_SECONDS)
    loads = [0.9] * 4 + [anchor.overload] * steps + [0.9] * 120
    start = fleet.outstanding(counts, 0.9 * capacity)
    missed = fleet.transient_misses(
        counts, start, [load * capacity for load in loads], _STEP_SECONDS
    )
    return float(missed / ((anchor.overload - 1.0) * capacity * anchor.seconds))
