"""From a parsed ModelDeployment to a policy: nothing is lost, guessed or left at zero."""

import copy
import math
from typing import Any, get_args

import pytest
import yaml

from controller.api.conversion import to_policy
from controller.api.errors import InvalidModelDeployment
from controller.api.objectives import QualitySpec
from controller.api.prices import REFERENCE_PRICES, AcceleratorPrice, PriceTable
from controller.api.routing import RoutingSpec
from controller.api.scaling import ScaleUpRules
from controller.api.spec import ModelDeploymentSpec
from controller.api.v1alpha1 import parse
from controller.api.variants import VariantSpec
from controller.core.domain.policy import (
    Balancing,
    Behavior,
    Mode,
    OnExhausted,
    Pause,
    Policy,
    RatePolicy,
    RoutingLaw,
    ScalingRules,
    SelectPolicy,
)
from controller.core.domain.variant import PerformanceProfile, Role
from controller.core.performance import catalog

Document = dict[str, Any]

H100_AT_3 = PriceTable(
    accelerators={"nvidia-h100": AcceleratorPrice(per_gpu_hour=3.0, idle_watts=200, busy_watts=700)}
)

PARAMETERS = {
    "t0Milliseconds": "6.68",
    "deltaMilliseconds": "0.02",
    "epsilonMilliseconds": "5.1e-7",
    "kappaMilliseconds": "4.4e-5",
    "betaMilliseconds": "0.03",
    "kvCapacityTokens": 412000,
    "maxRunning": 128,
}


def policy_of(document: Document, **options: Any) -> Policy:
    """Convert at a tick of 15 s and an H100 at 3 an hour."""
    return to_policy(parse(document), H100_AT_3, 15.0, **options)


def lines_of(document: Document, **options: Any) -> list[str]:
    """Return what the conversion refuses."""
    with pytest.raises(InvalidModelDeployment) as caught:
        policy_of(document, **options)
    return list(caught.value.lines)


def test_samples_convert(sample: Document) -> None:
    """Every sample gives a policy at the reference prices, its mode and names kept."""
    policy = to_policy(parse(sample), REFERENCE_PRICES, 15.0)
    assert policy.mode == sample["spec"]["mode"]
    assert (policy.namespace, policy.name) == ("serving", sample["metadata"]["name"])
    assert [v.name for v in policy.variants] == [v["name"] for v in sample["spec"]["variants"]]


def test_units_and_prices(chat: Document) -> None:
    """Milliseconds become seconds, decimals numbers, GPUs times price the price of a replica."""
    policy = policy_of(chat)
    assert policy.slo.ttft_seconds == 3.0
    assert policy.slo.tpot_seconds == 0.08
    assert policy.slo.planned_miss_share == pytest.approx(0.02 * 0.8)
    assert policy.quality.max_degraded_share == 0.3
    assert policy.quality.on_exhausted is OnExhausted.DEGRADE
    assert [v.cost_per_replica_hour for v in policy.variants] == [12.0, 6.0]
    assert [v.role for v in policy.variants] == [Role.PRIMARY, Role.FALLBACK]
    assert policy.variants[1].profile == catalog.profile("llama-70b-fp8-2xh100")
    assert policy.routing.law is RoutingLaw.WEIGHTED
    assert policy.limits.max_cost_per_hour == 250.0
    assert policy.tick_seconds == 15.0
    assert policy.behavior is None


def test_declared_price_wins(chat: Document) -> None:
    """A price of the replica's own is taken even where the accelerator is known."""
    chat["spec"]["variants"][0]["costPerReplicaHour"] = "7.50"
    assert policy_of(chat).variants[0].cost_per_replica_hour == 7.5


def test_absent_objective_always_holds(chat: Document) -> None:
    """An objective that is not named has an infinite threshold."""
    chat["spec"]["slo"]["objectives"].pop()
    assert policy_of(chat).slo.tpot_seconds == math.inf


def test_gpus_are_declared_observed_or_the_profiles(chat: Document) -> None:
    """Declared GPUs win over the pod template's, which win over the built-in profile's."""
    del chat["spec"]["variants"][0]["gpusPerReplica"]
    assert policy_of(chat).variants[0].gpus_per_replica == 4
    assert policy_of(chat, pod_gpus={"bf16": 8, "fp8": 8}).variants[0].gpus_per_replica == 8
    assert policy_of(chat, pod_gpus={"bf16": 8, "fp8": 8}).variants[1].gpus_per_replica == 2


