"""Arrivals counted outside the engines: by a gateway, an endpoint picker or a queue."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.adapters.prometheus import queries
from controller.adapters.prometheus.counters import Counters, PodKey, Sample
from controller.adapters.prometheus.pods import STALE_AFTER_INTERVALS
from controller.adapters.prometheus.seen import Look, Source
from controller.adapters.prometheus.session import Answer, QueryFailed
from controller.adapters.prometheus.snapshot import all_usable
from controller.core.domain.observation import Missing, MissingReason, Traffic, TrafficReading

#: The processes that count are told apart from one another, not from an engine's pods.
_NO_VARIANT: Final = 0


def expression(sources: Sequence[Source]) -> list[str]:
    """One query for all sources, or none where there is no source."""
    values: dict[str, set[str]] = {}
    profiles = {}
    for source in sources:
        profiles[source.profile.name] = source.profile
        values.setdefault(source.profile.name, set()).add(source.value)
    parts = [queries.arrivals(profiles[name], values[name]) for name in sorted(profiles)]
    return [" or ".join(parts)] if parts else []


@dataclass(slots=True)
class Arrivals:
    """Counters by (profile, value of its name label): readings by process, and their times."""

    failure: QueryFailed | None = None
    labels: list[tuple[dict[str, str], float]] = field(default_factory=list)

    @classmethod
    def of(cls, answers: Iterable[Answer]) -> "Arrivals":
        """Take the answer, if one was asked for."""
        made = cls()
        for answer in answers:
            if isinstance(answer, QueryFailed):
                made.failure = answer
                continue
            try:
                made.labels += [(one["metric"], float(one["value"][1])) for one in answer]
            except (KeyError, TypeError, ValueError, IndexError):
                made.failure = QueryFailed("no series of an instant query")
        return made

    def traffic(self, source: Source, counters: Counters, look: Look) -> TrafficReading:
        """Return what was received since the last look."""
        samples = self._samples(source, look)
        if isinstance(samples, MissingReason):
            return Missing(samples)
        first = counters.at_seconds is None
        if not first and not samples.keys() & counters.samples.keys():
            return self._begun_anew(counters, samples)
        # When a process began is not known: its first sample is where counting starts.
        difference = counters.look(samples, dict.fromkeys(samples, float("-inf")))
        if difference is None:
            return Missing(MissingReason.ABSENT if first else MissingReason.STALE)
        return Traffic(
            from_seconds=difference.from_seconds,
            to_seconds=difference.to_seconds,
            requests=difference.arrived,
            refused=0.0,
            token_requests=0.0,
            prompt_tokens=0.0,
            output_tokens=0.0,
        )

    def _samples(self, source: Source, look: Look) -> dict[PodKey, Sample] | MissingReason:
        """Samples by process, all fresh, or why there are none."""
        values, times = self._processes(source)
        oldest = look.now - STALE_AFTER_INTERVALS * look.scrape_interval_seconds
        fresh = {name: at for name, at in times.items() if not at < oldest}
        wrong: MissingReason | None = None
        if self.failure is not None:
            wrong = self.failure.reason
        elif not values:
            wrong = MissingReason.ABSENT
        elif values.keys() != times.keys():
            wrong = MissingReason.PARTIAL
        elif not all_usable((*values.values(), *times.values())):
            wrong = MissingReason.NOT_A_NUMBER
        elif not fresh:
            wrong = MissingReason.STALE
        if wrong is not None:
            return wrong
        return {
            PodKey(_NO_VARIANT, name): Sample(
                at_seconds=at, counters={"received": values[name]}, outstanding=0.0
            )
            for name, at in fresh.items()
        }

    def _begun_anew(self, counters: Counters, samples: dict[PodKey, Sample]) -> TrafficReading:
        """All processes are new: nothing to compare with, which is not no traffic."""
        counters.at_seconds = None
        counters.look(samples, {})
        return Missing(MissingReason.PARTIAL)

    def _processes(self, source: Source) -> tuple[dict[str, float], dict[str, float]]:
        """Values and times by process, of this source's own series only."""
        profile = source.profile
        found: dict[str, dict[str, float]] = {"arrivals": {}, "time": {}}
        for labels, value in self.labels:
            own = (
                labels.get("profile") == profile.name
                and labels.get(profile.name_label) == source.value
                and (
                    profile.namespace_label is None
                    or labels.get(profile.namespace_label) == source.namespace
                )
            )
            if own and labels.get("part") in found:
                process = "/".join(labels.get(label, "") for label in profile.instance_labels)
                found[labels["part"]][process] = value
        return found["arrivals"], found["time"]
