"""The occurrences of a policy's schedules: the core compares times and knows no calendar."""

from dataclasses import replace
from zoneinfo import ZoneInfo

from controller.api.calendar import CronExpression
from controller.core.domain.policy import Policy, Schedule


def with_windows(policy: Policy, from_seconds: float, to_seconds: float) -> Policy:
    """Return ``policy`` with every window that touches ``[from_seconds, to_seconds)`` (Unix time).

    A simulation expands its whole span once; an operator expands a day around now, daily.
    """
    if not policy.schedules:
        return policy
    return replace(
        policy,
        schedules=tuple(
            replace(schedule, windows=_windows(schedule, from_seconds, to_seconds))
            for schedule in policy.schedules
        ),
    )


def _windows(
    schedule: Schedule, from_seconds: float, to_seconds: float
) -> tuple[tuple[float, float], ...]:
    """Windows in order, those that overlap or touch joined."""
    starts = CronExpression.parse(schedule.cron).starts(
        ZoneInfo(schedule.time_zone), from_seconds - schedule.duration_seconds, to_seconds
    )
    joined: list[tuple[float, float]] = []
    for start in starts:
        end = start + schedule.duration_seconds
        if end <= from_seconds:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(joined)
