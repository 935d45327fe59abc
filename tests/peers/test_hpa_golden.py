"""The HPA law against what Kubernetes' own controller answered, file by file, tick by tick."""

import json
from pathlib import Path
from typing import Any

import pytest

from controller.core.domain.policy import RatePolicy, ScalingRules, SelectPolicy
from simulations.peers.hpa.behavior import HpaBehavior
from simulations.peers.hpa.law import HpaHistory, HpaSpec, sync
from simulations.peers.hpa.metrics import (
    CpuMetric,
    CpuPod,
    Pod,
    PodPhase,
    Tolerance,
    cpu_utilization_proposal,
    external_average_proposal,
    external_value_proposal,
    pods_proposal,
    ready_pods,
)

GOLDEN = Path(__file__).parents[3] / "shared" / "reference" / "golden"
FUZZ = "hpa-policies-fuzz"
PHASES = {"P": PodPhase.PENDING, "R": PodPhase.RUNNING, "F": PodPhase.FAILED}

NAMES = (
    "hpa-cpu-utilization-custom-slowstart",
    "hpa-cpu-utilization-default",
    "hpa-external-average-custom",
    "hpa-external-average-default",
    "hpa-external-average-nobehavior",
    "hpa-external-average-two-metrics-custom",
    "hpa-external-value-custom",
    "hpa-external-value-default",
    "hpa-pods-default",
    "hpa-policies-event-slots",
    "hpa-steps-external-average",
    "hpa-steps-external-value",
    "hpa-steps-pods",
    "hpa-zero-default",
    "hpa-zero-manual-min0",
    "hpa-zero-manual-min1",
    "hpa-zero-min-raised",
    "hpa-zero-nobehavior",
    "hpa-zero-percent-only",
    "hpa-zero-value-default",
)

needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason=f"golden vectors of the peers are not at {GOLDEN}"
)


def load(name: str) -> Any:
    """Read one vector file."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def rules(block: dict[str, Any], controller_window_seconds: int) -> ScalingRules:
    """Rules of one direction out of a vector's config."""
    window = block["window_s"]
    return ScalingRules(
        stabilization_window_seconds=controller_window_seconds if window is None else window,
        select_policy=SelectPolicy(block["select"]),
        policies=tuple(
            RatePolicy(
                percent=policy["type"] == "Percent",
                value=policy["value"],
                period_seconds=policy["period_s"],
            )
            for policy in block["policies"]
        ),
    )


def tolerance(config: dict[str, Any]) -> Tolerance:
    """Tolerance of both directions out of a vector's config."""

    def of(direction: str) -> float:
        quantity = (config[direction] or {}).get("tolerance")
        if quantity is None:
            return float(config["tolerance"])
        return int(quantity.removesuffix("m")) / 1000

    return Tolerance(up=of("scale_up"), down=of("scale_down"))


def hpa_spec(config: dict[str, Any], *, zero_metric: bool) -> HpaSpec:
    """The HPA object of a vector's config."""
    window = config["controller_down_window_s"]
    behavior = config["scale_up"] and HpaBehavior(
        scale_up=rules(config["scale_up"], window), scale_down=rules(config["scale_down"], window)
    )
    return HpaSpec(
        min_replicas=config["min"],
        max_replicas=config["max"],
        behavior=behavior,
        zero_metric=zero_metric,
        controller_window_seconds=window,
    )


def pod(code: str, sample_milli: int | None = None) -> Pod:
    """Pod out of its code: phase, readiness, deletion mark."""
    return Pod(
        phase=PHASES[code[0]],
        ready=code[1] == "r",
        terminating=code.endswith("d"),
        sample_milli=sample_milli,
    )


def proposals(config: dict[str, Any], tick: dict[str, Any]) -> list[int | None]:
    """Proposals of all metrics at one tick."""
    return [
        metric_proposal(config, metric, position, tick)
        for position, metric in enumerate(config["metrics"])
    ]


def metric_proposal(
    config: dict[str, Any], metric: dict[str, Any], position: int, tick: dict[str, Any]
) -> int | None:
    """Proposal of one metric at one tick."""
    """Proposal of one metric at one tick."""
    target, near = metric["target_milli"], tolerance(config)
    if not tick.get("metric_ok", True):
        return None
    if metric["kind"] == "pods":
        return pods_proposal([pod(*row) for row in tick["pods"]], target, tick["n"], near)
    if metric["kind"] == "cpu":
        cpu = CpuMetric(
            target_percent=target,
            initialization_seconds=config["cpu_init_s"],
            initial_readiness_seconds=config["initial_readiness_s"],
        )
        pods = [
            CpuPod(
                pod=pod(code, sample),
                request_milli=config["cpu_request_milli"],
                started_at_seconds=started,
                ready_changed_at_seconds=changed,
                sampled_at_seconds=sampled,
            )
            for code, sample, started, changed, sampled in tick["pods"]
        ]
        return cpu_utilization_proposal(pods, cpu, tick["n"], near, tick["t"])
    series = tick["metrics_milli"][position]
    if series is None:
        return None
    if metric["kind"] == "external-average":
        return external_average_proposal(sum(series), target, tick["s"], near)
    assert metric["kind"] == "external-value"
    ready = ready_pods([pod(code) for code in tick["pods"]]) if "pods" in tick else tick["ready"]
    return external_value_proposal(sum(series), target, tick["n"], ready, near)


@needs_golden
def test_every_hpa_vector_is_held() -> None:
    """No vector file of the HPA is left out of these tests."""
    assert {path.stem for path in GOLDEN.glob("hpa-*.json")} == {*NAMES, FUZZ}


@needs_golden
@pytest.mark.parametrize("name", NAMES)
def test_series_follow_the_controller(name: str) -> None:
    """Proposal, replicas, limiting reason and ScaledToZero equal the controller's at every tick."""
    document = load(name)
    config = document["config"]
    kinds = {metric["kind"] for metric in config["metrics"]}
    changes = config.get("min_change_at_tick", {})
    history = HpaHistory()
    assert document["ticks"]
    for index, row in enumerate(document["ticks"]):
        tick = dict(zip(document["columns"], row, strict=True))
        config["min"] = changes.get(str(index), config["min"])
        spec = hpa_spec(config, zero_metric=bool(kinds & {"external-average", "external-value"}))
        outcome, history = sync(spec, history, tick["n"], proposals(config, tick), tick["t"])
        assert (outcome.proposal, outcome.desired, outcome.active) == (
            tick["p"],
            tick["desired"],
            tick["active"],
        ), tick
        if outcome.active:
            assert outcome.limit == tick["limited"], tick
        if "scaled_to_zero" in tick:
            assert history.scaled_to_zero == (tick["scaled_to_zero"] == "True"), tick


@needs_golden
def test_random_behaviors_follow_the_controller() -> None:
    """72 random windows, policies and tolerances equal the controller's at every tick."""
    document = load(FUZZ)
    target, step = document["config"]["target_milli"], document["config"]["tick_s"]
    assert len(document["ticks"]) == 72
    for config, series in document["ticks"]:
        spec, near = hpa_spec(config, zero_metric=True), tolerance(config)
        history = HpaHistory()
        for index, (replicas, total, proposal, desired) in enumerate(series):
            made = (
                None
                if total is None
                else external_average_proposal(1000 * total, target, replicas, near)
            )
            outcome, history = sync(spec, history, replicas, [made], float(step * index))
            assert (outcome.proposal, outcome.desired) == (proposal, desired), (config, index)
