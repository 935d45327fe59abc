"""Fake GPU nodes, which kwok keeps alive, and the annotations its pods understand."""

from dataclasses import dataclass, field
from typing import Any

from controlplane.waiting import until
from kubernetes import client

#: Pod annotations (see stages.yaml): how long a model loads, by how much that varies, and how
#: long a deleted pod drains; all in seconds.
READY_SECONDS = "kwok.steelyard.dev/ready-seconds"
READY_JITTER_SECONDS = "kwok.steelyard.dev/ready-jitter-seconds"
DRAIN_SECONDS = "kwok.steelyard.dev/drain-seconds"
_NOT_READY = "node-not-ready.stage.kwok.x-k8s.io"


@dataclass
class GpuNodes:
    """The fake nodes of one control plane."""

    api: client.ApiClient
    names: list[str] = field(default_factory=list)
    """Those added here and not yet removed."""
    _counter: int = 0

    def add_gpu_node(
        self,
        product: str = "NVIDIA-H100-80GB-HBM3",
        gpus: int = 8,
        *,
        labels: dict[str, str] | None = None,
        taints: list[dict[str, str]] | None = None,
    ) -> str:
        """Add a node without waiting for it; return its name."""
        self._counter += 1
        name = f"gpu-{self._counter}"
        resources = {
            "cpu": "192",
            "memory": "2Ti",
            "pods": "250",
            "ephemeral-storage": "10Ti",
            "nvidia.com/gpu": str(gpus),
        }
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64",
                    "nvidia.com/gpu.present": "true",
                    "nvidia.com/gpu.product": product,
                    "nvidia.com/gpu.count": str(gpus),
                }
                | (labels or {}),
            },
            "spec": {"taints": taints or []},
            "status": {"allocatable": resources, "capacity": resources},
        }
        client.CoreV1Api(self.api).create_node(body)
        self.names.append(name)
        return name

    def add(self, count: int = 1, **node: Any) -> list[str]:
        """Add nodes as ``add_gpu_node`` does, and wait until pods can be placed on them."""
        added = [self.add_gpu_node(**node) for _ in range(count)]
        for name in added:
            self.wait_ready(name)
        return added

    def wait_ready(self, name: str) -> None:
        """Wait until a node is Ready and the taints of a node that is not are gone."""
        core = client.CoreV1Api(self.api)

        def usable() -> bool:
            node = core.read_node(name)
            taints = [taint.key for taint in node.spec.taints or ()]
            return is_ready(node.status) and not any(
                key.startswith("node.kubernetes.io/") for key in taints
            )

        until(usable, f"node {name} to be Ready and untainted")

    def fail(self, name: str) -> None:
        """Make a node NotReady and wait until the API server says so."""
        self._label(name, "true")
        core = client.CoreV1Api(self.api)
        until(lambda: not is_ready(core.read_node(name).status), f"node {name} to be NotReady")

    def recover(self, name: str) -> None:
        """Make a failed node Ready again."""
        self._label(name, None)
        self.wait_ready(name)

    def remove(self, name: str) -> None:
        """Take a node away, as the end of a spot instance does; its pods are collected later."""
        client.CoreV1Api(self.api).delete_node(name)
        self.names.remove(name)

    def remove_all(self) -> None:
        """Take every node away."""
        for name in tuple(self.names):
            self.remove(name)

    def _label(self, name: str, value: str | None) -> None:
        patch = {"metadata": {"labels": {_NOT_READY: value}}}
        client.CoreV1Api(self.api).patch_node(name, patch)


def is_ready(status: Any) -> bool:
    """Return whether a node's or a pod's status says Ready."""
    return any(
        condition.type == "Ready" and condition.status == "True"
        for condition in status.conditions or ()
    )
