"""The Python half and the CEL half of the API's rules refuse the same objects."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.api.errors import InvalidModelDeployment
from controller.api.rules import Part, Rule
from controller.api.spec import ModelDeploymentSpec
from controller.api.v1alpha1 import GROUP, VERSION, parse
from controlplane.cluster import ControlPlane
from kubernetes import client

Document = dict[str, Any]
Admit = Callable[[Document], list[str]]

#: Marks a field to remove.
GONE = object()

#: (path below spec, value) pairs that turn the good object into another good one.
GOOD: dict[str, list[tuple[str, Any]]] = {
    "as it is": [],
    "all defaults": [("mode", GONE), ("quality", GONE), ("limits", GONE)],
    "minimum equals maximum": [("variants.0.minReplicas", 12)],
    "minimum by role fits": [("variants.0.minReplicas", GONE), ("variants.1.minReplicas", GONE)],
    "price in place of accelerator": [
        ("variants.0.accelerator", GONE),
        ("variants.0.costPerReplicaHour", "16"),
    ],
    "zero with arrivals": [
        ("variants.0.minReplicas", 0),
        ("arrivals", {"metricsProfile": "envoy-gateway", "name": "llama"}),
    ],
    "all on fallback": [("variants.0.minReplicas", 0), ("variants.1.minReplicas", 1)],
    "one variant needs no routing": [("variants.1", GONE), ("routing", GONE)],
    "minimums use all of the limits": [
        ("limits", {"maxGpus": 4, "maxCostPerHour": "0.3"}),
        ("variants.0.costPerReplicaHour", "0.1"),
        ("variants.0.minReplicas", 1),
        ("variants.1.costPerReplicaHour", "0.1"),
    ],
    "sums of decimals have slack": [
        ("limits.maxCostPerHour", "0.3"),
        ("limits.maxGpus", GONE),
        ("variants.0.costPerReplicaHour", "0.1"),
        ("variants.0.minReplicas", 3),
    ],
    "same backend name on other ports": [
        ("variants.1.backendRef", {"name": "llama-70b-bf16", "port": 8001})
    ],
    "pools need no port": [("variants.1.backendRef", {"kind": "InferencePool", "name": "fp8"})],
    "same name, other kind of target": [
        ("variants.1.targetRef", {"kind": "StatefulSet", "name": "llama-70b-bf16"})
    ],
    "floor below ceiling": [
        (
            "schedules",
            [
                {
                    "name": "day",
                    "variant": "fp8",
                    "cron": "*/15 8-18 1,15 * 1-5",
                    "timeZone": "America/Argentina/Buenos_Aires",
                    "durationSeconds": 3600,
                    "minReplicas": 2,
                    "maxReplicas": 2,
                }
            ],
        )
    ],
    "parameters of one's own": [
        (
            "variants.0.performance",
            {
                "parameters": {
                    "t0Milliseconds": "6.68",
                    "deltaMilliseconds": "0.02",
                    "epsilonMilliseconds": "5.1e-7",
                    "kappaMilliseconds": "4.4e-5",
                    "kvCapacityTokens": 412000,
                }
            },
        )
    ],
    "behavior as in HPA": [
        (
            "behavior",
            {
                "scaleUp": {
                    "selectPolicy": "Min",
                    "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}],
                },
                "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"},
            },
        )
    ],
}

_DAY = {"name": "day", "variant": "fp8", "cron": "0 8 * * *", "durationSeconds": 60}

#: (changes, start of the message both halves must give; empty where only the structure is wrong).
BAD: dict[str, tuple[list[tuple[str, Any]], str]] = {
    "minimum above maximum": ([("variants.0.minReplicas", 13)], "must be at least minReplicas"),
    "no Primary": (
        [("variants.0.role", "Fallback")],
        "at least one variant must have the role Primary",
    ),
    "one target twice": (
        [("variants.1.targetRef.name", "llama-70b-bf16")],
        "every variant needs a targetRef of its own",
    ),
    "one name twice": ([("variants.1.name", "bf16")], ""),
    "one objective twice": ([("slo.objectives.1.metric", "TimeToFirstToken")], ""),
    "several variants and no routing": ([("routing", GONE)], "with several variants say how"),
    "weighted without backend": (
        [("variants.1.backendRef", GONE)],
        "Weighted routing needs a backendRef on every variant",
    ),
    "weighted with one backend": (
        [("variants.1.backendRef.name", "llama-70b-bf16")],
        "Weighted routing needs a backendRef of its own",
    ),
    "weighted without route": ([("routing.httpRouteRef", GONE)], "Weighted routing needs the HTTP"),
    "service without port": ([("variants.1.backendRef.port", GONE)], "a Service needs its port"),
    "zero without arrivals": ([("variants.0.minReplicas", 0)], "the sum of minReplicas must be"),
    "minimums above GPUs": ([("limits.maxGpus", 3)], "must hold the GPUs"),
    "default minimum above GPUs": (
        [("limits.maxGpus", 3), ("variants.0.minReplicas", GONE)],
        "must hold the GPUs",
    ),
    "minimums above cost": (
        [("limits.maxCostPerHour", "15.99"), ("variants.0.costPerReplicaHour", "16")],
        "must pay for every variant's minReplicas",
    ),
    "no price": (
        [("variants.1.accelerator", GONE)],
        "give accelerator (a key of the price table) or costPerReplicaHour",
    ),
    "price of nothing": ([("variants.1.costPerReplicaHour", "0.00")], "must be above 0"),
    "target of 1": ([("slo.target", "1.0")], "must lie between 0 and 1"),
    "target of 0": ([("slo.target", "0")], "must lie between 0 and 1"),
    "profile and parameters": (
        [
            (
                "variants.0.performance.parameters",
                {
                    "t0Milliseconds": "1",
                    "deltaMilliseconds": "1",
                    "kappaMilliseconds": "0",
                    "kvCapacityTokens": 1,
                },
            )
        ],
        "name a built-in profile or give parameters",
    ),
    "neither profile nor parameters": (
        [("variants.0.performance", {})],
        "name a built-in profile or give parameters",
    ),
    "iteration without time": (
        [
            (
                "variants.0.performance",
                {
                    "parameters": {
                        "t0Milliseconds": "0",
                        "deltaMilliseconds": "1",
                        "kappaMilliseconds": "0",
                        "kvCapacityTokens": 1,
                    }
                },
            )
        ],
        "must be above 0: no iteration",
    ),
    "schedule of no variant": (
        [("schedules", [_DAY | {"variant": "int4", "minReplicas": 1}])],
        "every schedule must name one of the variants",
    ),
    "schedule without effect": ([("schedules", [_DAY])], "give minReplicas (a floor)"),
    "schedule upside down": (
        [("schedules", [_DAY | {"minReplicas": 3, "maxReplicas": 2}])],
        "must be at least minReplicas",
    ),
    "schedule at 25 o'clock": (
        [("schedules", [_DAY | {"cron": "0 25 * * *", "minReplicas": 1}])],
        "",
    ),
    "schedule twice": ([("schedules", [_DAY | {"minReplicas": 1}] * 2)], ""),
    "share above 1": ([("quality.maxDegradedShare", "1.01")], ""),
    "share below 0": ([("quality.maxDegradedShare", "-0.1")], ""),
    "share as a number": ([("quality.maxDegradedShare", 0.3)], ""),
    "share with a sign of per cent": ([("slo.plannedBudgetShare", "50%")], ""),
    "share with a line break": ([("slo.plannedBudgetShare", "0.5\n")], ""),
    "unknown field": ([("variants.0.minReplica", 1)], ""),
    "misspelt engine": ([("variants.0.engine", "vLLM")], ""),
    "no variants": ([("variants", [])], ""),
    "no objective": ([("slo.objectives", [])], ""),
    "no slo": ([("slo", GONE)], ""),
    "replicas as text": ([("variants.0.maxReplicas", "4")], ""),
    "replicas as a truth": ([("variants.0.maxReplicas", True)], ""),
    "too many replicas": ([("variants.0.maxReplicas", 1001)], ""),
    "long variant name": ([("variants.0.name", "a" * 33)], ""),
    "a rate policy too slow": (
        [
            (
                "behavior",
                {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1801}]}},
            )
        ],
        "",
    ),
}


def changed(document: Document, changes: list[tuple[str, Any]]) -> Document:
    """Return a copy of ``document`` with fields of its spec set or removed."""
    copied = copy.deepcopy(document)
    for path, value in changes:
        *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
        node: Any = copied["spec"]
        for part in parents:
            node = node[part]
        if value is GONE:
            del node[last]
        else:
            node[last] = value
    return copied


def python_errors(document: Document) -> list[str]:
    """Return the lines of the Python half, none for a good object."""
    try:
        parse(document)
    except InvalidModelDeployment as error:
        return list(error.lines)
    return []


@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD)
def test_both_halves_accept(
    chat: Document, api_server: Admit, changes: list[tuple[str, Any]]
) -> None:
    """An object that keeps every rule is accepted by both halves."""
    document = changed(chat, changes)
    assert api_server(document) == []
    assert python_errors(document) == []


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_both_halves_refuse(
    chat: Document, api_server: Admit, changes: list[tuple[str, Any]], message: str
) -> None:
    """An object that breaks a rule is refused by both halves, for that reason and no other."""
    document = changed(chat, changes)
    (refused,) = api_server(document)
    (line,) = python_errors(document)
    assert refused.startswith(message)
    if message:
        assert line.endswith(refused)


@pytest.fixture
def real_api_server(control_plane: ControlPlane) -> Callable[[Document], str]:
    """What a real API server says to an object that is applied: nothing where it takes it."""
    objects = client.CustomObjectsApi(control_plane.api)

    def admit(document: Document) -> str:
        body = copy.deepcopy(document)
        body["metadata"]["namespace"] = "default"
        try:
            objects.create_namespaced_custom_object(
                GROUP,
                VERSION,
                "default",
                "modeldeployments",
                body,
                dry_run="All",
                field_validation="Strict",  # as kubectl asks
            )
        except client.ApiException as error:
            if error.status not in {400, 422}:
                raise
            return str(json.loads(error.body)["message"])
        return ""

    return admit


@pytest.mark.cluster
@pytest.mark.parametrize("changes", GOOD.values(), ids=GOOD)
def test_a_real_api_server_accepts(
    chat: Document, real_api_server: Callable[[Document], str], changes: list[tuple[str, Any]]
) -> None:
    """So does the real one."""
    assert real_api_server(changed(chat, changes)) == ""


@pytest.mark.cluster
@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_a_real_api_server_refuses(
    chat: Document,
    real_api_server: Callable[[Document], str],
    changes: list[tuple[str, Any]],
    message: str,
) -> None:
    """So does the real one, with our message where the rule is ours, and the field always."""
    said = real_api_server(changed(chat, changes))
    assert message in said
    assert "spec" in said


def _rules_of(part: type[Part]) -> set[Rule]:
    found = set(part.RULES)
    for annotation in (field.annotation for field in part.model_fields.values()):
        for candidate in (annotation, *getattr(annotation, "__args__", ())):
            if isinstance(candidate, type) and issubclass(candidate, Part):
                found |= _rules_of(candidate)
    return found


def test_every_rule_has_a_bad_object() -> None:
    """No rule is without a row in the table that breaks it."""
    messages = [message for _, message in BAD.values() if message]
    unbroken = {
        rule.message
        for rule in _rules_of(ModelDeploymentSpec)
        if not any(rule.message.startswith(message) for message in messages)
    }
    assert unbroken == set()


def _paths(node: Any, path: str = "") -> list[str]:
    children = node.items() if isinstance(node, dict) else enumerate(node)
    found = []
    for key, child in children:
        here = f"{path}.{key}" if path else str(key)
        found.append(here)
        if isinstance(child, dict | list):
            found.extend(_paths(child, here))
    return found


_VALUES = st.sampled_from(
    ["bf16", "fp8", "Shared", "Weighted", "Fallback", "Primary", "Service", "InferencePool"]
) | st.sampled_from(
    [GONE, 0, 1, 3, 5, 16, -1, True, 0.5, "", "0", "1", "0.5", "2", {}, [], ["a"], {"a": 1}]
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # copied before it is changed
)
@given(data=st.data())
def test_both_halves_agree_on_any_change(chat: Document, api_server: Admit, data: Any) -> None:
    """Whatever one or two fields are set to, both halves give the same verdict."""
    document = chat
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(_paths(document["spec"])))
        document = changed(document, [(path, data.draw(_VALUES))])
        if not isinstance(document["spec"], dict) or not document["spec"]:
            break
    assert bool(api_server(document)) == bool(python_errors(document)), (
        api_server(document),
        python_errors(document),
    )
