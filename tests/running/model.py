"""One ModelDeployment and its two Deployments."""

import copy
import json
from typing import Any

from controlplane.cluster import ControlPlane
from controlplane.kwok import READY_SECONDS
from controlplane.waiting import until
from controlplane.workloads import deployment

from running.operator import Process


class Model:
    """A ModelDeployment with two Deployments in a namespace."""

    def __init__(self, plane: ControlPlane, namespace: str, body: dict[str, Any]) -> None:
        self.plane, self.namespace = plane, namespace
        self.body = copy.deepcopy(body)
        self.body["metadata"] = {"name": "llama-chat", "namespace": namespace}
        self.body["spec"]["mode"] = "Auto"
        self.deploy("llama-bf16", "llama-fp8")

    def deploy(self, *names: str, **pods: Any) -> None:
        """Make Deployments of one replica that the emulator plays, Ready after a second."""
        notes = {
            "emulator.steelyard.dev/profile": "llama-8b-bf16-h100",
            "emulator.steelyard.dev/served-model-name": "llama-3.1-8b",
            READY_SECONDS: "1",
        }
        made = [deployment(name, annotations=notes, **pods) for name in names]
        self.plane.apply(*made, namespace=self.namespace)

    def apply(self, minimum: int) -> None:
        """Ask for at least so many replicas of bf16."""
        self.body["spec"]["variants"][0]["minReplicas"] = minimum
        self.plane.apply(self.body)

    def get(self, what: str) -> dict[str, Any]:
        """Read an object."""
        kind, name = what.split("/")
        found = self.plane.kubectl("get", kind, name, "-n", self.namespace, "-o", "json")
        return dict(json.loads(found))

    def wait_replicas(self, wanted: int, process: Process) -> None:
        """Wait until the bf16 Deployment is to have so many."""
        until(
            lambda: self.get("deployment/llama-bf16")["spec"]["replicas"] == wanted,
            f"{wanted} replicas",
            detail=process.said,
        )
