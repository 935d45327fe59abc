"""The benchmark of the operator measures, and promises no more than it prints."""

import contextlib
import json
from typing import Any

import pytest

from controlplane.cluster import ControlPlane
from controlplane.waiting import until
from operatorbench.command import main

pytestmark = pytest.mark.cluster

#: Tick, scrape interval and cold start of a second or two.
SMALL = [
    *("--objects", "3", "--seconds", "4", "--warm-up", "2"),
    *("--tick", "2", "--scrape", "1", "--cold-start", "1"),
]


def test_three_objects_are_measured_and_nothing_is_left(
    control_plane: ControlPlane, capsys: pytest.CaptureFixture[str]
) -> None:
    """One JSON document says what cycles cost; the cluster is as it was."""
    status = main(SMALL, lambda: contextlib.nullcontext(control_plane))
    assert status == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document.keys() == {"machine", "settings", "runs", "ratios"}
    (run,) = document["runs"]
    assert run["objects"] == 3
    assert run["replicas"] >= 3
    assert run["cycles"] == 2
    assert 0.0 < run["cycleSeconds"]["median"] <= run["cycleSeconds"]["max"]
    for parts in (run["partSeconds"], run["partProcessorSeconds"]):
        assert min(parts[part] for part in ("read", "plan", "write")) > 0.0
        assert {"workloads", "metrics", "prometheus", "plan", "actuate"} <= parts["within"].keys()
    assert run["startUpSeconds"] > 0.0
    assert run["processorSecondsPerCycle"] > 0.0
    assert run["processorSecondsPerCycleByThread"]["cycle"] > 0.0
    assert 20.0 < run["residentMebibytes"] <= run["peakResidentMebibytes"]
    assert 0.0 < run["queriesPerCycle"] <= 14.0
    assert run["requestsPerCycle"] >= run["writesPerCycle"]
    assert run["statusWritesPerObjectHour"] <= run["writesPerObjectHour"]
    assert sum(run["requestsPerCycleByKind"].values()) == pytest.approx(run["requestsPerCycle"])
    assert {target["figure"] for target in run["targets"]} == {
        "cycleSeconds.median",
        "partSeconds.read",
        "partSeconds.plan",
        "partSeconds.write",
        "queriesPerCycle",
        "writesPerObjectHour",
    }
    assert control_plane.nodes.names == []
    until(
        lambda: (
            "operatorbench" not in control_plane.kubectl("get", "namespaces,clusterrolebindings")
        ),
        "everything of the benchmark to go",
    )
