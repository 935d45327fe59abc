"""One pod's readings turned into a sample, or into the reason why they are none."""

from dataclasses import dataclass
from typing import Final

from controller.adapters.prometheus.counters import Sample
from controller.adapters.prometheus.engines import EngineProfile
from controller.adapters.prometheus.snapshot import EdgeBook, PodReadings, all_usable
from controller.core.domain.observation import TOKEN_EDGES, MissingReason
from controller.core.domain.policy import Slo

#: A sample older than this many scrape intervals is stale, as in the simulator.
STALE_AFTER_INTERVALS: Final = 4.0

_COUNTERS: Final = (
    "ended", "received", "failed", "refused", "token_requests", "prompt_tokens", "output_tokens",
)  # fmt: skip

#: Counters of an engine that exports them late are 0 as long as it shows none of them and is idle.
_ALWAYS: Final = frozenset(
    {"ended", "received", "token_requests", "prompt_tokens", "output_tokens"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What serves one variant: its metrics profile, and the model's name in its metrics."""

    profile: EngineProfile
    namespace: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSample:
    """A pod's counters, and its gauges; KV use is None where the engine does not tell."""

    sample: Sample
    running: float
    waiting: float
    kv_use: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Where the two objectives are read, in the histograms' own units; None: nowhere."""

    ttft: float | None
    tpot: float | None
    gaps: float | None

    @classmethod
    def of(cls, engine: Engine, slo: Slo, book: EdgeBook) -> "Thresholds":
        """Return the edges at or below the objectives' thresholds."""
        return cls(
            ttft=edge_of("ttft", engine, slo.ttft_seconds, book),
            tpot=edge_of("tpot", engine, slo.tpot_seconds, book),
            gaps=edge_of("gaps", engine, slo.tpot_seconds, book),
        )


def edge_of(family: str, engine: Engine, seconds: float, book: EdgeBook) -> float | None:
    """Return the edge, in the histogram's own unit, at which a threshold is read."""
    histograms = getattr(engine.profile, family)
    if not histograms or seconds == float("inf"):
        return None
    threshold = seconds / histograms[0].unit
    return book.at_or_below(family, engine.profile, engine.namespace, engine.model, threshold)


def sampled(
    readings: PodReadings, profile: EngineProfile, edges: Thresholds, oldest_seconds: float
) -> PodSample | MissingReason:
    """Return the sample that a pod's readings make, if all of them can be used."""
    if readings.twice:
        return MissingReason.PARTIAL
    if not all_usable(readings.values.values()):
        return MissingReason.NOT_A_NUMBER
    at, running, waiting = (readings.get(part) for part in ("time", "running", "waiting"))
    if at is None or running is None or waiting is None:
        return MissingReason.ABSENT
    if at < oldest_seconds:
        return MissingReason.STALE
    counters = {name: value for name in _COUNTERS if (value := readings.get(name)) is not None}
    if profile.appears_late:
        _add_not_yet_exported(counters, profile, idle=running + waiting == 0.0)
    if "ended" not in counters:
        return MissingReason.ABSENT
    counters |= _bad(readings, edges)
    return PodSample(
        sample=Sample(
            at_seconds=at,
            counters=counters,
            outstanding=running + waiting,
            began_seconds=readings.get("created"),
        ),
        running=running,
        waiting=waiting,
        kv_use=readings.get("kv_use"),
    )


def _add_not_yet_exported(
    counters: dict[str, float], profile: EngineProfile, *, idle: bool
) -> None:
    """Put 0 for what a late engine does not show yet."""
    never_served = idle and not counters
    for name in _COUNTERS:
        if getattr(profile, name) and (never_served or name not in _ALWAYS):
            counters.setdefault(name, 0.0)


def _bad(readings: PodReadings, edges: Thresholds) -> dict[str, float]:
    """Requests or gaps above the edges, cumulative; named by the edge, which may change."""
    bad = {}
    for family, edge in (("ttft", edges.ttft), ("tpot", edges.tpot), ("gaps", edges.gaps)):
        count = readings.get(f"{family}_count")
        if edge is None or count is None:
            continue
        # An edge of 0 is below all there are: everything is above it.
        below = 0.0 if edge == 0.0 else readings.get((f"{family}_bucket", edge))
        if below is not None:
            bad[f"{family}@{edge:g}"] = count - below
            bad[f"{family}_count@{edge:g}"] = count
    return bad


def length_counters(readings: PodReadings) -> dict[str, float] | None:
    """Token lengths so far, per bucket of ``TOKEN_EDGES``: ``prompt_lengths0`` and so on."""
    if readings.twice or not all_usable(readings.values.values()):
        return None
    counters = {}
    for name in ("prompt_lengths", "output_lengths"):
        below = {
            part[1]: value
            for part, value in readings.values.items()
            if isinstance(part, tuple) and part[0] == name
        }
        total = below.pop(float("inf"), None)
        if total is None:
            return None
        for i, count in enumerate(_per_bucket(below, total)):
            counters[f"{name}{i}"] = count
    return counters


def _per_bucket(below: dict[float, float], total: float) -> list[float]:
    """Counts per bucket of ``TOKEN_EDGES`` out of cumulative ones.

    An engine's edges end at its longest model length: what lies beyond its last one is in the
    bucket just above it. An edge it lacks in between adds its bucket to the one above.
    """
    last = max(below, default=0.0)
    counts, before = [], 0.0
    for edge in TOKEN_EDGES:
        reached = below.get(edge, before) if edge <= last else total
        counts.append(max(reached - before, 0.0))
        before = max(reached, before)
    return [*counts, max(total - before, 0.0)]
