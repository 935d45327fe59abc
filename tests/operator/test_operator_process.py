"""The operator as a process against a real API server: it follows, survives, leaves no trace."""

import copy
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from controlplane.cluster import ControlPlane
from controlplane.kwok import READY_SECONDS, GpuNodes
from controlplane.processes import Server, free_ports, healthy
from controlplane.prometheus import Prometheus
from controlplane.scraping import emulated_pods
from controlplane.waiting import until
from controlplane.workloads import deployment

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]

#: Where no Prometheus answers: what follows then is the objects' bounds.
NOBODY = "http://127.0.0.1:1"


class Process:
    """One operator."""

    def __init__(self, plane: ControlPlane, namespace: str, folder: Path, prometheus: str) -> None:
        self.health, self.metrics = free_ports(2)
        self.log = (folder / f"operator-{self.health}.log").open("w+")
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "controller"],
            stdout=self.log,
            stderr=self.log,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "KUBECONFIG": str(plane.kubeconfig),
                "OMP_NUM_THREADS": "1",
                "STEELYARD_NAMESPACES": namespace,
                "STEELYARD_LEASE_NAMESPACE": namespace,
                "STEELYARD_PROMETHEUS_URL": prometheus,
                "STEELYARD_PROMETHEUS_SCRAPE_SECONDS": "1",
                "STEELYARD_TICK_SECONDS": "1",
                "STEELYARD_LISTEN_ADDRESS": "127.0.0.1",
                "STEELYARD_HEALTH_LISTEN_PORT": str(self.health),
                "STEELYARD_METRICS_LISTEN_PORT": str(self.metrics),
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

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end."""
        self.popen.send_signal(number)
        return self.popen.wait()


Start = Callable[..., Process]


@pytest.fixture
def start(
    control_plane: ControlPlane, gpu_nodes: GpuNodes, namespace: str, tmp_path: Path
) -> Iterator[Start]:
    """Start operators of the test's namespace; they end with the test."""
    gpu_nodes.add(2)
    started: list[Process] = []

    def one(prometheus: str = NOBODY) -> Process:
        started.append(Process(control_plane, namespace, tmp_path, prometheus))
        return started[-1]

    yield one
    for process in started:
        process.popen.kill()
        process.popen.wait()
        process.log.close()


class Model:
    """A ModelDeployment with two Deployments in a namespace."""

    def __init__(self, plane: ControlPlane, namespace: str, body: dict[str, Any]) -> None:
        self.plane, self.namespace = plane, namespace
        self.body = copy.deepcopy(body)
        self.body["metadata"] = {"name": "llama-chat", "namespace": namespace}
        self.body["spec"]["mode"] = "Auto"
        notes = {
            "emulator.steelyard.dev/profile": "llama-8b-bf16-h100",
            "emulator.steelyard.dev/served-model-name": "llama-3.1-8b",
            READY_SECONDS: "1",
        }
        plane.apply(
            deployment("llama-bf16", annotations=notes),
            deployment("llama-fp8", annotations=notes),
            namespace=namespace,
        )

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


@pytest.fixture
def model(control_plane: ControlPlane, namespace: str, make_body: Any) -> Model:
    """Not applied yet."""
    return Model(control_plane, namespace, make_body())


def test_a_deployment_follows_and_nothing_of_ours_is_left_on_the_object(
    model: Model, start: Start
) -> None:
    """No finalizer and no annotation of ours; the status is there; SIGTERM ends it cleanly."""
    process = start()
    model.apply(3)
    model.wait_replicas(3, process)
    until(
        lambda: process.get(process.health, "/readyz") == "ok\n", "readiness", detail=process.said
    )
    seen = until(
        lambda: (found := model.get("modeldeployment/llama-chat")).get("status") and found,
        "a status",
        detail=process.said,
    )
    metadata = seen["metadata"]
    assert "finalizers" not in metadata
    assert set(metadata.get("annotations", {})) <= {
        "kubectl.kubernetes.io/last-applied-configuration"
    }
    assert seen["status"]["observedGeneration"] == 1
    explained = process.get(process.health, f"/explain/{model.namespace}/llama-chat")
    assert json.loads(explained)["variants"][0]["decided"] == 3
    assert process.end(signal.SIGTERM) == 0, process.said()


