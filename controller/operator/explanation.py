"""The account of a decision as a JSON document: what it was made on, and what was not chosen.

The operator makes it of its last report; out of the status alone the same document can be made with
less in it, so that whoever reads it needs one shape.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from controller.api.conditions import timestamp
from controller.api.status import Status
from controller.core.domain.decision import Decision, ForecastSummary, Standing
from controller.core.domain.observation import (
    GaugeReading,
    Measured,
    Missing,
    Observation,
    VariantObservation,
)
from controller.core.domain.policy import ObjectKey
from controller.core.domain.variant import Variant
from controller.ports import PortError, Report

Document = dict[str, Any]


@dataclass(slots=True)
class Explanations:
    """The last report of every object; implements ``ports.Reporter``.

    ``findings`` is what the metrics had to say to people, by object, as of the last cycle.
    """

    findings: Callable[[], Mapping[ObjectKey, str]]
    _kept: dict[ObjectKey, tuple[Report, float, str]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    async def report(self, reports: Sequence[Report], now: float) -> Sequence[PortError | None]:
        """Keep them; see ``ports.Reporter``."""
        found = self.findings()
        kept = {
            report.planned.policy.key: (report, now, found.get(report.planned.policy.key, ""))
            for report in reports
        }
        with self._lock:
            self._kept = kept
        return [None] * len(reports)

    def forget_all(self) -> None:
        """Another operator decides now."""
        with self._lock:
            self._kept = {}

    def explain(self, key: ObjectKey) -> Document | None:
        """The account of the last decision on ``key``, or None where nothing was decided."""
        with self._lock:
            kept = self._kept.get(key)
        return None if kept is None else explained(*kept)


def explained(report: Report, now: float, finding: str = "") -> Document:
    """The account of one report, made at Unix time ``now`` on metrics with this ``finding``."""
    policy, decision = report.planned.policy, report.planned.decision
    observation = report.planned.observation
    return {
        "source": "operator",
        "namespace": policy.namespace,
        "name": policy.name,
        "mode": policy.mode.value,
        "paused": policy.pause.value,
        "at": timestamp(now),
        "problem": None if report.problem is None else str(report.problem),
        "finding": finding or None,
        "slo": {
            "target": policy.slo.target,
            "ttftSeconds": _finite(policy.slo.ttft_seconds),
            "tpotSeconds": _finite(policy.slo.tpot_seconds),
        },
        "inputs": _inputs(observation, now),
        "variants": [
            _variant(variant, seen, decision, v)
            for v, (variant, seen) in enumerate(
                zip(policy.variants, observation.variants, strict=True)
            )
        ],
        "forecast": _forecast(decision.forecast, decision.standing),
        "standing": _standing(decision.standing),
        "decision": {
            "binding": decision.binding.value,
            "costPerHour": decision.cost_per_hour,
            "missPrice": decision.miss_price,
            "degradedPrice": decision.degraded_price,
            "capacityRequestsPerSecond": decision.capacity_requests_per_second,
            "steps": [
                {
                    "stage": step.stage.value,
                    "reason": step.reason.value,
                    "before": list(step.before),
                    "after": list(step.after),
                }
                for step in decision.steps
            ],
        },
        "rejected": [
            {
                "allocation": list(one.allocation),
                "costPerHour": one.cost_per_hour,
                "missedPerSecond": one.missed_per_second,
                "degradedPerSecond": one.degraded_per_second,
                "reason": one.reason.value,
            }
            for one in decision.rejected
        ],
    }


def explained_by_status(
    namespace: str, name: str, spec: Mapping[str, Any], status: Status
) -> Document:
    """The same as far as an object's status tells it; what it does not hold is None or empty."""
    roles = {one.get("name"): one.get("role") for one in spec.get("variants") or ()}
    decision, cost, forecast = status.decision, status.cost, status.forecast
    return {
        "source": "status",
        "namespace": namespace,
        "name": name,
        "mode": spec.get("mode") or "Recommend",
        "paused": None,
        "at": None,
        "problem": "; ".join(
            f"{one.reason.value}: {one.message}" if one.message else one.reason.value
            for one in status.conditions
            if one.type.value in ("Ready", "MetricsAvailable", "AbleToScale")
            and one.status.value == "False"
        )
        or None,
        "finding": None,
        "slo": None,
        "inputs": None,
        "variants": [
            {
                "name": one.name,
                "role": roles.get(one.name),
                "decided": one.desired,
                "ready": one.ready,
                "coldStartSeconds": one.cold_start_seconds,
                "capacityRequestsPerSecond": _number(one.capacity),
            }
            for one in status.variants
        ],
        "forecast": None
        if forecast is None
        else {
            "source": forecast.source,
            "horizonSeconds": forecast.horizon_seconds,
            "requestsPerSecond": _number(forecast.requests_per_second),
            "highRequestsPerSecond": _number(forecast.high_requests_per_second),
            "error": _number(forecast.error),
            "coverage": None
            if forecast.coverage is None
            else [_number(forecast.coverage.nominal), _number(forecast.coverage.observed)],
        },
        "standing": _status_standing(status),
        "decision": None
        if decision is None
        else {
            "binding": decision.reason,
            "costPerHour": _number(cost.per_hour) if cost else None,
            "missPrice": _number(decision.miss_price),
            "degradedPrice": _number(decision.degraded_price),
            "capacityRequestsPerSecond": None,
            "steps": [
                {
                    "stage": step.stage,
                    "reason": step.reason,
                    "before": None,
                    "after": list(step.after),
                }
                for step in decision.steps
            ],
        },
        "rejected": [],
    }


