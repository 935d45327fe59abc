"""Answers sorted by pod: which series belong to whom, and which belong to nobody.

A series counts for an object only where namespace, pod and model are its own. The matchers are
enforced here, on what came back, whatever the store made of the query.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from controller.adapters.prometheus.engines import EngineProfile
from controller.adapters.prometheus.session import Series

#: A part of a pod's readings, with its bucket edge where it is a bucket.
Part: TypeAlias = str | tuple[str, float]

_MODELS_KEPT: Final = 1000


class Malformed(Exception):  # noqa: N818 - named after what it is
    """An answer that is not what Prometheus' API writes."""


@dataclass(slots=True)
class PodReadings:
    """What one engine in one pod shows: values by part, and the parts that came twice."""

    values: dict[Part, float] = field(default_factory=dict)
    twice: set[Part] = field(default_factory=set)

    def get(self, part: Part) -> float | None:
        """Value of a part, which may be no number; None where there is no series."""
        return self.values.get(part)


@dataclass(slots=True)
class Snapshot:
    """Readings of one cycle, by (profile, namespace, pod, model); a missing model is empty.

    ``models`` are those seen by (profile, namespace), ``strangers`` the models by the same of
    series that name no pod, ``down`` the (namespace, pod) whose last scrape failed.
    """

    profiles: Mapping[str, EngineProfile]
    pods: dict[tuple[str, str, str, str], PodReadings] = field(default_factory=dict)
    models: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    strangers: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    down: set[tuple[str, str]] = field(default_factory=set)

    def add(self, series: Iterable[Series]) -> None:
        """Sort series in; raises ``Malformed``."""
        for one in series:
            try:
                self._add(one["metric"], float(one["value"][1]))
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise Malformed(f"no series of an instant query: {str(one)[:80]}") from error

    def _add(self, labels: Mapping[str, Any], value: float) -> None:
        profile = self.profiles.get(labels["profile"])
        if profile is None:
            return  # a profile that the recording rules have and nobody uses
        part: Part = labels["part"]
        namespace = labels.get(profile.namespace_label, "")
        pod = labels.get(profile.pod_label, "")
        if part == "down":
            self.down.add((namespace, pod))
            return
        model = "" if profile.model_label is None else labels.get(profile.model_label, "")
        place = (profile.name, namespace)
        known = (self.models if pod else self.strangers).setdefault(place, set())
        if len(known) < _MODELS_KEPT:
            known.add(model)
        if not pod:
            return
        if "le" in labels:
            part = (labels["part"], float(labels["le"]))
        readings = self.pods.setdefault((*place, pod, model), PodReadings())
        if part in readings.values:
            readings.twice.add(part)
        readings.values[part] = value


def usable(value: float | None) -> bool:
    """Whether a reading is a number that a counter or gauge of ours can have."""
    return value is not None and math.isfinite(value) and value >= 0.0


@dataclass(slots=True)
class EdgeBook:
    """Which bucket edges exist: texts of ``le`` by edge, by (family, profile, namespace, model)."""

    profiles: Mapping[str, EngineProfile]
    edges: dict[tuple[str, str, str, str], dict[float, set[str]]] = field(default_factory=dict)

    def add(self, series: Iterable[Series]) -> None:
        """Sort series in; raises ``Malformed``."""
        for one in series:
            try:
                labels = one["metric"]
                profile = self.profiles.get(labels["profile"])
                if profile is None:
                    continue
                model = "" if profile.model_label is None else labels.get(profile.model_label, "")
                key = (
                    labels["part"].removesuffix("_bucket"),
                    profile.name,
                    labels.get(profile.namespace_label, ""),
                    model,
                )
                edge = float(labels["le"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise Malformed(f"no series of an instant query: {str(one)[:80]}") from error
            if math.isfinite(edge):
                self.edges.setdefault(key, {}).setdefault(edge, set()).add(labels["le"])

    def knows(self, family: str, profile: EngineProfile, namespace: str, model: str) -> bool:
        """Whether any edge of this histogram is known."""
        return (family, profile.name, namespace, model) in self.edges

    def at_or_below(
        self, family: str, profile: EngineProfile, namespace: str, model: str, threshold: float
    ) -> float | None:
        """Return the last edge at or below ``threshold``; 0 when all lie above, None unknown."""
        known = self.edges.get((family, profile.name, namespace, model))
        if not known:
            return None
        # The slack takes up what a threshold loses as a fraction of two integers.
        return max((edge for edge in known if edge <= threshold * (1.0 + 1e-9)), default=0.0)

    def texts(self, family: str, profile: str, namespace: str, model: str, edge: float) -> set[str]:
        """Return how an edge is written in the label ``le``."""
        return self.edges.get((family, profile, namespace, model), {}).get(edge, set())
