"""The least replica time one request can take, by linear programming duality.

An iteration that decodes ``g`` good sequences holding ``K`` tokens of KV and prefills ``n`` of
their prompt tokens lasts at least ``T = s(g + n) + kappa K + beta g`` (plus the prefill attention),
``s(x) = sqrt(t0^2 + (delta x)^2)``. For ``eta >= 0``, prices ``a, c, k`` with

    T (1 + eta g) - eta tau g >= a g + c n + k kappa K        for every batch the engine allows

charge every request ``c I + epsilon I^2 + a (O - 1) + k kappa (its context tokens)``: summed over
the iterations of a replica the left side is at most its busy time, since a good request's gaps
after its first token last ``tau`` on average at most. docs/lower-bound.md has the proof. Every
choice of ``eta, a, c, k`` that satisfies the line above is valid; the linear programme picks a good
one for the mix.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from controller.core.domain.policy import Slo
from controller.core.domain.variant import PerformanceProfile
from simulations.traces.trace import Arrivals

#: Prompt tokens per iteration that the programme looks at (the exact check covers all).
_PREFILL_POINTS = 24
#: Keeps rounding on the safe side of an exact minimum.
_SAFETY = 1e-9

_NOTHING = Arrivals(
    seconds=np.zeros(0), prompt_tokens=np.zeros(0, np.int64), output_tokens=np.zeros(0, np.int64)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Sums over requests: what the best prices depend on. ``context_tokens`` per decode step."""

    requests: float
    prompt_tokens: float
    squared_prompt_tokens: float
    decode_steps: float
    context_tokens: float
    longest_context: float

    @classmethod
    def of(cls, arrivals: Arrivals) -> "Moments":
        """Sums over ``arrivals``."""
        if not len(arrivals):
            return cls(
                requests=0.0,
                prompt_tokens=0.0,
                squared_prompt_tokens=0.0,
                decode_steps=0.0,
                context_tokens=0.0,
                longest_context=0.0,
            )
        prompt = arrivals.prompt_tokens.astype(np.float64)
        return cls(
            requests=float(len(arrivals)),
            prompt_tokens=float(prompt.sum()),
            squared_prompt_tokens=float((prompt**2).sum()),
            decode_steps=float((arrivals.output_tokens - 1).sum()),
            context_tokens=float(context_tokens(arrivals).sum()),
            longest_context=float((arrivals.prompt_tokens + arrivals.output_tokens).max()),
        )

    @classmethod
    def of_all(cls, chunks: Iterable[Arrivals]) -> "Moments":
        """Sums over all chunks."""
        return reduce(cls.plus, (cls.of(chunk) for chunk in chunks), cls.of(_NOTHING))

    def plus(self, other: "Moments") -> "Moments":
        """Sums over both."""
        return Moments(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            squared_prompt_tokens=self.squared_prompt_tokens + other.squared_prompt_tokens,
            decode_steps=self.decode_steps + other.decode_steps,
            context_tokens=self.context_tokens + other.context_tokens,
            longest_context=max(self.longest_context, other.longest_context),
        )


