"""Under live load, seen through a real Prometheus: ready before it is needed, given back after."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from controlplane.cluster import ControlPlane
from controlplane.kwok import READY_SECONDS, GpuNodes
from controlplane.prometheus import Prometheus
from controlplane.scraping import emulated_pods
from controlplane.waiting import until
from controlplane.workloads import deployment
from running.emulator import Emulator
from running.model import Model
from running.operator import Process

pytestmark = pytest.mark.cluster

COLD_START_SECONDS = 3

#: What a request is, in tokens.
PROMPT, OUTPUT = 512, 128

PROFILES = {"bf16": "llama-8b-bf16-h100", "fp8": "llama-8b-fp8-h100"}
PRODUCTS = {"bf16": "NVIDIA-H100-80GB-HBM3", "fp8": "NVIDIA-L40S"}


def ramp(folder: Path, first: float, last: float, seconds: float, hold: float) -> Path:
    """A trace whose rate goes from ``first`` to ``last`` requests/s, evenly spaced, and stays."""
    lines = ["arrival_s,prompt_tokens,output_tokens"]
    at, end = 0.0, seconds + hold
    while at < end:
        lines.append(f"{at:.4f},{PROMPT},{OUTPUT}")
        at += 1.0 / (first + (last - first) * min(at / seconds, 1.0))
    path = folder / "ramp.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


class Served:
    """A model with both variants behind one Service, on GPUs of their own products."""

    def __init__(self, model: Model, emulator: Emulator, prometheus: Prometheus) -> None:
        self.model, self.emulator, self.prometheus = model, emulator, prometheus
        self.process: Process
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "llama",
                "annotations": {"emulator.steelyard.dev/balancing": "LeastOutstanding"},
            },
            "spec": {"selector": {"model": "llama"}, "ports": [{"port": 8000}]},
        }
        deployments = [
            deployment(
                f"llama-{variant}",
                replicas=1 if variant == "bf16" else 0,
                labels={"model": "llama"},
                product=PRODUCTS[variant],
                annotations={
                    "emulator.steelyard.dev/profile": PROFILES[variant],
                    "emulator.steelyard.dev/served-model-name": "llama-3.1-8b",
                    READY_SECONDS: str(COLD_START_SECONDS),
                },
            )
            for variant in PROFILES
        ]
        model.plane.apply(service, *deployments, namespace=model.namespace)

    def asked(self, *, primaries: int, budget: str) -> None:
        """Apply the ModelDeployment: so many Primaries at most, and so much of it degraded."""
        spec: dict[str, Any] = self.model.body["spec"]
        bf16, fp8 = spec["variants"]
        bf16 |= {"coldStartSeconds": COLD_START_SECONDS, "maxReplicas": primaries}
        fp8 |= {"coldStartSeconds": COLD_START_SECONDS, "maxReplicas": 6}
        for variant in (bf16, fp8):
            variant.pop("queueLimit", None)
        # Dear: it is for when there is nothing else.
        fp8["costPerReplicaHour"] = "40"
        spec["routing"] = {"type": "Shared", "balancing": "LeastLoaded"}
        spec["quality"] = {"maxDegradedShare": budget, "onExhausted": "Hold"}
        self.model.apply(1)

    def plays(self, trace: Path) -> None:
        """Begin a trace."""
        self.emulator.replays("POST", {"door": self.emulator.door, "trace": str(trace)})

    def ready(self) -> tuple[int, int]:
        """Ready replicas of both, as the status says."""
        status = self.model.get("modeldeployment/llama-chat").get("status") or {}
        found = [variant["ready"] for variant in status.get("variants", ())]
        return (found[0], found[1]) if found else (0, 0)

    def ended(self) -> float:
        """Requests that ended, as the servers count them, those that are gone included."""
        (found,) = self.prometheus.values(
            "sum(max_over_time(vllm:time_to_first_token_seconds_count[30m]))"
        ) or (0.0,)
        return found

    def within(self, seconds: float) -> float:
        """Share of all requests whose first token came within ``seconds``."""
        (good,) = self.prometheus.values(
            "sum(max_over_time("
            f'vllm:time_to_first_token_seconds_bucket{{le="{seconds:.1f}"}}[30m]))'
        )
        return good / self.ended()

    def outstanding(self) -> float:
        """Requests that are being served or wait."""
        return sum(
            self.prometheus.values("sum(vllm:num_requests_running + vllm:num_requests_waiting)")
        )


@pytest.fixture
def served(
    control_plane: ControlPlane,
    model: Model,
    emulator: Emulator,
    start_prometheus: Callable[..., Prometheus],
) -> Iterator[Served]:
    """Nothing is asked of it yet."""
    config = emulated_pods(control_plane.kubeconfig, emulator.address, namespace=model.namespace)
    yield Served(model, emulator, start_prometheus(config))
    emulator.replays("DELETE")


def test_capacity_is_ready_before_the_load_that_needs_it_and_given_back_after(
    served: Served, start: Callable[..., Process], tmp_path: Path
) -> None:
    """Load grows from one replica's to three's in twenty cold starts: first tokens come in time.

    Once it has ended, replicas go, but not before the hold, and never below the floor.
    """
    process = start(prometheus=served.prometheus.url)
    served.asked(primaries=8, budget="0")
    until(lambda: served.ready()[0] >= 1, "the first replica", detail=process.said)
    trace = ramp(tmp_path, first=8.0, last=130.0, seconds=60.0, hold=6.0)
    served.plays(trace)
    total = len(trace.read_text().splitlines()) - 1
    most = 0

    def over() -> bool:
        nonlocal most
        most = max(most, served.model.replicas()[0])
        return served.ended() >= 0.99 * total

    until(over, "the ramp to end", seconds=400.0, detail=process.said)
    assert most >= 3, process.said()
    assert served.within(1.0) >= 0.97, process.said()
    lowest = most

    def down() -> bool:
        nonlocal lowest
        now = served.model.replicas()[0]
        lowest = min(lowest, now)
        return now == 1

    until(down, "one replica to be left", detail=process.said)
    process.cycles_pass(3)
    assert min(lowest, served.model.replicas()[0]) == 1


def test_a_fallback_fills_in_while_gpus_are_short_and_is_given_back(
    served: Served,
    start: Callable[..., Process],
    gpu_nodes: GpuNodes,
    tmp_path: Path,
) -> None:
    """Two GPUs for bf16 where more are needed: fp8 serves on others, until the GPUs come."""
    process = start(prometheus=served.prometheus.url)
    gpu_nodes.remove_all()
    gpu_nodes.add(1, gpus=2)
    gpu_nodes.add(1, gpus=8, product=PRODUCTS["fp8"])
    served.asked(primaries=8, budget="0.9")
    until(lambda: served.ready()[0] >= 1, "the first replica", detail=process.said)
    served.plays(ramp(tmp_path, first=20.0, last=130.0, seconds=20.0, hold=600.0))
    until(lambda: served.ready()[1] >= 1, "a fallback to be Ready", detail=process.said)
    assert served.ready()[0] == 2
    until(
        lambda: served.model.reason("ScalingLimited") == "GpuShortage",
        "the condition",
        detail=process.said,
    )
    until(lambda: served.outstanding() < 250.0, "the backlog to go", detail=process.said)
    gpu_nodes.add(1, gpus=8)
    until(lambda: served.ready()[0] >= 3, "the Primary to get its GPUs", detail=process.said)
    until(lambda: served.model.replicas()[1] == 0, "the fallback to go", detail=process.said)
