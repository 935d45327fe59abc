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
from controller.core.performance.mix import TokenMix, TokenShape

#: Seconds after which a length seen counts 1/e.
MEMORY_SECONDS = 6 * 3600.0
#: Requests before a shape is taken from the histograms, and seconds it then stands.
LEAST_REQUESTS = 1000.0
STANDS_SECONDS = 3600.0
#: Points of the quantile functions, and the step that pairs them as if independent.
_POINTS = 512
_STRIDE = 197


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
            shape=shape_of(prompt, output),
            shape_at_seconds=now,
        )


def shape_of(prompt: tuple[float, ...], output: tuple[float, ...]) -> TokenShape:
    """Shape of lengths counted per bucket of ``TOKEN_EDGES``, prompts and answers independent."""
    order = (np.arange(_POINTS) * _STRIDE) % _POINTS
    return TokenMix.from_samples(_quantiles(prompt), _quantiles(output)[order]).shape


def _added(old: tuple[float, ...], new: tuple[float, ...], kept: float) -> tuple[float, ...]:
    if not old:
        return new
    return tuple(kept * a + b for a, b in zip(old, new, strict=True))


def _quantiles(counts: tuple[float, ...]) -> NDArray[np.float64]:
    """Lengths at evenly spaced probabilities, log-linear inside a bucket."""
    edges = np.log(np.array((0.5, *TOKEN_EDGES, 2.0 * TOKEN_EDGES[-1])))
    cumulative = np.concatenate(([0.0], np.cumsum(counts)))
    probabilities = (np.arange(_POINTS) + 0.5) / _POINTS
    logs = np.interp(probabilities * cumulative[-1], cumulative, edges)
    return np.asarray(np.maximum(np.exp(logs), 1.0))
