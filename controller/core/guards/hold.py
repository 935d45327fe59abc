"""Hold: a replica is released only when nothing asked for it during one cold start.

Keeping an idle replica for as long as its start costs is the break-even rule of ski rental, and
with GPU time billed from request it is what the clairvoyant plan does too (Lu and Chen, Simple and
effective dynamic provisioning for power-proportional data centers, 2011).
"""

from controller.core.domain.decision import Allocation, Reason
from controller.core.guards.context import GuardContext, Verdict


def hold(context: GuardContext, allocation: Allocation) -> Verdict:
    """Never below the largest recommendation of the last hold, variant by variant."""
    held = tuple(
        min(
            max(
                [wanted]
                + [
                    recommended[v]
                    for at, recommended in context.recommended
                    if at > context.now - context.hold_seconds[v]
                ]
            ),
            max(context.current[v], wanted),
        )
        for v, wanted in enumerate(allocation)
    )
    return Verdict(held, Reason.HOLD_NOT_EXPIRED)


def restart(context: GuardContext, allocation: Allocation) -> Verdict:
    """No decrease until what was seen since the start covers the hold."""
    kept = tuple(
        max(wanted, current)
        if context.now - context.seen_since_seconds < context.hold_seconds[v]
        else wanted
        for v, (wanted, current) in enumerate(zip(allocation, context.current, strict=True))
    )
    return Verdict(kept, Reason.HISTORY_TOO_SHORT)
