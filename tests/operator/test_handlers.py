"""What kopf is told: to watch, and to leave the users' objects alone."""

from itertools import islice
from typing import Any

import pytest

from controller.api.prices import REFERENCE_PRICES
from controller.core.domain.policy import ObjectKey
from controller.operator import handlers
from controller.operator.store import ObjectStore


@pytest.fixture
def store() -> ObjectStore:
    """Nothing in it."""
    return ObjectStore(prices=REFERENCE_PRICES, tick_seconds=15.0)


def test_only_events_are_handled(store: ObjectStore) -> None:
    """Any other kind of handler makes kopf put finalizers or annotations on objects."""
    registry = handlers.registry(store)
    assert len(list(registry._watching.get_all_handlers())) == 1
    for others in (registry._changing, registry._spawning, registry._indexing, registry._webhooks):
        assert list(others.get_all_handlers()) == []


def test_the_handler_puts_events_into_the_store(store: ObjectStore, make_body: Any) -> None:
    """Listed, added, changed and deleted ones alike; the handler returns nothing to write."""
    (handler,) = handlers.registry(store)._watching.get_all_handlers()
    for kind, known in ((None, True), ("DELETED", False), ("ADDED", True), ("MODIFIED", True)):
        coroutine = handler.fn(event={"type": kind, "object": make_body()}, retry=0)
        with pytest.raises(StopIteration) as done:
            coroutine.send(None)
        assert done.value.value is None
        assert (store.uids() == {"uid-llama-chat"}) is known
    assert store.entry(ObjectKey("serving", "llama-chat")).resource_version == "10"


def test_kopf_writes_nothing_and_never_gives_the_watch_up() -> None:
    """No events of kopf's, no peering objects, and tries without an end, seconds apart."""
    settings = handlers.operator_settings()
    assert not settings.posting.enabled
    assert settings.peering.standalone
    assert settings.scanning.disabled
    assert isinstance(settings.watching.server_timeout, int)  # the API server refuses "300.0"
    pauses = list(islice(iter(settings.networking.error_backoffs), 1000))  # type: ignore[arg-type]  # ours is a sequence
    assert len(pauses) == 1000
    assert max(pauses) <= 10.0
