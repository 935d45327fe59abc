"""The GPU optimizer's profile: what one replica of a variant carries of requests of one size.

The peer's user runs a benchmark at every cell of a grid of fixed lengths and keeps the highest rate
at which a percentile of the requests, also the user's choice, meets the SLO. Here the benchmark is
the capacity of one replica behind its own queue, at the policy's thresholds.

A cell that no variant serves would ask for replicas without end (the peer takes a throughput of 0
for a load of 1e6), so a user ends the grid before: longer prompts belong to the longest that some
variant serves, as all sizes beyond a profile's border belong to it.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from controller.core.domain.policy import Balancing, Routing, RoutingLaw, Slo
from controller.core.domain.variant import Role, Variant
from controller.core.performance.capacity import fleet_capacity
from controller.core.performance.mix import TokenMix

#: Powers of 2 tokens that the grid spans; sizes beyond belong to the border's cell.
PROMPT_POWERS = (2, 14)
OUTPUT_POWERS = (2, 12)
#: Lowest rate (requests/s) that is benchmarked; a replica that carries less does not serve a size.
LEAST_RATE = 0.25
#: Percentile of the published profiles.
PERCENTILE = 99.0
_ONE_POOL = Routing(law=RoutingLaw.SHARED, balancing=Balancing.LEAST_LOADED)


def nearest_cell(prompt_log2: float, output_log2: float) -> tuple[int, int]:
    """Powers of 2 of the grid's cell nearest to a size."""
    prompt, output = round(prompt_log2), round(output_log2)
    return (
        min(max(prompt, PROMPT_POWERS[0]), PROMPT_POWERS[1]),
        min(max(output, OUTPUT_POWERS[0]), OUTPUT_POWERS[1]),
    )


def throughputs(variants: Sequence[Variant], slo: Slo, cell: tuple[int, int]) -> tuple[float, ...]:
    """Requests/s of one replica of every variant, ``slo`` carrying the percentile as its target.

    0 for a variant that does not serve the size; for all of them only where none serves any prompt.
    """
    prompt, output = cell
    while True:
        found = tuple(throughput(variant, slo, (prompt, output)) for variant in variants)
        if max(found) > 0.0 or prompt == PROMPT_POWERS[0]:
            return found
        prompt -= 1


@lru_cache(maxsize=4096)
def throughput(variant: Variant, slo: Slo, cell: tuple[int, int]) -> float:
    """Requests/s of one replica; 0 where the SLO is not met at the lowest rate."""
    mix = TokenMix.from_samples([2.0 ** cell[0]], [2.0 ** cell[1]])
    alone = replace(variant, role=Role.PRIMARY)
    capacity = fleet_capacity((alone,), slo, _ONE_POOL, mix)
    if capacity.ceiling((1,)) < slo.target:
        return 0.0
    found = capacity.capacity((1,))
    return found if found >= LEAST_RATE else 0.0
