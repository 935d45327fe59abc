"""A scenario file: a real ModelDeployment, a trace, and the conditions of the replay.

``load`` reads and checks the YAML; nothing is opened or computed here beyond that.
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from simulations.traces.synthetic import SyntheticSpec
from simulations.world.conditions import FaultKind


class InvalidScenario(ValueError):  # noqa: N818 - named after what it is, as users read it
    """A scenario file that cannot be used; the message names the field and the fix."""


class _Part(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )


class TraceSpec(_Part):
    """Where the traffic comes from, and which part of it is replayed.

    Exactly one of ``path`` (relative to the scenario file) and ``synthetic``. The part before
    ``from_seconds`` is given to policies as history.
    """

    path: str | None = None
    synthetic: SyntheticSpec | None = None
    tokens: str | None = Field(default=None, description="request trace whose token pairs are used")
    from_seconds: float = Field(default=0.0, ge=0.0)
    to_seconds: float | None = Field(default=None, gt=0.0)
    jitter_seconds: float = Field(default=60.0, ge=0.0)

    @model_validator(mode="after")
    def _one_source(self) -> "TraceSpec":
        if (self.path is None) == (self.synthetic is None):
            raise ValueError("give exactly one of trace.path and trace.synthetic")
        return self


class ReplicaSpec(_Part):
    """What a variant's replicas really are, which its ModelDeployment may not know."""

    profile: str | None = Field(
        default=None, description="catalogue profile (default: the ModelDeployment's)"
    )
    cold_start_median_seconds: float = Field(default=120.0, gt=0.0)
    cold_start_sigma: float = Field(default=0.15, ge=0.0)
    node_seconds: float = Field(default=0.0, ge=0.0)
    warm_gpus: int | None = Field(default=None, ge=0)
    queue_limit: Literal["auto"] | int | None = Field(
        default="auto", description="auto: 0.85 of the outstanding at capacity"
    )


class ClientSpec(_Part):
    """How clients behave."""

    timeout_seconds: float | None = Field(default=None, gt=0.0)
    retries: int = Field(default=0, ge=0, le=10)
    retry_backoff_seconds: float = Field(default=1.0, gt=0.0)


class MetricsSpec(_Part):
    """When counters are scraped and how late they can be queried."""

    scrape_interval_seconds: float = Field(default=15.0, gt=0.0)
    delay_seconds: float = Field(default=15.0, ge=0.0)


class FaultSpec(_Part):
    """One fault; see ``simulations.world.conditions.Fault`` for ``amount``."""

    kind: FaultKind
    from_seconds: float
    to_seconds: float
    amount: float = 0.0


class ScenarioSpec(_Part):
    """The whole file."""

    name: str
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
    seeds: tuple[int, ...] = (0,)


def load(path: Path) -> ScenarioSpec:
    """Read a scenario file.

    Raises:
        InvalidScenario: with one line per wrong field.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InvalidScenario(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidScenario(f"{path}: a scenario is a mapping of fields, see docs/scenarios.md")
    try:
        return ScenarioSpec.model_validate(document)
    except ValidationError as error:
        lines = [
            f"{path}: {'.'.join(str(part) for part in e['loc'])}: {e['msg']}"
            for e in error.errors()
        ]
        raise InvalidScenario("\n".join(lines)) from error
