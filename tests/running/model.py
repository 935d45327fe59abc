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

    def replicas(self) -> tuple[int, int]:
        """What both Deployments are to have: bf16 and fp8."""
        found = self.plane.kubectl(
            *("get", "deployment", "llama-bf16", "llama-fp8", "-n", self.namespace),
            *("-o", "jsonpath={.items[*].spec.replicas}"),
        )
        bf16, fp8 = found.split()
        return int(bf16), int(fp8)

    def floors(self, bf16: int, fp8: int) -> None:
        """Ask for at least so many replicas of each."""
        self.body["spec"]["variants"][1]["minReplicas"] = fp8
        self.apply(bf16)

    def reason(self, condition: str, name: str = "llama-chat") -> str | None:
        """A condition's reason; None where there is none."""
        status = self.get(f"modeldeployment/{name}").get("status") or {}
        found = (c["reason"] for c in status.get("conditions", ()) if c["type"] == condition)
        return next(found, None)

    def described(self) -> str:
        """What ``kubectl describe`` shows of the ModelDeployment."""
        return self.plane.kubectl("describe", "md", "llama-chat", "-n", self.namespace)

    def written(self, since: int) -> list[tuple[str, str]]:
        """What of this namespace an operator has written: resource and name, but for its Lease."""
        return [
            (request.what, request.name)
            for request in self.plane.audit.requests(since=since)
            if request.namespace == self.namespace
            and "fieldManager=steelyard" in request.path
            and request.resource != "leases"
            and request.code < 300
        ]
