"""Differences of counters between two looks, per pod: resets, restarts, new and lost pods.

Counters are kept raw. ``increase()`` would lose the first sample of every new pod, and all
that a pod counts between two scrapes around a look.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Requests that are in an engine: of them the change counts, not the number.
OUTSTANDING = "outstanding"

#: Two readings of when an engine began differ by rounding only.
_SAME_START_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class PodKey:
    """A pod of one variant, by the variant's position."""

    variant: int
    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One pod's counters, all of one scrape at ``at_seconds``; ``outstanding`` is a gauge.

    ``began_seconds`` is when they began to count, where the engine tells. A name with an @ holds a
    bucket edge after it, and goes where another edge is read.
    """

    at_seconds: float
    counters: Mapping[str, float]
    outstanding: float
    began_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What was counted between two looks.

    ``counters`` are sums by variant and name; a name that only some pods could tell is left out of
    its variant. ``arrived`` are the requests that came into the engines: those that ended or were
    refused, and what is in them more than before. ``lost`` were in an engine that began anew.
    """

    from_seconds: float
    to_seconds: float
    counters: Mapping[int, Mapping[str, float]]
    arrived: float
    lost: Mapping[int, float]


class Shrunk(Exception):  # noqa: N818 - named after what happened
    """A pod no longer shows a counter that it did show: the answer is not whole."""


@dataclass(slots=True)
class Counters:
    """The last samples of one object's pods.

    ``began_seconds`` is the time of the first look. A pod created since then has counted from 0; of
    one that was there before, the first sample is only what later ones are compared with.
    """

    began_seconds: float | None = None
    at_seconds: float | None = None
    samples: dict[PodKey, Sample] = field(default_factory=dict)
    _owed: float = 0.0

    def look(
        self, samples: Mapping[PodKey, Sample], created_at_seconds: Mapping[PodKey, float]
    ) -> Difference | None:
        """Take a whole look at all pods that there are, and return what was counted since the last.

        None at the first look, and where no sample is newer. ``created_at_seconds`` has every pod
        that exists: what is not in it is forgotten. Raises ``Shrunk``, and then changes nothing.
        """
        if not samples:
            return None
        at = sum(sample.at_seconds for sample in samples.values()) / len(samples)
        if self.at_seconds is None:
            self.began_seconds = self.at_seconds = at
            self.samples = dict(samples)
            return None
        if at <= self.at_seconds:
            return None
        changes = {
            key: self._change(key, sample, created_at_seconds.get(key))
            for key, sample in samples.items()
        }
        difference = self._summed(changes, at)
        kept = {key: one for key, one in self.samples.items() if key in created_at_seconds}
        self.samples = {**kept, **samples}
        self.at_seconds = at
        return difference

    def _change(self, key: PodKey, sample: Sample, created_at: float | None) -> "_Change | None":
        before = self.samples.get(key)
        if before is None:
            return (
                _Change(sample.counters, sample.outstanding)
                if self._new(sample, created_at)
                else None
            )
        if _restarted(before, sample):
            return _Change(sample.counters, sample.outstanding, before.outstanding)
        if any("@" not in name for name in before.counters.keys() - sample.counters.keys()):
            raise Shrunk
        counted = {
            name: value - before.counters[name]
            for name, value in sample.counters.items()
            if name in before.counters
        }
        return _Change(counted, sample.outstanding - before.outstanding)

    def _new(self, sample: Sample, created_at: float | None) -> bool:
        """Whether all that this pod has counted was counted since the last look."""
        last, began = self.at_seconds, self.began_seconds
        if sample.began_seconds is not None and last is not None and sample.began_seconds > last:
            return True
        return created_at is not None and began is not None and created_at > began

    def _summed(self, changes: "Mapping[PodKey, _Change | None]", at: float) -> Difference:
        counters: dict[int, dict[str, float]] = {}
        unknown: set[tuple[int, str]] = set()
        lost: dict[int, float] = {}
        arrived = self._owed
        names = {
            (key.variant, name)
            for key, change in changes.items()
            if change is not None
            for name in change.counted
        }
        for key, change in changes.items():
            sums = counters.setdefault(key.variant, {})
            if change is None:
                continue
            for variant, name in names:
                if variant == key.variant and name not in change.counted:
                    unknown.add((variant, name))
            for name, value in change.counted.items():
                sums[name] = sums.get(name, 0.0) + value
            lost[key.variant] = lost.get(key.variant, 0.0) + change.lost
            arrived += change.arrived
        for variant, name in unknown:
            counters[variant].pop(name, None)
        # Gauges and counters of a scrape may differ by a request: what is too few now was too many.
        self._owed = min(arrived, 0.0)
        assert self.at_seconds is not None  # noqa: S101 - the first look returned before
        return Difference(
            from_seconds=self.at_seconds,
            to_seconds=at,
            counters=counters,
            arrived=max(arrived, 0.0),
            lost=lost,
        )


@dataclass(frozen=True, slots=True)
class _Change:
    """What one pod counted; ``more`` is what is in it more than before."""

    counted: Mapping[str, float]
    more: float
    lost: float = 0.0

    @property
    def arrived(self) -> float:
        """Requests that came in, by the engine's own count where it has one."""
        if "received" in self.counted:
            return self.counted["received"]
        return self.counted.get("ended", 0.0) + self.counted.get("refused", 0.0) + self.more


def _restarted(before: Sample, after: Sample) -> bool:
    """Whether the engine began anew: it says so, or a counter went back."""
    was, began = before.began_seconds, after.began_seconds
    if was is not None and began is not None and began - was > _SAME_START_SECONDS:
        return True
    return any(
        value < before.counters[name]
        for name, value in after.counters.items()
        if name in before.counters
    )
