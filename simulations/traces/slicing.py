"""Parts of traces: cut out, put one after the other, or remembered as history."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.observation import PastTraffic
from simulations.traces.demand import (
    Window,
    chunk_bounds,
    demand_of,
    joined,
    shifted,
)
from simulations.traces.errors import InvalidTrace
from simulations.traces.rate_trace import scale_rate
from simulations.traces.request_trace import RequestTrace
from simulations.traces.trace import Arrivals, Demand, DemandSums, Trace


def slice_trace(trace: Trace, from_seconds: float = 0.0, to_seconds: float | None = None) -> Trace:
    """The part in [from, to), its time starting at 0; ``to`` beyond the end means the end."""
    end = trace.duration_seconds if to_seconds is None else min(to_seconds, trace.duration_seconds)
    if not 0.0 <= from_seconds < end:
        raise InvalidTrace(
            f"{trace.name}: no part from {from_seconds:g} to {end:g} s, "
            f"it lasts {trace.duration_seconds:g} s"
        )
    if from_seconds == 0.0 and end == trace.duration_seconds:
        return trace
    part = SlicedTrace(source=trace, from_seconds=from_seconds, to_seconds=end)
    if isinstance(trace, RequestTrace):
        return RequestTrace(trace.name, part.all_arrivals(), duration_seconds=end - from_seconds)
    return part


def splice(*parts: Trace, name: str | None = None) -> Trace:
    """The parts one after the other."""
    if not parts:
        raise InvalidTrace("splice: give at least one trace")
    if len(parts) == 1:
        return parts[0]
    whole = SplicedTrace(parts=parts, own_name=name)
    if all(isinstance(part, RequestTrace) for part in parts):
        return RequestTrace(
            whole.name, whole.all_arrivals(), duration_seconds=whole.duration_seconds
        )
    return whole


def past_traffic(
    trace: Trace,
    until_seconds: float,
    starts_at_seconds: float = 0.0,
    *,
    step_seconds: float = 60.0,
    seed: int = 0,
) -> PastTraffic:
    """Traffic of ``trace`` in whole steps that end at ``until_seconds``.

    ``starts_at_seconds`` is the Unix time of the trace's second 0. Counts of a rate trace are drawn
    around its rate, as a store would have counted them: a history without that noise would make
    any forecast look better than it is. Imputed steps are NaN. Token means are the true ones; a
    step without requests has none (NaN).
    """
    if until_seconds > trace.duration_seconds:
        raise InvalidTrace(
            f"{trace.name}: history until {until_seconds:g} s, but it lasts "
            f"{trace.duration_seconds:g} s"
        )
    if not step_seconds > 0.0:
        raise InvalidTrace(f"step_seconds is {step_seconds}: give a positive length")
    steps = max(0, int(until_seconds / step_seconds + 1e-9))
    first = until_seconds - steps * step_seconds
    edges = np.arange(steps + 1, dtype=np.float64) * step_seconds + first
    sums = trace.demand_sums(edges, np.random.default_rng([seed, steps]))
    seen = (sums.requests > 0.0) & ~sums.imputed
    unknown = np.full(steps, np.nan)
    return PastTraffic(
        from_seconds=starts_at_seconds + first,
        step_seconds=step_seconds,
        requests=np.where(sums.imputed, np.nan, sums.requests),
        prompt_tokens_mean=np.divide(
            sums.prompt_tokens, sums.requests, out=unknown.copy(), where=seen
        ),
        output_tokens_mean=np.divide(sums.output_tokens, sums.requests, out=unknown, where=seen),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class SlicedTrace:
    """Part of a trace."""

    source: Trace
    from_seconds: float
    to_seconds: float

    @property
    def name(self) -> str:
        """Name of the whole."""
        return self.source.name

    @property
    def duration_seconds(self) -> float:
        """Length of the part."""
        return self.to_seconds - self.from_seconds

    @property
    def chunk_seconds(self) -> float:
        """Chunk length of the whole."""
        return self.source.chunk_seconds

    @property
    def resolution_seconds(self) -> float:
        """Resolution of the whole."""
        return self.source.resolution_seconds

    @cached_property
    def _window(self) -> Window:
        return Window(self.source)

    @cached_property
    def _demands(self) -> dict[float, Demand]:
        return {}

    def scaled(self, factor: float) -> "SlicedTrace":
        """Return the same part of the scaled whole."""
        return SlicedTrace(
            source=scale_rate(self.source, factor),
            from_seconds=self.from_seconds,
            to_seconds=self.to_seconds,
        )

    def chunk(self, index: int) -> Arrivals:
        """Arrivals in [index chunk_seconds, (index + 1) chunk_seconds)."""
        return self._between(*chunk_bounds(self, index))

    def all_arrivals(self) -> Arrivals:
        """Every arrival of the part."""
        return self._between(0.0, self.duration_seconds)

    def _between(self, low: float, high: float) -> Arrivals:
        # The same sum gives a chunk's end and the next one's start: none is lost or doubled.
        end = self.to_seconds if high >= self.duration_seconds else self.from_seconds + high
        inside = self._window.between(self.from_seconds + low, end)
        return shifted(inside, -self.from_seconds, low, high)

    def demand(self, bucket_seconds: float) -> Demand:
        """Traffic in buckets of ``bucket_seconds``."""
        if bucket_seconds not in self._demands:
            self._demands[bucket_seconds] = demand_of(self, bucket_seconds)
        return self._demands[bucket_seconds]

    def demand_sums(
        self, edges_seconds: NDArray[np.float64], generator: np.random.Generator | None = None
    ) -> DemandSums:
        """Traffic between ascending edges."""
        edges = np.clip(edges_seconds + self.from_seconds, self.from_seconds, self.to_seconds)
        return self.source.demand_sums(edges, generator)

    def token_sample(
        self,
        size: int,
        seed: int,
        from_seconds: float = 0.0,
        to_seconds: float = np.inf,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw pairs from the mix of the part between the given seconds of the part."""
        low = min(self.from_seconds + from_seconds, self.to_seconds)
        high = min(self.from_seconds + to_seconds, self.to_seconds)
        return self.source.token_sample(size, seed, low, high)


