"""A collection is known while a watch of it is open, and not a moment longer than that is told."""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from controller.adapters.clock import SystemClock
from controller.adapters.kubernetes import reflector as module
from controller.adapters.kubernetes.client import Kubernetes, Rate
from controller.adapters.kubernetes.errors import Forbidden
from controller.adapters.kubernetes.reflector import Reflector
from controlplane.waiting import until
from kubernetes import client


def named(name: str, version: int) -> dict[str, Any]:
    """An object."""
    return {"metadata": {"name": name, "namespace": "serving", "resourceVersion": str(version)}}


@dataclass
class Names:
    """A sink that keeps names."""

    names: set[str] = field(default_factory=set)

    def replace(self, objects: Iterable[dict[str, Any]]) -> None:
        """Keep these alone."""
        self.names = {each["metadata"]["name"] for each in objects}

    def put(self, body: dict[str, Any]) -> None:
        """One more."""
        self.names.add(body["metadata"]["name"])

    def drop(self, body: dict[str, Any]) -> None:
        """One less."""
        self.names.discard(body["metadata"]["name"])


class ApiServer:
    """Lists what it is told to, and does with each watch what it is told to."""

    def __init__(self) -> None:
        self.listed = [named("a", 5)]
        self.watch: Callable[[BaseHTTPRequestHandler], None] = self.quiet
        self.lists = 0
        self.watches: list[str] = []
        self.ended = Event()
        outside = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                """List, or watch."""
                query = parse_qs(urlsplit(self.path).query)
                if "watch" in query:
                    outside.watches.append(query["resourceVersion"][0])
                    outside.watch(self)
                    return
                outside.lists += 1
                document = {"metadata": {"resourceVersion": "7"}, "items": outside.listed}
                answer(self, 200, json.dumps(document).encode())

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        Thread(target=self.http.serve_forever, daemon=True).start()

    def quiet(self, request: BaseHTTPRequestHandler) -> None:
        """A watch in which nothing happens."""
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.flush()
        self.ended.wait()
        request.close_connection = True

    def events(self, *events: dict[str, Any]) -> Callable[[BaseHTTPRequestHandler], None]:
        """A watch with these events, that ends after them; the next ones are quiet."""

        def send(request: BaseHTTPRequestHandler) -> None:
            self.watch = self.quiet
            data = b"".join(json.dumps(each).encode() + b"\n" for each in events)
            answer(request, 200, data)

        return send

    @staticmethod
    def refuse(status: int) -> Callable[[BaseHTTPRequestHandler], None]:
        """Every watch is refused."""
        return lambda request: answer(request, status, b'{"message": "no"}')


def answer(request: BaseHTTPRequestHandler, status: int, data: bytes) -> None:
    """Send it whole."""
    request.send_response(status)
    request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """Nothing happens in its watches."""
    made = ApiServer()
    yield made
    made.ended.set()
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def names() -> Names:
    """What is kept."""
    return Names()


@pytest.fixture
def reflector(
    server: ApiServer, names: Names, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reflector]:
    """Not started."""
    monkeypatch.setattr(module, "_PAUSES_SECONDS", (0.01,))
    monkeypatch.setattr(module, "_ABSENT_SECONDS", 0.01)
    configuration = client.Configuration()
    configuration.host = f"http://127.0.0.1:{server.http.server_port}"
    configuration.retries = False
    kubernetes = Kubernetes(
        api=client.ApiClient(configuration),
        rate=Rate(per_second=1000.0, steady=SystemClock().steady),
        timeout_seconds=5.0,
        pool=ThreadPoolExecutor(1),
    )
    made = Reflector(kubernetes=kubernetes, path="/x", sink=names, steady=SystemClock().steady)
    yield made
    made.stop()
    server.ended.set()
    kubernetes.close()


def test_what_is_listed_and_what_follows_is_kept(
    server: ApiServer, reflector: Reflector, names: Names
) -> None:
    """Added, changed and deleted; the next watch goes on after the last event."""
    server.watch = server.events(
        {"type": "ADDED", "object": named("b", 8)},
        {"type": "DELETED", "object": named("a", 9)},
        {"type": "BOOKMARK", "object": named("", 12)},
    )
    reflector.start()
    until(lambda: len(server.watches) == 2, "a second watch")
    assert names.names == {"b"}
    assert server.watches == ["7", "12"]
    assert server.lists == 1
    until(lambda: reflector.problem is None, "it to be known")


@pytest.mark.parametrize("status", [403, 500, 410])
def test_a_refused_watch_is_no_sign_of_life(
    server: ApiServer, reflector: Reflector, status: int
) -> None:
    """Though the listing works each time, what happens between listings is not known."""
    server.watch = server.refuse(status)
    reflector.start()
    until(lambda: len(server.watches) >= 3, "three tries")
    assert server.lists >= 2
    assert reflector.problem is not None
    if status == 403:
        until(lambda: isinstance(reflector.problem, Forbidden), "it to be told")


def test_a_version_that_is_too_old_is_listed_anew(
    server: ApiServer, reflector: Reflector, names: Names
) -> None:
    """The event says so; what went meanwhile is gone."""

    def expired(request: BaseHTTPRequestHandler) -> None:
        server.listed = [named("c", 20)]
        status = {"code": 410, "reason": "Expired", "message": "too old"}
        server.events({"type": "ERROR", "object": status})(request)

    server.watch = expired
    reflector.start()
    until(lambda: names.names == {"c"}, "the new listing")
    assert server.lists == 2


@pytest.mark.parametrize(
    "line", [b"{", b'{"type": "ADDED"}\n', b'{"type": "ADDED", "object": 1}\n']
)
def test_what_cannot_be_read_breaks_the_watch_and_not_the_thread(
    server: ApiServer, reflector: Reflector, names: Names, line: bytes
) -> None:
    """It goes on where it was."""

    def garbled(request: BaseHTTPRequestHandler) -> None:
        server.watch = server.events({"type": "ADDED", "object": named("b", 8)})
        answer(request, 200, line)

    server.watch = garbled
    reflector.start()
    until(lambda: names.names == {"a", "b"}, "the next watch")
    assert reflector.alive()


def test_it_ends_when_it_is_told_to(server: ApiServer, reflector: Reflector) -> None:
    """Also in the middle of a quiet watch."""
    reflector.start()
    until(lambda: server.watches and reflector.problem is None, "the watch")
    server.ended.wait(0.1)  # until it reads, which nothing tells
    reflector.stop()
    until(lambda: not reflector.alive(), "the end")
