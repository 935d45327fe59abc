"""Pause: a user's annotation stops all changes, or those one way. It wins over everything else."""

from controller.core.domain.decision import Allocation, Reason
from controller.core.domain.policy import Pause
from controller.core.guards.context import GuardContext, Verdict, lowered, raised


def pause(context: GuardContext, allocation: Allocation) -> Verdict:
    """Keep what there is where scaling in, out or at all is paused."""
    asked = context.policy.pause
    if asked is Pause.ALL:
        allocation = context.current
    elif asked is Pause.IN:
        allocation = raised(context.current, allocation)
    elif asked is Pause.OUT:
        allocation = lowered(context.current, allocation)
    return Verdict(allocation, Reason.PAUSED)
