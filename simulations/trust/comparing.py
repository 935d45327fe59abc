"""All comparisons of the page on trust, over the cores of this machine.

What they are held to lies beside the project and is not shipped with it: each comparison that
cannot be made says so, and the others are made.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from joblib import Parallel, delayed

from controller.core.performance.mix import TokenMix
from simulations.bench.capacity_model import Tokens, cases, compare, mixes
from simulations.engine.capacity import TokenSample
from simulations.peers.vectors import VectorSet
from simulations.trust.anchors import SHARED, Point, points, simulated_milliseconds
from simulations.trust.document import (
    CapacityPart,
    FleetPart,
    OverloadPart,
    PointPart,
    TrustDocument,
    UncheckedPart,
    VectorPart,
    groups_of,
)
from simulations.trust.engine_anchors import (
    SEEDS,
    CapacityAnchor,
    OverloadAnchor,
    azure_tokens,
    modelled_capacity,
    modelled_ratio,
    overload_anchors,
    pool_anchors,
    routing_anchors,
    simulated_capacity,
    simulated_ratio,
)
from simulations.trust.golden import SETS, agreement, uncompared_files
from simulations.trust.unchecked import unchecked_peers

#: The model is compared at this TPOT; the benchmark compares it at others too.
_MODEL_TPOT_SECONDS: Final = 0.05
#: Seeds behind the prototype's means, and half the last digit in which they are printed.
_PROTOTYPE_SEEDS: Final = 5
_PRINTED: Final = 0.05


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where everything lies beside the checkout."""

    points: Path
    traces: Path
    azure: Path
    golden: Path

    @classmethod
    def within(cls, shared: Path) -> "_Sources":
        reference, traces = shared / "reference", shared / "traces"
        return cls(
            points=reference / "perf-anchors.csv",
            traces=traces,
            azure=traces / "azure-2023-conv.csv.gz",
            golden=reference / "golden",
        )

    def missing(self) -> Iterator[str]:
        if not self.points.is_file():
            yield f"no measured times at {self.points}: the engine is not held to real GPUs"
        if not self.azure.is_file():
            yield f"no trace at {self.azure}: engine and model are not held to the prototype"
        if not self.traces.is_dir():
            yield f"no traces at {self.traces}: model and engine are compared on one made-up mix"
        if not self.golden.is_dir():
            yield f"no vectors at {self.golden}: peers are not held to their own code"


def trust_document(shared: Path = SHARED, processes: int = -1) -> TrustDocument:
    """Compare everything that is there; about a minute on four cores.

    ``shared`` is the folder beside the checkout; ``processes`` -1 is one per core.
    """
    sources = _Sources.within(shared)
    jobs: list[Any] = []
    if sources.points.is_file():
        jobs.append(delayed(_points)(sources.points))
    jobs.extend(
        delayed(_vector)(vectors, file, sources.golden)
        for vectors in SETS
        for file in vectors.files
        if (sources.golden / f"{file}.json").is_file()
    )
    if sources.azure.is_file():
        tokens = azure_tokens(sources.azure)
        jobs.extend(delayed(_overload)(anchor, tokens) for anchor in overload_anchors())
        jobs.extend(
            delayed(_capacity)(anchor, tokens) for anchor in (*pool_anchors(), *routing_anchors())
        )
    jobs.extend(delayed(_fleets)(*mix) for mix in mixes(sources.traces))
    parts: Iterable[_Parts] = Parallel(n_jobs=processes)(jobs)
    return _document(sources, [part for group in parts for part in group])


_Part = PointPart | CapacityPart | OverloadPart | FleetPart | VectorPart | UncheckedPart
_Parts = list[_Part]


