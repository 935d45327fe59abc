"""`make kind` ends in a cluster where the operator follows the replayed trace."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.waiting import pause, until

pytestmark = pytest.mark.kind

#: The trace climbs for four minutes from its third on, stays there for eight, and then falls.
CLIMB_SECONDS = 600.0
FALL_SECONDS = 1500.0
#: Each look at the replicas runs kubectl, which costs a third of a second of a core.
LOOK_SECONDS = 3.0


class Kind:
    """The cluster of `make kind`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = os.environ | {"KUBECONFIG": str(root / "out/kind/kubeconfig")}

    def run(self, *command: str) -> str:
        """Run a command and return what it printed; what fails is told with its output."""
        done = subprocess.run(  # noqa: S603 - commands of the documentation, and kubectl
            command,
            cwd=self.root,
            env=self.environment,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-6000:]}"
        return done.stdout

    def get(self, *what: str) -> Any:
        """Return what `kubectl get` finds, as objects."""
        return json.loads(self.run("kubectl", "get", *what, "--output=json"))

    def chat(self) -> Any:
        """Return the status of the chat sample."""
        return self.get("--namespace=serving", "md/llama-chat").get("status", {})

    def condition(self, kind: str) -> str:
        """Return status and reason of a condition of the chat sample."""
        for one in self.chat().get("conditions", ()):
            if one["type"] == kind:
                return f"{one['status']} {one['reason']}"
        return "absent"

    def replicas(self) -> int:
        """Return how many model servers of the chat are Ready, a little later."""
        pause(LOOK_SECONDS)
        names = ("llama-bf16", "llama-fp8")
        found = self.get("--namespace=serving", "deployments", *names)["items"]
        return sum(one["status"].get("readyReplicas", 0) for one in found)


@pytest.fixture(scope="module")
def cluster(root: Path) -> Iterator[Kind]:
    """The cluster, made and ended by the documented commands."""
    page = (root / "docs/operations.md").read_text()
    block = page.split("## Try it on kind")[1].split("```sh\n")[1].split("```")[0]
    commands = [line.split("#")[0].strip() for line in block.strip().splitlines()]
    assert (commands[0], commands[-1]) == ("make kind", "make kind-down")
    kind = Kind(root)
    try:
        kind.run(*commands[0].split())
        yield kind
    finally:
        kind.run(*commands[-1].split())


def test_both_operators_are_ready(cluster: Kind) -> None:
    """Two pods of the operator are Ready, never restarted, and one holds the Lease."""
    pods = cluster.get("--namespace=steelyard-system", "pods")["items"]
    states = [status for pod in pods for status in pod["status"]["containerStatuses"]]
    assert [status["ready"] for status in states] == [True, True]
    assert [status["restartCount"] for status in states] == [0, 0]
    lease = cluster.get("--namespace=steelyard-system", "lease", "steelyard-controller")
    holder = lease["spec"]["holderIdentity"]
    assert any(holder.startswith(pod["metadata"]["name"]) for pod in pods)


def test_workers_have_gpus(cluster: Kind) -> None:
    """Each worker offers eight GPUs, and model servers hold some."""
    nodes = cluster.get("nodes", "--selector=nvidia.com/gpu.product")["items"]
    offered = [node["status"]["allocatable"].get("nvidia.com/gpu") for node in nodes]
    assert offered == ["8", "8"]


def test_metrics_arrive(cluster: Kind) -> None:
    """The emulator's metrics reach the decision through Prometheus."""
    until(
        lambda: cluster.condition("MetricsAvailable") == "True MetricsFresh",
        "metrics to be fresh",
        detail=cluster.chat,
    )
    assert cluster.condition("Ready") == "True SpecValid"
    assert cluster.condition("AbleToScale") == "True TargetsScalable"


def test_replicas_follow_the_trace(cluster: Kind) -> None:
    """The load grows to fourteen times its beginning, and falls again; so do model servers."""
    until(
        lambda: cluster.replicas() >= 4,
        "four model servers of the chat",
        seconds=CLIMB_SECONDS,
        detail=cluster.chat,
    )
    until(
        lambda: cluster.replicas() <= 2,
        "two model servers of the chat",
        seconds=FALL_SECONDS,
        detail=cluster.chat,
    )
    told = cluster.run("kubectl", "describe", "md", "-n", "serving", "llama-chat")
    assert re.search("ScaledUp.*bf16 1 -> ", told)
    assert re.search("ScaledDown.*bf16 ", told)


def test_a_person_sees_what_happens(cluster: Kind) -> None:
    """`kubectl get`, `describe` and `steelyard explain` tell of it."""
    row = re.compile(r"^llama-chat +Auto +0\.99 +\d+/\d+ +\d+/\d+", re.MULTILINE)
    until(
        lambda: row.search(cluster.run("kubectl", "get", "md", "-n", "serving")),
        "replicas to be shown",
        detail=cluster.chat,
    )
    assert "TargetsScalable" in cluster.run(
        "kubectl", "describe", "md", "-n", "serving", "llama-chat"
    )
    explain = str(cluster.root / ".venv/bin/kubectl-steelyard")
    said = cluster.run(explain, "explain", "llama-chat", "-n", "serving")
    assert "From the status alone" not in said
    assert "Inputs" in said
