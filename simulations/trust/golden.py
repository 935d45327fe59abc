"""All vectors of all peers, and the comparison with each file that is there."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from simulations.peers.aibrix import vectors as aibrix
from simulations.peers.crane import vectors as crane
from simulations.peers.dynamo import vectors as dynamo
from simulations.peers.hpa import vectors as hpa
from simulations.peers.inferno import vectors as inferno
from simulations.peers.keda import vectors as keda
from simulations.peers.knative import vectors as knative
from simulations.peers.phpa import vectors as phpa
from simulations.peers.ray import vectors as ray
from simulations.peers.skyserve import vectors as skyserve
from simulations.peers.vectors import Compared, VectorSet
from simulations.peers.wva import vectors as wva

#: Where the vectors lie in a checkout with the shared folder beside it.
GOLDEN = Path(__file__).parents[3] / "shared" / "reference" / "golden"

SETS: tuple[VectorSet, ...] = tuple(
    chain.from_iterable(
        part.VECTORS
        for part in (hpa, keda, knative, ray, aibrix, skyserve, crane, phpa, wva, inferno, dynamo)
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How one file's answers compare: how many there are, and how many of ours agree."""

    law: str
    file: str
    answers: int
    agreeing: int
    worst_error: float


def compared(vectors: VectorSet, file: str, folder: Path = GOLDEN) -> Iterator[Compared]:
    """Every answer of one file beside ours."""
    return vectors.replay(json.loads((folder / f"{file}.json").read_text()))


def agreements(folder: Path = GOLDEN) -> Iterator[Agreement]:
    """Compare every file; one that is not there is left out."""
    for vectors in SETS:
        for file in vectors.files:
            if not (folder / f"{file}.json").is_file():
                continue
            answers = list(compared(vectors, file, folder))
            yield Agreement(
                law=vectors.law,
                file=file,
                answers=len(answers),
                agreeing=sum(answer.agrees for answer in answers),
                worst_error=max((answer.error for answer in answers), default=0.0),
            )
