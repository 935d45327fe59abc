"""The operator's own metrics and logs: what is known of every object, and of nothing else."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from controller.adapters.telemetry import Telemetry
from controller.core.domain.policy import ObjectKey
from controller.operator.cycle import CycleRecord
from controller.operator.explanation import Explanations
from controller.operator.logs import formatter
from controller.operator.recorder import CycleRecorder
from controller.ports import MetricsUnavailable, Report
from controller.reconciler import Failure

MakeReport = Callable[..., Report]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
OBJECT = {"namespace": "serving", "modeldeployment": "llama-chat"}
BF16 = {**OBJECT, "variant": "bf16", "role": "Primary"}


@pytest.fixture
def registry() -> CollectorRegistry:
    """Metrics of this test only."""
    return CollectorRegistry()


@pytest.fixture
def telemetry(registry: CollectorRegistry) -> Telemetry:
    """Nothing told yet."""
    return Telemetry(registry)


def scraped(registry: CollectorRegistry) -> Samples:
    """What Prometheus would read, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }


def value(samples: Samples, name: str, labels: dict[str, str]) -> float | None:
    """One sample, or None."""
    return samples.get((f"steelyard_{name}", tuple(sorted(labels.items()))))


def tell(telemetry: Telemetry, now: float, *reports: Report) -> None:
    """Report at a time."""
    assert asyncio.run(telemetry.report(reports, now)) == [None] * len(reports)


def test_every_figure_of_a_decision_has_a_series(
    telemetry: Telemetry, registry: CollectorRegistry, make_report: MakeReport, now: float
) -> None:
    """Replicas, forecast and its error, attainment, budgets, cost, prices and ages."""
    tell(telemetry, now, make_report())
    samples = scraped(registry)
    assert value(samples, "desired_replicas", BF16) == 5
    assert value(samples, "current_replicas", BF16) == 4
    assert value(samples, "ready_replicas", BF16) == 4
    assert value(samples, "cold_start_seconds", BF16) == 118
    assert value(samples, "capacity_requests_per_second", BF16) == 24
    assert value(samples, "arrival_requests_per_second", OBJECT) == 20
    assert value(samples, "forecast_requests_per_second", {**OBJECT, "quantile": "0.95"}) == 27
    assert value(samples, "forecast_error_ratio", OBJECT) == 0.12
    assert value(samples, "forecast_coverage_ratio", {**OBJECT, "nominal": "0.95"}) == 0.94
    assert value(samples, "forecast_trusted", OBJECT) == 1
    assert value(samples, "attainment_ratio", {**OBJECT, "bound": "lower"}) == 0.991
    assert value(samples, "error_budget_left_ratio", OBJECT) == 0.4
    assert value(samples, "quality_budget_left_ratio", OBJECT) is None
    assert value(samples, "degraded_ratio", OBJECT) == 0.04
    assert value(samples, "cost_per_hour", OBJECT) == 20
    assert value(samples, "miss_price", OBJECT) == 0.0125
    assert value(samples, "sample_age_seconds", {**OBJECT, "signal": "arrivals"}) == 5
    assert value(samples, "sample_age_seconds", {**OBJECT, "signal": "waiting"}) == 5
    binding = {**OBJECT, "reason": "CheapestWithinBudgets"}
    assert value(samples, "decision_binding", binding) == 1


def test_what_is_missing_has_no_value_but_a_reason(
    telemetry: Telemetry, registry: CollectorRegistry, make_report: MakeReport, now: float
) -> None:
    """A stale signal is neither zero nor its last value."""
    tell(telemetry, now, make_report())
    tell(telemetry, now + 15.0, make_report(blind=True))
    samples = scraped(registry)
    assert value(samples, "arrival_requests_per_second", OBJECT) is None
    assert value(samples, "degraded_ratio", OBJECT) is None
    assert value(samples, "sample_age_seconds", {**OBJECT, "signal": "arrivals"}) is None
    stale = {**OBJECT, "signal": "arrivals", "reason": "Stale"}
    assert value(samples, "signal_missing", stale) == 1
    assert value(samples, "forecast_horizon_seconds", OBJECT) is None
    assert value(samples, "desired_replicas", BF16) == 5


