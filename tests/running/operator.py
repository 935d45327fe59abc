"""One operator as a process."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from controlplane.cluster import ControlPlane
from controlplane.processes import free_ports
from controlplane.waiting import until

ROOT = Path(__file__).parents[2]

#: Where no Prometheus answers: what follows then is the objects' bounds.
NOBODY = "http://127.0.0.1:1"


class Process:
    """One operator that watches one namespace, and keeps its Lease there, unless told otherwise.

    Its clock is fast: a cycle a second, and a Lease of three.
    """

    def __init__(
        self,
        plane: ControlPlane,
        namespace: str,
        folder: Path,
        *,
        prometheus: str = NOBODY,
        kubeconfig: Path | None = None,
        program: Sequence[str] = ("-m", "controller"),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.health, self.metrics = free_ports(2)
        self.log = (folder / f"operator-{self.health}.log").open("w+")
        given = {
            "NAMESPACES": namespace,
            "LEASE_NAMESPACE": namespace,
            "LEASE_DURATION_SECONDS": "3",
            "LEASE_RENEW_SECONDS": "1",
            "PROMETHEUS_URL": prometheus,
            "PROMETHEUS_SCRAPE_SECONDS": "1",
            "TICK_SECONDS": "1",
            "LISTEN_ADDRESS": "127.0.0.1",
            "HEALTH_LISTEN_PORT": str(self.health),
            "METRICS_LISTEN_PORT": str(self.metrics),
            **(settings or {}),
        }
        self.popen = subprocess.Popen(  # noqa: S603 - our own programs
            [sys.executable, *program],
            stdout=self.log,
            stderr=self.log,
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
                "KUBECONFIG": str(kubeconfig or plane.kubeconfig),
                "OMP_NUM_THREADS": "1",
                "PYTHONDONTWRITEBYTECODE": "",
                **{f"STEELYARD_{name}": value for name, value in given.items()},
            },
        )

    def get(self, port: int, path: str) -> str:
        """What is served there; empty while it is not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return ""

    def leads(self) -> bool:
        """Whether its metrics say so."""
        return "steelyard_leader 1.0" in self.get(self.metrics, "/metrics")

    def said(self) -> str:
        """Its log."""
        self.log.seek(0)
        return self.log.read()[-4000:]

    def ready(self) -> bool:
        """Whether it could take over."""
        return self.get(self.health, "/readyz") == "ok\n"

    def explained(self, namespace: str, name: str = "llama-chat") -> str:
        """The account of the last decision; empty where there is none."""
        return self.get(self.health, f"/explain/{namespace}/{name}")

    def cycles_pass(self, number: int) -> None:
        """Wait for so many cycles to end."""

        def done() -> float:
            lines = self.get(self.metrics, "/metrics").splitlines()
            counts = [line for line in lines if line.startswith("steelyard_cycle_seconds_count")]
            return float(counts[0].split()[1]) if counts else 0.0

        first = done()
        until(lambda: done() >= first + number, f"{number} cycles", detail=self.said)

    def close(self) -> None:
        """End it if it runs."""
        self.popen.kill()
        self.popen.wait()
        self.log.close()

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end."""
        self.popen.send_signal(number)
        return self.popen.wait()


#: Starts operators of the test's namespace.
Start = Callable[..., Process]
