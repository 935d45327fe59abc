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

    def chunk(self, index: int) -> Arrivals:
        """Arrivals in [index chunk_seconds, (index + 1) chunk_seconds)."""
        ...

    def demand(self, bucket_seconds: float) -> Demand:
        """Return the true traffic in buckets of ``bucket_seconds``."""
        ...

    def token_sample(self, size: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw ``size`` i.i.d. (prompt, output) pairs from the whole trace's mix."""
        ...
