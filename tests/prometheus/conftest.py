"""An object of two variants, its pods, and what a Prometheus would show of them."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from controller.adapters.directory import Entry
from controller.adapters.prometheus.profiles import Profiles
from controller.adapters.prometheus.profiles import parse as parse_profiles
from controller.adapters.prometheus.session import Answer, Series
from controller.adapters.prometheus.settings import PrometheusSettings
from controller.api.conversion.policy import to_policy
from controller.api.prices import REFERENCE_PRICES
from controller.api.v1alpha1 import parse
from controller.core.domain.policy import ObjectKey, Policy
from controller.ports import MetricsQuestion, Replica

ORIGIN = 1_743_465_600.0

_SAMPLE = yaml.safe_load(
    (Path(__file__).parents[2] / "manifests/samples/interactive-chat.yaml").read_text()
)


@dataclass
class World:
    """Objects as the directory knows them, and the pods of their variants."""

    known: dict[ObjectKey, Entry] = field(default_factory=dict)
    pods: dict[ObjectKey, tuple[list[Replica], ...]] = field(default_factory=dict)

    def entry(self, key: ObjectKey) -> Entry:
        """Return an object; ``KeyError`` once it is gone."""
        return self.known[key]

    def entries(self) -> list[Entry]:
        """Return all objects."""
        return list(self.known.values())

    def add(self, name: str = "llama-chat", **changes: Any) -> Policy:
        """Add an object like the sample; ``changes`` are of its spec, ``variant`` of variants."""
        document = copy.deepcopy(_SAMPLE)
        document["metadata"] = {"name": name, "namespace": changes.pop("namespace", "serving")}
        for variant in document["spec"]["variants"]:
            variant |= {"servedModelName": "llama", **changes.get("variant", {})}
        document["spec"] |= {k: v for k, v in changes.items() if k != "variant"}
        deployment = parse(document)
        policy = to_policy(deployment, REFERENCE_PRICES, 15.0)
        self.known[policy.key] = Entry(
            deployment=deployment, policy=policy, resource_version="1", status=None
        )
        self.pods[policy.key] = tuple([] for _ in policy.variants)
        return policy

    def pod(
        self, policy: Policy, variant: int, name: str, *, created: float = -3600.0, **changes: Any
    ) -> None:
        """Add a pod, Ready a minute after its creation, in seconds after ORIGIN."""
        made = {
            "ready_since_seconds": ORIGIN + created + 60.0,
            "scheduled": True,
            "draining": False,
            **changes,
        }
        self.pods[policy.key][variant].append(
            Replica(name=name, created_at_seconds=ORIGIN + created, **made)
        )

    def question(self, policy: Policy) -> MetricsQuestion:
        """Return what is asked of an object."""
        return MetricsQuestion(
            policy=policy, replicas=tuple(tuple(pods) for pods in self.pods[policy.key])
        )


@pytest.fixture
def world() -> World:
    """No object yet."""
    return World()


@pytest.fixture
def profiles() -> Profiles:
    """The built-in profiles and a gateway's counter."""
    return parse_profiles(
        {
            "arrivals": [
                {
                    "name": "gateway",
                    "counter": "gateway_requests_total",
                    "nameLabel": "route",
                    "namespaceLabel": "route_namespace",
                }
            ]
        }
    )


@pytest.fixture
def settings() -> PrometheusSettings:
    """An address that nobody asks."""
    return PrometheusSettings(url="http://prometheus.invalid", lengths_seconds=0.0)


class Shown:
    """A client that answers from what is put into it; ``asked`` counts the queries by call."""

    def __init__(self) -> None:
        self.series: list[Series] = []
        self.edges: list[Series] = []
        self.lengths: list[Series] = []
        self.outside: list[Series] = []
        self.failure: Answer | None = None
        self.asked: list[int] = []

    async def query(
        self, expressions: Sequence[str], at_seconds: float, *, within_seconds: float | None = None
    ) -> list[Answer]:
        """Answer each kind of query by its own series."""
        del at_seconds, within_seconds
        self.asked.append(len(expressions))
        if self.failure is not None:
            return [self.failure for _ in expressions]
        return [self._answer(expression) for expression in expressions]

    def _answer(self, expression: str) -> list[Series]:
        if "gateway" in expression:
            return self.outside
        if '"prompt_lengths"' in expression:
            return self.lengths
        return self.series if "timestamp" in expression else self.edges

    def show(
        self, pod: str, at: float, model: str = "llama", namespace: str = "serving", **parts: float
    ) -> None:
        """Show a pod of vLLM as scraped at ``at`` seconds after ORIGIN, its parts as given."""
        whole = {
            "time": ORIGIN + at,
            "running": 0.0,
            "waiting": 0.0,
            "ended": 0.0,
            "failed": 0.0,
            "refused": 0.0,
            "kv_use": 0.0,
            "token_requests": 0.0,
            "prompt_tokens": 0.0,
            "output_tokens": 0.0,
            "ttft_count": 0.0,
            "tpot_count": 0.0,
            "ttft_bucket": 0.0,
            "tpot_bucket": 0.0,
            **parts,
        }
        edges = {"ttft_bucket": "1.0", "tpot_bucket": "0.05"}
        for part, value in whole.items():
            labels = {"profile": "VLLM", "part": part, "namespace": namespace, "model_name": model}
            if pod:
                labels["pod"] = pod
            if part in edges:
                labels["le"] = edges[part]
            self.series.append({"metric": labels, "value": [0, str(value)]})

    def know_edges(
        self,
        model: str = "llama",
        ttft: Sequence[str] = ("0.5", "1.0", "2.5"),
        tpot: Sequence[str] = ("0.025", "0.05", "0.1"),
    ) -> None:
        """Let a model's histograms have these edges."""
        for part, edges in (("ttft_bucket", ttft), ("tpot_bucket", tpot)):
            for edge in (*edges, "+Inf"):
                labels = {
                    "profile": "VLLM",
                    "part": part,
                    "namespace": "serving",
                    "model_name": model,
                    "le": edge,
                }
                self.edges.append({"metric": labels, "value": [0, "1"]})


@pytest.fixture
def shown() -> Shown:
    """A Prometheus that shows nothing yet."""
    return Shown()


class Server(ThreadingHTTPServer):
    """A server on the loopback; ``answer`` writes, ``requests`` is what it was asked."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Callable[[BaseHTTPRequestHandler, bytes], None] = reply(b"{}")
        self.requests: list[tuple[str, Mapping[str, str], bytes]] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up: that is what they are to do."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.requests.append((self.path, dict(self.headers), body))
        self.server.answer(self, body)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


def reply(
    body: bytes, status: int = 200, **headers: str
) -> Callable[[BaseHTTPRequestHandler, bytes], None]:
    """Return an answer that is whole."""

    def write(handler: BaseHTTPRequestHandler, asked: bytes) -> None:
        del asked
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return write


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that answers as it is told."""
    with Server() as made:
        thread = Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()
