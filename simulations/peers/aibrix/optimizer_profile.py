"""The GPU optimizer's profile: what one replica of a variant carries of requests of one size.

The peer's user runs a benchmark at every cell of a grid of fixed lengths and keeps the highest rate
that meets the SLO at the percentile asked for. Here the benchmark is the capacity of one replica
behind its own queue, at the policy's thresholds and target share.
"""

import math
from dataclasses import replace
from functools import lru_cache

from controller.core.domain.policy import Balancing, Routing, RoutingLaw, Slo
from controller.core.domain.variant import Role, Variant
from controller.core.performance.capacity import fleet_capacity
from controller.core.performance.mix import TokenMix

#: Powers of 2 tokens that the grid spans; sizes beyond belong to the border's cell.
PROMPT_POWERS = (2, 14)
OUTPUT_POWERS = (2, 12)
_ONE_POOL = Routing(law=RoutingLaw.SHARED, balancing=Balancing.LEAST_LOADED)


def nearest_cell(prompt_log2: float, output_log2: float) -> tuple[int, int]:
    """Powers of 2 of the grid's cell nearest to a size."""
    prompt, output = round(prompt_log2), round(output_log2)
    return (
        min(max(prompt, PROMPT_POWERS[0]), PROMPT_POWERS[1]),
        min(max(output, OUTPUT_POWERS[0]), OUTPUT_POWERS[1]),
    )


@lru_cache(maxsize=4096)
def throughput(variant: Variant, slo: Slo, cell: tuple[int, int]) -> float:
    """Requests/s of one replica; 0 where not even a lone request meets the SLO."""
    mix = TokenMix.from_samples([2.0 ** cell[0]], [2.0 ** cell[1]])
    alone = replace(variant, role=Role.PRIMARY)
    capacity = fleet_capacity((alone,), slo, _ONE_POOL, mix)
    if capacity.ceiling((1,)) < slo.target:
        return 0.0
    found = capacity.capacity((1,))
    return found if math.isfinite(found) else 0.0
