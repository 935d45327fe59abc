"""The pre-deployment profile of an engine, as Dynamo's profiler would have measured it.

The profiler sends lone prompts of a few lengths to a prefill engine, and to a decode engine so many
sequences of a few contexts that its KV room is used to a few shares. Here the engine under test is
a performance profile, whose iterations have a known length (docs/decisions/0002-fleet-capacity.md).
Throughput is per engine: GPUs per engine then fall out of the planner's formulas.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.variant import PerformanceProfile
from simulations.peers.dynamo.classic import ClassicProfile, DecodeProfile, PrefillProfile

Array = NDArray[np.float64]

#: Prompt lengths of the profile that ships with the package.
_SHORTEST, _LONGEST, _LENGTHS = 100, 16_372, 17
#: More than the package's 6 x 7 points: the planner looks up single cells, also at the edges.
_CONTEXTS = 32
_USES = 24
#: Share of the KV room that the profiler fills at most.
_FULLEST = 0.97


@lru_cache(maxsize=256)
def classic_profile(engine: PerformanceProfile) -> ClassicProfile:
    """Tables of a prefill and of a decode engine of this kind."""
    return ClassicProfile(prefill=_prefill(engine), decode=_decode(engine))


def prompt_milliseconds(engine: PerformanceProfile, tokens: int) -> float:
    """Time of a lone prompt in chunks of the engine's budget."""
    ends = np.append(np.arange(0, tokens, engine.max_batched_tokens)[1:], tokens)
    chunks = np.diff(ends, prepend=0)
    iterations = np.hypot(engine.t0_milliseconds, engine.delta_milliseconds * chunks)
    return float(iterations.sum()) + engine.epsilon_milliseconds * float(tokens) ** 2


def decode_milliseconds(engine: PerformanceProfile, sequences: Array, context: Array) -> Array:
    """Time of an iteration that decodes ``sequences`` of this context; both of shape (points,)."""
    floor = np.hypot(engine.t0_milliseconds, engine.delta_milliseconds * sequences)
    each = engine.kappa_milliseconds * context + engine.beta_milliseconds
    return np.asarray(floor + each * sequences)


def _prefill(engine: PerformanceProfile) -> PrefillProfile:
    lengths = np.linspace(_SHORTEST, _longest(engine), _LENGTHS).round()
    times = np.array([prompt_milliseconds(engine, int(length)) for length in lengths])
    return PrefillProfile(
        prompt_tokens=lengths, ttft_milliseconds=times, tokens_per_second=1000.0 * lengths / times
    )


def _decode(engine: PerformanceProfile) -> DecodeProfile:
    capacity = float(engine.kv_capacity_tokens)
    uses, contexts = [], []
    for context in np.geomspace(_SHORTEST, _longest(engine), _CONTEXTS):
        most = min(_FULLEST, engine.max_running * context / capacity)
        least = min(most, context / capacity)
        uses.append(np.linspace(least, most, _USES))
        contexts.append(np.full(_USES, context))
    use, context = np.concatenate(uses), np.concatenate(contexts)
    sequences = use * capacity / context
    times = decode_milliseconds(engine, sequences, context)
    return DecodeProfile(
        kv_use=use,
        context_tokens=context,
        itl_milliseconds=times,
        tokens_per_second=1000.0 * sequences / times,
        kv_capacity_tokens=capacity,
    )


def _longest(engine: PerformanceProfile) -> float:
    """Longest prompt that is tried: the package's, or what the KV room holds."""
    return max(float(_SHORTEST + _LENGTHS), min(float(_LONGEST), 0.9 * engine.kv_capacity_tokens))
