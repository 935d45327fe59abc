"""What the operator promises when things break: killed between two writes, raced, deleted under."""

import json
import signal
from typing import Any

import pytest
from controlplane.cluster import ControlPlane
from controlplane.waiting import until
from running.model import Model
from running.operator import Process, Start

pytestmark = pytest.mark.cluster

CRASHING = ("-m", "running.crashing")


def replicas(model: Model) -> tuple[int, int]:
    """What both Deployments are to have."""
    found = model.plane.kubectl(
        *("get", "deployment", "llama-bf16", "llama-fp8", "-n", model.namespace),
        *("-o", "jsonpath={.items[*].spec.replicas}"),
    )
    bf16, fp8 = found.split()
    return int(bf16), int(fp8)


def written(plane: ControlPlane, model: Model, since: int) -> list[tuple[str, str]]:
    """What of this namespace was written by an operator: resource and name, but its Lease."""
    return [
        (request.what, request.name)
        for request in plane.audit.requests(since=since)
        if request.namespace == model.namespace
        and "fieldManager=steelyard" in request.path
        and request.resource != "leases"
        and request.code < 300
    ]


def floors(model: Model, bf16: int, fp8: int) -> None:
    """Ask for at least so many replicas of each."""
    model.body["spec"]["variants"][1]["minReplicas"] = fp8
    model.apply(bf16)


def reason(model: Model, condition: str) -> Any:
    """A condition's reason; None where there is none."""
    status = model.get("modeldeployment/llama-chat").get("status") or {}
    return next((c["reason"] for c in status.get("conditions", ()) if c["type"] == condition), None)


@pytest.mark.parametrize(
    ("at", "after"),
    [(1, "no"), (1, "yes"), (2, "yes"), (3, "yes")],
    ids=["before any", "between the targets", "before the status", "before the Events"],
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
    floors(model, 3, 2)
    since = control_plane.audit.position()
    monkeypatch.setenv("CRASH_AT", str(at))
    monkeypatch.setenv("CRASH_AFTER", after)
    first = start(program=CRASHING)
    assert first.popen.wait() == -signal.SIGKILL, first.said()
    before = replicas(model)
    assert all(n in {1, wanted} for n, wanted in zip(before, (3, 2), strict=True))
    second = start()
    until(lambda: replicas(model) == (3, 2), "both to be scaled", detail=second.said)
    until(lambda: reason(model, "Ready") == "SpecValid", "the status", detail=second.said)
    scales = [one for one in written(control_plane, model, since) if one[0] == "deployments/scale"]
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
    scales = [one for one in written(control_plane, model, since) if one[0] == "deployments/scale"]
    assert scales == [("deployments/scale", "llama-bf16")] * 2
    assert sum(one.leads() for one in both) == 1


def test_a_deployment_deleted_under_it_is_told_and_taken_up_again(
    control_plane: ControlPlane, model: Model, start: Start
) -> None:
    """The condition says what to create; the other variant stays; a new one is scaled at once."""
    floors(model, 2, 1)
    process = start()
    until(lambda: replicas(model) == (2, 1), "both to be scaled", detail=process.said)
    control_plane.kubectl("delete", "deployment", "llama-bf16", "-n", model.namespace)
    until(
        lambda: reason(model, "AbleToScale") == "TargetNotFound",
        "the condition",
        detail=process.said,
    )
    described = control_plane.kubectl("describe", "md", "llama-chat", "-n", model.namespace)
    assert "create Deployment llama-bf16" in described
    assert model.get("deployment/llama-fp8")["spec"]["replicas"] == 1
    model.deploy("llama-bf16")
    model.wait_replicas(2, process)
    until(
        lambda: reason(model, "AbleToScale") == "TargetsScalable",
        "the condition to go",
        detail=process.said,
    )


def test_what_belongs_to_no_object_any_more_is_left_alone(
    control_plane: ControlPlane, model: Model, start: Start
) -> None:
    """Once its ModelDeployment is deleted a Deployment keeps what it has, and is anybody's."""
    process = start()
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
    cycles_pass(process, 3)
    assert written(control_plane, model, since) == []
    assert replicas(model)[0] == 1


def cycles_pass(process: Process, number: int) -> None:
    """Wait for so many cycles to end."""

    def done() -> float:
        lines = process.get(process.metrics, "/metrics").splitlines()
        counts = [line for line in lines if line.startswith("steelyard_cycle_seconds_count")]
        return float(counts[0].split()[1]) if counts else 0.0

    first = done()
    until(lambda: done() >= first + number, f"{number} cycles", detail=process.said)


def test_an_hpa_on_a_target_is_told_and_not_fought(
    control_plane: ControlPlane, model: Model, start: Start
) -> None:
    """Nothing is written while it is there; once it is deleted, as told, steelyard goes on."""
    control_plane.kubectl(
        *("autoscale", "deployment", "llama-bf16", "--min=1", "--max=2"), "-n", model.namespace
    )
    model.apply(3)
    process = start()
    until(
        lambda: reason(model, "AbleToScale") == "AnotherWriter",
        "the condition",
        detail=process.said,
    )
    cycles_pass(process, 2)
    assert replicas(model)[0] == 1
    described = control_plane.kubectl("describe", "md", "llama-chat", "-n", model.namespace)
    assert "delete HPA llama-bf16" in described
    control_plane.kubectl("delete", "hpa", "llama-bf16", "-n", model.namespace)
    model.wait_replicas(3, process)


def test_an_edit_by_hand_is_told_by_name_and_decided_anew(
    control_plane: ControlPlane, model: Model, start: Start
) -> None:
    """The Event names who set it; the floor is restored; a pause keeps a user's replicas."""
    process = start()
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
        lambda: reason(model, "Paused") == "PausedByAnnotation",
        "the pause to be seen",
        detail=process.said,
    )
    control_plane.kubectl(*scale, "--replicas=1")
    cycles_pass(process, 3)
    assert replicas(model)[0] == 1
    control_plane.kubectl(*annotate, "steelyard.dev/paused-")
    model.wait_replicas(3, process)


def test_recommend_writes_status_and_nothing_else(
    control_plane: ControlPlane, model: Model, start: Start
) -> None:
    """The decision is told, the Deployment stays, until the mode is Auto."""
    model.body["spec"]["mode"] = "Recommend"
    since = control_plane.audit.position()
    model.apply(3)
    process = start()
    until(lambda: reason(model, "Paused") == "ModeRecommend", "a status", detail=process.said)
    cycles_pass(process, 3)
    status = model.get("modeldeployment/llama-chat")["status"]
    assert status["variants"][0]["desired"] == 3
    assert replicas(model) == (1, 1)
    assert {what for what, _ in written(control_plane, model, since)} <= {
        "modeldeployments/status",
        "events",
    }
    model.body["spec"]["mode"] = "Auto"
    model.apply(3)
    model.wait_replicas(3, process)


def test_a_bad_object_is_told_and_disturbs_no_other(
    control_plane: ControlPlane, model: Model, start: Start
) -> None:
    """What the schema cannot know, an accelerator without a price, is in the condition Ready."""
    model.apply(2)
    process = start()
    model.wait_replicas(2, process)
    bad = json.loads(json.dumps(model.body))
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
