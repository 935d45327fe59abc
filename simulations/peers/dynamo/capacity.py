"""What one engine carries within latency targets, searched over batch sizes.

A batch b is what an engine holds: prompts of one pass (prefill), sequences decoding (decode), or
sequences decoding beside the prompts that keep their number up (aggregated). Of the batches within
the targets the one of most requests/s counts; where none is within, the one of most requests/s of
all, so that targets out of reach ask for few, full engines.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from simulations.peers.dynamo.regression import ForwardPass, PassKind

#: Milliseconds that a pass takes; None where nothing is known about its kind.
PassTime: TypeAlias = Callable[[ForwardPass], float | None]

#: Batches that are tried, at most.
_CANDIDATES = 128
_MOST_HITS = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """What an engine takes: sequences, KV tokens, and tokens of one pass."""

    max_running: int
    kv_capacity_tokens: int
    max_batched_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTargets:
    """Time to first token and time between tokens that are aimed at; inf: any."""

    ttft_milliseconds: float
    itl_milliseconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestShape:
    """Tokens of a request, the share of its prompt that is cached, and tokens per decode pass."""

    prompt_tokens: float
    output_tokens: float
    hit_rate: float = 0.0
    accepted_tokens: float = 1.0

    @property
    def whole_output(self) -> int:
        """Output tokens, rounded up, at least 1."""
        return max(1, math.ceil(self.output_tokens))

    @property
    def computed_prompt(self) -> int:
        """Prompt tokens that are not cached, rounded up, at least 1."""
        hits = min(max(self.hit_rate, 0.0), _MOST_HITS)
        return max(1, math.ceil(math.ceil(self.prompt_tokens) * (1.0 - hits)))

    @property
    def context(self) -> int:
        """KV tokens of a sequence halfway through its output."""
        return math.ceil(self.prompt_tokens) + self.whole_output // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCapacity:
    """Requests/s of one engine and the latencies there; None where its role has none."""

    requests_per_second: float
    eligible: bool
    ttft_milliseconds: float | None = None
    itl_milliseconds: float | None = None
    end_to_end_milliseconds: float | None = None


def capacity(
    role: PassKind,
    time: PassTime,
    limits: EngineLimits,
    targets: LatencyTargets,
    shape: RequestShape,
) -> EngineCapacity | None:
    """Find the best batch of an engine; MIXED is the aggregated role.

    None where no batch fits or the time of one is not known.
    """
    search = {
        PassKind.PREFILL: _prefill,
        PassKind.DECODE: _decode,
        PassKind.MIXED: _aggregated,
    }[role]
    best: EngineCapacity | None = None
    for found in search(time, limits, targets, shape):
        if found is None:
            return None
        if best is None or _rank(found) > _rank(best):
            best = found
    return best


def chunked_milliseconds(
    time: PassTime, limits: EngineLimits, prompt: float, decodes: float = 0.0, kv: float = 0.0
) -> float | None:
    """Time until ``prompt`` tokens, rounded up, have gone through passes beside the decodes."""
    chunks, rest = divmod(math.ceil(prompt), limits.max_batched_tokens)
    total = 0.0
    for tokens, count in ((limits.max_batched_tokens, chunks), (rest, int(rest > 0))):
        if count == 0:
            continue
        one = time(ForwardPass(prefill_tokens=tokens, decode_requests=decodes, kv_tokens=kv))
        if one is None:
            return None
        total += count * one
    return total


def _rank(found: EngineCapacity) -> tuple[bool, float]:
    return found.eligible, found.requests_per_second


def _batches(most: int) -> Iterator[int]:
    """1 to ``most``, or as many of these as are tried, evenly spread."""
    if most <= _CANDIDATES:
        yield from range(1, most + 1)
    else:
        yield from (1 + i * (most - 1) // (_CANDIDATES - 1) for i in range(_CANDIDATES))


def _prefill(
    time: PassTime, limits: EngineLimits, targets: LatencyTargets, shape: RequestShape
) -> Iterator[EngineCapacity | None]:
    prompt = shape.computed_prompt
    # A prompt longer than a pass still goes through, alone and in chunks.
    most = max(1, min(limits.max_running, limits.max_batched_tokens // prompt))
    for batch in _batches(most):
        ttft = chunked_milliseconds(time, limits, batch * prompt)
        if ttft is None:
            yield None
            continue
        yield EngineCapacity(
            requests_per_second=1000.0 * batch / ttft,
            eligible=ttft <= targets.ttft_milliseconds,
            ttft_milliseconds=ttft,
            end_to_end_milliseconds=ttft,
        )


def _decode(
    time: PassTime, limits: EngineLimits, targets: LatencyTargets, shape: RequestShape
) -> Iterator[EngineCapacity | None]:
    for batch in _batches(min(limits.max_running, limits.kv_capacity_tokens // shape.context)):
        one = time(ForwardPass(decode_requests=batch, kv_tokens=batch * shape.context))
        if one is None:
            yield None
            continue
        itl = one / shape.accepted_tokens
        yield EngineCapacity(
            requests_per_second=1000.0 * batch / (shape.whole_output * itl),
            eligible=itl <= targets.itl_milliseconds,
            itl_milliseconds=itl,
        )


def _aggregated(
    time: PassTime, limits: EngineLimits, targets: LatencyTargets, shape: RequestShape
) -> Iterator[EngineCapacity | None]:
    prompt, output = shape.computed_prompt, shape.whole_output
    most = min(
        limits.max_running,
        limits.kv_capacity_tokens // shape.context,
        limits.max_batched_tokens - 1,
    )
    for batch in _batches(most):
        # Prompt tokens a pass must compute so that as many start as finish.
        fed = math.ceil(batch * shape.accepted_tokens * prompt / output)
        if fed > limits.max_batched_tokens - batch:
            continue
        kv = batch * shape.context
        one = time(ForwardPass(prefill_tokens=fed, decode_requests=batch, kv_tokens=kv))
        ttft = chunked_milliseconds(time, limits, fed + prompt, batch, kv)
        if one is None or ttft is None:
            yield None
            continue
        itl = one / shape.accepted_tokens
        yield EngineCapacity(
            requests_per_second=1000.0 * batch / (output * itl),
            eligible=itl <= targets.itl_milliseconds and ttft <= targets.ttft_milliseconds,
            ttft_milliseconds=ttft,
            itl_milliseconds=itl,
            end_to_end_milliseconds=ttft + (output - 1) * itl,
        )
