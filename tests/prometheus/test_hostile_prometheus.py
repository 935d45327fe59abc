"""A Prometheus that fails in every way: missing, in time, for its reason; nothing is released."""

import asyncio
import gc
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from controller.adapters.prometheus.deadline import monotonic
from controller.adapters.prometheus.metrics import PrometheusMetrics
from controller.adapters.prometheus.profiles import parse as parse_profiles
from controller.adapters.prometheus.session import PrometheusClient, QueryFailed
from controller.adapters.prometheus.settings import PrometheusSettings
from controller.core.domain.observation import (
    Missing,
    MissingReason,
    Observation,
    Traffic,
    VariantObservation,
)
from controller.core.planner import SteelyardPlanner
from controller.ports import MetricsReading

ORIGIN = 1_743_465_600.0
TICK_SECONDS = 15.0
WARM_TICKS = 20

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def written(series: list[dict[str, Any]], **more: Any) -> bytes:
    """An answer as Prometheus writes it."""
    data = {"resultType": "vector", "result": series}
    return json.dumps({"status": "success", "data": data, **more}).encode()


def plain(body: bytes, status: int = 200, length: int | None = None) -> Answer:
    """Answer this, whole or cut off."""

    def write(handler: BaseHTTPRequestHandler, asked: bytes) -> None:
        del asked
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body)

    return write


class BlackHole:
    """Accepts, and sends a byte now and then, until it is let go."""

    def __init__(self, *, headers: bool) -> None:
        self._headers = headers
        self.let_go = threading.Event()

    def __call__(self, handler: BaseHTTPRequestHandler, asked: bytes) -> None:
        """Trickle."""
        del asked
        if self._headers:
            handler.send_response(200)
            handler.send_header("Content-Length", "1000000")
            handler.end_headers()
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.let_go.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()


def endless(handler: BaseHTTPRequestHandler, asked: bytes) -> None:
    """Send 100 MB of a list."""
    del asked
    handler.send_response(200)
    handler.send_header("Content-Length", str(100_000_000))
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"[" * 1_000_000)


def bomb(handler: BaseHTTPRequestHandler, asked: bytes) -> None:
    """Claim to be compressed."""
    del asked
    handler.send_response(200)
    handler.send_header("Content-Encoding", "gzip")
    handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"{}")


@pytest.fixture
def hasty(server: Any, settings: PrometheusSettings) -> PrometheusSettings:
    """Small deadlines, and a cap that 100 MB break."""
    return replace(
        settings, url=server.url, timeout_seconds=0.5, cycle_seconds=1.0, max_bytes=4_000_000
    )


@pytest.fixture
def client(hasty: PrometheusSettings) -> Iterator[PrometheusClient]:
    """A client of the hostile server."""
    made = PrometheusClient(hasty)
    yield made
    made.close()


def changed(series: list[dict[str, Any]], **renamed: str) -> list[dict[str, Any]]:
    """The same series with labels under other names."""
    return [
        {**one, "metric": {renamed.get(k, k): v for k, v in one["metric"].items()}}
        for one in series
    ]


