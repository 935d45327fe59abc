"""The queue limit that a scenario asks for by ``auto``.

A replica that refuses beyond a limit keeps what it has taken in within the SLO. Too tight, it
refuses what chance alone brings together, and the fewer a replica holds the more that is; too wide,
an overload is late for all. No share of the outstanding at capacity is right for both: .85 of them
is near the best where a replica holds 150 (chat on an H100), and costs a sixth of the capacity
where it holds 25 (the same on an L40S) or 10 (prompts of 12,000 tokens).
"""

from dataclasses import replace
from math import floor

from controller.core.performance.capacity import FleetCapacity, fleet_capacity

#: The overload, over the capacity without a limit, and the fleet that a limit is chosen for.
OVERLOAD = 1.3
FLEET = 20
#: How much less than the best a limit may serve. Beyond the best there is a cliff, and the model is
#: off by a few parts in a hundred, so the tightest limit that serves nearly as much is taken.
NEARLY = 0.98
#: Limits tried, over the outstanding at capacity.
_SHARES = tuple(0.7 * 1.1**step for step in range(16))


def auto_queue_limit(unlimited: FleetCapacity, variant: int) -> int:
    """Outstanding requests at which a replica of one variant should refuse.

    It is the tightest limit with which a fleet of this variant alone serves nearly as many good
    requests as with the best one, when a third more arrives than it carries. ``unlimited`` is the
    capacity without limits.
    """
    alone = tuple(FLEET if v == variant else 0 for v in range(len(unlimited.variants)))
    rate = OVERLOAD * unlimited.capacity(alone)
    knee = unlimited.outstanding_at_capacity(variant, FLEET)
    limits = sorted({max(1, floor(share * knee)) for share in _SHARES})
    good = [1.0 - _limited(unlimited, variant, n).miss_share(alone, rate) for n in limits]
    enough = NEARLY * max(good)
    return next(n for n, share in zip(limits, good, strict=True) if share >= enough)


def _limited(unlimited: FleetCapacity, variant: int, limit: int) -> FleetCapacity:
    """The same fleet, one variant of which refuses at a limit."""
    variants = tuple(
        replace(each, queue_limit=limit) if v == variant else each
        for v, each in enumerate(unlimited.variants)
    )
    return fleet_capacity(variants, unlimited.slo, unlimited.routing, unlimited.mix)