def test_parameters_of_ones_own(chat: Document) -> None:
    """Explicit parameters become the profile, exponents included, defaults filled in."""
    chat["spec"]["variants"][0]["performance"] = {"parameters": PARAMETERS}
    assert policy_of(chat).variants[0].profile == PerformanceProfile(
        t0_milliseconds=6.68,
        delta_milliseconds=0.02,
        epsilon_milliseconds=5.1e-7,
        kappa_milliseconds=4.4e-5,
        beta_milliseconds=0.03,
        kv_capacity_tokens=412_000,
        max_running=128,
        max_batched_tokens=8192,
    )


def test_explicit_profile_without_gpus_is_an_error(chat: Document) -> None:
    """GPUs are not guessed: with neither declaration nor pod template the field is named."""
    chat["spec"]["variants"][0]["performance"] = {"parameters": PARAMETERS}
    del chat["spec"]["variants"][0]["gpusPerReplica"]
    (line,) = lines_of(chat)
    assert line.startswith("spec.variants[0].gpusPerReplica: missing")


def test_missing_performance_names_field_and_fix(chat: Document) -> None:
    """A variant of unknown speed is an error that lists the built-in profiles."""
    del chat["spec"]["variants"][1]["performance"]
    (line,) = lines_of(chat)
    assert line.startswith("spec.variants[1].performance: missing")
    assert "llama-70b-fp8-2xh100" in line


def test_every_wrong_field_has_its_line(chat: Document) -> None:
    """Unknown profile, accelerator and time zone are told together."""
    chat["spec"]["variants"][0]["performance"] = {"profile": "gpt-9"}
    chat["spec"]["variants"][1]["accelerator"] = "nvidia-h900"
    chat["spec"]["schedules"] = [
        {
            "name": "day",
            "variant": "fp8",
            "cron": "0 18-8 * * *",
            "timeZone": "Europe/Atlantis",
            "durationSeconds": 60,
            "minReplicas": 1,
        }
    ]
    profile, accelerator, cron, zone = lines_of(chat)
    assert profile.startswith("spec.variants[0].performance.profile: unknown")
    assert "llama-70b-bf16-4xh100" in profile
    assert accelerator.startswith('spec.variants[1].accelerator: found "nvidia-h900"')
    assert "write one of nvidia-h100" in accelerator
    assert cron.startswith("spec.schedules[0].cron: ")
    assert zone.startswith('spec.schedules[0].timeZone: found "Europe/Atlantis"')


def test_limits_are_checked_with_resolved_prices(chat: Document) -> None:
    """What CEL cannot know, prices and GPUs out of tables, is checked once they are known."""
    del chat["spec"]["variants"][0]["gpusPerReplica"]
    chat["spec"]["limits"] = {"maxCostPerHour": "11.99", "maxGpus": 3}
    gpus, cost = lines_of(chat)
    assert gpus == "spec.limits.maxGpus: found 3; the variants' minReplicas need 4"
    assert cost == "spec.limits.maxCostPerHour: found 11.99; the variants' minReplicas cost 12"


def test_lookup_is_injected(chat: Document) -> None:
    """A catalogue of one's own is asked, by the name that was given."""
    asked = []

    def lookup(name: str) -> catalog.CatalogEntry:
        asked.append(name)
        return catalog.entry("llama-8b-bf16-h100")

    policy = policy_of(chat, lookup=lookup)
    assert asked == ["llama-70b-bf16-4xh100", "llama-70b-fp8-2xh100"]
    assert policy.variants[0].profile == catalog.profile("llama-8b-bf16-h100")


def test_behavior_takes_the_defaults_of_hpa(chat: Document) -> None:
    """With one direction set the other has HorizontalPodAutoscaler's defaults."""
    chat["spec"]["behavior"] = {"scaleDown": {"stabilizationWindowSeconds": 60}}
    assert policy_of(chat).behavior == Behavior(
        scale_up=ScalingRules(
            stabilization_window_seconds=0,
            select_policy=SelectPolicy.MAX,
            policies=(
                RatePolicy(percent=False, value=4, period_seconds=15),
                RatePolicy(percent=True, value=100, period_seconds=15),
            ),
        ),
        scale_down=ScalingRules(
            stabilization_window_seconds=60,
            select_policy=SelectPolicy.MAX,
            policies=(RatePolicy(percent=True, value=100, period_seconds=15),),
        ),
    )
    chat["spec"]["behavior"] = {"scaleUp": {"selectPolicy": "Disabled"}}
    behavior = policy_of(chat).behavior
    assert behavior is not None
    assert behavior.scale_up is not None
    assert behavior.scale_up.select_policy is SelectPolicy.DISABLED
    assert behavior.scale_down is not None
    assert behavior.scale_down.stabilization_window_seconds == 300


