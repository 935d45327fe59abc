"""Our APA and KPA beside AIBrix's own answers, tick by tick."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from simulations.peers.aibrix.law import AibrixSpec, Strategy, decide, started
from simulations.peers.vectors import Compared, VectorSet

_Row = dict[str, Any]

#: Annotation (without its prefix) to the field it sets.
_FIELDS = {
    "max-scale-up-rate": "max_scale_up_rate",
    "scale-up-tolerance": "up_tolerance",
    "scale-down-tolerance": "down_tolerance",
    "scale-up-cooldown-window": "up_cooldown_seconds",
    "scale-down-cooldown-window": "down_cooldown_seconds",
    "panic-threshold": "panic_threshold",
}


def _spec(config: _Row) -> AibrixSpec:
    """The PodAutoscaler: its fields, then its annotations."""
    annotations: dict[str, Any] = {
        _FIELDS[key.split("/")[1]]: float(value.removesuffix("s"))
        for key, value in (config["annotations"] or {}).items()
    }
    plain = AibrixSpec(
        strategy=Strategy(config["strategy"]),
        targets=tuple(config["targets"]),
        min_replicas=config["min"],
        max_replicas=config["max"],
        stable_window_seconds=config["stable_window_s"],
        panic_window_seconds=config["panic_window_s"],
    )
    return replace(plain, **annotations)


def _series(document: _Row) -> Iterator[Compared]:
    """Recommendation and decision at every tick."""
    spec = _spec(document["config"])
    history = started(spec)
    for now, replicas, metrics, recommendation, desired, _ in document["ticks"]:
        made, decision, history = decide(spec, history, replicas, metrics, now)
        yield Compared(at=f"{now:g} s recommendation", expected=recommendation, found=made)
        yield Compared(at=f"{now:g} s desired", expected=desired, found=decision)


VECTORS: tuple[VectorSet, ...] = (
    VectorSet(
        law="AIBrix APA",
        files=(
            "aibrix-apa-default",
            "aibrix-apa-sample",
            "aibrix-apa-two-metrics-cooldowns",
            "aibrix-apa-zero",
        ),
        replay=_series,
    ),
    VectorSet(
        law="AIBrix KPA",
        files=("aibrix-kpa-concurrency", "aibrix-kpa-default", "aibrix-kpa-zero"),
        replay=_series,
    ),
)
