"""The classic SLA planner (0.9.1 and 1.0.2): pools of prefill and decode engines, every 180 s.

Engines are known from a profile made before deployment. Two factors, observed over expected time to
first token and between tokens, correct it; the predicted load then asks for so many engines of
either kind, and a budget of GPUs cuts both.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import griddata, interp1d

from simulations.peers.dynamo.predictors import (
    CLASSIC,
    PredictorKind,
    PredictorMemory,
    PredictorSpec,
    predict,
)
from simulations.peers.dynamo.traffic import TrafficWindow

Array = NDArray[np.float64]

#: Points of the decode profile's grid along either axis.
_GRID = 100


@dataclass(frozen=True, eq=False, kw_only=True)
class PrefillProfile:
    """Prompt tokens of a lone prompt, its TTFT and the prompt tokens/s per GPU; shape (points,)."""

    prompt_tokens: Array
    ttft_milliseconds: Array
    tokens_per_second: Array

    def ttft(self, prompt_tokens: float) -> float:
        """Milliseconds, cubic between the points and as at the ends beyond them."""
        return float(self._ttft(self._within(prompt_tokens)))

    def throughput(self, prompt_tokens: float) -> float:
        """Tokens/s per GPU at this prompt length."""
        return float(self._throughput(self._within(prompt_tokens)))

    def _within(self, prompt_tokens: float) -> float:
        return max(float(self.prompt_tokens[0]), min(prompt_tokens, float(self.prompt_tokens[-1])))

    @cached_property
    def _ttft(self) -> interp1d:
        return interp1d(self.prompt_tokens, self.ttft_milliseconds, kind="cubic")

    @cached_property
    def _throughput(self) -> interp1d:
        return interp1d(self.prompt_tokens, self.tokens_per_second, kind="cubic")


@dataclass(frozen=True, eq=False, kw_only=True)
class DecodeProfile:
    """Time between tokens and output tokens/s per GPU at points of (KV share in use, context).

    Arrays have shape (points,). Looked up at the nearest of 100 x 100 cells from (0, 0) to (1, the
    longest context): cubic inside the hull of the points, the nearest point outside.
    """

    kv_use: Array
    context_tokens: Array
    itl_milliseconds: Array
    tokens_per_second: Array
    kv_capacity_tokens: float

    def itl(self, concurrency: float, context_tokens: float) -> float:
        """Milliseconds between tokens with so many sequences of this context on an engine."""
        use = concurrency * context_tokens / self.kv_capacity_tokens
        column = min(max(round(use * (_GRID - 1)), 0), _GRID - 1)
        return float(self._itl[self._row(context_tokens), column])

    def best_throughput(self, itl_milliseconds: float, context_tokens: float) -> float:
        """Tokens/s per GPU at the fullest cell that holds this; if none does, at the emptiest."""
        row = self._row(context_tokens)
        held = np.nonzero(self._itl[row] <= itl_milliseconds)[0]
        return float(self._throughput[row, held[-1] if len(held) else 0])

    def _row(self, context_tokens: float) -> int:
        longest = float(self.context_tokens.max())
        return min(max(round(context_tokens / longest * (_GRID - 1)), 0), _GRID - 1)

    @cached_property
    def _itl(self) -> Array:
        return self._on_grid(self.itl_milliseconds)

    @cached_property
    def _throughput(self) -> Array:
        return self._on_grid(self.tokens_per_second)

    def _on_grid(self, values: Array) -> Array:
        """Values at all cells, shape (contexts, uses)."""
        cells = np.meshgrid(
            np.linspace(0.0, 1.0, _GRID), np.linspace(0.0, float(self.context_tokens.max()), _GRID)
        )
        points = (self.kv_use, self.context_tokens)
        found = griddata(points, values, tuple(cells), method="cubic")
        nearest = griddata(points, values, tuple(cells), method="nearest")
        filled: Array = np.where(np.isnan(found), nearest, found)
        return filled


class Release(StrEnum):
    """Which release's budget rule holds."""

    V0_9 = "0.9"
    V1_0 = "1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicSpec:
    """The planner's arguments; defaults are those of 1.0. A budget of None is without limit.

    Its target for the time to first token is in none of the formulas.
    """

    itl_milliseconds: float = 50.0
    predictor: PredictorKind = PredictorKind.ARIMA
    correction: bool = True
    prefill_gpus: int = 1
    decode_gpus: int = 1
    min_endpoint: int = 1
    max_gpu_budget: int | None = 8
    release: Release = Release.V1_0
    predictors: PredictorSpec = CLASSIC

    @property
    def interval_seconds(self) -> float:
        """Time between decisions."""
        return self.predictors.interval_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicProfile:
    """What was measured of both kinds of engine."""

    prefill: PrefillProfile
    decode: DecodeProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An interval as Prometheus tells it: means of the requests that ended; NaN where none did."""

    window: TrafficWindow
    ttft_milliseconds: float
    itl_milliseconds: float
    duration_seconds: float

    @property
    def complete(self) -> bool:
        """Whether the planner acts on it."""
        return not any(
            math.isnan(value)
            for value in (
                self.ttft_milliseconds,
                self.itl_milliseconds,
                self.window.prompt_tokens,
                self.window.output_tokens,
            )
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ClassicState:
    """Memory between intervals. ``unread`` are windows that no forecast was asked for yet."""

    unread: tuple[TrafficWindow, ...] = ()
    requests: PredictorMemory | None = None
    prompt: PredictorMemory | None = None
    output: PredictorMemory | None = None
    prefill_correction: float = 1.0
    decode_correction: float = 1.0


@dataclass(frozen=True, slots=True)
class Pools:
    """Engines of either kind, whole or not yet rounded up."""

    prefill: float
    decode: float


def shares(
    spec: ClassicSpec, profile: ClassicProfile, state: ClassicState, seen: Seen, decoding: int
) -> tuple[Pools | None, ClassicState]:
    """One interval: the load of the next in engines, before rounding; None: leave all as it is.

    ``decoding`` engines of the decode pool are ready.
    """
    state = replace(state, unread=(*state.unread, seen.window))
    if not seen.complete:
        return None, state
    if spec.correction:
        corrected = _corrected(spec, profile, state, seen, decoding)
        if corrected is None:
            return None, state
        state = corrected
    forecast, state = _forecast(spec, state)
    rate = forecast.requests / spec.interval_seconds
    prefill = (
        rate
        * forecast.prompt_tokens
        * min(1.0, state.prefill_correction)
        / profile.prefill.throughput(forecast.prompt_tokens)
    )
    itl = spec.itl_milliseconds
    if state.decode_correction > 0.0:
        itl /= state.decode_correction
    per_gpu = profile.decode.best_throughput(
        itl, forecast.prompt_tokens + forecast.output_tokens / 2.0
    )
    # Without a throughput there is nothing to divide by: the least that may run.
    decode = rate * forecast.output_tokens / per_gpu if per_gpu > 0.0 else 0.0
    return Pools(prefill / spec.prefill_gpus, decode / spec.decode_gpus), state


def whole(spec: ClassicSpec, asked: Pools) -> Pools:
    """Engines rounded up, at least the minimum of either kind."""
    return Pools(
        max(math.ceil(asked.prefill), spec.min_endpoint),
        max(math.ceil(asked.decode), spec.min_endpoint),
    )


def within_budget(spec: ClassicSpec, asked: Pools) -> Pools:
    """Cut to the GPU budget, prefill first; up to 0.9 by rounding, which may exceed it."""
    budget, least = spec.max_gpu_budget, spec.min_endpoint
    total = asked.prefill * spec.prefill_gpus + asked.decode * spec.decode_gpus
    if budget is None or total <= budget:
        return asked
    scale = budget / total
    if spec.release is Release.V0_9:
        prefill = max(least, round(asked.prefill * scale))
        left = budget - prefill * spec.prefill_gpus
        return Pools(prefill, max(least, round(left / spec.decode_gpus)))
    if budget < least * (spec.prefill_gpus + spec.decode_gpus):
        return Pools(0, 0)
    most = (budget - least * spec.decode_gpus) // spec.prefill_gpus
    prefill = max(least, min(most, math.floor(asked.prefill * scale)))
    left = budget - prefill * spec.prefill_gpus
    return Pools(prefill, max(least, left // spec.decode_gpus))


def _corrected(
    spec: ClassicSpec, profile: ClassicProfile, state: ClassicState, seen: Seen, decoding: int
) -> ClassicState | None:
    """Factors of observed over expected latency; None where one cannot be told.

    Without a decode engine its factor stays.
    """
    window = seen.window
    expected = profile.prefill.ttft(window.prompt_tokens)
    if not expected > 0.0:
        return None
    state = replace(state, prefill_correction=seen.ttft_milliseconds / expected)
    if decoding == 0:
        return state
    if math.isnan(window.requests) or math.isnan(seen.duration_seconds):
        return None
    concurrency = window.requests / decoding * seen.duration_seconds / spec.interval_seconds
    expected = profile.decode.itl(concurrency, window.prompt_tokens + window.output_tokens / 2.0)
    if expected == 0.0:
        return None
    return replace(state, decode_correction=seen.itl_milliseconds / expected)


def _forecast(spec: ClassicSpec, state: ClassicState) -> tuple[TrafficWindow, ClassicState]:
    """Show the predictors what they have not seen, and ask for the next interval.

    Each series is by itself: an idle window is a 0 in all three.
    """
    unread = state.unread
    requests, of_requests = predict(
        spec.predictor, [one.requests for one in unread], state.requests, spec=spec.predictors
    )
    prompt, of_prompt = predict(
        spec.predictor, [one.prompt_tokens for one in unread], state.prompt, spec=spec.predictors
    )
    output, of_output = predict(
        spec.predictor, [one.output_tokens for one in unread], state.output, spec=spec.predictors
    )
    forecast = TrafficWindow(requests=requests, prompt_tokens=prompt, output_tokens=output)
    return forecast, replace(
        state, unread=(), requests=of_requests, prompt=of_prompt, output=of_output
    )
