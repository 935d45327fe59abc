"""How long prompts and answers are around their means, learned from the engines' histograms.

The same means carry very different loads: with the default shape in place of the true one, capacity
comes out up to a fifth too high on production traffic. Histograms at the 1-2-5 edges that
engines export are enough to tell.
"""

from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.observation import TOKEN_EDGES, Traffic
from controller.core.performance.mix import QUANTILE_WEIGHTS, TokenMix, TokenShape

#: Seconds after which a length seen counts 1/e.
MEMORY_SECONDS = 6 * 3600.0
#: Requests before a shape is taken from the histograms, and seconds it then stands.
LEAST_REQUESTS = 1000.0
STANDS_SECONDS = 3600.0
#: A new shape takes over once a bin of it lies this much off. With every shape all capacity tables
#: are worked out anew, and following the noise of the tail costs (2.7 % on servegen-m-mid).
SHAPE_TOLERANCE = 0.2
#: Points of the quantile functions, so many that the longest prompts are still told apart, and the
#: step that pairs them as if independent.
_POINTS = 8192
_STRIDE = 5063
#: Below this many tokens nothing is known of where lengths end within a bucket.
_LEAST_WINDOW = 2000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLengths:
    """Lengths seen, forgotten exponentially, and the shape last taken from them.

    Counts are per bucket of ``TOKEN_EDGES`` and one beyond. ``shape`` is None until enough was
    seen; ``at_seconds`` and ``shape_at_seconds`` are Unix times.
    """

    prompt: tuple[float, ...] = ()
    output: tuple[float, ...] = ()
    at_seconds: float | None = None
    shape: TokenShape | None = None
    shape_at_seconds: float = 0.0

    def after(self, traffic: Traffic) -> "TokenLengths":
        """Take a window's histograms in; none teaches nothing."""
        if not traffic.prompt_histogram or not traffic.output_histogram:
            return self
        now = traffic.to_seconds
        kept = 0.0 if self.at_seconds is None else exp((self.at_seconds - now) / MEMORY_SECONDS)
        prompt = _added(self.prompt, traffic.prompt_histogram, kept)
        output = _added(self.output, traffic.output_histogram, kept)
        due = self.shape is None or now - self.shape_at_seconds >= STANDS_SECONDS
        if not due or min(sum(prompt), sum(output)) < LEAST_REQUESTS:
            return TokenLengths(
                prompt=prompt,
                output=output,
                at_seconds=now,
                shape=self.shape,
                shape_at_seconds=self.shape_at_seconds,
            )
        return TokenLengths(
            prompt=prompt,
            output=output,
            at_seconds=now,
            shape=_kept_or_new(self.shape, shape_of(prompt, output), min(sum(prompt), sum(output))),
            shape_at_seconds=now,
        )


def shape_of(prompt: tuple[float, ...], output: tuple[float, ...]) -> TokenShape:
    """Shape of lengths counted per bucket of ``TOKEN_EDGES``, prompts and answers independent."""
    order = (np.arange(_POINTS) * _STRIDE) % _POINTS
    return TokenMix.from_samples(_quantiles(prompt), _quantiles(output)[order]).shape


def _kept_or_new(old: TokenShape | None, new: TokenShape, requests: float) -> TokenShape:
    if old is None:
        return new
    before, after = np.array((old.prompt, old.output)), np.array((new.prompt, new.output))
    off = np.abs(after - before) / np.maximum(before, 1.0)
    # Bins of the tail hold a few requests each, and move with the draw of these.
    beyond = 1.0 - np.cumsum(QUANTILE_WEIGHTS) + QUANTILE_WEIGHTS
    drawn = 1.0 / np.sqrt(1.0 + requests * beyond)
    return old if bool((off <= SHAPE_TOLERANCE + drawn).all()) else new


def _added(old: tuple[float, ...], new: tuple[float, ...], kept: float) -> tuple[float, ...]:
    if not old:
        return new
    return tuple(kept * a + b for a, b in zip(old, new, strict=True))


def _quantiles(counts: tuple[float, ...]) -> NDArray[np.float64]:
    """Lengths at evenly spaced probabilities, log-linear inside a bucket."""
    edges = np.array((0.5, *TOKEN_EDGES, 2.0 * TOKEN_EDGES[-1]))
    last = int(np.flatnonzero(counts)[-1])
    edges[last + 1] = _longest(edges[last], edges[last + 1])
    cumulative = np.concatenate(([0.0], np.cumsum(counts)))
    probabilities = (np.arange(_POINTS) + 0.5) / _POINTS
    logs = np.interp(probabilities * cumulative[-1], cumulative, np.log(edges))
    return np.asarray(np.maximum(np.exp(logs), 1.0))


def _longest(above: float, upto: float) -> float:
    """Where lengths end that were seen in this bucket and in none beyond.

    Context windows are powers of two, and whether the longest prompts are of 130,000 or of 200,000
    tokens decides whether they can meet a time to first token at all.
    """
    window = 2.0 ** np.floor(np.log2(upto))
    return float(window) if above >= _LEAST_WINDOW and window > above else upto
