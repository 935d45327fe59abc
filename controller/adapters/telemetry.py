"""What the operator tells Prometheus about itself, and one log line for every changed decision.

Series of objects are made at the scrape out of the last report of each, so that they go with the
object, and with the lease. What is not known has no sample: missing is never zero.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controller.core.domain.decision import Decision
from controller.core.domain.observation import (
    Measured,
    Missing,
    Observation,
    Outcomes,
    Traffic,
)
from controller.core.domain.policy import ObjectKey, Policy
from controller.ports import Planned, PortError, Report

_DECISIONS: Final = logging.getLogger("steelyard.decision")

_OBJECT: Final = ("namespace", "modeldeployment")
_VARIANT: Final = (*_OBJECT, "variant", "role")

#: Upper edges of cycle times, in seconds.
_CYCLE_EDGES: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)

#: Name and meaning of the series of an object, all gauges.
_OBJECT_GAUGES: Final = {
    "arrival_requests_per_second": "Requests that arrived, between the last two samples.",
    "forecast_horizon_seconds": "How far ahead the forecast looks.",
    "forecast_trusted": "1 where the forecast decides by itself.",
    "forecast_error_ratio": "Sum of absolute errors over sum of arrivals, rolling (WAPE).",
    "error_budget_left_ratio": "Share of the error budget that is left; negative: overspent.",
    "quality_budget_left_ratio": "Share of the quality budget that is left.",
    "degraded_ratio": "Share of requests served by a fallback, between the last two samples.",
    "cost_per_hour": "Cost of an hour at the decision's replicas, in the price table's currency.",
    "static_peak_cost_per_hour": "Cost of an hour when held at the highest load of a week.",
    "miss_price": "Price of one missed request that the decision was made at.",
    "degraded_price": "Price of one degraded request that the decision was made at.",
    "decision_timestamp_seconds": "When the last decision was made, Unix seconds.",
}

#: The same by variant.
_VARIANT_GAUGES: Final = {
    "desired_replicas": "Replicas decided on.",
    "current_replicas": "Replicas that the target asks for.",
    "ready_replicas": "Replicas that are Ready.",
    "cold_start_seconds": "90th percentile of measured cold starts, pulled to the declared one.",
    "capacity_requests_per_second": "Arrival rate that the Ready replicas serve within the SLO.",
}

#: The same with labels of their own.
_LABELLED_GAUGES: Final = {
    "forecast_requests_per_second": (
        ("quantile",),
        "Forecast arrival rate by quantile; level: the mean.",
    ),
    "forecast_coverage_ratio": (("nominal",), "Share of targets below a quantile, rolling."),
    "attainment_ratio": (
        ("bound",),
        "Share of good requests over the SLO window: at least (lower), at most (upper).",
    ),
    "sample_age_seconds": (("signal",), "Age of what the last decision was made on."),
    "signal_missing": (("signal", "reason"), "1 where a signal has no value, and why."),
    "decision_binding": (("reason",), "1 for what kept the decision from being cheaper."),
}


@dataclass(slots=True)
class _Told:
    """The last report of one object, and what was counted since it is known."""

    report: Report
    at_seconds: float
    reasons: dict[tuple[str, str], int] = field(default_factory=dict)
    changes: dict[tuple[str, str], int] = field(default_factory=dict)


class Telemetry(Collector):
    """The operator's metrics in ``registry``; implements ``ports.Reporter``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._told: dict[ObjectKey, _Told] = {}
        self._counts: list[tuple[str, str, Callable[[], float]]] = []
        self._lock = Lock()
        registry.register(self)
        self.cycle_seconds = Histogram(
            "steelyard_cycle_seconds",
            "Time of a cycle over all objects.",
            buckets=_CYCLE_EDGES,
            registry=registry,
        )
        self.loop_lag_seconds = Gauge(
            "steelyard_loop_lag_seconds", "How late the last cycle began.", registry=registry
        )
        self.overruns = Counter(
            "steelyard_cycle_overruns", "Cycles longer than a tick.", registry=registry
        )
        self.cut_off = Counter(
            "steelyard_cycles_cut_off", "Cycles ended by their deadline.", registry=registry
        )
        self.failures = Counter(
            "steelyard_failures",
            "What failed in cycles, by kind of error.",
            ["kind"],
            registry=registry,
        )
        self.leading = Gauge(
            "steelyard_leader", "1 while this operator holds the Lease.", registry=registry
        )
        self.objects = Gauge(
            "steelyard_objects", "ModelDeployments that are watched.", ["state"], registry=registry
        )
        self.last_cycle = Gauge(
            "steelyard_last_cycle_timestamp_seconds",
            "When the last cycle began, Unix seconds.",
            registry=registry,
        )

    async def report(self, reports: Sequence[Report], now: float) -> Sequence[PortError | None]:
        """Keep what is told of every object, and forget the others; see ``ports.Reporter``."""
        with self._lock:
            before, self._told = self._told, {}
            for report in reports:
                key = report.planned.policy.key
                told = before.get(key)
                if told is None or _changed(told.report.planned, report.planned):
                    _log(report, None if told is None else told.report.planned.decision)
                self._told[key] = _counted(told, report, now)
        return [None] * len(reports)

    def count(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Tell a count that another adapter keeps."""
        self._counts.append((name, meaning, read))

    def forget_all(self) -> None:
        """Forget every object: another operator tells of them now."""
        with self._lock:
            self._told = {}

    def collect(self) -> Iterator[Metric]:
        """Make the series of every object, at a scrape."""
        with self._lock:
            told = list(self._told.values())
        yield from _gauges(told)
        reasons = CounterMetricFamily(
            "steelyard_decision_reasons",
            "Steps of decisions that changed the allocation, by stage and reason.",
            labels=(*_OBJECT, "stage", "reason"),
        )
        changes = CounterMetricFamily(
            "steelyard_decision_changes",
            "Changes of the replicas decided on, by variant and direction.",
            labels=(*_OBJECT, "variant", "direction"),
        )
        for one in told:
            labels = _labels(one.report.planned.policy)
            for pair, count in one.reasons.items():
                reasons.add_metric([*labels, *pair], count)
            for pair, count in one.changes.items():
                changes.add_metric([*labels, *pair], count)
        yield reasons
        yield changes
        for name, meaning, read in self._counts:
            yield CounterMetricFamily(f"steelyard_{name}", meaning, value=read())


def _counted(before: _Told | None, report: Report, now: float) -> _Told:
    """The object after one more report, its counts carried on."""
    told = _Told(report, now)
    if before is not None:
        told.reasons, told.changes = before.reasons, before.changes
    planned = report.planned
    for step in planned.decision.steps:
        if step.before != step.after:
            _count(told.reasons, (step.stage.value, step.reason.value))
    rows = zip(
        planned.policy.variants,
        planned.observation.variants,
        planned.decision.allocation,
        strict=True,
    )
    for variant, seen, desired in rows:
        if desired != seen.desired:
            _count(told.changes, (variant.name, "up" if desired > seen.desired else "down"))
    return told


def _count(counts: dict[tuple[str, str], int], pair: tuple[str, str]) -> None:
    counts[pair] = counts.get(pair, 0) + 1


def _labels(policy: Policy) -> list[str]:
    return [policy.namespace, policy.name]


def _gauges(told: Sequence[_Told]) -> Iterator[Metric]:
    shapes = {
        **{name: (_OBJECT, meaning) for name, meaning in _OBJECT_GAUGES.items()},
        **{name: (_VARIANT, meaning) for name, meaning in _VARIANT_GAUGES.items()},
        **{name: ((*_OBJECT, *more), about) for name, (more, about) in _LABELLED_GAUGES.items()},
    }
    families = {
        name: GaugeMetricFamily(f"steelyard_{name}", meaning, labels=labels)
        for name, (labels, meaning) in shapes.items()
    }
    for one in told:
        planned = one.report.planned
        labels = _labels(planned.policy)
        for name, more, value in _samples(planned, one.at_seconds):
            if value is not None:
                families[name].add_metric([*labels, *more], value)
    yield from families.values()


_Sample = tuple[str, tuple[str, ...], float | None]


def _samples(planned: Planned, now: float) -> Iterator[_Sample]:
    """Name, further labels and value of every sample of one object."""
    decision = planned.decision
    yield "cost_per_hour", (), decision.cost_per_hour
    yield "miss_price", (), decision.miss_price
    yield "degraded_price", (), decision.degraded_price
    yield "decision_timestamp_seconds", (), now
    yield "decision_binding", (decision.binding.value,), 1.0
    yield from _of_variants(planned)
    yield from _of_forecast(decision)
    yield from _of_standing(decision)
    yield from _of_signals(planned.observation, now)


def _of_variants(planned: Planned) -> Iterator[_Sample]:
    standing = planned.decision.standing
    for v, (variant, seen) in enumerate(
        zip(planned.policy.variants, planned.observation.variants, strict=True)
    ):
        labels = (variant.name, variant.role.value)
        yield "desired_replicas", labels, planned.decision.allocation[v]
        yield "current_replicas", labels, seen.desired
        yield "ready_replicas", labels, seen.ready
        if standing is not None:
            yield "cold_start_seconds", labels, standing.cold_start_seconds[v]
            yield "capacity_requests_per_second", labels, standing.capacities[v]


def _of_forecast(decision: Decision) -> Iterator[_Sample]:
    forecast = decision.forecast
    if forecast is None:
        return
    yield "forecast_horizon_seconds", (), forecast.horizon_seconds
    yield "forecast_trusted", (), float(forecast.trusted)
    yield "forecast_requests_per_second", ("level",), forecast.level_requests_per_second
    for level, rate in forecast.quantiles:
        yield "forecast_requests_per_second", (f"{level:g}",), rate


def _of_standing(decision: Decision) -> Iterator[_Sample]:
    standing = decision.standing
    if standing is None:
        return
    yield "forecast_error_ratio", (), standing.forecast_error
    yield "error_budget_left_ratio", (), standing.errors_left
    yield "quality_budget_left_ratio", (), standing.quality_left
    yield "static_peak_cost_per_hour", (), standing.static_peak_cost_per_hour
    if standing.forecast_coverage is not None:
        nominal, observed = standing.forecast_coverage
        yield "forecast_coverage_ratio", (f"{nominal:g}",), observed
    if standing.attainment is not None:
        yield "attainment_ratio", ("lower",), standing.attainment[0]
        yield "attainment_ratio", ("upper",), standing.attainment[1]


def _of_signals(observation: Observation, now: float) -> Iterator[_Sample]:
    traffic, outcomes = observation.traffic, observation.outcomes
    if isinstance(traffic, Traffic):
        span = traffic.to_seconds - traffic.from_seconds
        yield "arrival_requests_per_second", (), traffic.requests / span if span > 0 else None
    if isinstance(outcomes, Outcomes):
        yield "degraded_ratio", (), outcomes.degraded / outcomes.ended if outcomes.ended else None
    ends: list[tuple[str, float | Missing]] = [
        ("arrivals", traffic if isinstance(traffic, Missing) else traffic.to_seconds),
        ("outcomes", outcomes if isinstance(outcomes, Missing) else outcomes.to_seconds),
    ]
    for name in ("running", "waiting", "kv_use"):
        # A variant without replicas has nothing to measure.
        found = [getattr(seen, name) for seen in observation.variants if seen.ready]
        missing = [one for one in found if isinstance(one, Missing)]
        ages = [one.at_seconds for one in found if isinstance(one, Measured)]
        if missing:
            ends.append((name, missing[0]))
        elif ages:
            ends.append((name, min(ages)))
    for name, end in ends:
        if isinstance(end, Missing):
            yield "signal_missing", (name, end.reason.value), 1.0
        else:
            yield "sample_age_seconds", (name,), now - end


def _changed(before: Planned, after: Planned) -> bool:
    old, new = before.decision, after.decision
    return (old.allocation, old.weights, old.binding) != (new.allocation, new.weights, new.binding)


def _log(report: Report, before: Decision | None) -> None:
    """One line: what was decided, why, on what, and at what price."""
    planned, decision = report.planned, report.planned.decision
    policy, forecast = planned.policy, planned.decision.forecast
    _DECISIONS.info(
        "%s/%s: %s",
        policy.namespace,
        policy.name,
        decision.binding.value,
        extra={
            "namespace": policy.namespace,
            "modeldeployment": policy.name,
            "mode": policy.mode.value,
            "before": None if before is None else before.allocation,
            "observed": [seen.desired for seen in planned.observation.variants],
            "ready": [seen.ready for seen in planned.observation.variants],
            "desired": decision.allocation,
            "variants": [variant.name for variant in policy.variants],
            "weights": decision.weights,
            "binding": decision.binding.value,
            "steps": [
                f"{step.stage.value}:{step.reason.value}"
                for step in decision.steps
                if step.before != step.after
            ],
            "cost_per_hour": decision.cost_per_hour,
            "forecast_requests_per_second": (
                None if forecast is None else forecast.level_requests_per_second
            ),
            "problem": None if report.problem is None else str(report.problem),
        },
    )
