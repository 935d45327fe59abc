"""The occurrences of a policy's schedules: the core compares times and knows no calendar."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

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
    joined: list[tuple[float, float]] = []
    for start in _starts(schedule, from_seconds - schedule.duration_seconds, to_seconds):
        end = start + schedule.duration_seconds
        if end <= from_seconds:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(joined)


def _starts(schedule: Schedule, from_seconds: float, to_seconds: float) -> Iterator[float]:
    """Yield the starts in ``[from_seconds, to_seconds)``, in order.

    A start that the clock skips when it is put forward comes as soon as it has; one that it shows
    twice when it is put back happens once, at the first showing.
    """
    # CronSim begins with the minute after the one it is given.
    before = datetime.fromtimestamp(from_seconds - 60.0, ZoneInfo(schedule.time_zone))
    for moment in CronSim(schedule.cron, before):
        start = moment.timestamp()
        if start >= to_seconds:
            return
        if start >= from_seconds:
            yield start


def check_cron(expression: str) -> None:
    """Raise ``ValueError``, saying what is wrong, for what is no cron expression."""
    try:
        CronSim(expression, datetime(2025, 1, 1))  # noqa: DTZ001 - any time will do
    except CronSimError as error:
        raise ValueError(
            f'found "{expression}" ({str(error).lower()}); write five fields such as "0 8 * * 1-5"'
        ) from error
