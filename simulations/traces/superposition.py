"""Scaling recorded requests: copies of the same trace, each shifted by its own jitter.

Multiplying one trace's arrivals by repeating them would make every burst taller by the factor;
shifted copies keep the level's shape and the requests' tokens while bursts shorter than the jitter
even out, as they do where more independent users make more traffic.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from simulations.traces.demand import chunk_bounds, cut, demand_of
from simulations.traces.errors import InvalidTrace
from simulations.traces.request_trace import RequestTrace
from simulations.traces.trace import Arrivals, Demand, DemandSums

_SHORTEST_CHUNK_SECONDS = 10.0


class SuperposedTrace:
    """``copies`` of a request trace, each moved in time by a draw from +-``jitter_seconds``.

    The first copy is not moved, so one copy is the trace itself. What a move pushes over an end
    comes in at the other: no request is lost. The fractional part of ``copies`` is one more copy
    thinned at random to that share, so the total is ``copies`` times the trace's, rounded.
    """

    resolution_seconds = 0.0

    def __init__(
        self, trace: RequestTrace, copies: float, jitter_seconds: float = 60.0, seed: int = 0
    ) -> None:
        if not copies * len(trace) >= 0.5:
            raise InvalidTrace(f"{trace.name}: {copies} copies hold no request; give more")
        if not 0.0 <= jitter_seconds < trace.duration_seconds:
            raise InvalidTrace(
                f"{trace.name}: jitter_seconds is {jitter_seconds:g}, must be at least 0 and "
                f"shorter than the trace ({trace.duration_seconds:g} s)"
            )
        self._trace = trace
        self.copies = copies
        self.jitter_seconds = jitter_seconds
        whole, rest = divmod(round(copies * len(trace)), len(trace))
        self._copies = [(trace, _shift(seed, copy, jitter_seconds)) for copy in range(whole)]
        if rest:
            self._copies.append(
                (_thinned(trace, rest, seed, whole), _shift(seed, whole, jitter_seconds))
            )
        self._chunk_seconds = max(
            min(_SHORTEST_CHUNK_SECONDS, trace.chunk_seconds),
            float(np.floor(trace.chunk_seconds / len(self._copies))),
        )
        self._demands: dict[float, Demand] = {}

    @property
    def name(self) -> str:
        """Name of the trace and the number of copies."""
        return f"{self._trace.name} x{self.copies:.4g}"

    @property
    def duration_seconds(self) -> float:
        """Length; arrivals lie in [0, duration)."""
        return self._trace.duration_seconds

    @property
    def chunk_seconds(self) -> float:
        """Length of one chunk; the last may be shorter."""
        return self._chunk_seconds

    @property
    def original(self) -> RequestTrace:
        """The trace that was copied."""
        return self._trace

    def __len__(self) -> int:
        """Return the number of requests."""
        return sum(len(copy) for copy, _ in self._copies)

    def chunk(self, index: int) -> Arrivals:
        """Arrivals in [index chunk_seconds, (index + 1) chunk_seconds), of all copies in order."""
        low, high = chunk_bounds(self, index)
        parts = []
        for copy, shift, turn in self._turns():
            part = cut(copy.arrivals, (low + turn) - shift, (high + turn) - shift)
            if len(part):
                parts.append((part, shift - turn))
        if not parts:
            return cut(self._trace.arrivals, 0.0, 0.0)
        seconds = np.concatenate([part.seconds + by for part, by in parts])
        np.clip(seconds, low, np.nextafter(high, low), out=seconds)
        order = np.argsort(seconds, kind="stable")
        return Arrivals(
            seconds=seconds[order],
            prompt_tokens=np.concatenate([part.prompt_tokens for part, _ in parts])[order],
            output_tokens=np.concatenate([part.output_tokens for part, _ in parts])[order],
        )

    def demand(self, bucket_seconds: float) -> Demand:
        """Count requests in buckets of ``bucket_seconds``."""
        if bucket_seconds not in self._demands:
            self._demands[bucket_seconds] = demand_of(self, bucket_seconds)
        return self._demands[bucket_seconds]

    def demand_sums(
        self, edges_seconds: NDArray[np.float64], generator: np.random.Generator | None = None
    ) -> DemandSums:
        """Count between ascending edges."""
        edges = np.clip(edges_seconds, 0.0, self.duration_seconds)
        total: DemandSums | None = None
        for copy, shift, turn in self._turns():
            sums = copy.demand_sums((edges + turn) - shift, generator)
            total = sums if total is None else total.plus(sums)
        if total is None:
            raise InvalidTrace(f"{self.name}: has no copies")
        return total

    def token_sample(
        self,
        size: int,
        seed: int,
        from_seconds: float = 0.0,
        to_seconds: float = np.inf,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw pairs of the original's requests in [from, to), whatever the copies' shifts."""
        return self._trace.token_sample(size, seed, from_seconds, to_seconds)

    def _turns(self) -> Iterator[tuple[RequestTrace, float, float]]:
        """Every copy with its shift, and whole lengths to turn back what left over an end.

        A request at t of a copy arrives at t + shift - turn. Edges are computed as
        (edge + turn) - shift throughout, so that neighbours meet exactly.
        """
        length = self.duration_seconds
        for copy, shift in self._copies:
            yield copy, shift, 0.0
            if shift > 0.0:
                yield copy, shift, length
            elif shift < 0.0:
                yield copy, shift, -length


def superpose(
    trace: RequestTrace, copies: float, jitter_seconds: float = 60.0, seed: int = 0
) -> SuperposedTrace:
    """Scale recorded requests by ``copies``, which need not be whole; see ``SuperposedTrace``."""
    return SuperposedTrace(trace, copies, jitter_seconds, seed)


def _shift(seed: int, copy: int, jitter_seconds: float) -> float:
    if copy == 0:
        return 0.0
    return float(np.random.default_rng([seed, copy]).uniform(-jitter_seconds, jitter_seconds))


def _thinned(trace: RequestTrace, keep: int, seed: int, copy: int) -> RequestTrace:
    """``keep`` requests of the trace at random; those of a smaller ``keep`` are among them."""
    order = np.random.default_rng([seed, copy, 1]).permutation(len(trace))
    kept = order < keep
    all_of = trace.arrivals
    return RequestTrace(
        trace.name,
        Arrivals(
            seconds=all_of.seconds[kept],
            prompt_tokens=all_of.prompt_tokens[kept],
            output_tokens=all_of.output_tokens[kept],
        ),
        duration_seconds=trace.duration_seconds,
    )
