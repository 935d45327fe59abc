"""Scenario files: the shipped ones load, wrong ones are told what to write, all is documented."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from controller.core.domain.policy import Policy
from simulations.cli.scenarios import SCENARIOS
from simulations.scenario import InvalidScenario, ScenarioSpec, load
from simulations.setup import Prepared, prepare
from simulations.world.conditions import FaultKind

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "scenarios.md"
SHIPPED = sorted(SCENARIOS.glob("*.yaml"))
SYNTHETIC = {"durationSeconds": 600, "levelRequestsPerSecond": 1}


@pytest.fixture
def written(tmp_path: Path, document: dict[str, Any]) -> Callable[..., Path]:
    """Write the small scenario to a file, with some fields replaced, and None ones left out."""

    def write(**fields: Any) -> Path:
        path = tmp_path / "mine.yaml"
        kept = {key: value for key, value in (document | fields).items() if value is not None}
        path.write_text(yaml.safe_dump(kept))
        return path

    return write


# --- the shipped ones --------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_scenario_loads_and_its_object_converts(path: Path) -> None:
    """The file is right, and so is the ModelDeployment in it."""
    spec = load(path)
    assert spec.name == path.stem
    assert spec.description
    policy = spec.policy()
    assert isinstance(policy, Policy)
    assert set(spec.replicas) <= {variant.name for variant in policy.variants}


def test_the_demo_needs_no_file_and_gives_its_first_days_as_history() -> None:
    """A day is replayed that nobody has recorded, after two that the forecaster learns from."""
    path = SCENARIOS / "demo.yaml"
    made = prepare(load(path), Path("/nowhere"))
    assert made.setup.trace.duration_seconds == 86_400.0
    assert made.setup.past is not None
    assert made.setup.past.step_seconds * len(made.setup.past.requests) == 2 * 86_400.0
    assert made.ceiling > 0.999
    rates = made.setup.trace.demand(60.0).requests / 60.0
    assert 2.0 < rates.max() / rates.mean() < 4.0


def test_a_scenario_extends_another_file(tmp_path: Path, document: dict[str, Any]) -> None:
    """Mappings are merged, all else is replaced, and a file that is not there is told."""
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(document))
    mine = tmp_path / "mine.yaml"
    mine.write_text("extends: base.yaml\nname: other\nclients: {retries: 2}\n")
    spec = load(mine)
    assert (spec.name, spec.clients.retries) == ("other", 2)
    assert spec.model_deployment == document["modelDeployment"]
    mine.write_text("extends: nowhere.yaml\nname: other\n")
    with pytest.raises(InvalidScenario, match=r"extends: no file nowhere\.yaml"):
        load(mine)


@pytest.mark.parametrize(
    "path", [p for p in SHIPPED if load(p).trace.path is not None], ids=lambda p: p.stem
)
def test_a_shipped_scenario_without_its_trace_says_how_to_go_on(path: Path) -> None:
    """The public traces are not part of the project."""
    with pytest.raises(InvalidScenario, match=r"trace\.(path|tokens): no file .* --trace FILE"):
        prepare(load(path), Path("/nowhere"))


# --- wrong fields ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"peakReplicas": -1}, "peakReplicas: found -1; should be greater than 0"),
        ({"peakReplicas": float("nan")}, "peakReplicas: found nan; should be a finite number"),
        ({"warmupSeconds": -5}, "warmupSeconds: found -5; should be greater than or equal to 0"),
        ({"seeds": []}, "seeds: found a list of 0; give at least 1"),
        ({"seeds": [-1]}, "seeds.0: found -1; should be greater than or equal to 0"),
        ({"peakReplica": 3}, "peakReplica: unknown field; did you mean peakReplicas?"),
        ({"modelDeployment": None}, "modelDeployment: missing; give it a value"),
        ({"modelDeployment": {}}, "modelDeployment.apiVersion: missing; write"),
        (
            {"replicas": {"bf15": {}}},
            "replicas.bf15: no variant of the modelDeployment has this name; write one of bf16",
        ),
        (
            {"replicas": {"bf16": {"profile": "gpt"}}},
            "replicas.bf16.profile: unknown performance profile 'gpt'; known: llama-8b-bf16-h100",
        ),
        (
            {"replicas": {"bf16": {"queueLimit": 0}}},
            "replicas.bf16.queueLimit: found 0; write auto",
        ),
        (
            {"replicas": {"bf16": {"queueLimit": True}}},
            "replicas.bf16.queueLimit: found True; write auto",
        ),
        (
            {"replicas": {"bf16": {"coldStart": 9}}},
            "replicas.bf16.coldStart: unknown field; did you mean coldStartSigma?",
        ),
        (
            {"trace": {"path": "a.csv", "synthetic": SYNTHETIC}},
            "trace: give exactly one of path (a file) and synthetic (a spec)",
        ),
        ({"trace": {}}, "trace: give exactly one of path (a file) and synthetic (a spec)"),
        (
            {"trace": {"path": "a.csv", "fromSeconds": 50, "toSeconds": 50}},
            "trace: toSeconds 50 must be after fromSeconds 50",
        ),
        (
            {"trace": {"synthetic": SYNTHETIC | {"components": [{"kind": "Step", "atSecond": 3}]}}},
            "trace.synthetic.components.0.atSecond: unknown field; did you mean atSeconds?",
        ),
        (
            {"trace": {"synthetic": SYNTHETIC | {"components": [{"kind": "Steps"}]}}},
            "trace.synthetic.components.0: found a mapping; tag 'Steps'",
        ),
        (
            {"faults": [{"kind": "Crash", "fromSeconds": 5, "toSeconds": 5, "amount": 1}]},
            "faults.0: toSeconds must be after fromSeconds",
        ),
        (
            {"faults": [{"kind": "SlowStart", "fromSeconds": 5, "toSeconds": 9}]},
            "faults.0: amount: missing; write the factor on cold starts",
        ),
        (
            {"faults": [{"kind": "ScrapeGap", "fromSeconds": 5, "toSeconds": 9, "amount": 2}]},
            "faults.0: a ScrapeGap has no amount; leave it out",
        ),
        (
            {"faults": [{"kind": "GpuShortage", "fromSeconds": 5, "toSeconds": 9, "amount": 2}]},
            "gpuQuota: missing; a GpuShortage takes GPUs of it away",
        ),
    ],
)
def test_a_wrong_field_is_told_by_file_field_and_fix(
    written: Callable[..., Path], fields: dict[str, Any], line: str
) -> None:
    """One line, which begins with where to look and ends with what to write."""
    path = written(**fields)
    with pytest.raises(InvalidScenario) as raised:
        load(path)
    lines = str(raised.value).splitlines()
    assert f"{path}: {line}" in [told[: len(str(path)) + 2 + len(line)] for told in lines]


def test_every_wrong_field_has_a_line_of_its_own(written: Callable[..., Path]) -> None:
    """All are told at once, in whatever part of the file they are."""
    path = written(
        peakReplicas=0,
        clients={"retries": 11, "retryBackoffSeconds": 0},
        metrics={"delaySeconds": -1},
        admission="Swap",
    )
    with pytest.raises(InvalidScenario) as raised:
        load(path)
    told = [line.split(": ")[1] for line in str(raised.value).splitlines()]
    assert sorted(told) == [
        "admission",
        "clients.retries",
        "clients.retryBackoffSeconds",
        "metrics.delaySeconds",
        "peakReplicas",
    ]


def test_wrong_fields_of_the_object_are_told_as_at_kubectl_apply(
    written: Callable[..., Path], document: dict[str, Any]
) -> None:
    """With the path inside the file."""
    document["modelDeployment"]["spec"]["variants"][0]["minReplicas"] = 99
    document["modelDeployment"]["spec"]["variants"][1]["role"] = "Second"
    with pytest.raises(InvalidScenario) as raised:
        load(written())
    lines = str(raised.value).splitlines()
    assert any("modelDeployment.spec.variants[1].role: found" in line for line in lines)


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "", "name: {a: b: c}"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    """Naming the file."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InvalidScenario, match=r"mine\.yaml"):
        load(path)


