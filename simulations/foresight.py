"""The demand as it is, for the ablations that know it: to come, or only at the moment."""

import numpy as np
from numpy.typing import NDArray

from controller.core.intake import reference_profile
from controller.core.performance.work import REFERENCE_TOKENS, work_seconds
from controller.core.settings import Foresight
from simulations.world.world import Setup

#: Half the minute around a moment over which demand is told.
_HALF_SECONDS = 30.0


def foresight(setup: Setup, *, ahead: bool = True) -> Foresight:
    """The true demand of a replay: ``ahead`` as it will be, otherwise as it is when it is asked.

    The second is a causal oracle: it is told of a step as it happens, and of nothing before.
    """
    tick = setup.policy.tick_seconds
    demand = setup.trace.demand(tick)
    profile = reference_profile(setup.policy)
    weight = np.array(
        [
            work_seconds(profile, prompt, output)
            for prompt, output in zip(
                np.nan_to_num(demand.prompt_tokens_mean),
                np.nan_to_num(demand.output_tokens_mean),
                strict=True,
            )
        ]
    ) / work_seconds(profile, *REFERENCE_TOKENS)
    done: NDArray[np.float64] = np.concatenate(([0.0], np.cumsum(demand.requests * weight)))
    at = np.arange(len(done)) * tick

    def mean(from_seconds: float, to_seconds: float) -> float:
        edges = np.clip([from_seconds, to_seconds], 0.0, at[-1])
        low, high = np.interp(edges, at, done)
        return float((high - low) / max(edges[1] - edges[0], tick))

    def to_come(_: float, at_seconds: float) -> float:
        middle = at_seconds - setup.origin_seconds
        return mean(middle - _HALF_SECONDS, middle + _HALF_SECONDS)

    def at_the_moment(now: float, _: float) -> float:
        moment = now - setup.origin_seconds
        return mean(moment, moment + tick)

    return to_come if ahead else at_the_moment
