"""Which pods of an object are seen, which must be, and what that makes of each variant."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from controller.adapters.prometheus.counters import Counters, PodKey
from controller.adapters.prometheus.engines import ArrivalsProfile
from controller.adapters.prometheus.pods import (
    STALE_AFTER_INTERVALS,
    Engine,
    PodSample,
    Thresholds,
    sampled,
)
from controller.adapters.prometheus.session import QueryFailed
from controller.adapters.prometheus.snapshot import EdgeBook, PodReadings, Snapshot
from controller.core.domain.observation import (
    GaugeReading,
    Measured,
    Missing,
    MissingReason,
)
from controller.core.domain.policy import Policy
from controller.ports import Replica

#: Of several reasons the first is told: what is wrong before what is not there.
_WORST: Final = (
    MissingReason.QUERY_FAILED,
    MissingReason.NOT_A_NUMBER,
    MissingReason.STALE,
    MissingReason.PARTIAL,
    MissingReason.ABSENT,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where one object's arrivals are counted, outside its engines."""

    profile: ArrivalsProfile
    namespace: str
    name: str

    @property
    def value(self) -> str:
        """Value of the profile's ``name_label``."""
        return self.profile.wanted(self.namespace, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is read of one object: the engine and the pods of each variant."""

    policy: Policy
    engines: tuple[Engine, ...]
    replicas: tuple[tuple[Replica, ...], ...]
    arrivals: Source | None = None


@dataclass(slots=True)
class Memory:
    """What is kept of one object between looks."""

    counters: Counters = field(default_factory=Counters)
    lengths: Counters = field(default_factory=Counters)
    outside: Counters = field(default_factory=Counters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One cycle's answers; ``failures`` are by profile, ``lengths`` None when not asked."""

    snapshot: Snapshot
    lengths: Snapshot | None
    book: EdgeBook
    failures: Mapping[str, QueryFailed]
    now: float
    scrape_interval_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenVariant:
    """One variant's usable pods, and why it cannot be read as a whole, if so.

    ``edges`` is where its latencies were read, ``expected`` the number of replicas that serve.
    """

    pods: Mapping[str, PodSample]
    missing: MissingReason | None
    expected: int
    edges: Thresholds


def pod_readings(engine: Engine, name: str, snapshot: Snapshot) -> PodReadings | None:
    """What a pod shows of this model, if anything."""
    return snapshot.pods.get((engine.profile.name, engine.namespace, name, engine.model))


def seen_variant(subject: Subject, memory: Memory, look: Look, v: int) -> SeenVariant:
    """Read a variant's pods; one that must be seen and is not spoils the whole."""
    engine = subject.engines[v]
    edges = Thresholds.of(engine, subject.policy.slo, look.book)
    oldest = look.now - STALE_AFTER_INTERVALS * look.scrape_interval_seconds
    pods: dict[str, PodSample] = {}
    wrong: set[MissingReason] = set()
    expected = 0
    for replica in subject.replicas[v]:
        readings = pod_readings(engine, replica.name, look.snapshot)
        sample: PodSample | MissingReason = MissingReason.ABSENT
        if readings is not None:
            sample = sampled(readings, engine.profile, edges, oldest)
        if isinstance(sample, PodSample):
            pods[replica.name] = sample
        known = PodKey(v, replica.name) in memory.counters.samples
        required = serves(replica) and (known or _settled(replica, look))
        expected += serves(replica)
        if required and not isinstance(sample, PodSample):
            wrong.add(sample)
    missing = next((reason for reason in _WORST if reason in wrong), None)
    if missing is MissingReason.ABSENT and pods:
        missing = MissingReason.PARTIAL
    if missing is None and expected and not pods:
        missing = MissingReason.ABSENT  # all of them became Ready a moment ago
    return SeenVariant(pods=pods, missing=missing, expected=expected, edges=edges)


def serves(replica: Replica) -> bool:
    """Whether it takes requests: Ready, and not on its way out."""
    return replica.ready_since_seconds is not None and not replica.draining


def _settled(replica: Replica, look: Look) -> bool:
    """Whether it is Ready for so long that it must have been found and scraped."""
    since = replica.ready_since_seconds
    grace = STALE_AFTER_INTERVALS * look.scrape_interval_seconds
    return since is not None and look.now - since > grace


def verdict(variants: tuple[SeenVariant, ...]) -> MissingReason | None:
    """Why the object's counters cannot be read as a whole, if so."""
    reasons = {variant.missing for variant in variants} - {None}
    seen = any(variant.pods for variant in variants)
    if not reasons:
        return None if seen else MissingReason.ABSENT
    worst = next(reason for reason in _WORST if reason in reasons)
    return MissingReason.PARTIAL if worst is MissingReason.ABSENT and seen else worst


def gauges_of(variant: SeenVariant, now: float) -> tuple[GaugeReading, GaugeReading, GaugeReading]:
    """Running, waiting and KV use; where nothing serves nothing runs."""
    if variant.missing is not None:
        missing = Missing(variant.missing)
        return missing, missing, missing
    pods = variant.pods.values()
    if not pods:
        return Measured(0.0, now), Measured(0.0, now), Measured(0.0, now)
    at = min(pod.sample.at_seconds for pod in pods)
    told = [pod.kv_use for pod in pods if pod.kv_use is not None]
    return (
        Measured(sum(pod.running for pod in pods), at),
        Measured(sum(pod.waiting for pod in pods), at),
        Measured(sum(told) / len(told), at)
        if len(told) == len(pods)
        else Missing(MissingReason.ABSENT),
    )
