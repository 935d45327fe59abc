"""Ordinary workloads for tests: Deployments of pods that ask for GPUs."""

from collections.abc import Mapping
from typing import Any


def deployment(
    name: str,
    *,
    replicas: int = 1,
    gpus: int = 1,
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    product: str | None = None,
) -> dict[str, Any]:
    """Return a Deployment whose pods ask for ``gpus`` each, of one ``product`` where named."""
    chosen = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": chosen},
            "template": {
                "metadata": {
                    "labels": chosen | dict(labels or {}),
                    "annotations": dict(annotations or {}),
                },
                "spec": {
                    "nodeSelector": {"nvidia.com/gpu.product": product} if product else {},
                    "containers": [
                        {
                            "name": "server",
                            "image": "model-server.invalid/server:1",
                            "ports": [{"name": "http", "containerPort": 8000}],
                            "resources": {"limits": {"nvidia.com/gpu": str(gpus)}},
                        }
                    ],
                },
            },
        },
    }
