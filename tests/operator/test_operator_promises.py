"""What the operator promises when it is killed between writes, doubled, or given many objects."""

import copy
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from controlplane.cluster import ControlPlane
from controlplane.waiting import until
from kubernetes import client
from running.model import Model
from running.operator import Start

pytestmark = pytest.mark.cluster

CRASHING = ("-m", "running.crashing")


@pytest.mark.parametrize(
    ("at", "after"),
    [(1, "no"), (1, "yes"), (2, "yes")],
    ids=["before any", "between the targets", "before the status"],
)
def test_killed_between_two_writes_the_next_one_finishes(
    control_plane: ControlPlane,
    model: Model,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    after: str,
) -> None:
    """Both targets get there, none goes below where it was, none is written twice."""
    model.floors(3, 2)
    since = control_plane.audit.position()
    monkeypatch.setenv("CRASH_AT", str(at))
    monkeypatch.setenv("CRASH_AFTER", after)
    first = start(program=CRASHING)
    assert first.popen.wait(timeout=120) == -signal.SIGKILL, first.said()
    before = model.replicas()
    assert all(n in {1, wanted} for n, wanted in zip(before, (3, 2), strict=True))
    second = start()
    until(lambda: model.replicas() == (3, 2), "both to be scaled", detail=second.said)
    until(lambda: model.reason("Ready") == "SpecValid", "the status", detail=second.said)
    scales = [one for one in model.written(since) if one[0] == "deployments/scale"]
    assert sorted(scales) == [
        ("deployments/scale", "llama-bf16"),
        ("deployments/scale", "llama-fp8"),
    ]


def test_two_at_once_write_as_one(control_plane: ControlPlane, model: Model, start: Start) -> None:
    """Whichever leads: each target is patched once for each change."""
    both = (start(), start())
    since = control_plane.audit.position()
    model.apply(2)
    model.wait_replicas(2, both[0])
    model.apply(4)
    model.wait_replicas(4, both[0])
    until(lambda: all(one.ready() for one in both), "both to be ready", detail=both[1].said)
    scales = [one for one in model.written(since) if one[0] == "deployments/scale"]
    assert scales == [("deployments/scale", "llama-bf16")] * 2
    assert sum(one.leads() for one in both) == 1


def test_hundreds_of_objects_carry_nothing_of_ours_but_their_status(
    control_plane: ControlPlane, model: Model, start: Start
) -> None:
    """No finalizer, no annotation, and no field manager but the one of the status."""
    objects = client.CustomObjectsApi(control_plane.api)
    place = ("steelyard.dev", "v1alpha1", model.namespace, "modeldeployments")

    def create(number: int) -> None:
        body = copy.deepcopy(model.body)
        body["metadata"]["name"] = f"model-{number}"
        body["spec"]["mode"] = "Recommend"
        objects.create_namespaced_custom_object(*place, body, field_manager="test")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(300)))
    process = start(settings={"KUBERNETES_QPS": "1000"})

    def listed() -> list[dict[str, Any]]:
        return list(objects.list_namespaced_custom_object(*place)["items"])

    until(lambda: all("status" in one for one in listed()), "every status", detail=process.said)
    for one in listed():
        metadata = one["metadata"]
        assert "finalizers" not in metadata
        assert "annotations" not in metadata
        fields = {(f["manager"], f.get("subresource")) for f in metadata["managedFields"]}
        assert fields == {("test", None), ("steelyard", "status")}
