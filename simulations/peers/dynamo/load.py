"""The load loop's target `sla`: one engine more or less, by latencies estimated engine by engine.

One more where every engine would miss a target; one less where each of those left, with its share
of what the leaver holds, would keep to them with room to spare. An aggregated engine asks both as a
prefill and as a decode engine: either may add one, only both together remove one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import dropwhile
from math import ceil

from simulations.peers.dynamo.capacity import (
    EngineLimits,
    LatencyTargets,
    PassTime,
    chunked_milliseconds,
)
from simulations.peers.dynamo.regression import ForwardPass, PassKind

#: Passes that the means of the next request are taken over.
_RECENT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """An engine's last pass and its queues; counts of requests, and sums of tokens."""

    prefill_tokens: float = 0.0
    prefill_requests: float = 0.0
    decode_requests: float = 0.0
    kv_tokens: float = 0.0
    queued_prefill_tokens: float = 0.0
    queued_prefill_requests: float = 0.0
    queued_decode_requests: float = 0.0
    queued_kv_tokens: float = 0.0

    @property
    def forward_pass(self) -> ForwardPass:
        """The last pass."""
        return ForwardPass(
            prefill_tokens=self.prefill_tokens,
            decode_requests=self.decode_requests,
            kv_tokens=self.kv_tokens,
        )


