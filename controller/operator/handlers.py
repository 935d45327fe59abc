"""What kopf calls: every event of a ModelDeployment goes into the store, and that is all.

Event handlers only: timers, daemons and handlers of creation or change make kopf put finalizers and
annotations on the users' objects.
"""

from typing import Any, Final

import kopf

from controller.api.v1alpha1 import GROUP, VERSION
from controller.operator.store import ObjectStore

PLURAL: Final = "modeldeployments"

#: Seconds the API server is asked to keep a watch open (an integer: it refuses others), and those
#: after which the client gives it up.
_WATCH_SECONDS: Final = 300
_WATCH_GRACE_SECONDS: Final = 30


class _Backoffs:
    """Pauses between tries, without an end: an API server that restarts ends no watch."""

    def __iter__(self) -> Any:
        """Yield 1, 2, 4, 5, 5, ... seconds."""
        yield from (1.0, 2.0, 4.0)
        while True:
            yield 5.0


def operator_settings() -> kopf.OperatorSettings:
    """How kopf is to behave: it watches, and writes nothing."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # our own events are written on transitions
    settings.scanning.disabled = True  # needs no right on namespaces and definitions
    settings.peering.standalone = True  # the Lease decides who leads
    settings.watching.server_timeout = _WATCH_SECONDS
    settings.watching.client_timeout = _WATCH_SECONDS + _WATCH_GRACE_SECONDS
    settings.watching.connect_timeout = 10.0
    settings.networking.request_timeout = 60.0
    settings.networking.error_backoffs = _Backoffs()
    return settings


def registry(store: ObjectStore) -> kopf.OperatorRegistry:
    """The handlers, bound to ``store``."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def login(**arguments: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_via_client(**arguments)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=handlers)
    async def remember(event: Any, **_: Any) -> None:
        put(store, event)

    return handlers


def put(store: ObjectStore, event: Any) -> None:
    """Put one event of the watch, or of the listing before it, into the store."""
    if event["type"] == "DELETED":
        store.drop(event["object"])
    else:
        store.put(event["object"])
