"""A scenario file: a real ModelDeployment, a trace, and the conditions of the replay.

``load`` reads and checks the YAML; nothing is opened or computed here beyond that.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from controller.api.conversion import to_policy
from controller.api.errors import InvalidModelDeployment
from controller.api.prices import REFERENCE_PRICES
from controller.api.v1alpha1 import parse
from controller.core.domain.policy import Policy
from controller.core.performance.catalog import profile as catalogue_profile
from simulations.scenario_errors import InvalidScenario, explain
from simulations.traces.synthetic import SyntheticSpec
from simulations.world.conditions import FaultKind

__all__ = ["InvalidScenario", "ScenarioSpec", "load"]


def _queue_limit(value: Any) -> int | Literal["auto"] | None:
    if value is None:
        return None
    if value == "auto":
        return "auto"
    if isinstance(value, int) and value >= 1 and value is not True:
        return value
    raise ValueError("write auto, the outstanding requests of a full replica (>= 1), or null: none")


QueueLimit = Annotated[int | Literal["auto"] | None, PlainValidator(_queue_limit)]


class Part(BaseModel):
    """Fields as files write them, in camelCase; one that is not known is an error."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )


class TraceSpec(Part):
    """Where the traffic comes from, and which part of it is replayed.

    Exactly one of ``path`` (relative to the scenario file) and ``synthetic``. The part before
    ``from_seconds`` is given to policies as history. The trace is scaled by the highest minute from
    ``peak_from_seconds`` to ``peak_to_seconds``, the replayed part unless told otherwise: two parts
    of one trace can so be replayed at the same scale.
    """

    path: str | None = None
    synthetic: SyntheticSpec | None = None
    tokens: str | None = Field(default=None, description="request trace whose token pairs are used")
    from_seconds: float = Field(default=0.0, ge=0.0)
    to_seconds: float | None = Field(default=None, gt=0.0)
    peak_from_seconds: float | None = Field(default=None, ge=0.0)
    peak_to_seconds: float | None = Field(default=None, gt=0.0)
    jitter_seconds: float = Field(default=60.0, ge=0.0)

    @model_validator(mode="after")
    def _one_source(self) -> "TraceSpec":
        if (self.path is None) == (self.synthetic is None):
            raise ValueError("give exactly one of path (a file) and synthetic (a spec)")
        if self.to_seconds is not None and self.to_seconds <= self.from_seconds:
            raise ValueError(
                f"toSeconds {self.to_seconds:g} must be after fromSeconds {self.from_seconds:g}"
            )
        if (self.peak_from_seconds is None) != (self.peak_to_seconds is None):
            raise ValueError("give both or none of peakFromSeconds and peakToSeconds")
        return self


class ReplicaSpec(Part):
    """What a variant's replicas really are, which its ModelDeployment may not know."""

    profile: str | None = Field(
        default=None, description="catalogue profile (default: the ModelDeployment's)"
    )
    cold_start_median_seconds: float = Field(default=120.0, gt=0.0)
    cold_start_sigma: float = Field(default=0.15, ge=0.0)
    node_seconds: float = Field(default=0.0, ge=0.0)
    warm_gpus: int | None = Field(default=None, ge=0)
    queue_limit: QueueLimit = Field(
        default="auto", description="auto: what serves most in an overload; null: none"
    )


class ClientSpec(Part):
    """How clients behave."""

    timeout_seconds: float | None = Field(default=None, gt=0.0)
    retries: int = Field(default=0, ge=0, le=10)
    retry_backoff_seconds: float = Field(default=1.0, gt=0.0)


class MetricsSpec(Part):
    """When counters are scraped and how late they can be queried."""

    scrape_interval_seconds: float = Field(default=15.0, gt=0.0)
    delay_seconds: float = Field(default=15.0, ge=0.0)


class FaultSpec(Part):
    """One fault; see ``simulations.world.conditions.Fault`` for ``amount``."""

    kind: FaultKind
    from_seconds: float = Field(ge=0.0)
    to_seconds: float
    amount: float = Field(default=0.0, ge=0.0)

    @model_validator(mode="after")
    def _does_something(self) -> "FaultSpec":
        if not self.from_seconds < self.to_seconds:
            raise ValueError("toSeconds must be after fromSeconds")
        blind = self.kind in {FaultKind.SCRAPE_GAP, FaultKind.PROMETHEUS_OUTAGE}
        if blind and self.amount:
            raise ValueError(f"a {self.kind} has no amount; leave it out")
        if not blind and not self.amount:
            raise ValueError(f"amount: missing; write {_AMOUNTS[self.kind]}")
        return self


