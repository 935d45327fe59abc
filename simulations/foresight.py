"""The demand to come, for the ablation that knows it: what a perfect forecast would say."""

import numpy as np
from numpy.typing import NDArray

from controller.core.intake import reference_profile
from controller.core.performance.work import REFERENCE_TOKENS, work_seconds
from controller.core.settings import Foresight
from simulations.world.world import Setup

#: Half the minute around a moment over which demand is told.
_HALF_SECONDS = 30.0


def foresight(setup: Setup) -> Foresight:
    """The true demand of a replay in requests/s of the reference tokens, by Unix time."""
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

    def known(unix_seconds: float) -> float:
        middle = unix_seconds - setup.origin_seconds
        edges = np.clip([middle - _HALF_SECONDS, middle + _HALF_SECONDS], 0.0, at[-1])
        length = max(edges[1] - edges[0], tick)
        low, high = np.interp(edges, at, done)
        return float((high - low) / length)

    return known
