"""Saturation V2, one replica at a time: how many KV tokens it can hold before requests queue.

``k1`` is a share of the KV cache. ``k2`` is what the cache held when requests last queued, or what
as many requests as one step can batch would hold. The capacity is the smaller one, in tokens.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from simulations.peers.wva.release import Release

#: Share of the KV cache that counts.
KV_SHARE = 0.8
#: Waiting requests from which a replica shows its capacity.
QUEUED = 5.0
#: Samples kept of it, and for how long after the last.
SAMPLES = 10
SAMPLES_SECONDS = 86_400.0
#: Age from which a capacity last seen gives way to one derived from the engine's arguments.
STALE_SECONDS = 1800.0
#: Output tokens at which the short, the middle and the long answers part.
OUTPUT_BUCKETS = (100.0, 500.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineArguments:
    """Arguments of the engine that bound a step: vLLM's defaults."""

    batched_tokens: int = 8192
    max_running: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class WvaVariant:
    """A variant as the WVA knows it. ``role`` is "prefill", "decode", or anything else for both.

    ``deployment`` are the arguments parsed from its pod template, None when they were not.
    """

    name: str
    accelerator: str
    gpus: int
    cost: float
    role: str = "both"
    deployment: EngineArguments | None = None

    @property
    def arguments(self) -> EngineArguments:
        """Arguments known, or the defaults."""
        return self.deployment or EngineArguments()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineMetrics:
    """One engine instance. ``total_tokens`` 0: it exports no size of its KV cache.

    Token means are 0 where no request was answered within the query's window.
    """

    variant: str
    total_tokens: int
    used_tokens: int
    waiting: int
    prompt_mean: float
    output_mean: float
    kv_use: float = 0.0
    prefix_hit: float = 0.0

    @property
    def has_lengths(self) -> bool:
        """Whether lengths of answered requests are known."""
        return self.prompt_mean > 0.0 or self.output_mean > 0.0


#: Accelerator, output bucket and (new release) GPUs.
WindowKey: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Record:
    """Capacity of the replica of a variant that was looked at last, and when."""

    capacity: int
    at_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityMemory:
    """What the analyzer remembers: usage while requests queued, and capacities by variant."""

    queued_use: Mapping[WindowKey, tuple[int, ...]] = field(default_factory=dict)
    queued_at_seconds: Mapping[WindowKey, float] = field(default_factory=dict)
    records: Mapping[str, Record] = field(default_factory=dict)

    def with_queued(self, key: WindowKey, used_tokens: int, now: float) -> "CapacityMemory":
        """Remember the usage of a replica that has a queue."""
        samples = (*self.queued_use.get(key, ()), used_tokens)[-SAMPLES:]
        return replace(
            self,
            queued_use={**self.queued_use, key: samples},
            queued_at_seconds={**self.queued_at_seconds, key: now},
        )

    def with_record(self, variant: str, capacity: int, now: float) -> "CapacityMemory":
        """Remember a replica's capacity as its variant's."""
        return replace(self, records={**self.records, variant: Record(capacity, now)})

    def queued_mean(self, key: WindowKey, now: float) -> int | None:
        """Mean usage while requests queued, None when it was not seen for a day."""
        samples = self.queued_use.get(key)
        if not samples or now - self.queued_at_seconds[key] > SAMPLES_SECONDS:
            return None
        return sum(samples) // len(samples)


@dataclass(frozen=True, slots=True)
class InstanceCapacity:
    """Capacity and demand of one engine instance, in tokens."""

    capacity: int
    demand: int


def instance_capacity(
    release: Release,
    variant: WvaVariant,
    metrics: EngineMetrics,
    memory: CapacityMemory,
    now: float,
) -> tuple[InstanceCapacity | None, CapacityMemory]:
    """Capacity and demand of one instance; None when it is left out."""
    if metrics.total_tokens <= 0:
        return _of_unknown_size(release, variant, metrics, memory), memory
    k1 = math.floor(KV_SHARE * metrics.total_tokens)
    key = _window_key(release, variant, metrics.output_mean)
    k2: int | None
    if metrics.waiting >= QUEUED and metrics.used_tokens > 0:
        k2 = metrics.used_tokens
        memory = memory.with_queued(key, k2, now)
    else:
        k2 = memory.queued_mean(key, now)
        if k2 is None:
            k2 = batched_tokens(variant.arguments, metrics.prompt_mean, metrics.output_mean)
    capacity = k1 if k2 is None else min(k1, k2)
    demand = metrics.used_tokens + _queued_tokens(release, variant, metrics)
    return InstanceCapacity(capacity, demand), memory.with_record(variant.name, capacity, now)


def batched_tokens(
    arguments: EngineArguments, prompt_mean: float, output_mean: float
) -> int | None:
    """KV tokens of as many requests as run at once when prefills fill every step.

    None where the lengths are not known.
    """
    if output_mean <= 0.0:
        return None
    shared = arguments.batched_tokens * output_mean / (prompt_mean + output_mean)
    running = min(shared, arguments.max_running)
    return math.floor(running * (prompt_mean + output_mean / 2.0))


def absent_capacity(
    variant: WvaVariant,
    prompt_mean: float,
    output_mean: float,
    memory: CapacityMemory,
    now: float,
) -> int:
    """Capacity of a variant of which no replica reports; 0 when nothing is known of it.

    Lengths are those of the model. A capacity last seen counts while fresh, or when there are no
    arguments to derive one from; as derived it is not held against the size of the KV cache.
    """
    record = memory.records.get(variant.name)
    if record is not None and (
        now - record.at_seconds <= STALE_SECONDS or variant.deployment is None
    ):
        return record.capacity
    if variant.deployment is None:
        return 0
    derived = batched_tokens(variant.deployment, prompt_mean, output_mean)
    return variant.deployment.batched_tokens if derived is None else derived


def _of_unknown_size(
    release: Release, variant: WvaVariant, metrics: EngineMetrics, memory: CapacityMemory
) -> InstanceCapacity | None:
    """The new release takes its share again of a capacity that is one already, as written."""
    record = memory.records.get(variant.name)
    if release is Release.OLD or record is None:
        return None
    capacity = math.floor(KV_SHARE * record.capacity)
    demand = math.floor(metrics.kv_use * capacity) + _queued_tokens(release, variant, metrics)
    return InstanceCapacity(capacity, demand)


def _queued_tokens(release: Release, variant: WvaVariant, metrics: EngineMetrics) -> int:
    """Tokens that waiting requests will hold."""
    if release is Release.OLD:
        return metrics.waiting * math.floor(metrics.prompt_mean)
    if variant.role == "prefill":
        return math.floor(metrics.waiting * metrics.prompt_mean)
    return math.floor(metrics.waiting * (metrics.prompt_mean + metrics.output_mean))


def _window_key(release: Release, variant: WvaVariant, output_mean: float) -> WindowKey:
    bucket = sum(output_mean >= edge for edge in OUTPUT_BUCKETS)
    return variant.accelerator, bucket, variant.gpus if release is Release.NEW else 0
