"""Where a rate trace's prompt and output lengths come from: known pairs, or lognormal laws."""

from dataclasses import dataclass
from functools import cache
from math import erf, exp, sqrt
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from simulations.traces.errors import InvalidTrace

Pairs: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]

#: Spread of ln(tokens) where a file gives only means: what mean / median and p99 / median of
#: ServeGen's m-mid imply (306 / 173 / 2,583 prompt and 50.7 / 34 / 397 output tokens).
DEFAULT_PROMPT_SIGMA = 1.1
DEFAULT_OUTPUT_SIGMA = 1.0

#: Draws beyond so many sigmas are pulled in, so that no request outgrows every engine.
_CLIP_SIGMAS = 3.5

#: (share, prompt median, prompt sigma, output median, output sigma) of lognormal components.
#: Fitted here by expectation maximisation to the public Azure conversation trace of 2023
#: (Splitwise, ISCA 2024), whose mean / median / p99 are 1,155 / 1,020 / 4,142 prompt and
#: 211 / 129 / 601 output tokens; the last component was set by hand to reach the output p99.
_CONVERSATION_MIX = np.array(
    [
        (0.2398, 399.0, 0.053, 93.0, 0.25),
        (0.0750, 4086.0, 0.034, 55.0, 0.43),
        (0.3146, 1073.0, 0.075, 418.0, 0.11),
        (0.1466, 186.0, 0.940, 138.0, 0.42),
        (0.1906, 1650.0, 0.479, 99.0, 0.57),
        (0.0204, 206.0, 0.500, 15.6, 0.20),
        (0.0130, 1000.0, 0.400, 615.0, 0.08),
    ]
)
_CONVERSATION_PAIRS = 1 << 17
_LARGEST_CONVERSATION_PROMPT = 14_050  # the longest one in that trace


class TokenSource(Protocol):
    """Draws independent (prompt, output) pairs for requests of given buckets."""

    def draw(self, generator: np.random.Generator, buckets: NDArray[np.int64]) -> Pairs:
        """One pair per entry of ``buckets``, each at least 1."""
        ...

    def means(self, buckets: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expected prompt and output tokens of a request of each bucket."""
        ...


class TokenPairs:
    """Known pairs, drawn with replacement whatever the bucket."""

    def __init__(self, prompt_tokens: NDArray[np.int64], output_tokens: NDArray[np.int64]) -> None:
        if len(prompt_tokens) == 0 or len(prompt_tokens) != len(output_tokens):
            raise InvalidTrace("token pairs: give as many prompt as output lengths, at least one")
        if min(prompt_tokens.min(), output_tokens.min()) < 1:
            raise InvalidTrace("token pairs: every length must be at least 1 token")
        self._prompt = np.ascontiguousarray(prompt_tokens, dtype=np.int64)
        self._output = np.ascontiguousarray(output_tokens, dtype=np.int64)
        self._means = float(self._prompt.mean()), float(self._output.mean())

    def draw(self, generator: np.random.Generator, buckets: NDArray[np.int64]) -> Pairs:
        """One known pair per request."""
        at = generator.integers(0, len(self._prompt), len(buckets), dtype=np.int32)
        return self._prompt[at], self._output[at]

    def means(self, buckets: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the pairs' means, the same for every bucket."""
        prompt, output = self._means
        return np.full(len(buckets), prompt), np.full(len(buckets), output)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lengths:
    """One length's law: 1 + a lognormal of spread ``sigma``, with a mean for every bucket.

    The part above 1 is rounded up or down at random, so the mean is kept however short lengths are.
    """

    mean: NDArray[np.float64]
    median_above_one: NDArray[np.float32]
    sigma: float

    @classmethod
    def of(cls, mean: NDArray[np.float64], sigma: float) -> "_Lengths":
        mean = np.maximum(mean, 1.0)
        median = (mean - 1.0) / _clipped_lognormal_mean(sigma)
        return cls(mean=mean, median_above_one=median.astype(np.float32), sigma=sigma)

    def draw(self, generator: np.random.Generator, buckets: NDArray[np.int64]) -> NDArray[np.int64]:
        length = generator.standard_normal(len(buckets), dtype=np.float32)
        np.clip(length, -_CLIP_SIGMAS, _CLIP_SIGMAS, out=length)
        length *= np.float32(self.sigma)
        np.exp(length, out=length)
        length *= self.median_above_one[buckets]
        length += generator.random(len(buckets), dtype=np.float32)
        tokens = length.astype(np.int64)
        tokens += 1
        return tokens


class LognormalTokens:
    """Prompt and output lengths drawn independently, lognormal around the bucket's own means.

    Means have shape (buckets,). A bucket whose mean is NaN takes the request-weighted mean of the
    known ones.
    """

    def __init__(
        self,
        *,
        requests: NDArray[np.float64],
        prompt_tokens_mean: NDArray[np.float64],
        output_tokens_mean: NDArray[np.float64],
        prompt_sigma: float = DEFAULT_PROMPT_SIGMA,
        output_sigma: float = DEFAULT_OUTPUT_SIGMA,
    ) -> None:
        self._prompt = _Lengths.of(_filled(prompt_tokens_mean, requests), prompt_sigma)
        self._output = _Lengths.of(_filled(output_tokens_mean, requests), output_sigma)

    def draw(self, generator: np.random.Generator, buckets: NDArray[np.int64]) -> Pairs:
        """One pair per request, by its bucket's means."""
        return self._prompt.draw(generator, buckets), self._output.draw(generator, buckets)

    def means(self, buckets: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the means of the given buckets."""
        return self._prompt.mean[buckets], self._output.mean[buckets]


@cache
def conversation_tokens() -> TokenPairs:
    """Chat-like lengths for traces that carry none: 131,072 pairs of a built-in lognormal mix."""
    generator = np.random.default_rng(20231116)
    share = _CONVERSATION_MIX[:, 0] / _CONVERSATION_MIX[:, 0].sum()
    component = generator.choice(len(share), size=_CONVERSATION_PAIRS, p=share)
    _, prompt_median, prompt_sigma, output_median, output_sigma = _CONVERSATION_MIX[component].T
    prompt = prompt_median * np.exp(prompt_sigma * generator.standard_normal(len(component)))
    output = output_median * np.exp(output_sigma * generator.standard_normal(len(component)))
    return TokenPairs(
        np.clip(np.rint(prompt), 1, _LARGEST_CONVERSATION_PROMPT).astype(np.int64),
        np.clip(np.rint(output), 1, 1_000).astype(np.int64),
    )


def _filled(means: NDArray[np.float64], requests: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means with every NaN replaced by the request-weighted mean of the rest."""
    known = np.isfinite(means)
    if not known.any():
        raise InvalidTrace("token means: no bucket has one; leave the column out instead")
    weights = requests[known] if requests[known].sum() > 0.0 else None
    return np.where(known, means, np.average(means[known], weights=weights))


def _clipped_lognormal_mean(sigma: float) -> float:
    """Mean of exp(sigma z) for a standard normal z pulled in to +-``_CLIP_SIGMAS``."""
    inside = _normal_cdf(_CLIP_SIGMAS - sigma) - _normal_cdf(-_CLIP_SIGMAS - sigma)
    tail = _normal_cdf(-_CLIP_SIGMAS)
    ends = exp(sigma * _CLIP_SIGMAS) + exp(-sigma * _CLIP_SIGMAS)
    return exp(0.5 * sigma * sigma) * inside + tail * ends


def _normal_cdf(x: float) -> float:
    return 0.5 * (1.0 + erf(x / sqrt(2.0)))
