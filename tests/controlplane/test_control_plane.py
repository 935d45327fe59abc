"""The control plane behaves as a real cluster where the operator leans on it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.rest import ApiException

from controlplane.cluster import ControlPlane, KubectlFailed, user_of
from controlplane.kwok import READY_SECONDS, GpuNodes, is_ready
from controlplane.waiting import until
from controlplane.workloads import deployment
from kubernetes import client

pytestmark = pytest.mark.cluster

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"


def pods(plane: ControlPlane, namespace: str) -> list[Any]:
    """Return the pods of a namespace."""
    return list(client.CoreV1Api(plane.api).list_namespaced_pod(namespace).items)


def ready_pods(plane: ControlPlane, namespace: str) -> int:
    """Return how many pods of a namespace are Ready."""
    return sum(is_ready(pod.status) for pod in pods(plane, namespace))


def unschedulable(plane: ControlPlane, namespace: str) -> list[str]:
    """Return the scheduler's reasons for the pods it found no place for."""
    return [
        condition.message
        for pod in pods(plane, namespace)
        for condition in pod.status.conditions or ()
        if condition.type == "PodScheduled" and condition.reason == "Unschedulable"
    ]


def test_gpu_nodes_become_ready_from_nothing(
    control_plane: ControlPlane, gpu_nodes: GpuNodes
) -> None:
    """Four added nodes are Ready and offer their GPUs."""
    gpu_nodes.add(4)
    nodes = client.CoreV1Api(control_plane.api).list_node().items
    assert len(nodes) == 4
    assert all(is_ready(node.status) for node in nodes)
    assert {node.status.allocatable["nvidia.com/gpu"] for node in nodes} == {"8"}


def test_pods_are_placed_by_gpus(
    control_plane: ControlPlane, gpu_nodes: GpuNodes, namespace: str
) -> None:
    """Of 40 pods with a GPU each, 32 run, 8 wait as Unschedulable, and a new node takes them."""
    gpu_nodes.add(4)
    control_plane.apply(deployment("llama", replicas=10), namespace=namespace)
    until(lambda: ready_pods(control_plane, namespace) == 10, "10 pods to be Ready")
    control_plane.kubectl("scale", "deployment/llama", "--replicas=40", "-n", namespace)
    until(lambda: ready_pods(control_plane, namespace) == 32, "32 pods to be Ready")
    until(lambda: len(unschedulable(control_plane, namespace)) == 8, "8 to be Unschedulable")
    reasons = unschedulable(control_plane, namespace)
    assert all("Insufficient nvidia.com/gpu" in reason for reason in reasons)
    gpu_nodes.add(1)
    until(lambda: ready_pods(control_plane, namespace) == 40, "the other 8 to be Ready")


def test_a_loading_model_is_running_but_not_ready(
    control_plane: ControlPlane, gpu_nodes: GpuNodes, namespace: str
) -> None:
    """A pod is Ready its annotated seconds after its start, however often it is updated."""
    gpu_nodes.add(1)
    slow = deployment("slow", annotations={READY_SECONDS: "4"})
    control_plane.apply(slow, namespace=namespace)
    core = client.CoreV1Api(control_plane.api)

    def loading() -> Any:
        found = pods(control_plane, namespace)
        return found[0] if found and found[0].status.phase == "Running" else None

    pod = until(loading, "the pod to run")
    assert not is_ready(pod.status)
    touched = 0

    def ready() -> bool:
        nonlocal touched
        touched += 1
        patch = {"metadata": {"annotations": {"touched": str(touched)}}}
        return is_ready(core.patch_namespaced_pod(pod.metadata.name, namespace, patch).status)

    until(ready, "the pod to be Ready")
    status = pods(control_plane, namespace)[0].status
    (became,) = [c.last_transition_time for c in status.conditions if c.type == "Ready"]
    started = status.container_statuses[0].state.running.started_at
    assert touched > 3
    assert 4 <= (became - started).total_seconds() < 4 + 10
    assert became <= datetime.now(UTC)  # noqa: TID251 - the servers' own clock


