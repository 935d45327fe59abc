"""The status tells the decision, keeps its times, and never exceeds 4 KiB."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.api.conditions import (
    MESSAGE_CHARACTERS,
    ConditionReason,
    ConditionStatus,
    ConditionType,
    Finding,
    timestamp,
    updated,
)
from controller.api.conversion import Assessment, invalid_status, to_policy, to_status
from controller.api.conversion.findings import LIMITING, RISKY
from controller.api.errors import InvalidModelDeployment
from controller.api.prices import REFERENCE_PRICES
from controller.api.status import STATUS_BYTES, Status, number, read_status
from controller.api.v1alpha1 import parse
from controller.core.domain.decision import (
    Allocation,
    Decision,
    DecisionStep,
    ForecastSummary,
    Reason,
    Stage,
)
from controller.core.domain.observation import (
    Missing,
    MissingReason,
    Observation,
    Outcomes,
    Traffic,
    VariantObservation,
)
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role

Document = dict[str, Any]

NOW = 1_743_465_600.0  # 2025-04-01T00:00:00Z
TRAFFIC = Traffic(
    from_seconds=NOW - 30,
    to_seconds=NOW - 15,
    requests=150,
    refused=0,
    token_requests=150,
    prompt_tokens=1e5,
    output_tokens=1e4,
)
OUTCOMES = Outcomes(
    from_seconds=NOW - 30,
    to_seconds=NOW - 15,
    ended=100,
    failed=0,
    bad_ttft=1,
    bad_tpot=0,
    degraded=25,
)
FORECAST = ForecastSummary(
    source="regression",
    horizon_seconds=150.4,
    level_requests_per_second=10.12345,
    quantiles=((0.5, 10.0), (0.95, 14.0)),
    requests_per_reference=1.0,
    trusted=True,
    changed_decision=True,
)
STEP = DecisionStep(Stage.OPTIMISE, Reason.CHEAPEST_WITHIN_BUDGETS, (2, 0), (3, 1))


@pytest.fixture
def policy(chat: Document) -> Policy:
    """Two variants, bf16 Primary and fp8 Fallback."""
    return to_policy(parse(chat), REFERENCE_PRICES, 15.0)


def observation(**changes: Any) -> Observation:
    """Two of three bf16 and one fp8 replica are Ready."""
    seen: dict[str, Any] = {
        "workloads_at_seconds": NOW,
        "variants": (
            VariantObservation(desired=3, ready=2),
            VariantObservation(desired=1, ready=1),
        ),
        "traffic": TRAFFIC,
        "outcomes": OUTCOMES,
    }
    return Observation(**seen | changes)


def decision(**changes: Any) -> Decision:
    """Three bf16 and one fp8 replica, with a trusted forecast."""
    made: dict[str, Any] = {
        "allocation": (3, 1),
        "weights": None,
        "steps": (STEP,),
        "binding": Reason.CHEAPEST_WITHIN_BUDGETS,
        "forecast": FORECAST,
        "miss_price": 0.0123456,
        "cost_per_hour": 56.0,
    }
    return Decision(**made | changes)


KNOWN = Assessment(
    attainment=(0.9912345, 0.9954321),
    errors_left=0.5,
    quality_left=0.25,
    forecast_error=0.0812345,
    forecast_coverage=(0.9, 0.8934),
    cold_start_seconds=(412.6, None),
    capacities=(7.7777777, None),
    static_peak_cost_per_hour=112.0,
)


def status_of(policy: Policy, **options: Any) -> Status:
    """Return the status, with everything known unless said otherwise."""
    given_options: dict[str, Any] = {
        "observation": observation(),
        "decision": decision(),
        "now": NOW,
        "generation": 3,
        "assessment": KNOWN,
    }
    return to_status(policy, **given_options | options)


def condition(status: Status, kind: ConditionType) -> tuple[str, str]:
    """Return status and reason of one condition."""
    (found,) = [c for c in status.conditions if c.type is kind]
    return found.status.value, found.reason.value


def test_document_tells_what_was_decided(policy: Policy) -> None:
    """The JSON document has rounded numbers, camelCase names and nothing that is not known."""
    document = status_of(policy).as_document()
    conditions = document.pop("conditions")
    assert [c["type"] for c in conditions] == [kind.value for kind in ConditionType]
    assert {c["lastTransitionTime"] for c in conditions} == {"2025-04-01T00:00:00Z"}
    assert document == {
        "observedGeneration": 3,
        "primary": "2/3",
        "fallback": "1/1",
        "variants": [
            {
                "name": "bf16",
                "ready": 2,
                "desired": 3,
                "coldStartSeconds": 413,
                "capacity": "7.778",
            },
            {"name": "fp8", "ready": 1, "desired": 1},
        ],
        "forecast": {
            "source": "regression",
            "horizonSeconds": 150,
            "requestsPerSecond": "10.12",
            "highRequestsPerSecond": "14",
            "error": "0.08123",
            "coverage": {"nominal": "0.9", "observed": "0.8934"},
        },
        "attainment": {"lower": "0.9912", "upper": "0.9954"},
        "budgets": {"errorsLeft": "0.5", "qualityLeft": "0.25"},
        "cost": {"perHour": "56", "staticPeakPerHour": "112", "saved": "0.5"},
        "decision": {
            "reason": "CheapestWithinBudgets",
            "missPrice": "0.01235",
            "degradedPrice": "0",
            "steps": [{"stage": "Optimise", "reason": "CheapestWithinBudgets", "after": [3, 1]}],
        },
    }


def test_what_is_not_known_is_left_out(policy: Policy) -> None:
    """Before anything was measured there is no attainment, budget, forecast or saving, and no 0."""
    document = status_of(policy, assessment=None, decision=decision(forecast=None)).as_document()
    assert not {"attainment", "budgets", "forecast"} & set(document)
    assert document["cost"] == {"perHour": "56"}
    assert document["variants"][0] == {"name": "bf16", "ready": 2, "desired": 3}


def test_document_obeys_the_crd(policy: Policy, chat: Document, api_server: Any) -> None:
    """An API server stores the status as it is."""
    assert api_server(chat | {"status": status_of(policy).as_document()}) == []


def test_status_reads_back(policy: Policy) -> None:
    """What was written is read back, unknown fields of a newer version ignored."""
    status = status_of(policy)
    document = status.as_document()
    assert read_status({"status": document}) == status
    document["novelty"] = {"deep": 1}
    document["cost"]["novelty"] = 1
    assert read_status({"status": document}) == status
    assert read_status({}) == Status()
    assert read_status({"status": {"conditions": "broken"}}) == Status()


def test_time_moves_only_with_the_status_of_a_condition(policy: Policy) -> None:
    """A new reason keeps the time; a new status takes the new time."""
    first = status_of(policy)
    lost = observation(traffic=Missing(MissingReason.STALE))
    second = status_of(policy, observation=lost, now=NOW + 60, previous=first)
    gone = observation(traffic=Missing(MissingReason.ABSENT))
    third = status_of(policy, observation=gone, now=NOW + 120, previous=second)
    (metrics,) = [c for c in third.conditions if c.type is ConditionType.METRICS_AVAILABLE]
    assert metrics.reason is ConditionReason.METRICS_ABSENT
    assert metrics.last_transition_time == timestamp(NOW + 60)
    others = {c.last_transition_time for c in third.conditions if c != metrics}
    assert others == {timestamp(NOW)}


@pytest.mark.parametrize(
    ("options", "kind", "expected"),
    [
        ({}, ConditionType.READY, ("True", "SpecValid")),
        ({}, ConditionType.METRICS_AVAILABLE, ("True", "MetricsFresh")),
        (
            {"observation": observation(outcomes=Missing(MissingReason.PARTIAL))},
            ConditionType.METRICS_AVAILABLE,
            ("False", "MetricsPartial"),
        ),
        ({}, ConditionType.FORECAST_TRUSTED, ("True", "ForecastTrusted")),
        (
            {"decision": decision(forecast=None)},
            ConditionType.FORECAST_TRUSTED,
            ("Unknown", "NoForecast"),
        ),
        ({}, ConditionType.ABLE_TO_SCALE, ("True", "TargetsScalable")),
        (
            {"assessment": Assessment(unable=(ConditionReason.TARGET_NOT_FOUND, "create it"))},
            ConditionType.ABLE_TO_SCALE,
            ("False", "TargetNotFound"),
        ),
        ({}, ConditionType.SCALING_LIMITED, ("False", "WithinLimits")),
        (
            {
                "decision": decision(
                    steps=(STEP, DecisionStep(Stage.GUARD, Reason.MAX_GPUS, (4, 1), (3, 1)))
                )
            },
            ConditionType.SCALING_LIMITED,
            ("True", "MaxGpus"),
        ),
        (
            {
                "decision": decision(
                    steps=(STEP, DecisionStep(Stage.GUARD, Reason.MAX_GPUS, (3, 1), (3, 1)))
                )
            },
            ConditionType.SCALING_LIMITED,
            ("False", "WithinLimits"),
        ),
        (
            {"decision": decision(binding=Reason.MIN_REPLICAS)},
            ConditionType.SCALING_LIMITED,
            ("True", "MinReplicas"),
        ),
        ({}, ConditionType.SLO_AT_RISK, ("False", "WithinSlo")),
        (
            {"decision": decision(binding=Reason.DEMAND_ABOVE_CAPACITY)},
            ConditionType.SLO_AT_RISK,
            ("True", "DemandAboveCapacity"),
        ),
        (
            {"assessment": Assessment(attainment=(0.97, 0.999))},
            ConditionType.SLO_AT_RISK,
            ("True", "AttainmentBelowTarget"),
        ),
        (
            {"assessment": Assessment(unmeasurable="set --ttft-buckets 3")},
            ConditionType.SLO_AT_RISK,
            ("Unknown", "SloNotMeasurable"),
        ),
        ({"assessment": None}, ConditionType.SLO_AT_RISK, ("Unknown", "NotMeasured")),
        ({}, ConditionType.BUDGET_EXHAUSTED, ("False", "BudgetsLeft")),
        ({"assessment": None}, ConditionType.BUDGET_EXHAUSTED, ("Unknown", "NotMeasured")),
        (
            {"assessment": Assessment(errors_left=-0.1, quality_left=0.5)},
            ConditionType.BUDGET_EXHAUSTED,
            ("True", "ErrorBudgetSpent"),
        ),
        (
            {"assessment": Assessment(errors_left=0.1, quality_left=0.0)},
            ConditionType.BUDGET_EXHAUSTED,
            ("True", "QualityBudgetSpent"),
        ),
        ({}, ConditionType.DEGRADED, ("True", "FallbackServing")),
        (
            {"observation": observation(outcomes=Missing(MissingReason.STALE))},
            ConditionType.DEGRADED,
            ("Unknown", "NotMeasured"),
        ),
        ({}, ConditionType.PAUSED, ("False", "ModeAuto")),
    ],
)
def test_conditions(
    policy: Policy, options: Document, kind: ConditionType, expected: tuple[str, str]
) -> None:
    """Each condition has the status and the reason that the observation and decision give it."""
    assert condition(status_of(policy, **options), kind) == expected


def test_recommend_and_off_are_paused(chat: Document) -> None:
    """An object whose replicas are not set says so."""
    for mode, reason in (("Recommend", "ModeRecommend"), ("Off", "ModeOff")):
        chat["spec"]["mode"] = mode
        policy = to_policy(parse(chat), REFERENCE_PRICES, 15.0)
        assert condition(status_of(policy), ConditionType.PAUSED) == ("True", reason)


def test_untrusted_forecast_says_who_decides(policy: Policy) -> None:
    """The message names the candidate that stands in."""
    untrusted = ForecastSummary(
        source="persistence",
        horizon_seconds=150,
        level_requests_per_second=1,
        quantiles=(),
        requests_per_reference=1.0,
        trusted=False,
        changed_decision=False,
    )
    status = status_of(policy, decision=decision(forecast=untrusted))
    (found,) = [c for c in status.conditions if c.type is ConditionType.FORECAST_TRUSTED]
    assert found.reason is ConditionReason.FORECAST_UNTRUSTED
    assert "persistence" in found.message
    assert status.forecast is not None
    assert status.forecast.high_requests_per_second is None


def test_every_decision_reason_a_condition_uses_is_listed() -> None:
    """The closed list of condition reasons holds those taken over from decisions."""
    assert {reason.value for reason in LIMITING | RISKY} <= {r.value for r in ConditionReason}


def test_invalid_object_keeps_what_was_known(policy: Policy) -> None:
    """A spec that became unusable makes Ready False with the error, and nothing else."""
    before = status_of(policy)
    error = InvalidModelDeployment("spec.mode: found x; write Auto", "spec.slo: missing")
    after = invalid_status(error, now=NOW + 9, generation=4, previous=before)
    assert condition(after, ConditionType.READY) == ("False", "SpecInvalid")
    assert after.conditions[0].message == "spec.mode: found x; write Auto; spec.slo: missing"
    assert after.conditions[0].last_transition_time == timestamp(NOW + 9)
    assert after.conditions[1:] == before.conditions[1:]
    assert after.observed_generation == 4
    assert after.decision == before.decision
    assert len(invalid_status(error, now=NOW, generation=1).conditions) == 1


def test_steps_that_changed_something_are_kept_first(policy: Policy) -> None:
    """Of many steps the newest that changed the allocation are shown, in their order."""
    idle = [
        DecisionStep(Stage.GUARD, reason, (3, 1), (3, 1))
        for reason in (Reason.REACTIVE_FLOOR, Reason.BLIND_HOLD, Reason.MIN_REPLICAS)
    ]
    moving = [
        DecisionStep(Stage.GUARD, Reason.HOLD_NOT_EXPIRED, (i, 1), (i + 1, 1)) for i in range(4)
    ]
    steps = status_of(policy, decision=decision(steps=(*idle, *moving))).as_document()["decision"]
    assert [(step["reason"], step["after"][0]) for step in steps["steps"]] == [
        ("MinReplicas", 3),
        *(("HoldNotExpired", i + 1) for i in range(4)),
    ]


def _largest_policy(chat: Document) -> Policy:
    names = [f"{i}{'x' * 31}" for i in range(8)]
    variant = chat["spec"]["variants"][0]
    chat["spec"]["variants"] = [
        variant
        | {
            "name": name,
            "role": "Primary" if i < 4 else "Fallback",
            "targetRef": {"name": name},
            "backendRef": {"name": name, "port": 1},
            "maxReplicas": 1000,
            "minReplicas": 0 if i else 1,
        }
        for i, name in enumerate(names)
    ]
    return to_policy(parse(chat), REFERENCE_PRICES, 15.0)


def test_largest_status_fits(chat: Document) -> None:
    """Eight variants of the longest names, the longest of everything: at most 4 KiB of JSON."""
    policy = _largest_policy(chat)
    thousand: Allocation = (1000,) * 8
    longest = max(Reason, key=len)
    widest = -0.000001234
    status = to_status(
        policy,
        Observation(
            workloads_at_seconds=NOW,
            variants=(VariantObservation(desired=1000, ready=1000),) * 8,
            traffic=TRAFFIC,
            outcomes=OUTCOMES,
        ),
        Decision(
            allocation=thousand,
            weights=None,
            steps=(DecisionStep(Stage.OPTIMISE, longest, (0,) * 8, thousand),) * 40,
            binding=longest,
            forecast=ForecastSummary(
                source="s" * 99,
                horizon_seconds=1e6,
                level_requests_per_second=widest,
                quantiles=((0.5, widest),) * 20,
                requests_per_reference=1.0,
                trusted=False,
                changed_decision=True,
            ),
            miss_price=widest,
            degraded_price=widest,
            cost_per_hour=widest,
        ),
        now=NOW,
        generation=10**9,
        assessment=Assessment(
            attainment=(widest, widest),
            errors_left=widest,
            quality_left=widest,
            forecast_error=widest,
            forecast_coverage=(widest, widest),
            cold_start_seconds=(1e9,) * 8,
            capacities=(widest,) * 8,
            static_peak_cost_per_hour=widest,
        ),
    )
    longest_reason = max(ConditionReason, key=len)
    verbose = updated(
        (),
        [
            Finding(kind, ConditionStatus.UNKNOWN, longest_reason, "\\" * 999)
            for kind in ConditionType
        ],
        NOW,
    )
    document = status.model_copy(update={"conditions": verbose}).as_document()
    written = json.dumps(document, separators=(",", ":")).encode()
    assert len(document["variants"]) == 8
    assert STATUS_BYTES - 400 < len(written) <= STATUS_BYTES


@settings(deadline=None, max_examples=50)
@given(st.text())
def test_messages_cost_one_byte_a_character(message: str) -> None:
    """Whatever a message holds, it is written in at most its limit of bytes."""
    finding = Finding(
        ConditionType.READY, ConditionStatus.FALSE, ConditionReason.SPEC_INVALID, message
    )
    (written,) = updated((), [finding], NOW)
    assert len(json.dumps(written.message)) <= MESSAGE_CHARACTERS + 2


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_short_and_near(value: float) -> None:
    """A number has at most 12 characters, no exponent, and four true digits within its range."""
    text = number(value)
    assert text is not None
    assert len(text) <= 12
    assert "e" not in text
    bounded = max(-1e9, min(value, 1e9))
    assert math.isclose(float(text), bounded, rel_tol=6e-4, abs_tol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_missing_numbers_stay_missing(value: float | None) -> None:
    """What is no finite number is not written as one."""
    assert number(value) is None


def test_variants_without_a_fallback_have_no_fallback_column(chat: Document) -> None:
    """Without a Fallback there is no ``fallback`` in the status, and Degraded is False."""
    del chat["spec"]["variants"][1]
    policy = to_policy(parse(chat), REFERENCE_PRICES, 15.0)
    assert not policy.indices(Role.FALLBACK)
    status = status_of(
        policy,
        observation=observation(variants=(VariantObservation(desired=3, ready=2),)),
        decision=decision(allocation=(3,), steps=()),
    )
    assert "fallback" not in status.as_document()
    assert condition(status, ConditionType.DEGRADED) == ("False", "PreferredQuality")