def test_empty_behavior_is_no_behavior(chat: Document) -> None:
    """A block without a direction leaves steelyard's own rule in force."""
    chat["spec"]["behavior"] = {}
    assert policy_of(chat).behavior is None


def test_tick_must_be_positive(chat: Document) -> None:
    """A tick of zero is a mistake of the caller."""
    with pytest.raises(ValueError, match="tick_seconds"):
        to_policy(parse(chat), H100_AT_3, 0.0)


@pytest.mark.parametrize(
    ("part", "field", "core"),
    [
        (ModelDeploymentSpec, "mode", Mode),
        (QualitySpec, "on_exhausted", OnExhausted),
        (RoutingSpec, "type", RoutingLaw),
        (RoutingSpec, "balancing", Balancing),
        (VariantSpec, "role", Role),
        (ScaleUpRules, "select_policy", SelectPolicy),
    ],
)
def test_choices_are_those_of_the_core(part: Any, field: str, core: Any) -> None:
    """Every choice that the API offers has a meaning in the core, and the other way round."""
    assert set(get_args(part.model_fields[field].annotation)) == {c.value for c in core}


def test_prices_are_checked() -> None:
    """A price of nothing and idle power above busy power are refused."""
    with pytest.raises(ValueError, match="per_gpu_hour"):
        AcceleratorPrice(per_gpu_hour=0.0, idle_watts=1, busy_watts=2)
    with pytest.raises(ValueError, match="watts"):
        AcceleratorPrice(per_gpu_hour=1.0, idle_watts=3, busy_watts=2)


def test_parsing_changes_nothing_it_is_given(sample: Document) -> None:
    """The document handed in, for example a watch's cache, is left as it is."""
    before = copy.deepcopy(sample)
    parse(sample)
    assert sample == before


def test_example_of_the_design_parses() -> None:
    """The object of the design page, its second variant written out, is accepted as it stands."""
    document = yaml.safe_load("""
        apiVersion: steelyard.dev/v1alpha1
        kind: ModelDeployment
        metadata: {name: llama-chat, namespace: serving, resourceVersion: "7", generation: 3}
        spec:
          mode: Auto
          slo:
            objectives:
            - {metric: TimeToFirstToken, thresholdMilliseconds: 1000}
            - {metric: TimePerOutputToken, thresholdMilliseconds: 50}
            target: "0.99"
            windowSeconds: 86400
            plannedBudgetShare: "0.5"
          quality: {maxDegradedShare: "0.05", onExhausted: Hold}
          variants:
          - name: fp8
            role: Primary
            targetRef: {apiVersion: apps/v1, kind: Deployment, name: llama-fp8}
            servedModelName: llama-3.1-8b
            engine: VLLM
            backendRef: {kind: Service, name: llama-fp8, port: 8000}
            accelerator: nvidia-h100
            costPerReplicaHour: "4.00"
            quality: "1"
            minReplicas: 1
            maxReplicas: 24
          - name: int4
            role: Fallback
            targetRef: {name: llama-int4}
            servedModelName: llama-3.1-8b
            backendRef: {name: llama-int4, port: 8000}
            costPerReplicaHour: "4.00"
            quality: "0.97"
            maxReplicas: 24
          routing: {type: Weighted, httpRouteRef: {name: llama, rule: 0}}
          limits: {maxCostPerHour: "120", maxGpus: 32}
          behavior: {}
          schedules: []
        status: {anything: at all}
    """)
    md = parse(document)
    assert md.metadata.generation == 3
    assert [v.minimum for v in md.spec.variants] == [1, 0]


@pytest.mark.parametrize(
    ("annotation", "pause"),
    [
        (None, Pause.NONE),
        ("false", Pause.NONE),
        ("true", Pause.ALL),
        ("in", Pause.IN),
        ("Out", Pause.OUT),
        ("until monday", Pause.ALL),
    ],
)
def test_the_pause_annotation_is_read(chat: Document, annotation: str | None, pause: Pause) -> None:
    """A value nobody knows stops everything: who wrote it wants something stopped."""
    if annotation is not None:
        chat["metadata"]["annotations"] = {"steelyard.dev/paused": annotation}
    assert to_policy(parse(chat), REFERENCE_PRICES, 15.0).pause is pause
