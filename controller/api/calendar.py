"""Cron expressions on a wall clock: when a schedule's windows start.

A start that the clock skips when it is put forward does not happen; one that it shows twice when
it is put back happens once, at the first showing. Where day of month and day of week are both
restricted either is enough, as in every cron.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Self
from zoneinfo import ZoneInfo

#: First and last value of minute, hour, day of month, month and day of week.
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


@dataclass(frozen=True, slots=True, kw_only=True)
class CronExpression:
    """The values each field allows; ``either_day`` when both kinds of day are restricted."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read five fields of numbers, ``*``, ranges, lists and steps.

        Raises:
            ValueError: naming the field that cannot be read or allows nothing.
        """
        fields = text.split(" ")
        if len(fields) != len(_RANGES):
            raise ValueError(f'found "{text}"; write five fields such as "0 8 * * 1-5"')
        minutes, hours, days, months, weekdays = (
            _values(field, low, high) for field, (low, high) in zip(fields, _RANGES, strict=True)
        )
        return cls(
            minutes=tuple(sorted(minutes)),
            hours=tuple(sorted(hours)),
            days=frozenset(days),
            months=frozenset(months),
            weekdays=frozenset(day % 7 for day in weekdays),
            either_day=not (fields[2].startswith("*") or fields[4].startswith("*")),
        )

    def allows(self, day: date) -> bool:
        """Whether any start falls on ``day``."""
        by_month = day.day in self.days
        by_week = day.isoweekday() % 7 in self.weekdays
        either = by_month or by_week
        return day.month in self.months and (either if self.either_day else by_month and by_week)

    def starts(self, zone: ZoneInfo, from_seconds: float, to_seconds: float) -> Iterator[float]:
        """Yield the starts in ``[from_seconds, to_seconds)`` (Unix time), in order."""
        day = datetime.fromtimestamp(from_seconds, zone).date()
        last = datetime.fromtimestamp(to_seconds, zone).date()
        while day <= last:
            if self.allows(day):
                yield from (
                    start
                    for start in self._starts_of(day, zone)
                    if from_seconds <= start < to_seconds
                )
            day += timedelta(days=1)

    def _starts_of(self, day: date, zone: ZoneInfo) -> list[float]:
        walls = [
            datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
            for hour in self.hours
            for minute in self.minutes
        ]
        return sorted(wall.timestamp() for wall in walls if _exists(wall, zone))


def _exists(wall: datetime, zone: ZoneInfo) -> bool:
    """Whether the clock ever shows ``wall``: a skipped hour comes back from UTC as another."""
    there_and_back = wall.astimezone(UTC).astimezone(zone)
    return there_and_back.replace(tzinfo=None) == wall.replace(tzinfo=None)


def _values(field: str, low: int, high: int) -> set[int]:
    values: set[int] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        first, dash, last = span.partition("-")
        try:
            start = low if span == "*" else int(first)
            # "5/15" means from 5 on, "5" only 5.
            open_ended = span == "*" or (step and not dash)
            end = high if open_ended else int(last or first)
            chosen = range(start, end + 1, int(step or 1))
        except ValueError as error:
            raise ValueError(f'"{field}" is no cron field of numbers') from error
        if not chosen or not low <= start <= end <= high:
            raise ValueError(f'"{item}" allows nothing from {low} to {high}')
        values.update(chosen)
    return values
