"""Forward passes as Dynamo's planner meets them, and what it knows of their time.

Engines here advance by events and export no passes, so these are made from a performance profile:
what the engine's own report would say. Every replica shows the pass under way at a scrape: the
sequences it runs and their KV tokens, and as many prompts as start in a pass where so many run,
which is random; here those numbers and the prompts' lengths come in turn, evenly spread.

A pass's time the planner has from a model of the engine (AI Configurator), which every supported
pair of model and GPU has, or from a straight line through the passes seen. The first is the
performance profile. For the second an engine shows its passes before deployment in a load test with
more and more sequences, as the throughput loop demands. Neither the floor that reading the weights
sets nor long prompts' attention is a straight line: it misses small passes by most of their time,
or has them take none at all, and then one engine seems to carry everything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from controller.core.domain.variant import PerformanceProfile
from controller.core.performance.mix import TokenMix
from simulations.peers.dynamo.capacity import PassTime
from simulations.peers.dynamo.load import EngineLoad
from simulations.peers.dynamo.regression import ForwardPass, PassModel

#: Loads of a load test, passes seen at each, and lone prompts, from the shortest on.
_LOADS, _PASSES = 32, 6
_PROMPTS, _SHORTEST = 16, 64
#: Share of the KV room that a load test fills at most.
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
    squares = math.fsum(float(prompt) ** 2 for prompt in prompts)
    return _milliseconds(engine, math.fsum(prompts), squares, decodes, kv_tokens)


def modelled(engine: PerformanceProfile, prompt_mean: float) -> PassTime:
    """What a model of the engine tells of a pass, its prompts of this mean length."""

    def time(asked: ForwardPass) -> float:
        whole, rest = divmod(asked.prefill_tokens, max(prompt_mean, 1.0))
        squares = whole * prompt_mean**2 + rest**2
        return _milliseconds(
            engine, asked.prefill_tokens, squares, asked.decode_requests, asked.kv_tokens
        )

    return time


def _milliseconds(
    engine: PerformanceProfile,
    prefill_tokens: float,
    prefill_squares: float,
    decodes: float,
    kv_tokens: float,
) -> float:
    """Time of a pass by its prompts' tokens, the sum of their squares, its decodes and their KV."""
    return (
        math.hypot(engine.t0_milliseconds, engine.delta_milliseconds * (prefill_tokens + decodes))
        + engine.epsilon_milliseconds * prefill_squares
        + engine.kappa_milliseconds * kv_tokens
        + engine.beta_milliseconds * decodes
    )


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
            tokens = max(1, round(prompt_mean * self.lengths[int(share * len(self.lengths))]))
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


@lru_cache(maxsize=256)
def load_tested(
    engine: PerformanceProfile, mix: PassMix, prompt_mean: float, output_mean: float
) -> PassModel:
    """What a load test of this engine teaches; lone prompts are tried as well."""
    model = PassModel()
    longest = max(_SHORTEST, engine.max_batched_tokens)
    for tokens in np.geomspace(_SHORTEST, longest, _PROMPTS).round().astype(int).tolist():
        model = model.observed(
            ForwardPass(prefill_tokens=tokens), pass_milliseconds(engine, (tokens,), 0, 0)
        )
    context = prompt_mean + output_mean / 2.0
    most = max(1.0, min(engine.max_running, _FULLEST * engine.kv_capacity_tokens / context))
    loads = np.geomspace(1.0, most, _LOADS).round().astype(int).tolist()
    for turn, running in enumerate(running for running in loads for _ in range(_PASSES)):
        load, milliseconds = scraped(
            engine,
            mix,
            turn=turn,
            running=running,
            waiting=0,
            kv_tokens=round(running * context),
            prompt_mean=prompt_mean,
            output_mean=output_mean,
        )
        model = model.observed(load.forward_pass, milliseconds)
    return model


def _poisson(level: float, mean: float) -> int:
    """The count that a Poisson number of this mean stays at or below with this chance."""
    chance = math.exp(-mean)
    below, count = chance, 0
    while below < level and count < _MOST_PROMPTS:
        count += 1
        chance *= mean / count
        below += chance
    return count
