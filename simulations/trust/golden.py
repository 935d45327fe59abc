"""All vectors of all peers, and the comparison with each file that is there."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

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

#: Sets by the folder of ``simulations.peers`` that holds the law.
BY_FOLDER: dict[str, tuple[VectorSet, ...]] = {
    "hpa": hpa.VECTORS,
    "keda": keda.VECTORS,
    "knative": knative.VECTORS,
    "ray": ray.VECTORS,
    "aibrix": aibrix.VECTORS,
    "skyserve": skyserve.VECTORS,
    "crane": crane.VECTORS,
    "phpa": phpa.VECTORS,
    "wva": wva.VECTORS,
    "inferno": inferno.VECTORS,
    "dynamo": dynamo.VECTORS,
}
SETS: tuple[VectorSet, ...] = tuple(chain.from_iterable(BY_FOLDER.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How one file's answers compare: how many there are, and how many of ours agree.

    ``peer`` and its ``version`` are those that the file names. ``worst_error`` is relative, and 0
    for what agrees within an absolute tolerance.
    """

    law: str
    file: str
    peer: str
    version: str
    answers: int
    agreeing: int
    worst_error: float


def compared(vectors: VectorSet, file: str, folder: Path = GOLDEN) -> Iterator[Compared]:
    """Every answer of one file beside ours."""
    return vectors.replay(_document(file, folder))


def agreement(vectors: VectorSet, file: str, folder: Path = GOLDEN) -> Agreement:
    """Compare one file.

    Raises:
        ModuleNotFoundError: the law needs a library of the extra ``peers``.
    """
    document = _document(file, folder)
    answers = list(vectors.replay(document))
    return Agreement(
        law=vectors.law,
        file=file,
        peer=document["peer"],
        version=document["version"],
        answers=len(answers),
        agreeing=sum(answer.agrees for answer in answers),
        worst_error=max((answer.error for answer in answers), default=0.0),
    )


def uncompared_files(folder: Path = GOLDEN) -> list[str]:
    """Files that are there and that no set names."""
    named = {file for vectors in SETS for file in vectors.files}
    return sorted({path.stem for path in folder.glob("*.json")} - named)


def _document(file: str, folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / f"{file}.json").read_text())
    return document