def hostile(kind: str, series: list[dict[str, Any]]) -> Answer:
    """The ways to fail."""
    body = written(series)
    return {
        "warnings": plain(written(series, warnings=["one store did not answer"])),
        "warnings only": plain(written([], warnings=["no store answered"])),
        "black hole": BlackHole(headers=True),
        "black hole in the header": BlackHole(headers=False),
        "5xx": plain(b"upstream is down" * 1000, 503),
        "429": plain(b"slow down", 429),
        "redirect": plain(b"", 302),
        "truncated": plain(body[: len(body) // 2], length=len(body)),
        "truncated without saying so": plain(body[: len(body) // 2]),
        "100 MB": endless,
        "compressed": bomb,
        "no JSON": plain(b"<html>login</html>"),
        "another JSON": plain(b'{"status": "success", "data": {"result": [{"metric": 3}]}}'),
        "no list": plain(b'{"status": "success", "data": {"result": {"a": 1}}}'),
        "nested": plain(b"[" * 100_000),
        "twice": plain(written([*series, series[0]])),
        "label renamed": plain(written(changed(series, pod="pod_name"))),
        "namespace renamed": plain(written(changed(series, namespace="exported_namespace"))),
        "NaN": plain(written([*series[:-1], {**series[-1], "value": [0, "NaN"]}])),
        "empty": plain(written([])),
    }[kind]


REASONS = {
    "warnings": MissingReason.PARTIAL,
    "warnings only": MissingReason.PARTIAL,
    "black hole": MissingReason.QUERY_FAILED,
    "black hole in the header": MissingReason.QUERY_FAILED,
    "5xx": MissingReason.QUERY_FAILED,
    "429": MissingReason.QUERY_FAILED,
    "redirect": MissingReason.QUERY_FAILED,
    "truncated": MissingReason.QUERY_FAILED,
    "truncated without saying so": MissingReason.QUERY_FAILED,
    "100 MB": MissingReason.QUERY_FAILED,
    "compressed": MissingReason.QUERY_FAILED,
    "no JSON": MissingReason.QUERY_FAILED,
    "another JSON": MissingReason.QUERY_FAILED,
    "no list": MissingReason.QUERY_FAILED,
    "nested": MissingReason.QUERY_FAILED,
    "twice": MissingReason.PARTIAL,
    "label renamed": MissingReason.ABSENT,
    "namespace renamed": MissingReason.ABSENT,
    "NaN": MissingReason.NOT_A_NUMBER,
    "empty": MissingReason.ABSENT,
}


class Operated:
    """One object of four replicas that one could serve, planned on what its metrics show."""

    def __init__(self, world: Any, server: Any, shown: Any, settings: PrometheusSettings) -> None:
        self._policy = world.add()
        for pod in "abcd":
            world.pod(self._policy, 0, pod)
        self._world, self._server, self._shown = world, server, shown
        self._client = PrometheusClient(settings)
        self._metrics = PrometheusMetrics(self._client, world, settings, parse_profiles({}))
        self._planner = SteelyardPlanner()
        self._history = self._planner.initial(self._policy, None)
        self.second = 0.0

    def series(self) -> list[dict[str, Any]]:
        """What a sound Prometheus shows now: 0.1 requests/s and replica."""
        self._shown.series.clear()
        count = self.second * 0.1
        for pod in "abcd":
            self._shown.show(
                pod, self.second, ended=count, ttft_count=count, ttft_bucket=count,
                tpot_count=count, tpot_bucket=count, token_requests=count,
                prompt_tokens=500 * count, output_tokens=100 * count,
            )  # fmt: skip
        return [*self._shown.series]

    def sound(self, handler: BaseHTTPRequestHandler, asked: bytes) -> None:
        """Answer as a sound Prometheus does."""
        series = self.series() if b"timestamp" in asked else self._shown.edges
        plain(written([] if b"lengths" in asked else series))(handler, asked)

    def tick(self, answer: Answer | None = None) -> tuple[MetricsReading, int]:
        """Read and decide; returns the reading and the Primary's replicas. Four are kept Ready."""
        self._server.answer = self.sound if answer is None else answer
        now = ORIGIN + self.second + 1.0
        (reading,) = asyncio.run(self._metrics.read([self._world.question(self._policy)], now))
        running, waiting, kv_use = reading.gauges[0]
        primary = VariantObservation(
            desired=4, ready=4, running=running, waiting=waiting, kv_use=kv_use
        )
        seen = Observation(
            workloads_at_seconds=now,
            variants=(primary, VariantObservation(desired=0, ready=0)),
            traffic=reading.traffic,
            outcomes=reading.outcomes,
        )
        decision, self._history = self._planner.plan(self._policy, seen, self._history, now)
        self.second += TICK_SECONDS
        return reading, decision.allocation[0]

    def close(self) -> None:
        """Let the client go."""
        self._client.close()


@pytest.fixture
def operated(world: Any, server: Any, shown: Any, hasty: PrometheusSettings) -> Iterator[Operated]:
    """The object, watched for so long that it would be scaled down now."""
    shown.know_edges()
    made = Operated(world, server, shown, hasty)
    replicas = [made.tick()[1] for _ in range(WARM_TICKS)]
    assert replicas[-1] < 4
    yield made
    made.close()


@pytest.mark.parametrize("kind", REASONS)
def test_nothing_is_released_whatever_is_answered(
    kind: str, operated: Operated, hasty: PrometheusSettings
) -> None:
    """Each failure is missing for its reason, within the deadline, and decreases no replica."""
    for _ in range(3):
        failing = hostile(kind, operated.series())
        began = monotonic()
        reading, replicas = operated.tick(failing)
        assert monotonic() - began < 2 * hasty.cycle_seconds
        if isinstance(failing, BlackHole):
            failing.let_go.set()
        assert reading.traffic == Missing(REASONS[kind])
        assert reading.finding
        assert replicas == 4
    reading, _ = operated.tick()
    assert isinstance(reading.traffic, Traffic)


@pytest.mark.parametrize("headers", [True, False])
def test_a_black_hole_holds_no_thread(
    *, headers: bool, server: Any, client: PrometheusClient
) -> None:
    """Calls end by themselves, in the header as in the body: the next ones find threads free."""
    hole = BlackHole(headers=headers)
    server.answer = hole
    asyncio.run(client.query(["up"] * 4, ORIGIN))
    server.answer = plain(written([]))
    answers = asyncio.run(client.query(["up"] * 4, ORIGIN))
    hole.let_go.set()
    assert answers == [[]] * 4


@pytest.mark.parametrize("count", [1, 12])
def test_a_cycle_ends_at_its_deadline(
    count: int, server: Any, client: PrometheusClient, hasty: PrometheusSettings
) -> None:
    """However many queries hang, also those that never got a thread: all fail, in one deadline."""
    hole = BlackHole(headers=True)
    server.answer = hole
    began = monotonic()
    answers = asyncio.run(client.query(["up"] * count, ORIGIN))
    assert monotonic() - began < hasty.cycle_seconds + 0.5
    hole.let_go.set()
    assert len(answers) == count
    assert all(isinstance(answer, QueryFailed) for answer in answers)
    assert client.failures == client.queries == count


def test_nothing_is_asked_twice(
    server: Any, client: PrometheusClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The next cycle is the retry; a failure is an answer, of which no log is full."""
    server.answer = plain(b"", 503)
    asyncio.run(client.query(["up"], ORIGIN))
    gc.collect()
    assert len(server.requests) == 1
    assert not caplog.records


def test_an_errors_text_is_cut(server: Any, client: PrometheusClient) -> None:
    """What stands in an error is written by whoever answers there."""
    server.answer = plain(b"x" * 100_000, 500)
    (answer,) = asyncio.run(client.query(["up"], ORIGIN))
    assert isinstance(answer, QueryFailed)
    assert len(str(answer)) < 300


def test_a_server_that_is_not_there_is_a_failed_query(settings: PrometheusSettings) -> None:
    """A refused connection, a name that is none: the same to the caller."""
    for url in ("http://127.0.0.1:1", "http://prometheus.invalid"):
        client = PrometheusClient(replace(settings, url=url, timeout_seconds=2.0))
        (answer,) = asyncio.run(client.query(["up"], ORIGIN))
        client.close()
        assert isinstance(answer, QueryFailed)
        assert answer.reason is MissingReason.QUERY_FAILED
