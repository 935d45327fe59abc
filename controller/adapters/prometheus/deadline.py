"""A deadline that holds for a whole HTTP exchange, whatever the server does.

The time-outs of ``requests`` and of sockets are per read: a server that sends a byte now and then
keeps a call open for ever. Here every read of the socket is given what is left of the call, in the
header as in the body, on http as on https.
"""

import http.client
import io
import socket
import time
from functools import partial
from typing import Any, Final

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

_BUFFER_BYTES: Final = 65536


class Deadline:
    """A moment that ends whatever runs under it; one per session, moved before each call."""

    def __init__(self) -> None:
        self._at = 0.0

    def start(self, seconds: float) -> None:
        """Begin a call that ends ``seconds`` from now."""
        self._at = monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left; raises ``TimeoutError`` when none are."""
        left = self._at - monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left


def monotonic() -> float:
    """Seconds of a clock that only runs forward: for deadlines, never for decisions."""
    return time.monotonic()  # noqa: TID251 - an adapter, and time of waiting only


class DeadlineAdapter(HTTPAdapter):
    """Connections of ``requests`` that end at ``deadline``, and that never try again."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of connections under the deadline."""
        super().init_poolmanager(*args, **kwargs)
        deadline = self._deadline

        class Http(HTTPConnection):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self.response_class = partial(_Response, deadline)  # type: ignore[assignment]  # called, never subclassed

        class Https(HTTPSConnection):
            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self.response_class = partial(_Response, deadline)  # type: ignore[assignment]  # called, never subclassed

        class HttpPool(HTTPConnectionPool):
            ConnectionCls = Http

        class HttpsPool(HTTPSConnectionPool):
            ConnectionCls = Https

        self.poolmanager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}


class _Response(http.client.HTTPResponse):
    """An answer whose every read is limited by what is left of the call."""

    def __init__(self, deadline: Deadline, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_Reader(deadline, sock, self.fp.detach()), _BUFFER_BYTES)


class _Reader(io.RawIOBase):
    """The reading end of a socket."""

    def __init__(self, deadline: Deadline, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._deadline, self._sock, self._raw = deadline, sock, raw

    def readable(self) -> bool:
        """Tell that it is for reading."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what there is, within what is left."""
        self._sock.settimeout(self._deadline.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()
