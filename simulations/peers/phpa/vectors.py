"""Our law beside the answers of the predictive HPA's own code, sync by sync.

The original's quirks are switched on: the vectors have them.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from simulations.peers.phpa.holt_winters import (
    HoltWintersMemory,
    HoltWintersModel,
    Seasonal,
    predicted,
)
from simulations.peers.phpa.law import DecisionType, decided
from simulations.peers.phpa.linear import LinearModel, Proposals
from simulations.peers.vectors import Compared, VectorSet

#: Prediction at a sync (seconds, replicas), and how many proposals are kept after it.
_Sync: TypeAlias = Callable[[float, int], tuple[int, int]]


def _replay(document: dict[str, Any]) -> Iterator[Compared]:
    """Prediction, decision and proposals kept at every sync."""
    config = document["config"]
    sync = {"Linear": _linear, "HoltWinters": _holt_winters}[config["kind"]](config)
    decision = DecisionType(config["decision"])
    for number, tick in enumerate(document["ticks"]):
        prediction, kept = sync(float(tick["t"]), tick["hpa"])
        target = decided(decision, (tick["hpa"], prediction))
        for name, expected, found in (
            ("prediction", tick["prediction"], prediction),
            ("target", tick["target_before_behavior"], target),
            ("kept", tick["history_after_prune"], kept),
        ):
            yield Compared(at=f"sync {number} {name}", expected=expected, found=found)


def _linear(config: dict[str, Any]) -> _Sync:
    model = LinearModel(
        look_ahead_seconds=config["look_ahead_ms"] / 1000.0,
        history_size=config["history_size"],
        quirk_reversed=True,
        quirk_unrounded=True,
    )
    stored: Proposals = ()

    def sync(at_seconds: float, replicas: int) -> tuple[int, int]:
        nonlocal stored
        prediction = model.predicted(stored, at_seconds, replicas)
        stored = model.stored(stored, at_seconds, replicas)
        return prediction, len(stored)

    return sync


def _holt_winters(config: dict[str, Any]) -> _Sync:
    model = HoltWintersModel(
        length=config["L"],
        stored_seasons=config["stored"],
        alpha=config["alpha"],
        beta=config["beta"],
        gamma=config["gamma"],
        seasonal=Seasonal(config["seasonal"]),
        quirk_reversed=True,
    )
    memory = HoltWintersMemory.of(model)

    def sync(at_seconds: float, replicas: int) -> tuple[int, int]:
        nonlocal memory
        del at_seconds
        prediction, memory = predicted(model, memory, replicas)
        return prediction, len(memory.points)

    return sync


VECTORS: tuple[VectorSet, ...] = (
    VectorSet(
        law="PHPA",
        files=(
            "phpa-hw-add-add",
            "phpa-hw-add-add-slow",
            "phpa-linear-flat",
            "phpa-linear-max",
            "phpa-linear-mean",
        ),
        replay=_replay,
    ),
)