# --- what a scenario means ---------------------------------------------------------------------


def test_a_true_profile_other_than_the_declared_one_changes_the_replicas_and_not_the_policy(
    prepared: Callable[..., Prepared],
) -> None:
    """Policies believe what the object says; peaks, knees and queue limits are of the truth."""
    declared = prepared()
    truth = prepared(replicas={"bf16": {"profile": "llama-8b-bf16-a100"}})
    assert truth.setup.policy.variants[0].profile == declared.setup.policy.variants[0].profile, (
        "what the object says"
    )
    assert truth.setup.pools[0].profile != declared.setup.pools[0].profile
    assert truth.peak_requests_per_second < 0.5 * declared.peak_requests_per_second
    assert truth.knees[0] < declared.knees[0]
    limit = truth.setup.pools[0].queue_limit
    assert limit == truth.setup.policy.variants[0].queue_limit
    assert limit is not None
    believed = declared.setup.pools[0].queue_limit
    assert believed is not None
    assert limit < believed


def test_a_queue_limit_is_taken_as_given_or_left_out(prepared: Callable[..., Prepared]) -> None:
    """A number is a number, and null is none."""
    made = prepared(replicas={"bf16": {"queueLimit": 33}, "fp8": {"queueLimit": None}})
    assert [pool.queue_limit for pool in made.setup.pools] == [33, None]


