"""The audit: what the watch did not tell is found out, without forgetting what is new."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from controller.api.prices import REFERENCE_PRICES
from controller.operator.audit import Audit
from controller.operator.reporting import Reporters
from controller.operator.store import ObjectStore
from controller.ports import Conflict, PortError, Report, TargetNotFound

MakeBody = Callable[..., dict[str, Any]]


@pytest.fixture
def store() -> ObjectStore:
    """Nothing in it."""
    return ObjectStore(prices=REFERENCE_PRICES, tick_seconds=15.0)


def test_what_was_deleted_unseen_is_forgotten(store: ObjectStore, make_body: MakeBody) -> None:
    """An object that a listing does not show and that was known before it is gone."""
    store.put(make_body("a"))
    store.put(make_body("b"))
    Audit(store=store, existing=lambda: {"uid-a"}).run()
    assert store.uids() == {"uid-a"}


def test_what_is_created_while_listing_stays(store: ObjectStore, make_body: MakeBody) -> None:
    """The watch may be ahead of the listing."""

    def existing() -> set[str]:
        store.put(make_body("new"))
        return set()

    Audit(store=store, existing=existing).run()
    assert store.uids() == {"uid-new"}


def test_objects_unseen_twice_mean_a_stuck_watch(store: ObjectStore, make_body: MakeBody) -> None:
    """Once may be a new object on its way; when it is seen all is well again."""
    audit = Audit(store=store, existing=lambda: {"uid-a"})
    assert audit.unlisted() == "not listed yet"
    audit.run()
    assert audit.stuck() is None
    assert audit.unlisted() == "1 objects are not seen yet"
    audit.run()
    assert audit.stuck() == "1 objects exist and are not seen"
    store.put(make_body("a"))
    assert audit.unlisted() is None
    audit.run()
    assert audit.stuck() is None


def test_all_reporters_are_told_and_the_first_problem_is_kept(
    make_report: Callable[..., Report],
) -> None:
    """A reporter that fails hides neither the reports from the next nor its own failure."""
    told: list[str] = []
    problems: dict[str, PortError | None] = {
        "first": None,
        "second": Conflict("second"),
        "third": TargetNotFound("third"),
    }

    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        async def report(self, reports: Sequence[Report], now: float) -> list[PortError | None]:
            assert now == 1.0
            told.append(self.name)
            return [problems[self.name]] * len(reports)

    every = Reporters(tuple(Named(name) for name in problems))
    assert asyncio.run(every.report([make_report()], 1.0)) == [problems["second"]]
    assert told == list(problems)