def _inputs(observation: Observation, now: float) -> Document:
    traffic, outcomes = observation.traffic, observation.outcomes
    document: Document = {"arrivals": None, "outcomes": None}
    if isinstance(traffic, Missing):
        document["arrivals"] = {"missing": traffic.reason.value}
    else:
        span = traffic.to_seconds - traffic.from_seconds
        document["arrivals"] = {
            "ageSeconds": now - traffic.to_seconds,
            "requestsPerSecond": traffic.requests / span if span > 0 else None,
            "refused": traffic.refused,
            "promptTokensMean": _mean(traffic.prompt_tokens, traffic.token_requests),
            "outputTokensMean": _mean(traffic.output_tokens, traffic.token_requests),
        }
    if isinstance(outcomes, Missing):
        document["outcomes"] = {"missing": outcomes.reason.value}
    else:
        document["outcomes"] = {
            "ageSeconds": now - outcomes.to_seconds,
            "ended": outcomes.ended,
            "failed": outcomes.failed,
            "badTtft": outcomes.bad_ttft,
            "badTpot": outcomes.bad_tpot,
            "degraded": outcomes.degraded,
        }
    return document


def _variant(variant: Variant, seen: VariantObservation, decision: Decision, v: int) -> Document:
    standing = decision.standing
    return {
        "name": variant.name,
        "role": variant.role.value,
        "decided": decision.allocation[v],
        "weight": None if decision.weights is None else decision.weights[v],
        "desired": seen.desired,
        "ready": seen.ready,
        "starting": len(seen.starting_since_seconds),
        "unschedulable": seen.unschedulable,
        "draining": seen.draining,
        "minReplicas": variant.min_replicas,
        "maxReplicas": variant.max_replicas,
        "costPerReplicaHour": variant.cost_per_replica_hour,
        "running": _gauge(seen.running),
        "waiting": _gauge(seen.waiting),
        "kvUse": _gauge(seen.kv_use),
        "coldStartSeconds": None if standing is None else standing.cold_start_seconds[v],
        "capacityRequestsPerSecond": None if standing is None else standing.capacities[v],
    }


def _forecast(forecast: ForecastSummary | None, standing: Standing | None) -> Document | None:
    if forecast is None:
        return None
    highest = max(forecast.quantiles, default=None)
    return {
        "source": forecast.source,
        "horizonSeconds": forecast.horizon_seconds,
        "requestsPerSecond": forecast.level_requests_per_second,
        "highRequestsPerSecond": None if highest is None else highest[1],
        "quantiles": [list(pair) for pair in forecast.quantiles],
        "trusted": forecast.trusted,
        "changedDecision": forecast.changed_decision,
        "error": None if standing is None else standing.forecast_error,
        "coverage": None
        if standing is None or standing.forecast_coverage is None
        else list(standing.forecast_coverage),
    }


def _standing(standing: Standing | None) -> Document | None:
    if standing is None:
        return None
    return {
        "attainment": None if standing.attainment is None else list(standing.attainment),
        "errorsLeft": standing.errors_left,
        "qualityLeft": standing.quality_left,
        "staticPeakCostPerHour": standing.static_peak_cost_per_hour,
    }


def _status_standing(status: Status) -> Document:
    attainment, budgets, cost = status.attainment, status.budgets, status.cost
    return {
        "attainment": None
        if attainment is None
        else [_number(attainment.lower), _number(attainment.upper)],
        "errorsLeft": _number(budgets.errors_left) if budgets else None,
        "qualityLeft": _number(budgets.quality_left) if budgets else None,
        "staticPeakCostPerHour": _number(cost.static_peak_per_hour) if cost else None,
    }


def _gauge(reading: GaugeReading) -> float | Document:
    return reading.value if isinstance(reading, Measured) else {"missing": reading.reason.value}


def _mean(total: float, count: float) -> float | None:
    return total / count if count else None


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _finite(seconds: float) -> float | None:
    """An objective that is not set is infinite, which JSON does not have."""
    return seconds if seconds != float("inf") else None
