"""What pods counted, laid on a grid of steps: exact in sum, linear between two scrapes.

A step's edge lies between two scrapes of a pod; what was counted between them is shared out in
proportion. So nothing is lost or told twice, whatever phase a pod is scraped in. A counter that
went back began anew at 0. A pod that appears while others are being scraped has counted from 0,
too; one that appears after nothing was scraped may have counted before, and its first sample is
only what later ones are compared with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulations.backtest.query import COUNTERS

Array = NDArray[np.float64]

#: What is counted: arrivals, and the counters themselves.
COUNTED: Final = ("arrived", *COUNTERS)
_ENDED: Final = COUNTED.index("ended")
_ARRIVED: Final = COUNTED.index("arrived")

#: A pod without a sample for so many scrapes is not seen, as for the operator.
STALE_AFTER_INTERVALS: Final = 4.0


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps of equal length; step i covers ``[begin + i step, + step)`` in Unix time."""

    begin_seconds: float
    step_seconds: float
    steps: int

    @property
    def end_seconds(self) -> float:
        """Where the last step ends."""
        return self.begin_seconds + self.steps * self.step_seconds

    def edges(self, first: int, last: int) -> Array:
        """Unix times of edges ``first`` to ``last``, both included."""
        return self.begin_seconds + self.step_seconds * np.arange(first, last + 1, dtype=np.float64)

    def before(self, seconds: float) -> int:
        """The last edge at or before a time, kept on the grid."""
        at = np.floor((seconds - self.begin_seconds) / self.step_seconds + 1e-9)
        return int(np.clip(at, 0, self.steps))

    def after(self, seconds: float) -> int:
        """The first edge at or after a time, kept on the grid."""
        at = np.ceil((seconds - self.begin_seconds) / self.step_seconds - 1e-9)
        return int(np.clip(at, 0, self.steps))