def test_a_part_of_a_trace_is_scaled_by_its_own_peak_and_the_rest_is_history(
    prepared: Callable[..., Prepared],
) -> None:
    """The highest minute of the replayed part needs the fleet, whatever was before it."""
    step = {"kind": "Step", "atSeconds": 600, "factorAfter": 0.5}
    trace = {"synthetic": SYNTHETIC | {"durationSeconds": 1_200, "components": [step]}}
    made = prepared(trace=trace | {"fromSeconds": 600})
    assert made.setup.trace.duration_seconds == 600.0
    peak = made.setup.trace.demand(60.0).requests.max() / 60.0
    assert peak == pytest.approx(made.peak_requests_per_second)
    assert made.setup.past is not None
    assert made.setup.past.from_seconds + 600.0 == made.setup.origin_seconds
    assert made.setup.past.requests.mean() / 60.0 == pytest.approx(2.0 * peak, rel=0.1)


# --- documentation -----------------------------------------------------------------------------


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The model and all models that its fields hold, however deep."""
    yield model
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _models(part)


def _parts(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) in {Annotated, Union, UnionType, tuple, dict}:
        for argument in get_args(annotation):
            yield from _parts(argument)
    else:
        yield annotation


FIELDS = sorted(
    {
        (model.__name__, field.alias or name)
        for model in _models(ScenarioSpec)
        for name, field in model.model_fields.items()
    }
)


def test_the_fields_below_cover_the_whole_format() -> None:
    """The walk over the models reaches the deepest of them."""
    names = {model for model, _ in FIELDS}
    assert {"ScenarioSpec", "ReplicaSpec", "FaultSpec", "Diurnal", "OnOff", "TokenShift"} <= names


@pytest.mark.parametrize(("model", "field"), FIELDS)
def test_every_field_is_documented(model: str, field: str) -> None:
    """By its name in the file."""
    assert f"`{field}`" in DOCUMENTATION.read_text(), f"{model}.{field} is not documented"


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_fault_is_documented(kind: FaultKind) -> None:
    """By its name in the file."""
    assert f"`{kind}`" in DOCUMENTATION.read_text()
