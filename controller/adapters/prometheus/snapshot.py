"""Answers sorted by pod: which series belong to whom, and which belong to nobody.

A series counts for an object only where namespace, pod and model are its own. The matchers are
enforced here, on what came back, whatever the store made of the query.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from controller.adapters.prometheus.engines import EngineProfile
from controller.adapters.prometheus.session import Series

#: A part of a pod's readings, with its bucket edge where it is a bucket.
Part: TypeAlias = str | tuple[str, float]

_MODELS_KEPT: Final = 1000


class Malformed(Exception):  # noqa: N818 - named after what it is
    """An answer that is not what Prometheus' API writes."""


@dataclass(slots=True)
class PodReadings:
    """What one engine in one pod shows: values by part, and the parts that are there twice."""

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
        """Sort series in; raises ``Malformed``. Short ways: there are 15 series to a pod."""
        profiles, pods = self.profiles, self.pods
        for one in series:
            try:
                labels, value = one["metric"], float(one["value"][1])
                part: Part = labels["part"]
                profile = profiles.get(labels["profile"])
                if profile is None:
                    continue  # a profile that the recording rules have and nobody uses
                namespace = labels.get(profile.namespace_label, "")
                pod = labels.get(profile.pod_label, "")
                model = "" if profile.model_label is None else labels.get(profile.model_label, "")
                if "le" in labels:
                    part = (labels["part"], float(labels["le"]))
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise Malformed(f"no series of an instant query: {str(one)[:80]}") from error
            if part == "down":
                self.down.add((namespace, pod))
                continue
            if part == "time" or not pod:
                self._know((profile.name, namespace), pod, model)
            if not pod:
                continue
            key = (profile.name, namespace, pod, model)
            readings = pods.get(key)
            if readings is None:
                readings = pods[key] = PodReadings()
            values = readings.values
            if part in values or part == "twice":
                readings.twice.add(part)
            values[part] = value

    def _know(self, place: tuple[str, str], pod: str, model: str) -> None:
        """Keep which models there are: what is said where the one looked for is not there."""
        known = (self.models if pod else self.strangers).setdefault(place, set())
        if len(known) < _MODELS_KEPT:
            known.add(model)


def all_usable(values: Collection[float]) -> bool:
    """Whether all are numbers that a counter or gauge of ours can have."""
    # NaN and infinity survive a sum; one call instead of one for each of a pod's numbers.
    return not values or (math.isfinite(sum(values)) and min(values) >= 0.0)


@dataclass(slots=True)
class EdgeBook:
    """Which bucket edges exist: texts of ``le`` by edge, by (family, profile, namespace, model)."""

    profiles: Mapping[str, EngineProfile]
    edges: dict[tuple[str, str, str, str], dict[float, set[str]]] = field(default_factory=dict)
    _found: dict[tuple[str, str, str, str, float], float | None] = field(default_factory=dict)

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
        asked = (family, profile.name, namespace, model, threshold)
        if asked not in self._found:
            known = self.edges.get(asked[:4], {})
            # The slack takes up what a threshold loses as a fraction of two integers.
            below = [edge for edge in known if edge <= threshold * (1.0 + 1e-9)]
            self._found[asked] = max(below, default=0.0) if known else None
        return self._found[asked]

    def texts(self, family: str, profile: str, namespace: str, model: str, edge: float) -> set[str]:
        """Return how an edge is written in the label ``le``."""
        return self.edges.get((family, profile, namespace, model), {}).get(edge, set())