@dataclass(frozen=True, kw_only=True, eq=False)
class SplicedTrace:
    """Traces one after the other."""

    parts: tuple[Trace, ...]
    own_name: str | None = None

    @property
    def name(self) -> str:
        """Given name, or the parts' names joined."""
        return self.own_name or "+".join(dict.fromkeys(part.name for part in self.parts))

    @cached_property
    def _starts(self) -> tuple[float, ...]:
        """Start of every part, and the end of the last."""
        lengths = [part.duration_seconds for part in self.parts]
        return tuple(float(x) for x in np.append(0.0, np.cumsum(lengths)))

    @property
    def duration_seconds(self) -> float:
        """Length of all parts."""
        return self._starts[-1]

    @property
    def chunk_seconds(self) -> float:
        """Shortest chunk length of the parts, so that no chunk outgrows theirs."""
        return min(part.chunk_seconds for part in self.parts)

    @property
    def resolution_seconds(self) -> float:
        """Coarsest resolution of the parts."""
        return max(part.resolution_seconds for part in self.parts)

    @cached_property
    def _windows(self) -> tuple[Window, ...]:
        return tuple(Window(part) for part in self.parts)

    @cached_property
    def _demands(self) -> dict[float, Demand]:
        return {}

    def scaled(self, factor: float) -> "SplicedTrace":
        """Return the splice of the scaled parts."""
        scaled = tuple(scale_rate(part, factor) for part in self.parts)
        return SplicedTrace(parts=scaled, own_name=self.own_name)

    def chunk(self, index: int) -> Arrivals:
        """Arrivals in [index chunk_seconds, (index + 1) chunk_seconds)."""
        return self._between(*chunk_bounds(self, index))

    def all_arrivals(self) -> Arrivals:
        """Every arrival of all parts."""
        return self._between(0.0, self.duration_seconds)

    def _between(self, low: float, high: float) -> Arrivals:
        found = []
        for part, window in enumerate(self._windows):
            start, end = self._starts[part], self._starts[part + 1]
            if start < high and end > low:
                inside = window.between(low - start, high - start)
                found.append(shifted(inside, start, max(low, start), min(high, end)))
        return joined(found)

    def demand(self, bucket_seconds: float) -> Demand:
        """Traffic in buckets of ``bucket_seconds``."""
        if bucket_seconds not in self._demands:
            self._demands[bucket_seconds] = demand_of(self, bucket_seconds)
        return self._demands[bucket_seconds]

    def demand_sums(
        self, edges_seconds: NDArray[np.float64], generator: np.random.Generator | None = None
    ) -> DemandSums:
        """Traffic between ascending edges."""
        sums = [
            part.demand_sums(np.clip(edges_seconds - start, 0.0, part.duration_seconds), generator)
            for part, start in zip(self.parts, self._starts, strict=False)
        ]
        total = sums[0]
        for more in sums[1:]:
            total = total.plus(more)
        return total

    def token_sample(
        self,
        size: int,
        seed: int,
        from_seconds: float = 0.0,
        to_seconds: float = np.inf,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw pairs from the parts' mixes in proportion to their requests."""
        generator = np.random.default_rng(seed)
        spans = [
            (max(from_seconds - start, 0.0), max(to_seconds - start, 0.0)) for start in self._starts
        ]
        weights = np.array(
            [
                part.demand_sums(np.clip(span, 0.0, part.duration_seconds)).requests[0]
                for part, span in zip(self.parts, spans, strict=False)
            ]
        )
        if not weights.sum() > 0.0:
            raise InvalidTrace(f"{self.name}: has no requests to draw tokens for")
        shares = generator.multinomial(size, weights / weights.sum())
        pairs = [
            part.token_sample(int(share), int(generator.integers(1 << 31)), *span)
            for part, share, span in zip(self.parts, shares, spans, strict=False)
            if share > 0
        ]
        order = generator.permutation(size)
        prompt, output = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        return prompt[order], output[order]
