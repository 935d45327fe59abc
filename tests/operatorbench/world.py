"""The cluster that is measured on: namespaces, GPU nodes, models with their Deployments, series."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from controlplane.cluster import ControlPlane, user_of
from controlplane.kwok import READY_JITTER_SECONDS, READY_SECONDS
from controlplane.processes import Server, free_ports, healthy
from controlplane.prometheus import Prometheus
from controlplane.waiting import seconds_now, until
from controlplane.workloads import deployment
from kubernetes import client
from operatorbench.exporter import MODEL_LABEL, VARIANT_LABEL
from operatorbench.replicas import model_name
from operatorbench.traffic import PROFILES, TPOT_SECONDS, TTFT_SECONDS

_RULES: Final = Path(__file__).parents[2] / "manifests" / "monitoring" / "rules.yaml"

#: How many replicas of each variant there may be.
MOST: Final = {"bf16": 8, "fp8": 4}

_NAMESPACES: Final = 4
#: A node of a cluster has 8; the operator looks at no node, and fewer are sooner there.
_GPUS_PER_NODE: Final = 240
_AT_ONCE: Final = 16
_PATIENCE_SECONDS: Final = 900.0

Say = Callable[[str], None]
Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything but the operator."""

    plane: ControlPlane
    namespaces: Sequence[str]
    """The first holds the operator's ServiceAccount and Lease, the others the models."""
    watched: Sequence[str]
    """Those that the operator is told to watch; empty: all."""
    prometheus: Prometheus
    operator_kubeconfig: Path
    folder: Path

    @property
    def operator_user(self) -> str:
        """The operator's name in the audit log."""
        return user_of(_OPERATOR, self.namespaces[0])


_OPERATOR: Final = "operatorbench"


@contextmanager
def world(
    plane: ControlPlane,
    folder: Path,
    *,
    models: int,
    scrape_seconds: float,
    cold_start_seconds: int,
    operator_metrics: str,
    recording_rules: bool,
    seed: int,
    tidy: bool,
    say: Say,
) -> Iterator[World]:
    """Build it; at the end its processes are ended and, where ``tidy``, its objects deleted.

    ``operator_metrics`` (host:port) is scraped, too, as in an ordinary cluster.
    """
    began = seconds_now()
    (port,) = free_ports(1)
    exporter = Server(
        "exporter",
        [
            *(sys.executable, "-m", "operatorbench.exporter"),
            *("--kubeconfig", str(plane.kubeconfig), "--port", str(port)),
            *("--models", str(models), "--seed", str(seed)),
        ],
        folder,
        lambda: healthy(f"http://127.0.0.1:{port}/serving"),
        {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    made: list[str] = []
    nodes: list[str] = []
    prometheus: Prometheus | None = None
    try:
        exporter.start()
        for i in range(_NAMESPACES + 1):
            name = f"operatorbench-{models}-{i}"
            plane.create_namespace(name)
            made.append(name)
        kubeconfig = _operator_account(plane, made[0])
        nodes += plane.nodes.add(
            -(-models * sum(MOST.values()) // _GPUS_PER_NODE), gpus=_GPUS_PER_NODE
        )
        _create(plane, made[1:], models, cold_start_seconds)
        say(f"{models} models: created after {seconds_now() - began:.0f} s")
        exporter.wait_healthy()
        prometheus = Prometheus.start(
            plane.layout.programs,
            folder / "prometheus",
            _scraping(f"127.0.0.1:{port}", operator_metrics, scrape_seconds),
            rules=yaml.safe_load(_RULES.read_text()) if recording_rules else None,
        )
        _wait_seen(prometheus, models)
        say(f"{models} models: all Ready and scraped after {seconds_now() - began:.0f} s")
        yield World(
            plane=plane,
            namespaces=made,
            watched=made[1:] if tidy else (),
            prometheus=prometheus,
            operator_kubeconfig=kubeconfig,
            folder=folder,
        )
    finally:
        if prometheus is not None:
            prometheus.server.kill()
        exporter.kill()
        if tidy:
            _take_away(plane, made, nodes)


def _wait_seen(prometheus: Prometheus, models: int) -> None:
    """Wait until every model's series were scraped."""

    def seen() -> bool:
        counted = prometheus.values("count(count by (model_name) (vllm:num_requests_running))")
        return counted == [float(models)]

    until(seen, f"the series of {models} models", seconds=_PATIENCE_SECONDS)


def _scraping(exporter: str, operator: str, scrape_seconds: float) -> Document:
    """One page in place of every pod's; the series carry the pods' labels."""
    interval = f"{int(1000 * scrape_seconds)}ms"
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": [
            {
                "job_name": "pods",
                "honor_labels": True,
                "static_configs": [{"targets": [exporter]}],
            },
            {"job_name": "steelyard", "static_configs": [{"targets": [operator]}]},
        ],
    }


def _operator_account(plane: ControlPlane, namespace: str) -> Path:
    """Make the operator's ServiceAccount, which may do all; return its kubeconfig.

    What exactly it may do makes no difference to how long a request takes; it tells its requests
    from ours in the audit log.
    """
    kubeconfig = plane.kubeconfig_for(_OPERATOR, namespace)
    client.RbacAuthorizationV1Api(plane.api).create_cluster_role_binding(
        {
            "metadata": {"name": namespace},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "cluster-admin",
            },
            "subjects": [{"kind": "ServiceAccount", "name": _OPERATOR, "namespace": namespace}],
        }
    )
    return kubeconfig


