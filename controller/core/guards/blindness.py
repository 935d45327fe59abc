"""Blindness: without fresh traffic nothing shrinks; on a rise it may follow the last forecast.

Missing, stale, partial and not-a-number readings are all blind. The recommendation handed in is
then made from the last trusted forecast, carried forward; it may raise the allocation for
``RISE_SECONDS``, and after that the allocation is held.
"""

from controller.core.domain.decision import Allocation, Reason
from controller.core.guards.context import GuardContext, Verdict, raised

#: How long a blind controller may follow a rising forecast, in seconds.
RISE_SECONDS = 1800.0


def blind(
    context: GuardContext, allocation: Allocation, blind_seconds: float, *, forecast_trusted: bool
) -> Verdict:
    """Hold, or rise along a trusted forecast, while traffic is missing."""
    if forecast_trusted and blind_seconds <= RISE_SECONDS:
        higher = raised(context.current, allocation)
        if higher != context.current:
            return Verdict(higher, Reason.BLIND_RISE)
    return Verdict(context.current, Reason.BLIND_HOLD)
