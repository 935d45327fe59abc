"""Schedules start when a wall clock in their time zone says so."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.api.conversion import to_policy, with_windows
from controller.api.conversion.windows import check_cron
from controller.api.prices import REFERENCE_PRICES
from controller.api.v1alpha1 import parse
from controller.core.domain.policy import Policy, Schedule

Document = dict[str, Any]

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: Any = UTC) -> float:
    """Return Unix seconds of a wall clock's reading."""
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


Windows = Callable[[str, str, float, float], list[float]]


@pytest.fixture
def starts(policy: Policy) -> Windows:
    """Starts of minute-long windows of an expression in a zone between two Unix times."""

    def found(cron: str, zone: str, first: float, last: float) -> list[float]:
        (schedule,) = policy.schedules
        minute = replace(schedule, cron=cron, time_zone=zone, duration_seconds=30.0)
        (expanded,) = with_windows(replace(policy, schedules=(minute,)), first, last).schedules
        return [start for start, _ in expanded.windows if start >= first]

    return found


def in_berlin(starts: Windows, cron: str, first: str, last: str) -> list[str]:
    """Return the starts between two readings of Berlin's clock, as readings."""
    found = starts(cron, "Europe/Berlin", at(first, BERLIN), at(last, BERLIN))
    return [datetime.fromtimestamp(t, BERLIN).strftime("%m-%d %H:%M") for t in found]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 8 * * *", ["03-03 08:30", "03-04 08:30"]),
        ("0 */8 4 * *", ["03-04 00:00", "03-04 08:00", "03-04 16:00"]),
        ("0 20/2 3 * *", ["03-03 20:00", "03-03 22:00"]),
        ("0 6-8/2,12 4 3 *", ["03-04 06:00", "03-04 08:00", "03-04 12:00"]),
        ("0 9 * * 1", ["03-03 09:00"]),
        ("0 9 * * 7", []),
        ("0 9 4 * 1", ["03-03 09:00", "03-04 09:00"]),
        ("0 9 */2 * 1", ["03-03 09:00"]),
        ("0 9 * 4 *", []),
    ],
)  # fmt: skip
def test_starts(starts: Windows, cron: str, expected: list[str]) -> None:
    """Steps, ranges, lists, weekdays and either kind of day, on Monday 3 and Tuesday 4 March."""
    assert in_berlin(starts, cron, "2025-03-03T00:00", "2025-03-05T00:00") == expected


def test_sunday_has_two_numbers(starts: Windows) -> None:
    """0 and 7 both are Sunday, 9 March 2025."""
    week = ("2025-03-03T00:00", "2025-03-10T00:00")
    sundays = in_berlin(starts, "0 9 * * 0", *week)
    assert sundays == in_berlin(starts, "0 9 * * 7", *week) == ["03-09 09:00"]


def test_start_in_a_skipped_hour_comes_when_it_is_over(starts: Windows) -> None:
    """On 30 March 2025 Berlin's clock goes from 02:00 to 03:00."""
    assert in_berlin(starts, "30 2 * * *", "2025-03-29T00:00", "2025-04-01T00:00") == [
        "03-29 02:30",
        "03-30 03:00",
        "03-31 02:30",
    ]


def test_repeated_hour_starts_once(starts: Windows) -> None:
    """On 26 October 2025 Berlin's clock shows 02:30 twice; the first showing counts."""
    day = (at("2025-10-26T00:00", BERLIN), at("2025-10-27T00:00", BERLIN))
    assert starts("30 2 * * *", "Europe/Berlin", *day) == [at("2025-10-26T00:30")]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    weekday=st.integers(0, 6),
    start=st.integers(0, 40_000),
    zone=st.sampled_from(["UTC", "Asia/Kolkata", "Pacific/Apia", "America/Argentina/Salta"]),
)
def test_starts_are_what_a_minute_by_minute_search_finds(
    starts: Windows, minute: int, hour: int, weekday: int, start: int, zone: str
) -> None:
    """Over ten days every minute that reads as the expression says is a start, and no other."""
    here = ZoneInfo(zone)
    first = datetime(2025, 2, 20, tzinfo=UTC) + timedelta(minutes=start)
    walk = [first + timedelta(minutes=i) for i in range(10 * 1440)]
    readings = [(moment.timestamp(), moment.astimezone(here)) for moment in walk]
    expected = [
        t
        for t, wall in readings
        if (wall.minute, wall.hour, wall.isoweekday() % 7) == (minute, hour, weekday)
    ]
    cron = f"{minute} {hour} * * {weekday}"
    end = first + timedelta(days=10)
    assert starts(cron, zone, first.timestamp(), end.timestamp()) == expected


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("0 8 * *", "wrong number of fields"),
        ("0 8 * * XYZ", "bad day-of-week"),
        ("60 8 * * *", "bad minute"),
        ("0 18-8 * * *", "bad hour"),
        ("0 8 0 * *", "bad day-of-month"),
        ("*/0 8 * * *", "bad minute"),
    ],
)
def test_unreadable_expressions_say_why(cron: str, message: str) -> None:
    """An expression that cannot be read or never starts names its field and shows a right one."""
    with pytest.raises(ValueError, match=message) as failure:
        check_cron(cron)
    assert '"0 8 * * 1-5"' in str(failure.value)


@pytest.fixture
def policy(chat: Document) -> Policy:
    """A floor for working hours in Berlin."""
    chat["spec"]["schedules"] = [
        {
            "name": "day",
            "variant": "fp8",
            "cron": "0 8 * * 1-5",
            "timeZone": "Europe/Berlin",
            "durationSeconds": 36000,
            "minReplicas": 2,
        }
    ]
    return to_policy(parse(chat), REFERENCE_PRICES, 15.0)


def test_windows_cover_what_is_open_at_the_edges(policy: Policy) -> None:
    """A window that began before the span and still runs is in it; one that ended is not."""
    expanded = with_windows(policy, at("2025-03-04T10:00"), at("2025-03-05T08:00"))
    assert expanded.schedules[0].windows == (
        (at("2025-03-04T07:00"), at("2025-03-04T17:00")),
        (at("2025-03-05T07:00"), at("2025-03-05T17:00")),
    )
    assert expanded.schedules[0].open_at(at("2025-03-04T16:59"))
    assert not expanded.schedules[0].open_at(at("2025-03-04T17:00"))


def test_overlapping_windows_are_joined(policy: Policy) -> None:
    """Starts within a window prolong it: memory does not grow with how often a schedule starts."""
    often = replace(policy.schedules[0], cron="* * * * *", duration_seconds=60.0)
    policy = replace(policy, schedules=(often,))
    first, last = at("2025-03-04T10:00"), at("2025-03-07T10:00")
    assert with_windows(policy, first, last).schedules[0].windows == ((first, last),)


def test_without_schedules_nothing_is_done(chat: Document) -> None:
    """The same policy comes back."""
    policy = to_policy(parse(chat), REFERENCE_PRICES, 15.0)
    assert with_windows(policy, 0.0, 1e9) is policy


def test_other_fields_of_a_schedule_are_kept(policy: Policy) -> None:
    """Only the windows are filled in."""
    (before,) = policy.schedules
    (after,) = with_windows(policy, at("2025-03-04T10:00"), at("2025-03-05T08:00")).schedules
    assert (
        replace(after, windows=())
        == before
        == Schedule(
            variant="fp8",
            cron="0 8 * * 1-5",
            time_zone="Europe/Berlin",
            duration_seconds=36000.0,
            min_replicas=2,
        )
    )
