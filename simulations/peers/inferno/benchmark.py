"""Timing parameters as an offline benchmark of one replica gives them to a user.

The project's own guide runs a load generator at a few concurrencies and fits. Here the replica
under test is a performance profile: its mean time per output token and mean time to first token
with x requests outstanding, as the load test of the other peers' knees sees it. The three-parameter
form carries the token lengths, so it is also run at half and at twice the mix's means; the
four-parameter form holds at one shape only, which is the mix's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from controller.core.domain.variant import PerformanceProfile
from controller.core.performance.mix import TokenMix
from controller.core.performance.replica import ReplicaCurve, replica_curve
from simulations.peers.inferno.queue import FourParameters, ThreeParameters, Tokens

Array = NDArray[np.float64]

#: Concurrencies run, from 1 to what the replica holds, in equal ratios.
_RUNS = 8
#: Factors on the mean prompt and output of the mix at which the three-parameter form is fitted.
_LENGTH_FACTORS = (0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the load generator: means at ``concurrency`` requests outstanding, in ms."""

    tokens: Tokens
    concurrency: float
    ttft: float
    itl: float


def runs(profile: PerformanceProfile, mix: TokenMix) -> tuple[Run, ...]:
    """Run one replica from a lone request to all that it holds at once."""
    curve = replica_curve(profile, mix)
    most = max(curve.outstanding[-1], 2.0)
    concurrencies = np.geomspace(1.0, most, _RUNS)
    tokens = Tokens(mix.prompt_mean, mix.output_mean)
    itl = _at(curve, concurrencies, curve.iteration)
    # A prompt waits for the iteration in progress and takes as many as it needs chunks.
    chunks = max(1.0, mix.prompt_mean / profile.max_batched_tokens)
    ttft = _at(curve, concurrencies, curve.residual + chunks * curve.prompt_iteration)
    return tuple(
        Run(tokens=tokens, concurrency=float(x), ttft=float(first), itl=float(next_ones))
        for x, first, next_ones in zip(concurrencies, ttft, itl, strict=True)
    )


@lru_cache(maxsize=256)
def three_parameters(profile: PerformanceProfile, mix: TokenMix) -> ThreeParameters:
    """Least squares of relative errors over both latencies of all runs; none is negative."""
    seen = [run for shape in _shapes(mix) for run in runs(profile, shape)]
    rows, values = [], []
    for run in seen:
        tokens = run.tokens
        read = tokens.prompt + tokens.output / 2.0
        computed = (tokens.prompt + tokens.output) / (tokens.output + 1.0)
        iteration = np.array([1.0, run.concurrency * computed, run.concurrency * read])
        decode = iteration + np.array([0.0, 1.0, read])
        prefill = iteration + np.array([0.0, tokens.prompt, tokens.prompt])
        rows += [decode, prefill + decode]
        values += [run.itl, run.ttft]
    alpha, beta, gamma = _fitted(rows, values)
    return ThreeParameters(alpha=alpha, beta=beta, gamma=gamma)


@lru_cache(maxsize=256)
def four_parameters(profile: PerformanceProfile, mix: TokenMix) -> FourParameters:
    """Decode and prefill are fitted each by itself, at the mix's own shape."""
    seen = runs(profile, mix)
    decode = [np.array([1.0, run.concurrency]) for run in seen]
    alpha, beta = _fitted(decode, [run.itl for run in seen])
    prefill = [np.array([1.0, run.tokens.prompt * run.concurrency]) for run in seen]
    gamma, delta = _fitted(prefill, [run.ttft for run in seen])
    return FourParameters(alpha=alpha, beta=beta, gamma=gamma, delta=delta)


def held_batch(profile: PerformanceProfile, mix: TokenMix) -> int:
    """Requests that one replica had in service at most: its limit, or what its KV room held."""
    return max(1, int(replica_curve(profile, mix).decodes[-1]))


def _at(curve: ReplicaCurve, concurrencies: Array, values: Array) -> Array:
    return np.interp(concurrencies, curve.outstanding, values)


def _shapes(mix: TokenMix) -> Iterator[TokenMix]:
    for prompt in _LENGTH_FACTORS:
        for output in _LENGTH_FACTORS:
            yield mix.with_means(
                max(1.0, prompt * mix.prompt_mean), max(1.0, output * mix.output_mean)
            )


def _fitted(rows: Sequence[Array], values: Sequence[float]) -> list[float]:
    """Non-negative coefficients that make ``rows`` nearest to ``values``, relative to these."""
    scale = 1.0 / np.array(values)
    found, _ = nnls(np.array(rows) * scale[:, None], np.ones(len(scale)))
    return [float(value) for value in found]
