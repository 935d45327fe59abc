"""Servers as children: free ports, health, an end that is waited for, logs for the failure."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import requests

from controlplane.waiting import until

_LAST_LINES = 30


class ServerFailed(RuntimeError):  # noqa: N818 - named after what happened
    """A server ended by itself or never became healthy; the text ends with its log."""


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody listens on.

    They are all held at once while they are chosen, so that no two are the same.
    """
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def healthy(url: str, ca: Path | None = None) -> bool:
    """Return whether a server answers 200; its certificate must be of our own authority."""
    with requests.Session() as session:
        session.trust_env = False  # the loopback is never reached through a proxy
        try:
            return session.get(url, verify=str(ca) if ca else True, timeout=5).status_code == 200
        except requests.RequestException:
            return False


@dataclass
class Server:
    """One program, started, stopped and started again with the same arguments."""

    name: str
    command: Sequence[str]
    folder: Path
    """Where its log goes."""
    health: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        """The file with all it ever wrote."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """Its process number, while it runs."""
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it, without waiting for its health."""
        if self._process is not None:
            raise ServerFailed(f"{self.name} runs already, as process {self._process.pid}")
        # A killed test session takes its servers along; setpriv sets that in the child, which
        # is safe beside threads. A session of its own keeps the terminal's Ctrl-C from them.
        guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, *self.command],
                cwd=self.folder,
                env=_environment() | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_healthy(self) -> None:
        """Wait for its health.

        Raises:
            ServerFailed: when it ended first, or never got there.
        """
        try:
            until(lambda: self._ended() or self.health(), f"{self.name} to be healthy")
        except TimeoutError as error:
            raise ServerFailed(f"{error}\n{self.last_words()}") from None
        if self._ended():
            raise ServerFailed(f"{self.name} ended by itself:\n{self.last_words()}")

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> None:
        """End it and wait until it is gone; one that does not listen is killed."""
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it as a power cut would."""
        self.stop(signal.SIGKILL)

    def last_words(self) -> str:
        """Return the end of its log."""
        if not self.log.exists():
            return "(no log)"
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:])

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None


def _environment() -> dict[str, str]:
    """Return the environment without what would lead a server elsewhere."""
    drop = {"KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "GOFLAGS"}
    return {k: v for k, v in os.environ.items() if k not in drop} | {
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
