"""Saturation V2, the whole model: tokens asked for against tokens that its replicas can hold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from simulations.peers.wva.capacity_v2 import (
    CapacityMemory,
    EngineMetrics,
    InstanceCapacity,
    WvaVariant,
    absent_capacity,
    instance_capacity,
)
from simulations.peers.wva.release import Release

#: Utilization above which replicas are added, and below which they are given back.
SCALE_UP_THRESHOLD = 0.85
SCALE_DOWN_BOUNDARY = 0.70
#: Bytes of a queued request's body that stand for a token.
BYTES_PER_TOKEN = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Analyzer:
    """How the analysis is set up.

    ``costs_of_absent``: a variant without replicas has its cost too. As written it has none, since
    costs are read off live replicas.
    """

    release: Release
    scale_up_threshold: float = SCALE_UP_THRESHOLD
    scale_down_boundary: float = SCALE_DOWN_BOUNDARY
    costs_of_absent: bool = False

    def __post_init__(self) -> None:
        """Reject thresholds between which no utilization would rest."""
        if not 0.0 < self.scale_down_boundary <= self.scale_up_threshold:
            raise ValueError(
                "scale_down_boundary must be above 0 and at most scale_up_threshold, got "
                f"{self.scale_down_boundary:g} and {self.scale_up_threshold:g}"
            )


@dataclass(frozen=True, slots=True)
class Replicas:
    """Replicas of a variant, of which ``pending`` are not Ready."""

    current: int
    pending: int


@dataclass(frozen=True, slots=True)
class SchedulerQueue:
    """Requests that the endpoint picker holds back, and their bytes."""

    requests: int
    body_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantCapacity:
    """What counts for one variant, tokens. ``instances`` report, or should where none does."""

    variant: WvaVariant
    instances: int
    pending: int
    capacity: int
    demand: int
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """Tokens held against tokens asked for; ``required`` are missing, ``spare`` too many."""

    supply: int
    anticipated: int
    demand: float
    required: float
    spare: float


@dataclass(frozen=True, slots=True)
class Analysis:
    """Capacities by variant, in the order given, and the model's balance."""

    capacities: tuple[VariantCapacity, ...]
    balance: Balance


def analyzed(
    analyzer: Analyzer,
    fleet: Sequence[tuple[WvaVariant, Replicas]],
    engines: Sequence[EngineMetrics],
    memory: CapacityMemory,
    now: float,
    *,
    queue: SchedulerQueue | None = None,
) -> tuple[Analysis | None, CapacityMemory]:
    """Analyze a model; None when no replica of it reports: then nothing is recommended."""
    if not engines:
        return None, memory
    by_name = {variant.name: variant for variant, _ in fleet}
    measured: dict[str, list[InstanceCapacity]] = {name: [] for name in by_name}
    for metrics in engines:
        instance, memory = instance_capacity(
            analyzer.release, by_name[metrics.variant], metrics, memory, now
        )
        if instance is not None:
            measured[metrics.variant].append(instance)
    lengths = _mean_lengths(engines)
    live = {metrics.variant for metrics in engines}
    capacities = []
    for variant, replicas in fleet:
        instances = measured[variant.name]
        count, pending = _counted(analyzer.release, replicas, len(instances))
        capacities.append(
            VariantCapacity(
                variant=variant,
                instances=count,
                pending=pending,
                capacity=_median(sorted(one.capacity for one in instances))
                if instances
                else absent_capacity(variant, *lengths, memory, now),
                demand=sum(one.demand for one in instances),
                cost=variant.cost if analyzer.costs_of_absent or variant.name in live else 0.0,
            )
        )
    held_back = 0.0 if queue is None else _held_back_tokens(queue, engines)
    return Analysis(tuple(capacities), balanced(analyzer, capacities, held_back)), memory


def balanced(
    analyzer: Analyzer, capacities: Iterable[VariantCapacity], held_back: float = 0.0
) -> Balance:
    """Weigh demand against supply, of all variants or those of one role.

    Pending replicas count against more of them, and are never spare.
    """
    supply = anticipated = 0
    demand = held_back
    for one in capacities:
        supply += one.instances * one.capacity
        anticipated += (one.instances + one.pending) * one.capacity
        demand += one.demand
    return Balance(
        supply=supply,
        anticipated=anticipated,
        demand=demand,
        required=max(0.0, demand / analyzer.scale_up_threshold - anticipated),
        spare=max(0.0, supply - demand / analyzer.scale_down_boundary),
    )


def _counted(release: Release, replicas: Replicas, reporting: int) -> tuple[int, int]:
    """Instances that count and that are on their way.

    The new release counts what reports, so a lost scrape is lost supply, and takes a replica that
    is on its way for as many instances as one that is there.
    """
    ready = replicas.current - replicas.pending
    if release is Release.OLD or not reporting:
        return ready, replicas.pending
    per_replica = reporting // ready if ready > 0 else 1
    return reporting, replicas.pending * max(per_replica, 1)


def _mean_lengths(engines: Sequence[EngineMetrics]) -> tuple[float, float]:
    """The model's mean prompt and output, over instances that know theirs; 0 when none does."""
    known = [metrics for metrics in engines if metrics.has_lengths]
    count = max(len(known), 1)
    return (
        sum(metrics.prompt_mean for metrics in known) / count,
        sum(metrics.output_mean for metrics in known) / count,
    )


def _held_back_tokens(queue: SchedulerQueue, engines: Sequence[EngineMetrics]) -> float:
    """Tokens that requests in the endpoint picker's queue will hold."""
    prompt, output = _mean_lengths(engines)
    known = [metrics.prefix_hit for metrics in engines if metrics.has_lengths]
    hit = sum(known) / max(len(known), 1)
    prompts = max(queue.body_bytes / BYTES_PER_TOKEN, queue.requests * prompt)
    return prompts * (1.0 - hit) + queue.requests * output


def _median(ordered: Sequence[int]) -> int:
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) // 2
