"""What every trace kind shares: buckets of its demand, and reading any span of its chunks."""

from dataclasses import replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from simulations.traces.trace import Arrivals, Demand, Trace


def bucket_edges(duration_seconds: float, bucket_seconds: float) -> NDArray[np.float64]:
    """Edges of equal buckets from 0, the last edge at or after the end; shape (buckets + 1,)."""
    if not bucket_seconds > 0.0:
        raise ValueError(f"bucket_seconds is {bucket_seconds}: give a positive length")
    buckets = _buckets(duration_seconds, bucket_seconds)
    return np.arange(buckets + 1, dtype=np.float64) * bucket_seconds


def demand_of(source: Trace, bucket_seconds: float) -> Demand:
    """Traffic in equal buckets; token means are NaN where a bucket has no requests."""
    sums = source.demand_sums(bucket_edges(source.duration_seconds, bucket_seconds))
    known = sums.requests > 0.0
    blank = np.full_like(sums.requests, np.nan)
    demand = Demand(
        bucket_seconds=bucket_seconds,
        requests=sums.requests,
        prompt_tokens_mean=np.divide(
            sums.prompt_tokens, sums.requests, out=blank.copy(), where=known
        ),
        output_tokens_mean=np.divide(sums.output_tokens, sums.requests, out=blank, where=known),
        imputed=sums.imputed,
    )
    for array in (
        demand.requests,
        demand.prompt_tokens_mean,
        demand.output_tokens_mean,
        demand.imputed,
    ):
        array.flags.writeable = False  # cached and handed to many readers
    return demand


def chunk_bounds(trace: Trace, index: int) -> tuple[float, float]:
    """Start and end of chunk ``index`` in seconds; raises IndexError outside the trace."""
    start = index * trace.chunk_seconds
    if index < 0 or start >= trace.duration_seconds:
        raise IndexError(
            f"{trace.name}: no chunk {index}, the trace lasts {trace.duration_seconds:g} s "
            f"in chunks of {trace.chunk_seconds:g} s"
        )
    # The end is computed as the next start is, so that chunks meet exactly.
    return start, min((index + 1) * trace.chunk_seconds, trace.duration_seconds)


def chunk_count(trace: Trace) -> int:
    """Number of chunks in the trace."""
    return _buckets(trace.duration_seconds, trace.chunk_seconds)


def _buckets(duration_seconds: float, bucket_seconds: float) -> int:
    """Buckets that cover the duration; rounding does not add one to a whole number of them."""
    return max(1, ceil(duration_seconds / bucket_seconds - 1e-9))


def cut(arrivals: Arrivals, from_seconds: float, to_seconds: float) -> Arrivals:
    """Arrivals in [from, to), as views."""
    first, last = np.searchsorted(arrivals.seconds, (from_seconds, to_seconds))
    return Arrivals(
        seconds=arrivals.seconds[first:last],
        prompt_tokens=arrivals.prompt_tokens[first:last],
        output_tokens=arrivals.output_tokens[first:last],
    )


def joined(parts: list[Arrivals]) -> Arrivals:
    """Parts that follow each other in time, as one."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        empty = np.empty(0, np.int64)
        return Arrivals(seconds=np.empty(0), prompt_tokens=empty, output_tokens=empty)
    return Arrivals(
        seconds=np.concatenate([p.seconds for p in parts]),
        prompt_tokens=np.concatenate([p.prompt_tokens for p in parts]),
        output_tokens=np.concatenate([p.output_tokens for p in parts]),
    )


class Window:
    """Reads any span of a trace, keeping its last two chunks.

    Reading forward generates every chunk once, wherever the spans' ends fall.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._kept: dict[int, Arrivals] = {}

    def between(self, from_seconds: float, to_seconds: float) -> Arrivals:
        """Arrivals in [from, to), in the trace's own seconds."""
        low = max(0.0, from_seconds)
        high = min(to_seconds, self._trace.duration_seconds)
        if high <= low:
            return joined([])
        size = self._trace.chunk_seconds
        first = int(low // size)
        last = min(int(np.ceil(high / size)), chunk_count(self._trace)) - 1
        parts = [cut(self._chunk(index), low, high) for index in range(first, last + 1)]
        return joined(parts)

    def _chunk(self, index: int) -> Arrivals:
        if index not in self._kept:
            while len(self._kept) > 1:
                self._kept.pop(next(iter(self._kept)))
            self._kept[index] = self._trace.chunk(index)
        return self._kept[index]


def shifted(arrivals: Arrivals, by_seconds: float, low: float, high: float) -> Arrivals:
    """Arrivals moved by ``by_seconds``, kept inside [low, high) where rounding would leave it."""
    seconds = np.clip(arrivals.seconds + by_seconds, low, np.nextafter(high, low))
    return replace(arrivals, seconds=seconds)
