"""Requests to the API server have deadlines and a cap, and their failures can be told."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.adapters.clock import SystemClock
from controller.adapters.kubernetes import client as module
from controller.adapters.kubernetes.client import Kubernetes, Rate, new_api
from controller.adapters.kubernetes.errors import Forbidden, NotFound, Refused, Unanswered
from controller.ports import Conflict
from kubernetes import client

Answer = tuple[int, bytes]


class Server:
    """Answers every request as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, str, Any]] = []
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                """Answer."""
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                media = self.headers.get("Content-Type", "")
                outside.asked.append((self.command, self.path, media, body))
                status, data = outside.answers.pop(0)
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815 - the library's names

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.http.serve_forever, daemon=True).start()


def connected(host: str, timeout_seconds: float = 5.0) -> Kubernetes:
    """A connection without credentials."""
    configuration = client.Configuration()
    configuration.host, configuration.retries = host, False
    return Kubernetes(
        api=client.ApiClient(configuration),
        rate=Rate(per_second=1000.0, steady=SystemClock().steady),
        timeout_seconds=timeout_seconds,
        pool=ThreadPoolExecutor(2),
    )


@pytest.fixture
def server() -> Iterator[Server]:
    """Answers what the test puts into it."""
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def kubernetes(server: Server) -> Iterator[Kubernetes]:
    """Connected to that server."""
    made = connected(f"http://127.0.0.1:{server.http.server_port}")
    yield made
    made.close()


def status(code: int, message: str) -> Answer:
    """An answer as the API server words it."""
    return code, json.dumps({"kind": "Status", "message": message}).encode()


@pytest.mark.parametrize(
    ("code", "kind"),
    [(403, Forbidden), (404, NotFound), (409, Conflict), (422, Refused), (500, Refused)],
)
def test_a_refusal_is_told_by_its_kind_in_the_servers_words(
    server: Server, kubernetes: Kubernetes, code: int, kind: type[Exception]
) -> None:
    """Forbidden, not there, changed meanwhile, anything else."""
    server.answers = [status(code, "because of this")]
    with pytest.raises(kind, match="because of this"):
        kubernetes.get("/x")
    assert kubernetes.failures == 1


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"[1]", b"\xff\xfe"])
def test_an_answer_that_is_no_object_is_no_answer(
    server: Server, kubernetes: Kubernetes, body: bytes
) -> None:
    """A proxy's page is not taken for anything."""
    server.answers = [(200, body), (502, body)]
    with pytest.raises(Unanswered, match="no JSON object"):
        kubernetes.get("/x")
    with pytest.raises(Refused):
        kubernetes.get("/x")


def test_nobody_there_and_a_black_hole_are_no_answer() -> None:
    """The deadline ends a request that is never answered; nothing is tried twice."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hole = connected(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.2)
        with pytest.raises(Unanswered):
            hole.get("/x")
        assert (hole.requests, hole.failures) == (1, 1)
        hole.close()
    nobody = connected("http://127.0.0.1:1")
    with pytest.raises(Unanswered):
        nobody.get("/x")
    nobody.close()


def test_writes_name_the_field_manager_and_their_kind_of_patch(
    server: Server, kubernetes: Kubernetes
) -> None:
    """And are counted."""
    server.answers = [(200, b"{}")] * 4
    kubernetes.merge("/a", {"spec": {"replicas": 2}})
    kubernetes.patch("/b", [{"op": "test", "path": "/x", "value": 1}])
    kubernetes.create("/c", {"kind": "Lease"})
    kubernetes.replace("/d", {"kind": "Lease"})
    query = "?fieldManager=steelyard"
    assert server.asked == [
        ("PATCH", f"/a{query}", "application/merge-patch+json", {"spec": {"replicas": 2}}),
        (
            "PATCH",
            f"/b{query}",
            "application/json-patch+json",
            [{"op": "test", "path": "/x", "value": 1}],
        ),
        ("POST", f"/c{query}", "application/json", {"kind": "Lease"}),
        ("PUT", f"/d{query}", "application/json", {"kind": "Lease"}),
    ]
    assert (kubernetes.requests, kubernetes.writes) == (4, 4)


def test_a_long_collection_is_read_page_by_page(server: Server, kubernetes: Kubernetes) -> None:
    """Each page asks for the next one."""
    server.answers = [
        (200, b'{"metadata": {"continue": "next"}, "items": [1]}'),
        (200, b'{"metadata": {}, "items": [2]}'),
    ]
    pages = list(kubernetes.pages("/x", 1, {"labelSelector": "a"}))
    assert [page["items"] for page in pages] == [[1], [2]]
    assert [path for _, path, _, _ in server.asked] == [
        "/x?labelSelector=a&limit=1",
        "/x?labelSelector=a&limit=1&continue=next",
    ]


class Waiting:
    """A clock that goes on by what was waited."""

    def __init__(self) -> None:
        self.at = 0.0

    def steady(self) -> float:
        """The time."""
        return self.at

    def wait(self, seconds: float) -> bool:
        """Let time pass."""
        self.at += seconds
        return False


@given(
    per_second=st.sampled_from([1.0, 5.0, 50.0]),
    pauses=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=120),
)
@settings(deadline=None)
def test_no_more_begin_than_are_allowed(per_second: float, pauses: list[float]) -> None:
    """In any time there are at most a second's worth more than the rate times that time."""
    clock = Waiting()
    rate = Rate(per_second=per_second, steady=clock.steady, _never=clock)  # type: ignore[arg-type]
    began = []
    for pause in pauses:
        clock.at += pause
        rate.wait()
        began.append(clock.at)
    for i, first in enumerate(began):
        for n, last in enumerate(began[i:]):
            assert n <= per_second * (last - first) + per_second + 1e-6


def test_without_a_cluster_it_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither a kubeconfig nor a pod's ServiceAccount."""

    def none(**_: Any) -> None:
        raise module.config.ConfigException("Service host/port is not set.")

    monkeypatch.setattr(module.config, "load_config", none)
    with pytest.raises(ValueError, match="set KUBECONFIG, or run in a pod"):
        new_api(4)
