"""Saturation: a backlog speaks when arrivals cannot be seen.

While arrivals are known they carry the demand, and a floor on the backlog only costs (measured:
0 to 3 % at equal attainment). Blind, the gauges are all there is.
"""

from math import ceil

from controller.core.domain.decision import Allocation, Reason
from controller.core.domain.observation import Measured
from controller.core.domain.variant import Role
from controller.core.guards.context import GuardContext, Verdict

#: Waiting requests per Ready replica that say a fleet is saturated.
WAITING_PER_REPLICA = 5.0
#: Share of KV room in use that says the same.
KV_USE = 0.9
#: Share of the Ready replicas added at once.
STEP_SHARE = 0.1


def saturation(context: GuardContext, allocation: Allocation) -> Verdict:
    """Add a step of Primary replicas when nothing is starting and the gauges show saturation."""
    raised_to = list(allocation)
    for v in context.policy.indices(Role.PRIMARY):
        seen = context.observation.variants[v]
        if seen.ready == 0 or seen.starting_since_seconds:
            continue
        waiting = seen.waiting.value if isinstance(seen.waiting, Measured) else 0.0
        kv_use = seen.kv_use.value if isinstance(seen.kv_use, Measured) else 0.0
        if waiting > WAITING_PER_REPLICA * seen.ready or kv_use > KV_USE:
            step = max(1, ceil(STEP_SHARE * seen.ready))
            raised_to[v] = max(raised_to[v], seen.ready + step)
    return Verdict(tuple(raised_to), Reason.SATURATION_FLOOR)