def _take_away(plane: ControlPlane, namespaces: Sequence[str], nodes: Sequence[str]) -> None:
    if namespaces:
        rights = client.RbacAuthorizationV1Api(plane.api)
        rights.delete_cluster_role_binding(namespaces[0])
    for name in namespaces:
        plane.delete_namespace(name, wait=False)
    for name in nodes:
        plane.nodes.remove(name)


def _create(
    plane: ControlPlane, namespaces: Sequence[str], models: int, cold_start_seconds: int
) -> None:
    """Create every model's Deployments and object, many at once."""
    apps, custom = client.AppsV1Api(plane.api), client.CustomObjectsApi(plane.api)

    def create(number: int) -> None:
        namespace = namespaces[number % len(namespaces)]
        for variant in PROFILES:
            apps.create_namespaced_deployment(
                namespace, _deployment(number, variant, cold_start_seconds)
            )
        custom.create_namespaced_custom_object(
            "steelyard.dev",
            "v1alpha1",
            namespace,
            "modeldeployments",
            _model_deployment(number, cold_start_seconds),
        )

    # Concurrent requests of one client wait for connections beyond its pool's size.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(create, range(models)))


def _deployment(number: int, variant: str, cold_start_seconds: int) -> Document:
    return deployment(
        f"model-{number:04}-{variant}",
        replicas=1 if variant == "bf16" else 0,
        annotations={
            READY_SECONDS: str(cold_start_seconds * 5 // 6),
            READY_JITTER_SECONDS: str(cold_start_seconds // 3),
        },
        labels={MODEL_LABEL: str(number), VARIANT_LABEL: variant},
    )


def _model_deployment(number: int, cold_start_seconds: int) -> Document:
    cold_start = {"coldStartSeconds": cold_start_seconds}
    return {
        "apiVersion": "steelyard.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": f"model-{number:04}"},
        "spec": {
            "mode": "Auto",
            "slo": {
                "objectives": [
                    {
                        "metric": "TimeToFirstToken",
                        "thresholdMilliseconds": round(1000 * TTFT_SECONDS),
                    },
                    {
                        "metric": "TimePerOutputToken",
                        "thresholdMilliseconds": round(1000 * TPOT_SECONDS),
                    },
                ],
                "target": "0.99",
                "windowSeconds": 86_400,
                "plannedBudgetShare": "0.5",
            },
            "quality": {"maxDegradedShare": "0.05", "onExhausted": "Hold"},
            "variants": [
                _variant(number, "bf16", "Primary", "1", 1) | cold_start,
                _variant(number, "fp8", "Fallback", "0.995", 0) | cold_start,
            ],
            "routing": {"type": "Shared", "balancing": "LeastLoaded"},
        },
    }


def _variant(number: int, name: str, role: str, quality: str, least: int) -> Document:
    return {
        "name": name,
        "role": role,
        "targetRef": {"name": f"model-{number:04}-{name}"},
        "servedModelName": model_name(number),
        "accelerator": "nvidia-h100",
        "quality": quality,
        "minReplicas": least,
        "maxReplicas": MOST[name],
        "performance": {"profile": PROFILES[name]},
    }