@dataclass(frozen=True, slots=True)
class RecentMean:
    """Mean of the last values; those before the first above 0 do not count, later zeros do."""

    values: tuple[float, ...] = ()

    def added(self, *values: float) -> "RecentMean":
        """With more values, the newest last."""
        counted = values if self.values else dropwhile(lambda value: value <= 0.0, values)
        return RecentMean((*self.values, *counted)[-_RECENT:])

    @property
    def mean(self) -> float:
        """0 before the first value."""
        return sum(self.values) / len(self.values) if self.values else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentPasses:
    """Means over the last passes: tokens of a prompt, KV tokens of a decode, prompts of a pass.

    The first two are what the next request is taken to bring. A pass without a prompt counts as one
    of 0 tokens (read in the source of the 1.5 line; the recorded passes all hold one).
    """

    prompt: RecentMean = RecentMean()
    decode: RecentMean = RecentMean()
    prefill: RecentMean = RecentMean()

    def seen(self, loads: Sequence[EngineLoad]) -> "RecentPasses":
        """With the passes of a tick."""
        prompts = (
            load.prefill_tokens / load.prefill_requests if load.prefill_requests > 0.0 else 0.0
            for load in loads
        )
        decoding = (load for load in loads if load.decode_requests > 0.0)
        return RecentPasses(
            prompt=self.prompt.added(*prompts),
            decode=self.decode.added(*(load.kv_tokens / load.decode_requests for load in decoding)),
            prefill=self.prefill.added(*(load.prefill_tokens for load in loads)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaSpec:
    """Role of the engines, their limits, the targets, and the share of them a removal may use."""

    role: PassKind
    limits: EngineLimits
    targets: LatencyTargets
    sensitivity: float = 0.8


class Wish(StrEnum):
    """What the load asks for; REFUSED is a removal that the engines left could not bear."""

    MORE = "More"
    FEWER = "Fewer"
    REFUSED = "Refused"
    NOTHING = "Nothing"


@dataclass(frozen=True, slots=True)
class Estimator:
    """Latencies of engines with the next request, in milliseconds; None where not known.

    ``prompt`` and ``decode`` are the next request's tokens; decodes of an aggregated engine share
    their passes with ``prefill`` prompt tokens.
    """

    spec: SlaSpec
    time: PassTime
    prompt: float
    decode: float
    prefill: float

    @classmethod
    def of(cls, spec: SlaSpec, time: PassTime, recent: RecentPasses) -> "Estimator":
        """From the last passes."""
        return cls(spec, time, recent.prompt.mean, recent.decode.mean, recent.prefill.mean)

    def ttfts(self, loads: Sequence[EngineLoad]) -> Iterator[float | None]:
        """Time to first token of the next request behind every engine's queue."""
        decoding = self.spec.role is PassKind.MIXED
        for load in loads:
            yield chunked_milliseconds(
                self.time,
                self.spec.limits,
                load.queued_prefill_tokens + self.prompt,
                load.decode_requests if decoding else 0.0,
                load.kv_tokens if decoding else 0.0,
            )

    def itls(self, loads: Sequence[EngineLoad]) -> Iterator[float | None]:
        """Time between tokens of every engine with what is queued to decode."""
        for load in loads:
            one = float(self.decode > 0.0)
            yield self._decoding(
                load.decode_requests + load.queued_decode_requests + one,
                load.kv_tokens + load.queued_kv_tokens + self.decode,
            )

    def prefill_wish(self, loads: Sequence[EngineLoad]) -> Wish:
        """Wish of prefills, the queues alone held to what the next prompt leaves of the target."""
        target = self.spec.targets.ttft_milliseconds
        if _all_above(self.ttfts(loads), target):
            return Wish.MORE
        if len(loads) == 1:
            return Wish.NOTHING
        share = len(loads) / (len(loads) - 1)
        for load in loads:
            decodes, kv = 0.0, 0.0
            if self.spec.role is PassKind.MIXED:
                decodes = ceil(share * (load.decode_requests + load.queued_decode_requests))
                kv = ceil(share * (load.kv_tokens + load.queued_kv_tokens))
            queued = share * load.queued_prefill_tokens
            limits = self.spec.limits
            own = chunked_milliseconds(self.time, limits, self.prompt, decodes, kv)
            after = chunked_milliseconds(self.time, limits, queued + self.prompt, decodes, kv)
            if own is None or after is None:
                return Wish.NOTHING
            room = (target - own) * self.spec.sensitivity
            if room <= 0.0 or after - own >= room:
                return Wish.REFUSED
        return Wish.FEWER

    def decode_wish(self, loads: Sequence[EngineLoad]) -> Wish:
        """Wish of decodes; queued prompts of aggregated engines will decode as well."""
        target = self.spec.targets.itl_milliseconds
        if _all_above(self.itls(loads), target):
            return Wish.MORE
        if len(loads) == 1:
            return Wish.NOTHING
        share = len(loads) / (len(loads) - 1)
        for load in loads:
            requests = load.decode_requests + load.queued_decode_requests
            kv = load.kv_tokens + load.queued_kv_tokens
            if self.spec.role is PassKind.MIXED:
                requests += load.queued_prefill_requests
                kv += load.queued_prefill_tokens
            if int(share * kv) >= self.spec.limits.kv_capacity_tokens:
                return Wish.REFUSED
            after = self._decoding(share * requests, share * kv)
            if after is None:
                return Wish.NOTHING
            if after >= target * self.spec.sensitivity:
                return Wish.REFUSED
        return Wish.FEWER

    def wish(self, loads: Sequence[EngineLoad]) -> Wish:
        """Wish of the engines' role."""
        if not loads:
            return Wish.NOTHING
        if self.spec.role is PassKind.PREFILL:
            return self.prefill_wish(loads)
        if self.spec.role is PassKind.DECODE:
            return self.decode_wish(loads)
        both = (self.prefill_wish(loads), self.decode_wish(loads))
        if Wish.MORE in both:
            return Wish.MORE
        if Wish.REFUSED in both:
            return Wish.REFUSED
        # Where prefills cannot be judged decodes decide alone, but not the other way round.
        return both[1]

    def _decoding(self, requests: float, kv: float) -> float | None:
        prefill = ceil(self.prefill) if self.spec.role is PassKind.MIXED else 0
        return self.time(
            ForwardPass(prefill_tokens=prefill, decode_requests=ceil(requests), kv_tokens=ceil(kv))
        )


def _all_above(estimates: Iterator[float | None], target: float) -> bool:
    """Whether all that are known are above, and any is known."""
    known = False
    for estimate in estimates:
        if estimate is None:
            continue
        if estimate <= target:
            return False
        known = True
    return known
