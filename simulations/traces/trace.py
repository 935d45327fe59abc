"""What a trace is to the simulator: arrivals in order, chunk by chunk, and its true rate."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrivals:
    """Requests in order of arrival; all arrays have shape (requests,).

    ``seconds`` counts from the trace's start (float64, ascending); tokens are int64 and at least 1.
    """

    seconds: NDArray[np.float64]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of requests."""
        return len(self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demand:
    """The true traffic in buckets of equal length; arrays have shape (buckets,).

    ``requests`` are expected or counted requests in the bucket; ``imputed`` marks buckets that
    were filled in and must not be scored.
    """

    bucket_seconds: float
    requests: NDArray[np.float64]
    prompt_tokens_mean: NDArray[np.float64]
    output_tokens_mean: NDArray[np.float64]
    imputed: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DemandSums:
    """The true traffic between consecutive edges; arrays have shape (intervals,).

    ``prompt_tokens`` and ``output_tokens`` are totals over the interval's requests. ``imputed`` is
    true where any part of the interval was filled in. Sums compose where means do not: copies,
    cuts and splices of traces add, shift and clip them.
    """

    requests: NDArray[np.float64]
    prompt_tokens: NDArray[np.float64]
    output_tokens: NDArray[np.float64]
    imputed: NDArray[np.bool_]

    def plus(self, other: "DemandSums") -> "DemandSums":
        """Add the traffic of two sources over the same intervals."""
        return DemandSums(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            imputed=self.imputed | other.imputed,
        )


class Trace(Protocol):
    """A source of arrivals whose memory does not grow with its length.

    Chunks are independent of each other and of the order they are asked for: the same trace and
    index give the same arrivals.
    """

    @property
    def name(self) -> str:
        """Short name for reports."""
        ...

    @property
    def duration_seconds(self) -> float:
        """Length; arrivals lie in [0, duration)."""
        ...

    @property
    def chunk_seconds(self) -> float:
        """Length of one chunk; the last may be shorter."""
        ...

    @property
    def resolution_seconds(self) -> float:
        """Bucket length of the traffic known; 0 where every request is known."""
        ...

    def chunk(self, index: int) -> Arrivals:
        """Arrivals in [index chunk_seconds, (index + 1) chunk_seconds)."""
        ...

    def demand(self, bucket_seconds: float) -> Demand:
        """Return the true traffic in buckets of ``bucket_seconds``."""
        ...

    def demand_sums(
        self, edges_seconds: NDArray[np.float64], generator: np.random.Generator | None = None
    ) -> DemandSums:
        """Sum between ascending edges (intervals + 1,); nothing lies outside [0, duration).

        Where arrivals are drawn, these are expected counts, or counts drawn by the same law when
        a generator is given.
        """
        ...

    def token_sample(
        self,
        size: int,
        seed: int,
        from_seconds: float = 0.0,
        to_seconds: float = np.inf,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw ``size`` i.i.d. (prompt, output) pairs from the mix of requests in [from, to)."""
        ...
