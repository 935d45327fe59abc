"""Objects, observations and an outside world of the operator's tests."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.api.conversion.policy import to_policy
from controller.api.prices import REFERENCE_PRICES
from controller.api.v1alpha1 import parse
from controller.core.domain.decision import (
    Decision,
    DecisionStep,
    ForecastSummary,
    Reason,
    RejectedAlternative,
    Stage,
    Standing,
)
from controller.core.domain.observation import (
    Measured,
    Missing,
    MissingReason,
    Observation,
    Outcomes,
    Traffic,
    VariantObservation,
)
from controller.core.domain.policy import Policy
from controller.ports import Planned, Report
from controlplane.cluster import ControlPlane
from controlplane.kwok import GpuNodes
from running.emulator import Emulator
from running.model import Model
from running.operator import Process, Start

NOW = 1_743_465_600.0

_SAMPLE = yaml.safe_load(
    (Path(__file__).parents[2] / "manifests/samples/interactive-chat.yaml").read_text()
)

Document = dict[str, Any]


@pytest.fixture
def now() -> float:
    """The time of the tests, Unix seconds."""
    return NOW


@pytest.fixture
def make_body() -> Callable[..., Document]:
    """Builder of ModelDeployments as the API server shows them."""

    def body(name: str = "llama-chat", **metadata: Any) -> Document:
        made = copy.deepcopy(_SAMPLE)
        made["metadata"] = {
            "name": name,
            "namespace": "serving",
            "uid": f"uid-{name}",
            "generation": 1,
            "resourceVersion": "10",
            **metadata,
        }
        return made

    return body


@pytest.fixture
def policy(make_body: Callable[..., Document]) -> Policy:
    """The sample's policy: bf16 Primary and fp8 Fallback."""
    return to_policy(parse(make_body()), REFERENCE_PRICES, 15.0)


@pytest.fixture
def make_report(policy: Policy) -> Callable[..., Report]:
    """Builder of reports: five bf16 replicas where four are asked for, all of it measured."""

    def report(allocation: tuple[int, int] = (5, 0), *, blind: bool = False) -> Report:
        gauge = Measured(3.0, NOW - 5.0)
        variants = (
            VariantObservation(desired=4, ready=4, running=gauge, waiting=gauge, kv_use=gauge),
            VariantObservation(desired=0, ready=0),
        )
        observation = Observation(
            workloads_at_seconds=NOW,
            variants=variants,
            traffic=Missing(MissingReason.STALE)
            if blind
            else Traffic(
                from_seconds=NOW - 20.0,
                to_seconds=NOW - 5.0,
                requests=300.0,
                refused=0.0,
                token_requests=300.0,
                prompt_tokens=300_000.0,
                output_tokens=60_000.0,
            ),
            outcomes=Missing(MissingReason.STALE)
            if blind
            else Outcomes(
                from_seconds=NOW - 65.0,
                to_seconds=NOW - 5.0,
                ended=1000.0,
                failed=1.0,
                bad_ttft=2.0,
                bad_tpot=3.0,
                degraded=40.0,
            ),
        )
        step = DecisionStep(Stage.OPTIMISE, Reason.CHEAPEST_WITHIN_BUDGETS, (4, 0), allocation)
        decision = Decision(
            allocation=allocation,
            weights=None,
            steps=(step,),
            binding=Reason.DEMAND_ABOVE_CAPACITY if blind else Reason.CHEAPEST_WITHIN_BUDGETS,
            rejected=(
                RejectedAlternative(
                    allocation=(4, 1),
                    cost_per_hour=21.5,
                    missed_per_second=0.25,
                    degraded_per_second=1.5,
                    reason=Reason.FALLBACK_NOT_CHEAPER,
                ),
            ),
            forecast=None
            if blind
            else ForecastSummary(
                source="persistence",
                horizon_seconds=150.0,
                level_requests_per_second=21.0,
                quantiles=((0.5, 20.0), (0.95, 27.0)),
                requests_per_reference=1.0,
                trusted=True,
                changed_decision=False,
            ),
            miss_price=0.0125,
            degraded_price=0.0005,
            cost_per_hour=20.0,
            capacity_requests_per_second=30.0,
            standing=Standing(
                attainment=(0.991, 0.995),
                errors_left=0.4,
                quality_left=None,
                forecast_error=0.12,
                forecast_coverage=(0.95, 0.94),
                cold_start_seconds=(118.0, 90.0),
                capacities=(24.0, 0.0),
                static_peak_cost_per_hour=48.0,
            ),
        )
        planned = Planned(policy=policy, observation=observation, decision=decision)
        return Report(planned=planned, problem=None)

    return report


@pytest.fixture
def start(
    control_plane: ControlPlane, gpu_nodes: GpuNodes, namespace: str, tmp_path: Path
) -> Iterator[Start]:
    """Start operators of the test's namespace; they end with the test."""
    gpu_nodes.add(2)
    started: list[Process] = []

    def one(**options: Any) -> Process:
        started.append(Process(control_plane, namespace, tmp_path, **options))
        return started[-1]

    yield one
    for process in started:
        process.close()


@pytest.fixture
def model(control_plane: ControlPlane, namespace: str, make_body: Any) -> Model:
    """Not applied yet."""
    return Model(control_plane, namespace, make_body())


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
