"""Schedules: floors and ceilings that hold inside recurring windows.

The windows are expanded from cron and time zone at the edge; the core compares times.
"""

from controller.core.domain.decision import Allocation, Reason
from controller.core.guards.context import GuardContext, Verdict


def schedule_floor(context: GuardContext, allocation: Allocation) -> Verdict:
    """At least the floors of the windows that are open."""
    raised = list(allocation)
    for v, variant in enumerate(context.policy.variants):
        for schedule in context.policy.schedules:
            if schedule.variant == variant.name and schedule.open_at(context.now):
                raised[v] = max(raised[v], schedule.min_replicas or 0)
    return Verdict(tuple(raised), Reason.SCHEDULE_FLOOR)


def schedule_ceiling(context: GuardContext, allocation: Allocation) -> Verdict:
    """At most the ceilings of the windows that are open."""
    capped = list(allocation)
    for v, variant in enumerate(context.policy.variants):
        for schedule in context.policy.schedules:
            ceiling = schedule.max_replicas
            open_now = schedule.variant == variant.name and schedule.open_at(context.now)
            if ceiling is not None and open_now:
                capped[v] = min(capped[v], ceiling)
    return Verdict(tuple(capped), Reason.SCHEDULE_CEILING)
