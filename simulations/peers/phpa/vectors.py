"""Our law beside the answers of the predictive HPA's own code, sync by sync.

The original's quirks are switched on: the vectors have them.
"""

from collections.abc import Iterator
from typing import Any

from simulations.peers.phpa.holt_winters import HoltWintersModel, Seasonal
from simulations.peers.phpa.law import DecisionType, decided
from simulations.peers.phpa.linear import LinearModel
from simulations.peers.vectors import Compared, VectorSet


def _replay(document: dict[str, Any]) -> Iterator[Compared]:
    """Prediction, decision and proposals kept at every sync."""
    config = document["config"]
    decision = DecisionType(config["decision"])
    syncs = {"Linear": _linear, "HoltWinters": _holt_winters}[config["kind"]](document)
    for number, (tick, (prediction, kept)) in enumerate(zip(document["ticks"], syncs, strict=True)):
        target = decided(decision, (tick["hpa"], prediction))
        for name, expected, found in (
            ("prediction", tick["prediction"], prediction),
            ("target", tick["target_before_behavior"], target),
            ("kept", tick["history_after_prune"], kept),
        ):
            yield Compared(at=f"sync {number} {name}", expected=expected, found=found)


def _linear(document: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Prediction at every sync, and how many proposals are kept after it."""
    config = document["config"]
    model = LinearModel(
        look_ahead_seconds=config["look_ahead_ms"] / 1000.0,
        history_size=config["history_size"],
        quirk_reversed=True,
        quirk_unrounded=True,
    )
    stored = model.begun(())
    for tick in document["ticks"]:
        prediction, stored = model.synced(stored, float(tick["t"]), tick["hpa"])
        yield prediction, len(stored)


def _holt_winters(document: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Prediction at every sync, and how many proposals are kept after it."""
    config = document["config"]
    model = HoltWintersModel(
        length=config["L"],
        stored_seasons=config["stored"],
        alpha=config["alpha"],
        beta=config["beta"],
        gamma=config["gamma"],
        seasonal=Seasonal(config["seasonal"]),
        quirk_reversed=True,
    )
    memory = model.begun(())
    for tick in document["ticks"]:
        prediction, memory = model.synced(memory, float(tick["t"]), tick["hpa"])
        yield prediction, len(memory.points)


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
