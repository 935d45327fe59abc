"""The operator as a process against a real API server: it follows, survives, leaves no trace."""

import json
import signal
from collections.abc import Callable

import pytest

from controlplane.cluster import ControlPlane
from controlplane.prometheus import Prometheus
from controlplane.scraping import emulated_pods
from controlplane.waiting import until
from running.emulator import Emulator
from running.model import Model
from running.operator import Start

pytestmark = pytest.mark.cluster


def test_a_deployment_follows_and_nothing_of_ours_is_left_on_the_object(
    model: Model, start: Start
) -> None:
    """No finalizer and no annotation of ours; the status is there; SIGTERM ends it cleanly."""
    process = start()
    model.apply(3)
    model.wait_replicas(3, process)
    until(process.ready, "readiness", detail=process.said)
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
    explained = process.explained(model.namespace)
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
        lambda: second.explained(model.namespace),
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
    until(second.ready, "readiness", detail=second.said)
    assert not second.leads()
    assert "modeldeployment=" not in second.get(second.metrics, "/metrics")
    first.end(signal.SIGKILL)
    model.apply(3)
    model.wait_replicas(3, second)
    until(second.leads, "the lead", detail=second.said)


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
    process = start(prometheus=prometheus.url)
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
        lambda: '"missing": "QueryFailed"' in process.explained(model.namespace),
        "blindness",
        detail=process.said,
    )
    assert replicas() >= peak
    prometheus.restart()
    emulator.replays("DELETE")
    until(lambda: replicas() == 1, "one replica to be left", detail=process.said)
    error = process.get(process.metrics, "/metrics")
    assert "steelyard_prometheus_query_errors_total" in error
