"""A trace of which every request is known, held in memory."""

import numpy as np
from numpy.typing import NDArray

from simulations.traces.demand import chunk_bounds, cut, demand_of
from simulations.traces.errors import InvalidTrace
from simulations.traces.trace import Arrivals, Demand, DemandSums

#: Requests one chunk holds on average, where a length is not asked for: a few megabytes.
_CHUNK_REQUESTS = 200_000
_SHORTEST_CHUNK_SECONDS = 60.0


class RequestTrace:
    """Known requests: seconds from the start (ascending) with prompt and output tokens.

    ``duration_seconds`` defaults to the first whole second after the last arrival.
    """

    resolution_seconds = 0.0

    def __init__(
        self,
        name: str,
        arrivals: Arrivals,
        *,
        duration_seconds: float | None = None,
        chunk_seconds: float | None = None,
    ) -> None:
        seconds = np.ascontiguousarray(arrivals.seconds, dtype=np.float64)
        last = float(seconds[-1]) if len(seconds) else 0.0
        if duration_seconds is None:
            duration_seconds = float(np.floor(last)) + 1.0
        self._check(name, arrivals, duration_seconds)
        self._name = name
        self._duration = duration_seconds
        self._arrivals = Arrivals(
            seconds=seconds,
            prompt_tokens=np.ascontiguousarray(arrivals.prompt_tokens, dtype=np.int64),
            output_tokens=np.ascontiguousarray(arrivals.output_tokens, dtype=np.int64),
        )
        for array in (
            self._arrivals.seconds,
            self._arrivals.prompt_tokens,
            self._arrivals.output_tokens,
        ):
            array.flags.writeable = False  # chunks are views of it
        share = _CHUNK_REQUESTS / max(1, len(seconds))
        self._chunk_seconds = chunk_seconds or max(
            _SHORTEST_CHUNK_SECONDS, float(np.ceil(share * duration_seconds))
        )
        self._token_cumulative: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._demands: dict[float, Demand] = {}

    @staticmethod
    def _check(name: str, arrivals: Arrivals, duration_seconds: float) -> None:
        seconds = arrivals.seconds
        if not len(seconds) == len(arrivals.prompt_tokens) == len(arrivals.output_tokens):
            raise InvalidTrace(f"{name}: seconds and tokens differ in length")
        if not duration_seconds > 0.0:
            raise InvalidTrace(f"{name}: duration_seconds is {duration_seconds}, must be positive")
        if len(seconds) == 0:
            return
        if seconds[0] < 0.0 or seconds[-1] >= duration_seconds:
            raise InvalidTrace(f"{name}: arrivals must lie in [0, {duration_seconds:g}) s")
        if bool(np.any(np.diff(seconds) < 0.0)):
            raise InvalidTrace(f"{name}: arrivals must be in ascending order")
        if min(arrivals.prompt_tokens.min(), arrivals.output_tokens.min()) < 1:
            raise InvalidTrace(f"{name}: every request needs at least 1 prompt and 1 output token")

    @property
    def name(self) -> str:
        """Short name for reports."""
        return self._name

    @property
    def duration_seconds(self) -> float:
        """Length; arrivals lie in [0, duration)."""
        return self._duration

    @property
    def chunk_seconds(self) -> float:
        """Length of one chunk; the last may be shorter."""
        return self._chunk_seconds

    @property
    def arrivals(self) -> Arrivals:
        """All requests; read-only arrays."""
        return self._arrivals

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self._arrivals)

    def chunk(self, index: int) -> Arrivals:
        """Arrivals in [index chunk_seconds, (index + 1) chunk_seconds), as views."""
        return cut(self._arrivals, *chunk_bounds(self, index))

    def demand(self, bucket_seconds: float) -> Demand:
        """Count requests in buckets of ``bucket_seconds``."""
        if bucket_seconds not in self._demands:
            self._demands[bucket_seconds] = demand_of(self, bucket_seconds)
        return self._demands[bucket_seconds]

    def demand_sums(
        self,
        edges_seconds: NDArray[np.float64],
        generator: np.random.Generator | None = None,  # noqa: ARG002 - counts are known, not drawn
    ) -> DemandSums:
        """Count between ascending edges."""
        if self._token_cumulative is None:
            self._token_cumulative = (
                _cumulative(self._arrivals.prompt_tokens),
                _cumulative(self._arrivals.output_tokens),
            )
        at = np.searchsorted(self._arrivals.seconds, edges_seconds)
        prompt, output = self._token_cumulative
        return DemandSums(
            requests=np.diff(at).astype(np.float64),
            prompt_tokens=np.diff(prompt[at]),
            output_tokens=np.diff(output[at]),
            imputed=np.zeros(len(at) - 1, np.bool_),
        )

    def token_sample(
        self,
        size: int,
        seed: int,
        from_seconds: float = 0.0,
        to_seconds: float = np.inf,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw ``size`` pairs of requests in [from, to) with replacement."""
        part = cut(self._arrivals, from_seconds, to_seconds)
        if len(part) == 0:
            raise InvalidTrace(f"{self.name}: has no requests to draw tokens from")
        at = np.random.default_rng(seed).integers(0, len(part), size)
        return part.prompt_tokens[at], part.output_tokens[at]


def _cumulative(values: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums of the first k values for k = 0 .. n; shape (n + 1,). Exact below 2^53."""
    total = np.zeros(len(values) + 1)
    np.cumsum(values, out=total[1:])
    return total
