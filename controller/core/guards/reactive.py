"""Reactive floor: never below what the last arrivals need, refused ones included."""

from controller.core.domain.decision import Allocation, Reason
from controller.core.domain.variant import Role
from controller.core.guards.context import GuardContext, Verdict


def reactive_floor(context: GuardContext, allocation: Allocation) -> Verdict:
    """Add Primary replicas until the present load is carried, as long as each adds capacity.

    Where the model sees no capacity to be had, more of the same would cost without helping.
    Fallbacks are the optimiser's, who minds the quality budget.
    """
    load = context.load
    if load is None:
        return Verdict(allocation, Reason.REACTIVE_FLOOR)
    carried = load.carries(allocation)
    for v in context.policy.indices(Role.PRIMARY):
        while carried < load.rate and allocation[v] < context.policy.variants[v].max_replicas:
            larger = (*allocation[:v], allocation[v] + 1, *allocation[v + 1 :])
            more = load.carries(larger)
            if more <= carried:
                break
            allocation, carried = larger, more
    return Verdict(allocation, Reason.REACTIVE_FLOOR)
