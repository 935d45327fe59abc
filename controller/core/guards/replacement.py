"""Replacement: capacity goes only when what replaces it is Ready.

When one variant takes over from another, the old replicas stay until the new ones serve. Where a
full GPU quota leaves no room for the new ones, one replica at a time makes room, and only while
the rest meets the SLO now.
"""

from controller.core.domain.decision import Allocation, Reason
from controller.core.guards.context import GuardContext, Verdict


def replacement(context: GuardContext, allocation: Allocation) -> Verdict:
    """Keep present replicas of a shrinking variant while a growing one is not Ready."""
    variants = context.observation.variants
    current = context.current
    shrinking = [v for v, n in enumerate(allocation) if n < current[v]]
    waited_for = [
        v
        for v, n in enumerate(allocation)
        if n > 0 and variants[v].ready < n and v not in shrinking
    ]
    if not shrinking or not waited_for:
        return Verdict(allocation, Reason.REPLACEMENT_NOT_READY)
    ready_now = tuple(
        min(n, variant.ready) for n, variant in zip(allocation, variants, strict=True)
    )
    if context.load is not None and context.load.covered_by(ready_now):
        return Verdict(allocation, Reason.REPLACEMENT_NOT_READY)
    kept = list(allocation)
    for v in shrinking:
        kept[v] = current[v]
    blocked = any(variants[v].unschedulable for v in waited_for)
    if blocked and context.load is not None:
        for v in shrinking:
            fewer = tuple(
                min(variant.ready, current[w]) - (1 if w == v else 0)
                for w, variant in enumerate(variants)
            )
            if fewer[v] >= 0 and context.load.covered_by(fewer):
                kept[v] = current[v] - 1
                break
    return Verdict(tuple(kept), Reason.REPLACEMENT_NOT_READY)
