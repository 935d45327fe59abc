"""The three series of the throughput loop: requests, and tokens per request both ways.

An idle window has no tokens per request. It repeats the last ones in their series, and is a 0 in
that of requests (since 1.5). Tokens missing from a window with requests leave no point at all.
"""

import math
from dataclasses import dataclass

from simulations.peers.dynamo.predictors import (
    PRESENT,
    PredictorKind,
    PredictorMemory,
    PredictorSpec,
    predict,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficWindow:
    """Requests of an interval, and mean tokens of one; NaN where unknown."""

    requests: float
    prompt_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrafficMemory:
    """A predictor of each series, and the last tokens per request seen (0: none yet)."""

    requests: PredictorMemory | None = None
    prompt: PredictorMemory | None = None
    output: PredictorMemory | None = None
    last_prompt_tokens: float = 0.0
    last_output_tokens: float = 0.0


def predict_traffic(
    kind: PredictorKind,
    window: TrafficWindow,
    memory: TrafficMemory | None,
    *,
    log1p: bool = False,
    spec: PredictorSpec = PRESENT,
) -> tuple[TrafficWindow, TrafficMemory]:
    """Add a window and forecast the next one."""
    memory = memory or TrafficMemory()
    idle = not window.requests > 0.0
    last_prompt = _seen(window.prompt_tokens, memory.last_prompt_tokens)
    last_output = _seen(window.output_tokens, memory.last_output_tokens)
    requests, of_requests = predict(
        kind, (window.requests,), memory.requests, log1p=log1p, spec=spec
    )
    prompt, of_prompt = predict(
        kind,
        _points(window.prompt_tokens, last_prompt, idle=idle),
        memory.prompt,
        log1p=log1p,
        spec=spec,
    )
    output, of_output = predict(
        kind,
        _points(window.output_tokens, last_output, idle=idle),
        memory.output,
        log1p=log1p,
        spec=spec,
    )
    return (
        TrafficWindow(requests=requests, prompt_tokens=prompt, output_tokens=output),
        TrafficMemory(
            requests=of_requests,
            prompt=of_prompt,
            output=of_output,
            last_prompt_tokens=last_prompt,
            last_output_tokens=last_output,
        ),
    )


def _seen(tokens: float, before: float) -> float:
    return tokens if math.isfinite(tokens) and tokens > 0.0 else before


def _points(tokens: float, last: float, *, idle: bool) -> tuple[float, ...]:
    if idle:
        return (last,)
    return (tokens,) if math.isfinite(tokens) and tokens > 0.0 else ()