def context_tokens(arrivals: Arrivals) -> NDArray[np.float64]:
    """KV tokens held, summed over a request's decode steps; shape (requests,).

    Step j of O - 1 holds I + j - 1 tokens at least: the prompt and what was decoded before.
    """
    steps = (arrivals.output_tokens - 1).astype(np.float64)
    return steps * arrivals.prompt_tokens + 0.5 * steps * (steps - 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPrices:
    """Replica time that a request takes at least, in milliseconds.

    ``per_prompt_token`` c, ``per_squared_prompt_token`` epsilon, ``per_decode_step`` a,
    ``per_context_token`` k kappa; ``tpot_multiplier`` is eta.
    """

    per_prompt_token: float
    per_squared_prompt_token: float
    per_decode_step: float
    per_context_token: float
    tpot_multiplier: float

    def prefill_seconds(self, arrivals: Arrivals) -> NDArray[np.float64]:
        """Replica-seconds of every request's prompt; shape (requests,)."""
        prompt = arrivals.prompt_tokens.astype(np.float64)
        work = prompt * (self.per_prompt_token + self.per_squared_prompt_token * prompt)
        return np.asarray(work * 1e-3)

    def decode_seconds(self, arrivals: Arrivals) -> NDArray[np.float64]:
        """Replica-seconds of every request's decode steps; shape (requests,).

        A request whose steps would be priced below zero is left out of the argument: zero.
        """
        steps = (arrivals.output_tokens - 1).astype(np.float64)
        work = self.per_decode_step * steps + self.per_context_token * context_tokens(arrivals)
        return np.asarray(np.maximum(work, 0.0) * 1e-3)

    def milliseconds(self, moments: Moments) -> float:
        """Sum over all requests of ``moments``, none left out."""
        return (
            self.per_prompt_token * moments.prompt_tokens
            + self.per_squared_prompt_token * moments.squared_prompt_tokens
            + self.per_decode_step * moments.decode_steps
            + self.per_context_token * moments.context_tokens
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batches:
    """Every batch the engine allows, as far as prices depend on it.

    With preemption a sequence may gain a token from a recomputed prompt in place of a decode step,
    so that context and host time of that step are not there to be counted.
    """

    profile: PerformanceProfile
    tpot_milliseconds: float
    longest_context: float

    def matrix_milliseconds(self, tokens: NDArray[np.float64]) -> NDArray[np.float64]:
        """Time of the weights and of ``tokens`` computed, s(x)."""
        p = self.profile
        return np.hypot(p.t0_milliseconds, p.delta_milliseconds * tokens)

    def most_context(self, sequences: NDArray[np.float64]) -> NDArray[np.float64]:
        """Most KV tokens that so many sequences can hold."""
        return np.minimum(sequences * self.longest_context, float(self.profile.kv_capacity_tokens))

    @property
    def sequences(self) -> NDArray[np.float64]:
        """Numbers of decoding sequences, 1 .. the most that may run."""
        return np.arange(1.0, self.profile.max_running + 1.0)

    def highest_prompt_price(self) -> float:
        """Largest c with s(n) >= c n for all n: iterations that only prefill."""
        most = float(self.profile.max_batched_tokens)
        return float(self.matrix_milliseconds(np.array(most))) / most

    def decode_price(self, eta: float, prompt_price: float, context_factor: float) -> float:
        """Largest a that is valid with the other prices: an exact minimum over all batches."""
        p = self.profile
        g = self.sequences
        weight = 1.0 + eta * g
        # Convex in the tokens computed, x = g + n: stationary where weight s'(x) = c.
        steep = (weight * p.delta_milliseconds) ** 2 - prompt_price**2
        with np.errstate(divide="ignore", invalid="ignore"):
            stationary = (
                prompt_price
                * p.t0_milliseconds
                / (p.delta_milliseconds * np.sqrt(np.maximum(steep, 0.0)))
            )
        most = np.maximum(float(p.max_batched_tokens), g)
        x = np.clip(np.where(steep > 0.0, stationary, most), g, most)
        matrix = weight * self.matrix_milliseconds(x) - prompt_price * (x - g)
        # Linear in the KV held: least at one of the ends.
        context = np.minimum(
            0.0, (weight - context_factor) * p.kappa_milliseconds * self.most_context(g)
        )
        host = weight * p.beta_milliseconds * g
        pace = 0.0 if np.isinf(self.tpot_milliseconds) else eta * self.tpot_milliseconds
        return float(np.min((matrix + context + host) / g - pace))


def request_prices(
    profile: PerformanceProfile, slo: Slo, moments: Moments, *, preemption: bool = False
) -> RequestPrices:
    """Prices that are valid for every batch and good for the mix of ``moments``.

    Raises:
        ValueError: the profile cannot time anything, or no request is given.
    """
    if profile.t0_milliseconds <= 0.0 or profile.delta_milliseconds <= 0.0:
        raise ValueError("t0_milliseconds and delta_milliseconds must be positive")
    if moments.requests <= 0.0:
        raise ValueError("no requests: prices are chosen for a mix")
    if preemption:
        profile = replace(profile, beta_milliseconds=0.0)
    batches = _Batches(
        profile=profile,
        tpot_milliseconds=slo.tpot_seconds * 1e3,
        longest_context=moments.longest_context,
    )
    eta, prompt_price, context_factor = _programme(batches, moments)
    # The grid of the programme is no proof: pull its answer into the exact bounds.
    prompt_price = min(prompt_price, batches.highest_prompt_price()) * (1.0 - _SAFETY)
    if profile.kappa_milliseconds > 0.0:
        # A recomputed prompt must pay for the decode step it stands in for (docs, preemption).
        context_factor = min(context_factor, prompt_price / (2.0 * profile.kappa_milliseconds))
    decode = batches.decode_price(eta, prompt_price, context_factor)
    return RequestPrices(
        per_prompt_token=prompt_price,
        per_squared_prompt_token=profile.epsilon_milliseconds,
        per_decode_step=decode - _SAFETY * abs(decode),
        per_context_token=context_factor * profile.kappa_milliseconds,
        tpot_multiplier=eta,
    )


def _programme(batches: _Batches, moments: Moments) -> tuple[float, float, float]:
    """Solve the linear programme for (eta, c, k) on a grid of batches."""
    p = batches.profile
    most = float(p.max_batched_tokens)
    prefill = np.concatenate(([0.0], np.geomspace(4.0, most, _PREFILL_POINTS)))
    g, n, end = (a.ravel() for a in np.meshgrid(batches.sequences, prefill, (0.0, 1.0)))
    n = np.minimum(n, np.maximum(most - g, 0.0))
    held = end * batches.most_context(g)
    time = (
        batches.matrix_milliseconds(g + n) + p.kappa_milliseconds * held + p.beta_milliseconds * g
    )
    paced = not np.isinf(batches.tpot_milliseconds)
    over = g * (batches.tpot_milliseconds - time) if paced else np.zeros_like(g)
    rows = np.stack([over, n, p.kappa_milliseconds * held, g], axis=1)
    per_request = 1.0 / moments.requests
    gain = per_request * np.array(
        [
            0.0,
            moments.prompt_tokens,
            p.kappa_milliseconds * moments.context_tokens,
            moments.decode_steps,
        ]
    )
    bounds = [
        (0.0, None if paced else 0.0),
        (0.0, batches.highest_prompt_price()),
        (0.0, None),
        (None, None),
    ]
    found = linprog(-gain, A_ub=rows, b_ub=time, bounds=bounds, method="highs")
    if found.x is None:
        return 0.0, batches.highest_prompt_price(), 1.0
    eta, prompt_price, context_factor, _ = (float(v) for v in found.x)
    return max(eta, 0.0), max(prompt_price, 0.0), max(context_factor, 0.0)
