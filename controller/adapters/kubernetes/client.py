"""The connection to the API server: deadlines, a cap on requests, and errors that can be told.

The client of the ``kubernetes`` package blocks, so requests run in a bounded pool of threads. None
is repeated: the next cycle is the retry.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from threading import Event, Lock
from typing import Any, Final, TypeAlias, TypeVar

from urllib3.exceptions import HTTPError

from controller.adapters.kubernetes.errors import Unanswered, refusal
from kubernetes import client, config

AnswerT = TypeVar("AnswerT")

#: A JSON object as the API server sends or takes it.
Document: TypeAlias = dict[str, Any]

FIELD_MANAGER: Final = "steelyard"

#: Media types of patches.
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"

_JSON: Final = "application/json"


def new_api(connections: int) -> client.ApiClient:
    """A client configured as kubectl is, or from within a pod, that keeps so many connections.

    Raises:
        ValueError: neither a kubeconfig nor a pod's ServiceAccount is there.
    """
    configuration = client.Configuration()
    try:
        with redirect_stdout(StringIO()):  # in a pod it prints a doubt that is none
            config.load_config(  # type: ignore[no-untyped-call]  # the client's own gap
                client_configuration=configuration
            )
    except config.ConfigException as error:
        raise ValueError(
            f"no API server is known: {error}; set KUBECONFIG, or run in a pod"
        ) from error
    configuration.retries = False
    configuration.connection_pool_maxsize = connections
    return client.ApiClient(configuration)


@dataclass(slots=True, kw_only=True)
class Rate:
    """Lets at most ``per_second`` requests begin each second, in the long run; any thread asks.

    A second's worth may begin at once: cycles write in bursts.
    """

    per_second: float
    steady: Callable[[], float]
    _free_at: float = 0.0
    _lock: Lock = field(default_factory=Lock)
    _never: Event = field(default_factory=Event)

    def wait(self) -> None:
        """Return once the next request may begin."""
        with self._lock:
            now = self.steady()
            self._free_at = max(self._free_at, now - 1.0) + 1.0 / self.per_second
            pause = self._free_at - now
        if pause > 0.0:
            self._never.wait(pause)


@dataclass(slots=True, kw_only=True)
class Kubernetes:
    """Requests by path, so that any kind of object can be asked for.

    ``timeout_seconds`` ends a request, ``rate`` caps how many begin, and ``pool`` how many run.
    ``writes`` counts those that change something.
    """

    api: client.ApiClient
    rate: Rate
    timeout_seconds: float
    pool: ThreadPoolExecutor
    requests: int = 0
    writes: int = 0
    failures: int = 0
    _lock: Lock = field(default_factory=Lock)

    async def run(self, call: Callable[..., AnswerT], *arguments: Any, **named: Any) -> AnswerT:
        """Run a blocking call of this client in the pool."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, lambda: call(*arguments, **named))

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Document:
        """Read; raises ``PortError``."""
        return self._request("GET", path, query=query)

    def create(self, path: str, document: Document) -> Document:
        """Create; raises ``PortError``."""
        return self._request("POST", path, body=document, query={"fieldManager": FIELD_MANAGER})

    def replace(self, path: str, document: Document) -> Document:
        """Replace; raises ``PortError``: ``Conflict`` where it changed since it was read."""
        return self._request("PUT", path, body=document, query={"fieldManager": FIELD_MANAGER})

    def merge(self, path: str, change: Document) -> Document:
        """Patch by merging; raises ``PortError``."""
        return self._patch(path, change, MERGE_PATCH)

    def patch(self, path: str, operations: Sequence[Document]) -> Document:
        """Patch by operations, all or none; raises ``PortError``."""
        return self._patch(path, list(operations), JSON_PATCH)

    def _patch(self, path: str, body: Any, media: str) -> Document:
        query = {"fieldManager": FIELD_MANAGER}
        return self._request("PATCH", path, body=body, query=query, media=media)

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        media: str = _JSON,
    ) -> Document:
        self.rate.wait()
        with self._lock:
            self.requests += 1
            self.writes += method != "GET"
        try:
            return self._answered(method, path, body, query, media)
        except Exception:
            with self._lock:
                self.failures += 1
            raise

    def _answered(
        self, method: str, path: str, body: Any, query: Mapping[str, str] | None, media: str
    ) -> Document:
        parts = self.api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": _JSON, "Content-Type": media},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = self.api.call_api(*parts, _request_timeout=self.timeout_seconds)
            data: bytes = answer.read()  # type: ignore[no-untyped-call]  # the client's own gap
        except client.ApiException as error:
            raise Unanswered(f"{method} {path}: {error.reason}") from error
        except (HTTPError, OSError) as error:
            raise Unanswered(f"{method} {path}: {type(error).__name__}") from error
        document = _parsed(data)
        if not 200 <= answer.status < 300:
            raise refusal(answer.status, document, answer.reason or "")
        if document is None:
            raise Unanswered(f"{method} {path}: the answer is no JSON object")
        return document

    def pages(self, path: str, limit: int, query: Mapping[str, str]) -> Iterator[Document]:
        """List a collection page by page; raises ``PortError``."""
        further = ""
        while True:
            asked = dict(query) | {"limit": str(limit)}
            page = self.get(path, asked | ({"continue": further} if further else {}))
            yield page
            further = page.get("metadata", {}).get("continue") or ""
            if not further:
                return

    def open_watch(
        self, path: str, query: Mapping[str, str], timeout_seconds: tuple[float, float]
    ) -> Any:
        """Begin to stream a watch; ``timeout_seconds`` are to connect, and between two bytes."""
        self.rate.wait()
        parts = self.api.param_serialize(
            "GET",
            path,
            query_params=list(query.items()),
            header_params={"Accept": _JSON},
            auth_settings=["BearerToken"],
        )
        return self.api.call_api(*parts, _request_timeout=timeout_seconds).response

    def close(self) -> None:
        """Let no further request begin, and close the connections."""
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.api.close()  # type: ignore[no-untyped-call]  # the client's own gap


def _parsed(data: bytes) -> Document | None:
    """The object in an answer's body, or None: a proxy on the way may answer with a page."""
    try:
        document = json.loads(data) if data else {}
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
