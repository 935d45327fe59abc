"""PrometheusConnect over a session of ours: bounded in time and size, no retry, no redirect.

The next cycle is the retry. What an answer warns of is not in it, so a warning makes it partial.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from controller.adapters.prometheus.deadline import Deadline, DeadlineAdapter, monotonic
from controller.adapters.prometheus.settings import PrometheusSettings
from controller.core.domain.observation import MissingReason

_THREADS: Final = 4
_CHUNK_BYTES: Final = 65536
#: An error's text is shown up to here: it is written by whoever answers at that address.
_LONGEST_ERROR: Final = 200

#: One series of an answer, as Prometheus' API writes it.
Series: TypeAlias = dict[str, Any]


class QueryFailed(Exception):  # noqa: N818 - named after what happened, as users read it
    """A query without a usable answer; ``reason`` is what its readings are missing for."""

    def __init__(self, text: str, reason: MissingReason = MissingReason.QUERY_FAILED) -> None:
        super().__init__(text)
        self.reason = reason


Answer: TypeAlias = list[Series] | QueryFailed


class PrometheusClient:
    """Asks instant and range queries, blocking calls in a few threads of their own.

    ``queries`` and ``failures`` count what was asked and what had no usable answer.
    """

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="prometheus")
        self._of_thread = threading.local()
        self.queries = 0
        self.failures = 0

    async def query(
        self, expressions: Sequence[str], at_seconds: float, *, within_seconds: float | None = None
    ) -> list[Answer]:
        """Ask all of ``expressions`` as of one Unix time; never raises, and ends in time."""
        within = self._settings.cycle_seconds if within_seconds is None else within_seconds
        ends = monotonic() + within
        self.queries += len(expressions)
        futures = [
            self._threads.submit(self._instant, expression, at_seconds, ends)
            for expression in expressions
        ]
        if futures:
            waited = [asyncio.wrap_future(future) for future in futures]
            await asyncio.wait(waited, timeout=within)
        answers = [_answer(future) for future in futures]
        self.failures += sum(isinstance(answer, QueryFailed) for answer in answers)
        return answers

    def query_range(
        self, expression: str, from_seconds: float, to_seconds: float, step_seconds: float
    ) -> list[Series]:
        """Ask one range, blocking, in whole seconds; raises ``QueryFailed``."""
        self.queries += 1

        def ask(connection: PrometheusConnect) -> Any:
            return connection.custom_query_range(
                expression,
                datetime.fromtimestamp(from_seconds, UTC),
                datetime.fromtimestamp(to_seconds, UTC),
                f"{step_seconds:g}",
            )

        try:
            return self._ask(ask, self._settings.history_timeout_seconds)
        except QueryFailed:
            self.failures += 1
            raise

    def close(self) -> None:
        """Let the threads go; what is still being asked ends at its deadline."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _instant(self, expression: str, at_seconds: float, ends: float) -> Answer:
        left = ends - monotonic()
        if left <= 0:
            return QueryFailed("no time was left in this cycle")

        def ask(connection: PrometheusConnect) -> Any:
            # To the millisecond, as Prometheus keeps times.
            return connection.custom_query(expression, {"time": f"{at_seconds:.3f}"})

        try:
            return self._ask(ask, min(left, self._settings.timeout_seconds))
        except QueryFailed as failure:
            return failure

    def _ask(self, ask: Callable[[PrometheusConnect], Any], seconds: float) -> list[Series]:
        try:
            connection, deadline = self._connection()
            deadline.start(seconds)
            result = ask(connection)
        except QueryFailed:
            raise
        except (
            requests.RequestException,
            PrometheusApiClientException,
            HTTPError,
            OSError,
            ValueError,
            LookupError,
            TypeError,
            RecursionError,
        ) as error:
            raise QueryFailed(f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]) from error
        if not isinstance(result, list) or not all(isinstance(one, dict) for one in result):
            raise QueryFailed("the answer is no list of series")
        return result

    def _connection(self) -> tuple[PrometheusConnect, Deadline]:
        """This thread's connection: a ``requests`` session is for one thread at a time."""
        if not hasattr(self._of_thread, "connection"):
            session = _Session(self._settings)
            url = self._settings.url.rstrip("/")
            self._of_thread.connection = PrometheusConnect(
                url=url, session=session, method="POST", retry=Retry(0)
            )
            # The library mounts an adapter of its own at this address.
            session.mount(url, DeadlineAdapter(session.deadline))
            self._of_thread.deadline = session.deadline
        return self._of_thread.connection, self._of_thread.deadline


