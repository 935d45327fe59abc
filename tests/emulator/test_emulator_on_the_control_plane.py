"""The emulator beside a real API server and a real Prometheus."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from controlplane.cluster import ControlPlane
from controlplane.kwok import READY_SECONDS, GpuNodes
from controlplane.processes import Server, free_ports, healthy
from controlplane.prometheus import Prometheus
from controlplane.waiting import until
from controlplane.workloads import deployment

pytestmark = pytest.mark.cluster

PREFIX = "emulator.steelyard.dev/"


class Emulated:
    """The emulator's process, and its state."""

    def __init__(self, kubeconfig: Path, namespace: str, folder: Path) -> None:
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        self._session = requests.Session()
        self._session.trust_env = False
        command = [sys.executable, "-m", "simulations.emulator", "serve", "--port", str(port)]
        command += ["--kubeconfig", str(kubeconfig), "--namespace", namespace]
        self.server = Server(
            "emulator", command, folder, lambda: healthy(f"http://{self.address}/healthz")
        )

    def pods(self) -> list[str]:
        """Names of the pods that take requests."""
        return [pod["name"] for pod in self.get("state")["pods"] if pod["routable"]]

    def get(self, path: str) -> Any:
        """Read JSON."""
        answer = self._session.get(f"http://{self.address}/{path}", timeout=30)
        answer.raise_for_status()
        return answer.json()

    def post(self, path: str, body: Any) -> Any:
        """Send JSON."""
        answer = self._session.post(f"http://{self.address}/{path}", json=body, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def close(self) -> None:
        """End the process."""
        self.server.stop()
        self._session.close()


def scraping(kubeconfig: Path, namespace: str, emulator: str) -> dict[str, Any]:
    """Return a configuration that finds annotated pods and asks the emulator in their place."""
    profile = "__meta_kubernetes_pod_annotation_emulator_steelyard_dev_profile"
    source = ["__meta_kubernetes_namespace", "__meta_kubernetes_pod_name"]
    job = {
        "job_name": "pods",
        "kubernetes_sd_configs": [
            {
                "role": "pod",
                "kubeconfig_file": str(kubeconfig),
                "namespaces": {"names": [namespace]},
            }
        ],
        "relabel_configs": [
            {"action": "keep", "source_labels": [profile], "regex": ".+"},
            {"action": "keep", "source_labels": ["__meta_kubernetes_pod_ready"], "regex": "true"},
            {"target_label": "__address__", "replacement": emulator},
            {
                "source_labels": source,
                "separator": "/",
                "target_label": "__metrics_path__",
                "replacement": "/pods/$1/metrics",
            },
            {"source_labels": source[:1], "target_label": "namespace"},
            {"source_labels": source[1:], "target_label": "pod"},
            {"source_labels": source[1:], "target_label": "instance"},
        ],
    }
    return {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}


@pytest.fixture
def emulated(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Emulated]:
    """The emulator, following the test's namespace with no more rights than that takes."""
    kubeconfig = control_plane.kubeconfig_for("emulator", namespace)
    follow = {"resources": ["pods", "services"], "verbs": ["list", "watch"], "apiGroups": [""]}
    routes = {**follow, "resources": ["httproutes"], "apiGroups": ["gateway.networking.k8s.io"]}
    rbac = "rbac.authorization.k8s.io"
    metadata = {"name": "emulator"}
    account = {"kind": "ServiceAccount", "name": "emulator", "namespace": namespace}
    control_plane.apply(
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "Role",
            "metadata": metadata,
            "rules": [follow, routes],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "emulator"},
            "subjects": [account],
        },
        namespace=namespace,
    )
    made = Emulated(kubeconfig, namespace, tmp_path)
    made.server.start()
    made.server.wait_healthy()
    yield made
    made.close()


def played_deployment(replicas: int) -> dict[str, Any]:
    """Return a Deployment whose pods the emulator plays, a second after their start."""
    notes = {f"{PREFIX}profile": "llama-8b-bf16-h100", f"{PREFIX}served-model-name": "llama"}
    return deployment("llama", replicas=replicas, annotations={**notes, READY_SECONDS: "1"})


def test_a_deployment_is_played_scraped_and_scaled(
    control_plane: ControlPlane,
    gpu_nodes: GpuNodes,
    namespace: str,
    emulated: Emulated,
    start_prometheus: Callable[..., Prometheus],
) -> None:
    """Ready pods serve a trace under their own series, which end when they are scaled away."""
    gpu_nodes.add(1)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "llama"},
        "spec": {"selector": {"app": "llama"}, "ports": [{"port": 8000}]},
    }
    control_plane.apply(played_deployment(2), service, namespace=namespace)
    prometheus = start_prometheus(scraping(control_plane.kubeconfig, namespace, emulated.address))
    until(lambda: len(emulated.pods()) == 2, "two pods to be played")
    prometheus.wait_up(2)

    door = f"services/{namespace}/llama"
    answer = emulated.post(f"{door}/v1/completions", {"prompt": "hello", "max_tokens": 3})
    assert answer["usage"]["completion_tokens"] == 3

    trace = {"durationSeconds": 600, "levelRequestsPerSecond": 20}
    emulated.post("replays", {"door": door, "trace": trace})
    pinned = f'{{namespace="{namespace}",model_name="llama"}}'
    firsts = f"rate(vllm:time_to_first_token_seconds_count{pinned}[10s])"
    until(
        lambda: sum(prometheus.values(f"sum({firsts})")) > 12.0,
        "Prometheus to see the trace",
        detail=lambda: prometheus.query(firsts),
    )
    assert sorted(each["metric"]["pod"] for each in prometheus.query(firsts)) == sorted(
        emulated.pods()
    )
    assert len(prometheus.query(f"vllm:num_requests_running{pinned}")) == 2

    control_plane.kubectl("scale", "deployment", "llama", "--replicas=1", "-n", namespace)
    until(lambda: len(emulated.pods()) == 1, "one pod to be left")
    (left,) = emulated.pods()
    until(
        lambda: (
            [
                each["metric"]["pod"]
                for each in prometheus.query(f"vllm:num_requests_running{pinned}")
            ]
            == [left]
        ),
        "the other pod's series to end",
    )
    replay = emulated.get("state")["replays"][0]
    assert replay["sent"] > 0
    assert replay["lost"] == 0


def test_a_restart_of_the_api_server_is_survived(
    control_plane: ControlPlane, gpu_nodes: GpuNodes, namespace: str, emulated: Emulated
) -> None:
    """Pods go on while the API server is away, and are followed again when it is back."""
    gpu_nodes.add(1)
    control_plane.apply(played_deployment(1), namespace=namespace)
    until(lambda: len(emulated.pods()) == 1, "one pod to be played")
    control_plane.stop_apiserver()
    assert len(emulated.pods()) == 1
    control_plane.start_apiserver()
    control_plane.apply(played_deployment(3), namespace=namespace)
    until(lambda: len(emulated.pods()) == 3, "three pods to be played")
