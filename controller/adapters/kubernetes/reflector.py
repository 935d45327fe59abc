"""Keeps what a collection holds in memory: a listing, then a watch, and again when that breaks.

What is kept of an object is the sink's to say: bodies are dropped as soon as it has seen them.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Event, Thread
from typing import Any, Final, Protocol

from urllib3.exceptions import HTTPError

from controller.adapters.kubernetes.client import Document, Kubernetes
from controller.adapters.kubernetes.errors import Forbidden, NotFound, Refused, refusal
from controller.ports import PortError
from kubernetes import client, watch

_LOG: Final = logging.getLogger("steelyard.kubernetes")

#: Objects of one page of a listing.
_PAGE: Final = 500

#: Seconds the API server is asked to keep a watch open, and the longest silence in one: bookmarks
#: come each minute.
_WATCH_SECONDS: Final = 300
_SILENCE_SECONDS: Final = 100.0
_CONNECT_SECONDS: Final = 5.0

#: Pauses after failures in a row; the last one stays. A kind that is not there is asked for seldom.
_PAUSES_SECONDS: Final = (0.2, 0.5, 1.0, 2.0)
_ABSENT_SECONDS: Final = 10.0


class Sink(Protocol):
    """What keeps something of the objects of a collection; called from one thread."""

    def replace(self, objects: Iterable[Document]) -> None:
        """These are all there are."""
        ...

    def put(self, body: Document) -> None:
        """This one was added or changed."""
        ...

    def drop(self, body: Document) -> None:
        """This one is gone."""
        ...


@dataclass(slots=True, kw_only=True)
class Reflector:
    """One collection, such as ``/api/v1/namespaces/serving/pods``.

    ``problem`` says why it is not known what the collection holds now, and None while it is. What
    was listed stays in the sink meanwhile; ``seen_at`` is the steady time of the last sign of it.
    """

    kubernetes: Kubernetes
    path: str
    sink: Sink
    steady: Callable[[], float]
    problem: PortError | None = field(default_factory=lambda: PortError("not listed yet"))
    listed: bool = False
    seen_at: float = 0.0
    _failures: int = 0
    _stopped: Event = field(default_factory=Event)
    _watch: watch.Watch | None = None
    _thread: Thread | None = None

    def start(self) -> None:
        """Begin, in a thread of its own."""
        thread = Thread(target=self.run, name=f"watch {self.path}", daemon=True)
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """End soon."""
        self._stopped.set()
        if self._watch is not None:
            self._watch.stop()  # type: ignore[no-untyped-call]  # the client's own gap

    @property
    def begun(self) -> bool:
        """Whether it was started."""
        return self._thread is not None

    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def run(self) -> None:
        """List and watch until stopped, whatever happens meanwhile."""
        version = ""
        while not self._stopped.is_set():
            try:
                version = version or self._list()
                for seen in self._watched(version):
                    version = seen
                self._stopped.wait(_PAUSES_SECONDS[0])
            except _Expired:
                version = ""
            except PortError as error:
                if isinstance(error, Refused):
                    version = ""  # it may be the version that is refused: a listing shows
                self._stopped.wait(self._failed(error))

    def _seen(self) -> None:
        self.problem, self.seen_at = None, self.steady()

    def _failed(self, error: PortError) -> float:
        """Take a failure down; returns the seconds until the next try."""
        if self._failures == 0 and not self._stopped.is_set():
            # Of some kinds most clusters have none, such as KEDA's.
            level = logging.INFO if isinstance(error, NotFound) else logging.WARNING
            _LOG.log(level, "watch of %s: %s", self.path, error)
        self.problem = error
        pause = _PAUSES_SECONDS[min(self._failures, len(_PAUSES_SECONDS) - 1)]
        self._failures += 1
        return _ABSENT_SECONDS if isinstance(error, NotFound | Forbidden) else pause

    def _list(self) -> str:
        """Put all objects into the sink; returns the version from which to watch."""
        version = ""

        def objects() -> Iterable[Document]:
            nonlocal version
            for page in self.kubernetes.pages(self.path, _PAGE, {}):
                version = page["metadata"]["resourceVersion"]
                yield from page.get("items") or ()

        self.sink.replace(objects())
        self.listed = True
        self.seen_at = self.steady()
        return version

    def _watched(self, version: str) -> Iterable[str]:
        """Put the changes after ``version`` into the sink; yields the version after each."""
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }

        def open_stream(**_: Any) -> Any:
            response = self.kubernetes.open_watch(
                self.path, query, (_CONNECT_SECONDS, _SILENCE_SECONDS)
            )
            if self._stopped.is_set():
                response.close()
            elif response.status == HTTPStatus.OK:
                self._failures = 0
                self._seen()
            return response

        self._watch = _RawWatch()
        try:
            for event in self._watch.stream(  # type: ignore[no-untyped-call]
                open_stream, timeout_seconds=_WATCH_SECONDS
            ):
                body = event["object"]
                if event["type"] == "DELETED":
                    self.sink.drop(body)
                elif event["type"] != "BOOKMARK":
                    self.sink.put(body)
                self._seen()
                yield body["metadata"]["resourceVersion"]
        except client.ApiException as error:
            if error.status == HTTPStatus.GONE:
                raise _Expired from error
            raise refusal(error.status or 0, None, f"watch: {error.reason}") from error
        except (HTTPError, OSError, ValueError, KeyError, TypeError) as error:
            raise PortError(f"the watch broke: {type(error).__name__}") from error
        finally:
            self._watch = None


class _RawWatch(watch.Watch):
    """A watch whose objects stay as they came: making models of them takes ten times as long.

    Not asked for by the client's own ``deserialize=False``, which trips over error events (37.0).
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the client's own gap

    def get_return_type(self, func: Any) -> None:
        """None: no model."""
        del func


class _Expired(Exception):  # noqa: N818 - no error: the listing follows
    """The version is too old to watch from."""
