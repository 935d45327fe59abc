"""Forward passes as Dynamo's planner meets them: swept before deployment, then one per scrape.

The planner learns from passes, each with what it held and how long it took. Engines here advance by
events and export none, so passes are made from a performance profile: what the engine's own report
would say. Before deployment an engine is swept over prompts, decodes and both together, as the
throughput loop demands. In service every replica shows the pass under way at a scrape: the
sequences it runs and their KV tokens, and as many prompts as start in a pass where so many run,
which is random; here those numbers and the prompts' lengths come in turn, evenly spread.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from controller.core.domain.variant import PerformanceProfile
from controller.core.performance.mix import TokenMix
from simulations.peers.dynamo.load import EngineLoad
from simulations.peers.dynamo.regression import ForwardPass, PassModel

#: Points of the sweep along every axis, and along that of prompts alone.
_POINTS = 6
_PROMPTS = 16
_SHORTEST, _LONGEST = 64, 16_384
#: Share of the KV room that the sweep fills at most.
_FULLEST = 0.95
#: Steps between 0 and 1 that spread any run of turns evenly: fractions of the plastic number.
_COUNT_STEP, _LENGTH_STEP = 0.7548776662466927, 0.5698402909980532
#: Prompt lengths kept of a mix, and the most prompts that start in a pass.
_LENGTHS = 64
_MOST_PROMPTS = 64


def pass_milliseconds(
    engine: PerformanceProfile, prompts: Sequence[int], decodes: float, kv_tokens: float
) -> float:
    """Time of a pass that computes whole ``prompts`` (tokens of each) beside decodes."""
    tokens = math.fsum(prompts)
    squares = math.fsum(float(prompt) ** 2 for prompt in prompts)
    return (
        math.hypot(engine.t0_milliseconds, engine.delta_milliseconds * (tokens + decodes))
        + engine.epsilon_milliseconds * squares
        + engine.kappa_milliseconds * kv_tokens
        + engine.beta_milliseconds * decodes
    )


@lru_cache(maxsize=256)
def swept(engine: PerformanceProfile) -> PassModel:
    """What a sweep of this engine teaches."""
    model = PassModel()
    for prompts, decodes, kv in _sweep(engine):
        seen = ForwardPass(prefill_tokens=sum(prompts), decode_requests=decodes, kv_tokens=kv)
        model = model.observed(seen, pass_milliseconds(engine, prompts, decodes, kv))
    return model


def _sweep(engine: PerformanceProfile) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """Prompts, decodes and KV tokens of every pass."""
    room = int(_FULLEST * engine.kv_capacity_tokens)
    longest = max(_SHORTEST + 1, min(_LONGEST, engine.max_batched_tokens, room))
    for prompt in np.geomspace(_SHORTEST, longest, _PROMPTS).round().astype(int).tolist():
        yield (prompt,), 0, 0
    batches = np.unique(np.geomspace(1, engine.max_running, _POINTS).round().astype(int)).tolist()
    for batch in batches:
        most = max(1, min(room // batch, _LONGEST))
        for context in np.linspace(min(_SHORTEST, most), most, _POINTS).round().tolist():
            kv = int(context) * batch
            yield (), batch, kv
            yield (_turn(batch * _POINTS + int(context), longest),), batch, kv


def _turn(turn: int, longest: int) -> int:
    """A prompt length between the shortest and the longest, in equal ratios."""
    share = (turn * _COUNT_STEP) % 1.0
    return round(_SHORTEST * math.exp(share * math.log(longest / _SHORTEST)))


@dataclass(frozen=True, slots=True)
class PassMix:
    """The prompts that passes hold: lengths over their mean, evenly spread over the mix."""

    lengths: tuple[float, ...]

    @classmethod
    def of(cls, mix: TokenMix) -> "PassMix":
        """Lengths of a load test's requests."""
        levels = (np.arange(_LENGTHS) + 0.5) / _LENGTHS
        lengths = mix.prompt_quantiles(levels)
        return cls(tuple((lengths / lengths.mean()).tolist()))

    def prompts(self, turn: int, expected: float, prompt_mean: float, room: int) -> tuple[int, ...]:
        """Prompts of the ``turn``-th pass, ``expected`` of them on average, that fit ``room``."""
        found: list[int] = []
        left = room
        for place in range(_poisson((turn * _COUNT_STEP) % 1.0, expected)):
            share = ((turn + place * _LENGTHS) * _LENGTH_STEP) % 1.0
            tokens = max(1, round(prompt_mean * self.lengths[int(share * _LENGTHS)]))
            if left <= 0:
                break
            found.append(min(tokens, left))
            left -= found[-1]
        return tuple(found)


def scraped(  # noqa: PLR0913 - one pass: the engine, its gauges, and what its requests are like
    engine: PerformanceProfile,
    mix: PassMix,
    *,
    turn: int,
    running: int,
    waiting: int,
    kv_tokens: int,
    prompt_mean: float,
    output_mean: float,
) -> tuple[EngineLoad, float]:
    """A replica's pass at a scrape, with its queue, and its milliseconds; 0 where nothing runs."""
    queue = {
        "queued_prefill_tokens": waiting * prompt_mean,
        "queued_prefill_requests": float(waiting),
    }
    if running == 0:
        return EngineLoad(**queue), 0.0
    # Of so many decoding one in the mean output's length ends in a pass, and another one starts.
    room = max(1, engine.max_batched_tokens - running)
    prompts = mix.prompts(turn, running / max(output_mean, 1.0), prompt_mean, room)[:running]
    decodes = running - len(prompts)
    load = EngineLoad(
        prefill_tokens=float(sum(prompts)),
        prefill_requests=float(len(prompts)),
        decode_requests=float(decodes),
        kv_tokens=float(kv_tokens),
        **queue,
    )
    return load, pass_milliseconds(engine, prompts, decodes, kv_tokens)


def _poisson(level: float, mean: float) -> int:
    """The count that a Poisson number of this mean stays at or below with this chance."""
    chance = math.exp(-mean)
    below, count = chance, 0
    while below < level and count < _MOST_PROMPTS:
        count += 1
        chance *= mean / count
        below += chance
    return count