_AMOUNTS = {
    FaultKind.GPU_SHORTAGE: "the GPUs of gpuQuota that are taken away",
    FaultKind.CRASH: "crashes per replica and hour",
    FaultKind.SLOW_START: "the factor on cold starts",
    FaultKind.SLOW_NODE: "the speed of replicas created in it (0.5: half as fast)",
}


class ScenarioSpec(Part):
    """The whole file."""

    name: str = Field(min_length=1)
    description: str = ""
    model_deployment: dict[str, Any]
    trace: TraceSpec
    peak_replicas: float = Field(default=20.0, gt=0.0)
    replicas: dict[str, ReplicaSpec] = Field(default_factory=dict)
    admission: Literal["Reserve", "Preempt"] = "Reserve"
    clients: ClientSpec = ClientSpec()
    metrics: MetricsSpec = MetricsSpec()
    gpu_quota: int | None = Field(default=None, ge=1)
    faults: tuple[FaultSpec, ...] = ()
    warmup_seconds: float = Field(default=300.0, ge=0.0)
    tick_seconds: float = Field(default=15.0, gt=0.0)
    policies: tuple[str, ...] = Field(
        default=(), description="compared unless others are named; none: all that can run in it"
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1)

    def policy(self) -> Policy:
        """The policy that the ModelDeployment asks for, whatever its mode.

        Raises:
            InvalidModelDeployment: one line per wrong field.
        """
        return to_policy(parse(self.model_deployment), REFERENCE_PRICES, self.tick_seconds)


def load(path: Path) -> ScenarioSpec:
    """Read a scenario file.

    Raises:
        InvalidScenario: with one line per wrong field.
    """
    return checked(read(path), str(path))


def read(path: Path) -> dict[str, Any]:
    """The fields of a scenario file and of those it extends; raises ``InvalidScenario``.

    ``extends`` names a file, relative to this one, whose fields stand where this one has none.
    Mappings are merged, all else is replaced.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidScenario(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidScenario(f"{path}: a scenario is a mapping of fields, see docs/scenarios.md")
    base = document.pop("extends", None)
    if base is None:
        return document
    if not isinstance(base, str) or not (path.parent / base).is_file():
        raise InvalidScenario(f"{path}: extends: no file {base}; name one relative to this file")
    return _merged(read(path.parent / base), document)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            value = _merged(known, value)  # noqa: PLW2901 - the merged value takes its place
        merged[key] = value
    return merged


def checked(document: dict[str, Any], where: str) -> ScenarioSpec:
    """The scenario that the fields make; ``where`` begins each line of ``InvalidScenario``."""
    lines, spec = _checked(document)
    if spec is None or lines:
        raise InvalidScenario("\n".join(f"{where}: {line}" for line in lines))
    return spec


def _checked(document: dict[str, Any]) -> tuple[list[str], ScenarioSpec | None]:
    """What is wrong with a document, and the scenario it is where its fields can be read."""
    try:
        spec = ScenarioSpec.model_validate(document)
    except ValidationError as error:
        return explain(error, ScenarioSpec), None
    return _contradictions(spec), spec


def _contradictions(spec: ScenarioSpec) -> list[str]:
    """What no field can know by itself, one line per wrong field."""
    try:
        names = [variant.name for variant in spec.policy().variants]
    except InvalidModelDeployment as error:
        return [f"modelDeployment.{line}" for line in error.lines]
    lines = []
    for name, replica in spec.replicas.items():
        if name not in names:
            lines.append(
                f"replicas.{name}: no variant of the modelDeployment has this name; "
                f"write one of {', '.join(names)}"
            )
        try:
            if replica.profile is not None:
                catalogue_profile(replica.profile)
        except ValueError as error:
            lines.append(f"replicas.{name}.profile: {error}")
    if spec.gpu_quota is None and any(f.kind is FaultKind.GPU_SHORTAGE for f in spec.faults):
        lines.append("gpuQuota: missing; a GpuShortage takes GPUs of it away")
    return lines
