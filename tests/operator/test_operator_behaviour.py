"""What the operator does with targets that go, that others write, that a user edits or pauses."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.cluster import ControlPlane
from controlplane.waiting import until
from running.model import Model
from running.operator import Process

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def process(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    """One operator that watches every namespace, for all tests of this module."""
    control_plane.create_namespace("behaviour")
    folder = tmp_path_factory.mktemp("operator")
    started = Process(control_plane, "behaviour", folder, settings={"NAMESPACES": ""})
    until(started.leads, "an operator", detail=started.said)
    yield started
    started.close()
    control_plane.delete_namespace("behaviour", wait=False)


def test_a_deployment_deleted_under_it_is_told_and_taken_up_again(
    control_plane: ControlPlane, model: Model, process: Process
) -> None:
    """The condition says what to create; the other variant stays; a new one is scaled at once."""
    model.floors(2, 1)
    until(lambda: model.replicas() == (2, 1), "both to be scaled", detail=process.said)
    control_plane.kubectl("delete", "deployment", "llama-bf16", "-n", model.namespace)
    until(
        lambda: model.reason("AbleToScale") == "TargetNotFound",
        "the condition",
        detail=process.said,
    )
    described = model.described()
    assert "create Deployment llama-bf16" in described
    assert model.get("deployment/llama-fp8")["spec"]["replicas"] == 1
    model.deploy("llama-bf16")
    model.wait_replicas(2, process)
    until(
        lambda: model.reason("AbleToScale") == "TargetsScalable",
        "the condition to go",
        detail=process.said,
    )


def test_what_belongs_to_no_object_any_more_is_left_alone(
    control_plane: ControlPlane, model: Model, process: Process
) -> None:
    """Once its ModelDeployment is deleted a Deployment keeps what it has, and is anybody's."""
    model.apply(3)
    model.wait_replicas(3, process)
    control_plane.kubectl("delete", "md", "llama-chat", "-n", model.namespace)
    until(
        lambda: "modeldeployment=" not in process.get(process.metrics, "/metrics"),
        "the object to be forgotten",
        detail=process.said,
    )
    since = control_plane.audit.position()
    control_plane.kubectl(
        "scale", "deployment", "llama-bf16", "--replicas=1", "-n", model.namespace
    )
    process.cycles_pass(3)
    assert model.written(since) == []
    assert model.replicas()[0] == 1


def test_an_hpa_on_a_target_is_told_and_not_fought(
    control_plane: ControlPlane, model: Model, process: Process
) -> None:
    """Nothing is written while it is there; once it is deleted, as told, steelyard goes on."""
    control_plane.kubectl(
        *("autoscale", "deployment", "llama-bf16", "--min=1", "--max=2"), "-n", model.namespace
    )
    model.apply(3)
    until(
        lambda: model.reason("AbleToScale") == "AnotherWriter",
        "the condition",
        detail=process.said,
    )
    process.cycles_pass(2)
    assert model.replicas()[0] == 1
    described = model.described()
    assert "delete HPA llama-bf16" in described
    control_plane.kubectl("delete", "hpa", "llama-bf16", "-n", model.namespace)
    model.wait_replicas(3, process)


def test_an_edit_by_hand_is_told_by_name_and_decided_anew(
    control_plane: ControlPlane, model: Model, process: Process
) -> None:
    """The Event names who set it; the floor is restored; a pause keeps a user's replicas."""
    model.apply(3)
    model.wait_replicas(3, process)
    scale = ("scale", "deployment", "llama-bf16", "-n", model.namespace)
    control_plane.kubectl(*scale, "--replicas=1")
    model.wait_replicas(3, process)
    until(
        lambda: (
            "EditedByHand"
            in control_plane.kubectl("get", "events", "-n", model.namespace, "-o", "wide")
        ),
        "the Event",
        detail=process.said,
    )
    annotate = ("annotate", "md", "llama-chat", "-n", model.namespace)
    control_plane.kubectl(*annotate, "steelyard.dev/paused=true")
    until(
        lambda: model.reason("Paused") == "PausedByAnnotation",
        "the pause to be seen",
        detail=process.said,
    )
    control_plane.kubectl(*scale, "--replicas=1")
    process.cycles_pass(3)
    assert model.replicas()[0] == 1
    control_plane.kubectl(*annotate, "steelyard.dev/paused-")
    model.wait_replicas(3, process)


def test_recommend_writes_status_and_nothing_else(
    control_plane: ControlPlane, model: Model, process: Process
) -> None:
    """The decision is told, the Deployment stays, until the mode is Auto."""
    model.body["spec"]["mode"] = "Recommend"
    since = control_plane.audit.position()
    model.apply(3)
    until(lambda: model.reason("Paused") == "ModeRecommend", "a status", detail=process.said)
    process.cycles_pass(3)
    status = model.get("modeldeployment/llama-chat")["status"]
    assert status["variants"][0]["desired"] == 3
    assert model.replicas() == (1, 1)
    assert {what for what, _ in model.written(since)} <= {
        "modeldeployments/status",
        "events",
    }
    model.body["spec"]["mode"] = "Auto"
    model.apply(3)
    model.wait_replicas(3, process)


def test_a_bad_object_is_told_and_disturbs_no_other(
    control_plane: ControlPlane, model: Model, process: Process
) -> None:
    """What the schema cannot know, an accelerator without a price, is in the condition Ready."""
    model.apply(2)
    model.wait_replicas(2, process)
    bad = copy.deepcopy(model.body)
    bad["metadata"]["name"] = "bad"
    for variant in bad["spec"]["variants"]:
        variant["targetRef"]["name"] += "-bad"
        variant["accelerator"] = "abacus"
    control_plane.apply(bad)

    def told() -> Any:
        status = model.get("modeldeployment/bad").get("status") or {}
        return [c for c in status.get("conditions", ()) if c["reason"] == "SpecInvalid"]

    (condition,) = until(told, "the condition", detail=process.said)
    assert "accelerator" in condition["message"]
    model.apply(3)
    model.wait_replicas(3, process)
