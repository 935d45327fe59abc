"""Model servers in the pods' place, as a process."""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from controlplane.cluster import ControlPlane
from controlplane.processes import Server, free_ports, healthy


class Emulator:
    """Model servers in the pods' place."""

    def __init__(self, plane: ControlPlane, namespace: str, folder: Path) -> None:
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        self.door = f"services/{namespace}/llama"
        command = [sys.executable, "-m", "simulations.emulator", "serve", "--port", str(port)]
        command += ["--kubeconfig", str(plane.kubeconfig), "--namespace", namespace]
        self.server = Server(
            "emulator", command, folder, lambda: healthy(f"http://{self.address}/healthz")
        )

    def replays(self, method: str, body: Any = None) -> None:
        """Begin a trace, or end all."""
        request = urllib.request.Request(
            f"http://{self.address}/replays",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60):  # noqa: S310 - our own address
            pass
