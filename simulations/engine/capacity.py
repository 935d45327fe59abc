"""Measured capacity: the highest arrival rate of a fleet at which the target share is good.

Poisson arrivals with token pairs drawn i.i.d. from a sample; the first tenth of the requests is
not scored. All rates are tried with the same draws, so the answer is smooth in every parameter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.engine.fleet import EngineConfig, Fleet, Outcome, PoolSpec

#: Share of the requests that only warm the fleet up.
WARM_UP_SHARE = 0.1

_SLICES = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenSample:
    """Pairs of prompt and output tokens, shape (pairs,), that stand for a mix."""

    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Check the shapes.

        Raises:
            ValueError: the sample is empty or the arrays differ in length.
        """
        if not len(self.prompt_tokens) == len(self.output_tokens) > 0:
            raise ValueError("prompt_tokens and output_tokens must have one length above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetShape:
    """A fleet to measure: each pool with its number of replicas, and all that holds for them.

    ``config.seed`` draws the arrivals too. ``weights`` are the pools' under the law WEIGHTED.
    """

    pools: Sequence[tuple[PoolSpec, int]]
    config: EngineConfig
    weights: tuple[float, ...] | None = None

    def start(self) -> Fleet:
        """An empty fleet of this shape at time 0."""
        fleet = Fleet(
            tuple(spec for spec, _ in self.pools),
            self.config,
            max(sum(count for _, count in self.pools), 1),
        )
        for pool, (_, count) in enumerate(self.pools):
            for _ in range(count):
                fleet.add_replica(pool, 0.0)
        if self.weights is not None:
            fleet.set_weights(self.weights)
        return fleet


class _Draws:
    """One set of requests whose arrival times scale with the rate."""

    def __init__(self, tokens: TokenSample, requests: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        chosen = rng.integers(len(tokens.prompt_tokens), size=requests)
        self.prompt_tokens = tokens.prompt_tokens[chosen].astype(np.int64)
        self.output_tokens = tokens.output_tokens[chosen].astype(np.int64)
        self.unit_times = np.cumsum(rng.exponential(size=requests))


def good_share(shape: FleetShape, tokens: TokenSample, rate: float, requests: int) -> float:
    """Share of the scored requests that are good at ``rate`` requests/s."""
    draws = _Draws(tokens, requests, shape.config.seed)
    return 1.0 - _bad(shape, draws, rate, requests) / (requests - int(requests * WARM_UP_SHARE))


def measure_capacity(
    shape: FleetShape,
    tokens: TokenSample,
    *,
    target: float = 0.99,
    requests: int = 100_000,
    tolerance: float = 0.002,
) -> float:
    """Highest rate in requests/s at which ``target`` of the requests are good; 0 when none is.

    Found by bisection to ``tolerance`` (relative) below a rate that no scheduler could serve.

    Raises:
        ValueError: ``target`` is outside (0, 1), or there are too few requests to judge it.
    """
    if not 0.0 < target < 1.0:
        raise ValueError(f"target must be in (0, 1), got {target}")
    allowed = int((requests - int(requests * WARM_UP_SHARE)) * (1.0 - target))
    if allowed < 1:
        raise ValueError(f"requests = {requests} are too few for a target of {target}")
    draws = _Draws(tokens, requests, shape.config.seed)
    low, high = 0.0, _unreachable_rate(shape, draws)
    floor = high * 2.0**-14
    while high - low > tolerance * high and high > floor:
        middle = 0.5 * (low + high)
        if _bad(shape, draws, middle, allowed) <= allowed:
            low = middle
        else:
            high = middle
    return low


def _unreachable_rate(shape: FleetShape, draws: _Draws) -> float:
    """Work per request is at least delta per token and kappa per token of context and step."""
    prompts, outputs = draws.prompt_tokens, draws.output_tokens
    tokens = float(np.mean(prompts + outputs - 1))
    context = float(np.mean((outputs - 1.0) * prompts + 0.5 * outputs * (outputs - 1.0)))
    total = 0.0
    for spec, count in shape.pools:
        profile = spec.profile
        work = profile.delta_milliseconds * tokens + profile.kappa_milliseconds * context
        # Where work costs nothing, t0 per iteration of at most so many sequences still bounds it.
        per_iteration = profile.t0_milliseconds / profile.max_batched_tokens
        total += count * 1e3 / max(work, per_iteration)
    return total


def _bad(shape: FleetShape, draws: _Draws, rate: float, enough: int) -> int:
    """Count the scored requests that are not good; stops early beyond ``enough``."""
    requests = len(draws.unit_times)
    seconds = draws.unit_times / rate
    fleet = shape.start()
    fleet.watch(requests)
    warm_up = int(requests * WARM_UP_SHARE)
    bad, seen = 0, 0
    for part in np.array_split(np.arange(requests), _SLICES):
        low, high = int(part[0]), int(part[-1]) + 1
        fleet.advance(
            seconds[high - 1],
            seconds[low:high],
            draws.prompt_tokens[low:high],
            draws.output_tokens[low:high],
        )
        if high == requests:
            fleet.finish()
        endings = fleet.endings()[seen:]
        seen += len(endings)
        bad += _count_bad(endings[endings["uid"] >= warm_up], draws.output_tokens, shape.config)
        if bad > enough:
            break
    return bad


def _count_bad(
    endings: NDArray[np.void], output_tokens: NDArray[np.int64], config: EngineConfig
) -> int:
    gaps = np.maximum(output_tokens[endings["uid"]] - 1, 1)
    good = (
        (endings["outcome"] == Outcome.FINISHED)
        & (endings["first"] - endings["arrival"] <= config.ttft_threshold_seconds)
        & ((endings["end"] - endings["first"]) / gaps <= config.tpot_threshold_seconds)
    )
    return len(endings) - int(np.count_nonzero(good))