def test_it_goes_on_after_the_api_server_restarted(
    control_plane: ControlPlane, model: Model, start: Start
) -> None:
    """The watch is taken up again, what was changed is followed, what was deleted forgotten."""
    process = start()
    model.apply(2)
    model.wait_replicas(2, process)
    control_plane.restart_apiserver()
    model.apply(4)
    model.wait_replicas(4, process)
    control_plane.kubectl("delete", "modeldeployment", "llama-chat", "-n", model.namespace)
    until(
        lambda: "modeldeployment=" not in process.get(process.metrics, "/metrics"),
        "the series to go",
        detail=process.said,
    )
    assert model.get("deployment/llama-bf16")["spec"]["replicas"] == 4
    assert process.popen.poll() is None


def test_what_was_killed_goes_on_where_it_was(model: Model, start: Start) -> None:
    """After SIGKILL nothing is written that is so already, and what changed is followed."""
    first = start()
    model.apply(3)
    model.wait_replicas(3, first)
    first.end(signal.SIGKILL)
    generation = model.get("deployment/llama-bf16")["metadata"]["generation"]
    second = start()
    until(second.leads, "the lead", detail=second.said)
    until(
        lambda: second.get(second.health, f"/explain/{model.namespace}/llama-chat"),
        "a decision",
        detail=second.said,
    )
    assert model.get("deployment/llama-bf16")["metadata"]["generation"] == generation
    model.apply(5)
    model.wait_replicas(5, second)
    assert model.get("deployment/llama-bf16")["metadata"]["generation"] == generation + 1


def test_of_two_one_decides_and_the_other_takes_over(model: Model, start: Start) -> None:
    """The standby is alive and warm, tells of no object, and follows once the leader is gone."""
    first = start()
    model.apply(2)
    model.wait_replicas(2, first)
    second = start()
    until(lambda: second.get(second.health, "/readyz") == "ok\n", "readiness", detail=second.said)
    assert not second.leads()
    assert "modeldeployment=" not in second.get(second.metrics, "/metrics")
    first.end(signal.SIGKILL)
    model.apply(3)
    model.wait_replicas(3, second)
    until(second.leads, "the lead", detail=second.said)


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


@pytest.fixture
def emulator(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Emulator]:
    """Plays the pods of the test's namespace."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "llama"},
        "spec": {"selector": {"app": "llama-bf16"}, "ports": [{"port": 8000}]},
    }
    control_plane.apply(service, namespace=namespace)
    made = Emulator(control_plane, namespace, tmp_path)
    made.server.start()
    made.server.wait_healthy()
    yield made
    made.server.stop()


def test_replicas_follow_live_traffic_up_and_down(
    control_plane: ControlPlane,
    model: Model,
    emulator: Emulator,
    start: Start,
    start_prometheus: Callable[..., Prometheus],
) -> None:
    """A real Prometheus shows the load of playing servers: more are started, then released.

    While Prometheus is away at the peak nothing is released.
    """
    prometheus = start_prometheus(
        emulated_pods(control_plane.kubeconfig, emulator.address, namespace=model.namespace)
    )
    (variant, _) = model.body["spec"]["variants"]
    variant |= {"coldStartSeconds": 2, "maxReplicas": 6}
    variant.pop("queueLimit")
    model.body["spec"]["variants"] = [variant]
    model.body["spec"].pop("routing")
    process = start(prometheus.url)
    model.apply(1)
    emulator.replays(
        "POST",
        {"door": emulator.door, "trace": {"durationSeconds": 1200, "levelRequestsPerSecond": 60}},
    )

    def replicas() -> int:
        return int(model.get("deployment/llama-bf16")["spec"]["replicas"])

    peak = until(lambda: (n := replicas()) >= 3 and n, "three replicas", detail=process.said)
    prometheus.stop()
    until(
        lambda: (
            '"missing": "QueryFailed"'
            in process.get(process.health, f"/explain/{model.namespace}/llama-chat")
        ),
        "blindness",
        detail=process.said,
    )
    assert replicas() >= peak
    prometheus.restart()
    emulator.replays("DELETE")
    until(lambda: replicas() == 1, "one replica to be left", detail=process.said)
    error = process.get(process.metrics, "/metrics")
    assert "steelyard_prometheus_query_errors_total" in error
