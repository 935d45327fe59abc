"""What the operator promises when it is killed between two writes, or there are two of it."""

import signal

import pytest
from controlplane.cluster import ControlPlane
from controlplane.waiting import until
from running.model import Model
from running.operator import Start

pytestmark = pytest.mark.cluster

CRASHING = ("-m", "running.crashing")


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
    model.floors(3, 2)
    since = control_plane.audit.position()
    monkeypatch.setenv("CRASH_AT", str(at))
    monkeypatch.setenv("CRASH_AFTER", after)
    first = start(program=CRASHING)
    assert first.popen.wait() == -signal.SIGKILL, first.said()
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