def _document(sources: _Sources, parts: _Parts) -> TrustDocument:
    measured = tuple(part for part in parts if isinstance(part, PointPart))
    left_out = [part for part in parts if isinstance(part, UncheckedPart)]
    left_out += [UncheckedPart(name=name, reason=reason) for name, reason in unchecked_peers()]
    left_out += [
        UncheckedPart(name=file, reason="answers are recorded, and no law of ours is held to them")
        for file in uncompared_files(sources.golden)
    ]
    return TrustDocument(
        points=measured,
        point_groups=groups_of(measured),
        capacities=tuple(part for part in parts if isinstance(part, CapacityPart)),
        overloads=tuple(part for part in parts if isinstance(part, OverloadPart)),
        fleets=tuple(part for part in parts if isinstance(part, FleetPart)),
        vectors=tuple(part for part in parts if isinstance(part, VectorPart)),
        unchecked=tuple(left_out),
        missing=tuple(sources.missing()),
    )


def _points(path: Path) -> _Parts:
    return [_point(point) for point in points(path)]


def _point(point: Point) -> PointPart:
    return PointPart(
        name=point.name,
        replica=point.replica,
        kind=point.kind,
        trust=point.trust,
        concurrency=point.concurrency,
        prompt_tokens=point.prompt_tokens,
        output_tokens=point.output_tokens,
        context_tokens=point.context_tokens,
        measured_milliseconds=point.measured_milliseconds,
        simulated_milliseconds=simulated_milliseconds(point),
    )


def _mix(tokens: TokenSample) -> TokenMix:
    return TokenMix.from_samples(tokens.prompt_tokens, tokens.output_tokens)


def _capacity(anchor: CapacityAnchor, tokens: TokenSample) -> _Parts:
    case = anchor.case
    return [
        CapacityPart(
            fleet=" + ".join(f"{count} {kind}" for kind, count in case.replicas),
            law=case.routing.law,
            balancing=case.routing.balancing,
            tpot_seconds=case.tpot_seconds,
            prototype=anchor.requests_per_second,
            engine=simulated_capacity(anchor, tokens),
            model=modelled_capacity(anchor, _mix(tokens)),
        )
    ]


def _overload(anchor: OverloadAnchor, tokens: TokenSample) -> _Parts:
    ratio, standard_error = simulated_ratio(anchor, tokens)
    # The prototype's seeds are taken to scatter as ours do.
    scatter = standard_error * math.sqrt(SEEDS)
    both = scatter * math.sqrt(1.0 / SEEDS + 1.0 / _PROTOTYPE_SEEDS)
    return [
        OverloadPart(
            fleet=f"{anchor.replicas} 8b-bf16-h100",
            tpot_seconds=anchor.tpot_seconds,
            queue_limit=anchor.queue_limit,
            overload=anchor.overload,
            seconds=anchor.seconds,
            prototype=anchor.ratio,
            engine=ratio,
            standard_error=standard_error,
            apart=abs(ratio - anchor.ratio) > 2.0 * both + _PRINTED,
            model=modelled_ratio(anchor, _mix(tokens)),
        )
    ]


def _fleets(mix: str, ttft_seconds: float, tokens: Tokens) -> _Parts:
    """A part of the benchmark's fleets: no queue limit where replicas are all alike."""
    rows = [
        compare(case, tokens, quick=True)
        for case in cases(mix, ttft_seconds)
        if case.tpot_seconds == _MODEL_TPOT_SECONDS
        and not (case.limited and len(case.replicas) == 1)
    ]
    return [
        FleetPart(
            mix=row.mix,
            fleet=row.fleet,
            law=row.law,
            balancing=row.balancing,
            tpot_seconds=row.tpotSeconds,
            queue_limit=row.queueLimit,
            engine=row.engine,
            error=row.error,
            error_from_means=row.errorFromMeans,
        )
        for row in rows
    ]


def _vector(vectors: VectorSet, file: str, folder: Path) -> _Parts:
    try:
        found = agreement(vectors, file, folder)
    except ModuleNotFoundError as error:
        reason = f"{error.name} is not installed: pip install 'steelyard[peers]'"
        return [UncheckedPart(name=file, reason=reason)]
    return [
        VectorPart(
            law=found.law,
            file=found.file,
            peer=found.peer,
            version=found.version,
            answers=found.answers,
            agreeing=found.agreeing,
            worst_error=found.worst_error if math.isfinite(found.worst_error) else None,
        )
    ]