@dataclass(slots=True)
class Counts:
    """What was counted in each step.

    ``counted`` holds an array (variants, steps) by name of ``COUNTED``. ``pods`` (variants,
    steps + 1) were scraped shortly before each edge; ``unseen`` (steps,) were not scraped in a
    step, but before and after it.
    """

    counted: dict[str, Array]
    pods: Array
    unseen: Array

    @classmethod
    def empty(cls, variants: int, steps: int) -> "Counts":
        """Nothing counted yet."""
        return cls(
            counted={name: np.zeros((variants, steps)) for name in COUNTED},
            pods=np.zeros((variants, steps + 1)),
            unseen=np.zeros(steps),
        )

    def total(self, name: str) -> Array:
        """Of all variants, shape (steps,)."""
        total: Array = self.counted[name].sum(axis=0)
        return total

    @property
    def seen(self) -> Array:
        """Pods of all variants that were scraped throughout each step, at most: (steps,)."""
        pods = self.pods.sum(axis=0)
        seen: Array = np.minimum(pods[:-1], pods[1:])
        return seen

    def plus(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(
            counted={name: self.counted[name] + other.counted[name] for name in COUNTED},
            pods=self.pods + other.pods,
            unseen=self.unseen + other.unseen,
        )


@dataclass(frozen=True, slots=True)
class _Sample:
    """A pod's last sample: its time, and the values of ``COUNTED``."""

    at: float
    values: Array


@dataclass(slots=True)
class Counting:
    """Takes pods' samples chunk by chunk, in order of time, and keeps one sample a pod.

    ``late`` says that the engine shows a counter only once it has counted something.
    """

    grid: Grid
    scrape_seconds: float
    late: bool
    counts: Counts
    _last: dict[str, _Sample] = field(default_factory=dict)
    _latest: float = -np.inf
    _unbroken_since: float = np.inf

    @property
    def _stale_seconds(self) -> float:
        return max(STALE_AFTER_INTERVALS * self.scrape_seconds, 2.0 * self.grid.step_seconds)

    def add(self, first: int, pods: Mapping[str, tuple[int, Mapping[str, Array]]]) -> None:
        """Take one chunk, read at the edges from ``first`` on.

        ``pods`` maps a pod to its variant and its parts, (edges,) each, NaN where there is none.
        """
        usable = {pod: self._usable(parts) for pod, (_, parts) in pods.items()}
        times = [parts["time"][usable[pod]] for pod, (_, parts) in pods.items()]
        seen = np.unique(np.concatenate([*times, np.array([self._latest])]))
        starts = seen[1:][np.diff(seen) > self._stale_seconds]
        for pod, (variant, parts) in pods.items():
            self._note_fresh(first, variant, parts["time"], usable[pod])
            self._count(pod, variant, self._samples(pod, parts, usable[pod]), parts, starts)
        self._latest = float(seen[-1])
        self._unbroken_since = float(starts[-1]) if len(starts) else self._unbroken_since

    def _usable(self, parts: Mapping[str, Array]) -> NDArray[np.bool_]:
        needed = ["time"] if "running" not in parts and "ended" in parts else ["time", "running"]
        if not self.late:
            needed.append("ended")
        nothing = np.full_like(parts["time"], np.nan)
        usable = np.ones(len(nothing), np.bool_)
        for name in needed:
            usable &= np.isfinite(parts.get(name, nothing))
        return usable

    def _note_fresh(self, first: int, variant: int, at: Array, usable: NDArray[np.bool_]) -> None:
        """Count the pod at the edges at which its sample is fresh."""
        edges = self.grid.edges(first, first + len(at) - 1)
        fresh = usable & (np.nan_to_num(at, nan=-np.inf) > edges - self._scraped_within)
        edge = first + np.flatnonzero(fresh)
        self.counts.pods[variant, edge[edge <= self.grid.steps]] += 1.0

    @property
    def _scraped_within(self) -> float:
        return STALE_AFTER_INTERVALS * self.scrape_seconds

    def _samples(
        self, pod: str, parts: Mapping[str, Array], usable: NDArray[np.bool_]
    ) -> tuple[Array, Array]:
        """Times (samples,) and values (samples, counted) that are newer than what is known."""
        last = self._last.get(pod)
        at = parts["time"]
        known = -np.inf if last is None else last.at
        index = np.flatnonzero(usable)
        index = index[np.diff(at[index], prepend=known) > 0.0]
        values = np.zeros((len(index), len(COUNTED)))
        for n, name in enumerate(COUNTED):
            if name in parts:
                start = 0.0 if last is None else float(last.values[n])
                values[:, n] = _held(parts[name][index], start)
        values[:, _ARRIVED] = _arrived(parts, index, values)
        return at[index], values

    def _count(
        self,
        pod: str,
        variant: int,
        samples: tuple[Array, Array],
        parts: Mapping[str, Array],
        starts: Array,
    ) -> None:
        at, values = samples
        if not len(at):
            return
        before = self._last.get(pod) or self._begun(float(at[0]), parts, starts)
        if before is not None:
            at = np.concatenate(([before.at], at))
            values = np.concatenate((before.values[None, :], values))
        grown, values = _growth(values)
        self._last[pod] = _Sample(float(at[-1]), values[-1])
        self._spread(variant, at, np.concatenate((np.zeros((1, len(COUNTED))), grown)))

    def _begun(self, at: float, parts: Mapping[str, Array], starts: Array) -> _Sample | None:
        """Where a pod that was not known began to count, if that is known.

        ``starts`` are when scraping began, or went on after a gap, in this chunk.
        """
        known = starts[starts <= at]
        since = float(known[-1]) if len(known) else self._unbroken_since
        nothing = np.zeros(len(COUNTED))
        created = parts.get("created", np.empty(0))
        created = created[np.isfinite(created)]
        if len(created):
            # One that was there, unseen, has counted nobody knows when.
            return (
                _Sample(min(float(created[0]), at - 1.0), nothing) if created[0] > since else None
            )
        if at - since <= self.scrape_seconds + self.grid.step_seconds:
            return None
        return _Sample(at - self.scrape_seconds, nothing)

    def _spread(self, variant: int, at: Array, grown: Array) -> None:
        """Lay the growth (samples, counted) on the steps between the samples."""
        low, high = self.grid.before(at[0]), self.grid.after(at[-1])
        if high <= low:
            return
        edges = self.grid.edges(low, high)
        total = np.cumsum(grown, axis=0)
        for n, name in enumerate(COUNTED):
            if total[-1, n] > 0.0:
                growth = np.diff(np.interp(edges, at, total[:, n]))
                self.counts.counted[name][variant, low:high] += growth
        for gap in np.flatnonzero(np.diff(at) > self._stale_seconds):
            left, right = self.grid.before(at[gap]), self.grid.after(at[gap + 1])
            self.counts.unseen[left:right] += 1.0


def _held(values: Array, start: float) -> Array:
    """Values with each NaN replaced by what was before it."""
    known = np.isfinite(values)
    at = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.where(at >= 0, values[np.maximum(at, 0)], start)


def _arrived(parts: Mapping[str, Array], index: NDArray[np.int64], values: Array) -> Array:
    """Arrivals so far: by conservation, where the engine has no count of them."""
    if "received" in parts:
        return values[:, COUNTED.index("received")]
    arrived = values[:, _ENDED] + values[:, COUNTED.index("refused")]
    for name in ("running", "waiting"):
        if name in parts:
            arrived = arrived + np.nan_to_num(parts[name][index])
    return arrived


def _growth(values: Array) -> tuple[Array, Array]:
    """Growth between samples, (samples - 1, counted), and the values it is to go on from.

    Gauges and counters of a scrape may differ by a request: arrivals that went back are waited
    for, and not counted again when they come.
    """
    monotone = [n for n in range(len(COUNTED)) if n != _ARRIVED]
    reset = np.flatnonzero(np.any(np.diff(values[:, monotone], axis=0) < 0.0, axis=1)) + 1
    values = values.copy()
    for low, high in zip((0, *reset), (*reset, len(values)), strict=True):
        values[low:high, _ARRIVED] = np.maximum.accumulate(values[low:high, _ARRIVED])
    grown = np.diff(values, axis=0)
    grown[reset - 1] = values[reset]
    return grown, values