class _Session(requests.Session):
    """Adds credentials, reads within the limits, and refuses what is not a whole answer."""

    def __init__(self, settings: PrometheusSettings) -> None:
        super().__init__()
        self._settings = settings
        self.deadline = Deadline()
        self.trust_env = False  # neither a proxy nor ~/.netrc of the image decides who is told
        self.verify = True if settings.ca_file is None else str(settings.ca_file)
        if settings.certificate_file is not None and settings.key_file is not None:
            self.cert = (str(settings.certificate_file), str(settings.key_file))

    def request(  # type: ignore[override]  # the library passes names only
        self, method: str, url: str, **kwargs: Any
    ) -> requests.Response:
        """Send as the library asks, but with the query in the body, and read under the limits."""
        response = super().request(
            method,
            url,
            data=kwargs.get("params"),
            headers=self._headers(),
            auth=_Unchanged(),
            timeout=self.deadline.left(),
            verify=self.verify,
            cert=self.cert,
            stream=True,
            allow_redirects=False,
        )
        try:
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise QueryFailed("the answer is compressed, which was not asked for")
            response._content = self._body(response)  # noqa: SLF001 - where requests keeps a body that was read
        finally:
            response.close()
        _refuse(response)
        return response

    def _headers(self) -> dict[str, str]:
        settings = self._settings
        headers = {"Accept-Encoding": "identity"}
        if settings.bearer_token_file is not None:
            headers["Authorization"] = f"Bearer {_line(settings.bearer_token_file)}"
        elif settings.password_file is not None:
            password = _line(settings.password_file)
            headers["Authorization"] = requests.auth._basic_auth_str(  # noqa: SLF001 - the one place that encodes it
                settings.username.encode(), password.encode()
            )
        if settings.tenant:
            headers[settings.tenant_header] = settings.tenant
        return headers

    def _body(self, response: requests.Response) -> bytes:
        body = bytearray()
        for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
            self.deadline.left()
            body += chunk
            if len(body) > self._settings.max_bytes:
                raise QueryFailed(
                    f"the answer is longer than {self._settings.max_bytes} bytes; "
                    "install the recording rules, or raise the limit"
                )
        return bytes(body)


class _Unchanged(requests.auth.AuthBase):
    """Leaves the headers as they are: without it ``requests`` would look for credentials."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add nothing."""
        return request


def _refuse(response: requests.Response) -> None:
    """Refuse errors, redirects and warnings."""
    if response.status_code != requests.codes.ok:
        text = response.content[:_LONGEST_ERROR].decode(errors="replace")
        raise QueryFailed(f"status {response.status_code}: {text}")
    # Inside a JSON string a quotation mark is escaped: only a whole string can look like this.
    if b'"warnings"' in response.content:
        document = response.json()
        if isinstance(document, dict) and document.get("warnings"):
            text = str(document["warnings"])[:_LONGEST_ERROR]
            raise QueryFailed(f"warnings: {text}", MissingReason.PARTIAL)


def _line(path: Path) -> str:
    """Return a file's only line: tokens are mounted with a newline at their end."""
    return path.read_text(encoding="utf-8").strip()


def _answer(future: "Future[Answer]") -> Answer:
    """Return what a call gave; one that still runs is left to its own deadline."""
    if not future.done():
        future.cancel()
        return QueryFailed("no answer within the cycle's deadline")
    error = future.exception()
    if error is not None:
        return QueryFailed(f"{type(error).__name__}: {error}"[:_LONGEST_ERROR])
    return future.result()
