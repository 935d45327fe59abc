"""What the GPU optimizer sees of the load: request sizes over a moving window.

The gateway counts every (prompt, output) pair on a grid of .1 in log2 of the tokens. Scrapes show
two histograms of lengths and no pairs, so the pairs are those of two independent lengths: the
expected count of every cell, lengths spread log-uniformly within a histogram's bucket.

The window moves in quarters, as the peer's four staggered clusterers do: a new one starts every
60 s, the oldest answers, and of four the oldest gives way. So 180 to 240 s are seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.observation import TOKEN_EDGES, Traffic
from simulations.peers.aibrix.optimizer_clusters import PRECISION

Array = NDArray[np.float64]

#: The window, and the clusterers that take turns in it.
WINDOW_SECONDS = 240.0
BUFFERS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeSample:
    """One sample: ``requests`` arrived in ``seconds``, and ``pairs`` of known length ended.

    ``pairs`` has shape (buckets, buckets): expected requests by prompt and output bucket.
    """

    at_seconds: float
    seconds: float
    requests: float
    pairs: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeWindow:
    """The samples since the oldest clusterer started, and when the clusterers did."""

    starts_seconds: tuple[float, ...] = ()
    samples: tuple[SizeSample, ...] = ()

    def moved(self, now: float) -> "SizeWindow":
        """Start a clusterer where it is time, and forget what none of them has."""
        starts = self.starts_seconds or (now,)
        if now - starts[-1] >= WINDOW_SECONDS / BUFFERS:
            starts = (*starts, now)[-BUFFERS:]
        kept = tuple(sample for sample in self.samples if sample.at_seconds >= starts[0])
        return SizeWindow(starts_seconds=starts, samples=kept)

    def recorded(self, traffic: Traffic, now: float) -> "SizeWindow":
        """With one more sample."""
        sample = SizeSample(
            at_seconds=now,
            seconds=traffic.to_seconds - traffic.from_seconds,
            requests=traffic.requests,
            pairs=_pairs(traffic),
        )
        return replace(self, samples=(*self.samples, sample))

    @property
    def empty(self) -> bool:
        """Whether no request of known length ended in the window."""
        return not any(sample.pairs.any() for sample in self.samples)

    @property
    def requests_per_second(self) -> float:
        """The greater of what ended over the window and what arrived in the last sample."""
        seconds = sum(sample.seconds for sample in self.samples)
        ended = sum(float(sample.pairs.sum()) for sample in self.samples)
        last = self.samples[-1]
        return max(ended / seconds, last.requests / last.seconds)

    def counts(self) -> Array:
        """Expected requests by prompt and output cell of the gateway's grid."""
        spread = _spread()
        whole: Array = np.sum([sample.pairs for sample in self.samples], axis=0)
        return np.asarray(spread.T @ whole @ spread)


def _pairs(traffic: Traffic) -> Array:
    prompt = _shares(traffic.prompt_histogram, traffic.prompt_tokens, traffic.token_requests)
    output = _shares(traffic.output_histogram, traffic.output_tokens, traffic.token_requests)
    return traffic.token_requests * np.outer(prompt, output)


def _shares(histogram: Sequence[float], tokens: float, requests: float) -> Array:
    """Share of the requests in every bucket; all in the mean's where no histogram is exported."""
    counts = np.array(histogram or [0.0] * (len(TOKEN_EDGES) + 1))
    if requests > 0.0 and not counts.any():
        counts[np.searchsorted(TOKEN_EDGES, tokens / requests)] = 1.0
    return np.asarray(counts / max(counts.sum(), 1e-300))


@cache
def _spread() -> Array:
    """Share of every cell in every bucket, (buckets, cells): whole tokens, log-uniform."""
    longest = int(TOKEN_EDGES[-1])
    lengths = np.arange(1, longest + 1)
    cells = np.rint(np.log2(lengths) / PRECISION).astype(np.int64)
    spread = np.zeros((len(TOKEN_EDGES) + 1, cells[-1] + 1))
    np.add.at(spread, (np.searchsorted(TOKEN_EDGES, lengths), cells), 1.0 / lengths)
    spread[-1, -1] = 1.0  # longer than the last edge
    return np.asarray(spread / spread.sum(axis=1, keepdims=True))