def test_changes_and_reasons_are_counted(
    telemetry: Telemetry, registry: CollectorRegistry, make_report: MakeReport, now: float
) -> None:
    """Counters grow with every decision that moves replicas, by direction and reason."""
    for tick, allocation in enumerate([(5, 0), (3, 0), (6, 0), (4, 0)]):
        tell(telemetry, now + tick * 15.0, make_report(allocation))
    samples = scraped(registry)
    change = {**OBJECT, "variant": "bf16"}
    assert value(samples, "decision_changes_total", {**change, "direction": "up"}) == 2
    assert value(samples, "decision_changes_total", {**change, "direction": "down"}) == 1
    reason = {**OBJECT, "stage": "Optimise", "reason": "CheapestWithinBudgets"}
    assert value(samples, "decision_reasons_total", reason) == 3


def test_series_go_with_their_object_and_with_the_lease(
    telemetry: Telemetry, registry: CollectorRegistry, make_report: MakeReport, now: float
) -> None:
    """A deleted object leaves nothing behind, and a standby tells of none."""
    one = make_report()
    policy = replace(one.planned.policy, name="other")
    other = replace(one, planned=replace(one.planned, policy=policy))

    def told() -> set[str]:
        return {
            dict(labels)["modeldeployment"]
            for _, labels in scraped(registry)
            if "modeldeployment" in dict(labels)
        }

    tell(telemetry, now, one, other)
    assert told() == {"llama-chat", "other"}
    tell(telemetry, now, other)
    assert told() == {"other"}
    recorder = CycleRecorder(telemetry=telemetry, explanations=Explanations(dict))
    recorder.standing_by()
    assert told() == set()
    assert scraped(registry)["steelyard_leader", ()] == 0


def test_one_line_is_logged_for_a_changed_decision(
    telemetry: Telemetry, make_report: MakeReport, now: float, caplog: pytest.LogCaptureFixture
) -> None:
    """The same decision again is silent; a line is one JSON object with the figures."""
    with caplog.at_level(logging.INFO, "steelyard.decision"):
        for allocation in [(5, 0), (5, 0), (6, 0), (6, 0)]:
            tell(telemetry, now, make_report(allocation))
    assert len(caplog.records) == 2
    line = formatter("json").format(caplog.records[1])
    assert "\n" not in line
    document = json.loads(line)
    assert document["message"] == "serving/llama-chat: CheapestWithinBudgets"
    assert document["level"] == "INFO"
    assert document["before"] == [5, 0]
    assert document["desired"] == [6, 0]
    assert document["steps"] == ["Optimise:CheapestWithinBudgets"]
    assert document["time"].endswith("Z")


def test_a_cycle_is_recorded(
    telemetry: Telemetry, registry: CollectorRegistry, now: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Time, lag, failures by kind; a lasting failure is logged when it begins and when it ends."""
    recorder = CycleRecorder(telemetry=telemetry, explanations=Explanations(dict))
    failure = Failure(ObjectKey("serving", "llama-chat"), MetricsUnavailable("down"))
    with caplog.at_level(logging.INFO, "steelyard.cycle"):
        for failures in ((failure,), (failure,), ()):
            recorder.cycle_done(
                CycleRecord(
                    now=now,
                    seconds=0.4,
                    lag_seconds=2.0,
                    valid=3,
                    invalid=1,
                    cut_off=False,
                    overrun=True,
                    failures=failures,
                )
            )
    samples = scraped(registry)
    assert samples["steelyard_leader", ()] == 1
    assert samples["steelyard_loop_lag_seconds", ()] == 2.0
    assert samples["steelyard_cycle_seconds_count", ()] == 3
    assert samples["steelyard_cycle_overruns_total", ()] == 3
    assert value(samples, "failures_total", {"kind": "MetricsUnavailable"}) == 2
    assert value(samples, "objects", {"state": "invalid"}) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