def test_replicas_follow_the_scale_subresource(
    control_plane: ControlPlane, gpu_nodes: GpuNodes, namespace: str
) -> None:
    """A patch of /scale starts and ends pods, and a stale resourceVersion is refused."""
    gpu_nodes.add(1)
    control_plane.apply(deployment("llama", replicas=1), namespace=namespace)
    apps = client.AppsV1Api(control_plane.api)
    before = apps.read_namespaced_deployment_scale("llama", namespace).metadata.resource_version
    apps.patch_namespaced_deployment_scale("llama", namespace, {"spec": {"replicas": 3}})
    until(lambda: ready_pods(control_plane, namespace) == 3, "3 pods to be Ready")
    stale = {"metadata": {"resourceVersion": before}, "spec": {"replicas": 0}}
    with pytest.raises(ApiException) as refused:
        apps.patch_namespaced_deployment_scale("llama", namespace, stale)
    assert refused.value.status == 409
    apps.patch_namespaced_deployment_scale("llama", namespace, {"spec": {"replicas": 0}})
    until(lambda: not pods(control_plane, namespace), "all pods to go")


def test_a_failed_node_is_not_ready_and_recovers(
    control_plane: ControlPlane, gpu_nodes: GpuNodes
) -> None:
    """A node made to fail is tainted by the controllers; once recovered it is usable again."""
    (name,) = gpu_nodes.add(1)
    gpu_nodes.fail(name)
    core = client.CoreV1Api(control_plane.api)
    until(
        lambda: (
            "node.kubernetes.io/not-ready"
            in {taint.key for taint in core.read_node(name).spec.taints or ()}
        ),
        "the taint of a node that is not Ready",
    )
    gpu_nodes.recover(name)
    assert is_ready(core.read_node(name).status)


def test_the_samples_are_accepted(control_plane: ControlPlane, namespace: str) -> None:
    """The three samples are accepted, in any namespace, and listed under the short name."""
    for sample in SAMPLES.glob("*.yaml"):
        text = sample.read_text(encoding="utf-8")
        moved = text.replace("namespace: serving", f"namespace: {namespace}")
        control_plane.kubectl("apply", "-f", "-", stdin=moved)
    listed = control_plane.kubectl("get", "md", "-n", namespace, "-o", "name").split()
    assert len(listed) == len(list(SAMPLES.glob("*.yaml"))) == 3


def test_the_rules_of_the_crd_are_active(control_plane: ControlPlane, namespace: str) -> None:
    """An object that breaks a CEL rule is refused with the rule's message."""
    text = (SAMPLES / "interactive-chat.yaml").read_text(encoding="utf-8")
    text = text.replace("namespace: serving", f"namespace: {namespace}")
    bad = text.replace("minReplicas: 1", "minReplicas: 25")
    with pytest.raises(KubectlFailed, match="minReplicas"):
        control_plane.kubectl("apply", "-f", "-", stdin=bad)
    control_plane.kubectl("apply", "-f", "-", stdin=text)


def test_objects_survive_a_restart_of_the_api_server(
    control_plane: ControlPlane, gpu_nodes: GpuNodes, namespace: str
) -> None:
    """After a restart the same client works, objects are there, and pods are still made."""
    gpu_nodes.add(1)
    control_plane.apply(deployment("llama", replicas=1), namespace=namespace)
    until(lambda: ready_pods(control_plane, namespace) == 1, "the pod to be Ready")
    control_plane.restart_apiserver()
    assert ready_pods(control_plane, namespace) == 1
    control_plane.kubectl("scale", "deployment/llama", "--replicas=2", "-n", namespace)
    until(lambda: ready_pods(control_plane, namespace) == 2, "2 pods to be Ready")


def test_a_service_account_may_only_do_what_its_role_says(
    control_plane: ControlPlane, namespace: str
) -> None:
    """A role's verbs hold for its ServiceAccount, and the audit log tells which it used."""
    since = control_plane.audit.position()
    kubeconfig = control_plane.kubeconfig_for("reader", namespace)
    role = ("create", "rolebinding", "reader", "--clusterrole=view", "-n", namespace)
    control_plane.kubectl(*role, f"--serviceaccount={namespace}:reader")
    with control_plane.client_for(kubeconfig) as api:
        core = client.CoreV1Api(api)
        until(lambda: _allowed(core, namespace), "the role to be in force")
        with pytest.raises(ApiException) as refused:
            core.list_namespaced_secret(namespace)
        assert refused.value.status == 403
    used = control_plane.audit.verbs(user_of("reader", namespace), since=since)
    assert used == {"configmaps": {"list"}, "secrets": {"list"}}


def _allowed(core: client.CoreV1Api, namespace: str) -> bool:
    try:
        core.list_namespaced_config_map(namespace)
    except ApiException as error:
        if error.status == 403:
            return False
        raise
    return True
