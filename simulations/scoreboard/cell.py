"""A cell of the suite: a shipped scenario with some of its conditions replaced.

Cells are told apart by their axes (fleet, cold start, variants, quality budget, quota, routing,
queue limit, faults), so that a factorial is a few lines and a figure can be traced to its cause.
"""

from copy import deepcopy
from dataclasses import asdict
from math import ceil
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from controller.core.performance.catalog import profile as catalogue_profile
from simulations.scenario import Part, ScenarioSpec, checked
from simulations.scoreboard.pairs import PAIRS, Pair, PairName

#: A cold start of the fallback, as a share of the Primary's: half the weights to load.
FALLBACK_COLD_START_SHARE = 0.75

Slice = tuple[Annotated[float, Field(ge=0.0)], Annotated[float, Field(gt=0.0)]]


class CellSpec(Part):
    """What a suite file says of a cell; what is left out is as the scenario has it.

    ``test`` is the part of the trace that is scored, in seconds of it, and ``training`` an earlier
    part on which peers are tuned. ``quota_share`` sets the GPU quota to so much of what the peak
    needs. ``declared_slowness`` has the ModelDeployment say that replicas take so many times as
    long as they do.
    """

    name: str = ""
    scenario: str
    training: Slice | None = None
    test: Slice | None = None
    fleet: float | None = Field(default=None, gt=0.0)
    cold_start_seconds: float | None = Field(default=None, gt=0.0)
    pair: PairName | None = None
    quality_budget: str | None = None
    quota_share: float | None = Field(default=None, gt=0.0)
    routing: Literal["Shared", "PerEndpoint", "Weighted", "Overflow", "Separate"] | None = None
    queue_limit: bool = True
    target: str | None = None
    declared_slowness: float | None = Field(default=None, gt=0.0)
    faults: tuple[dict[str, Any], ...] = ()
    replicas: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _in_order(self) -> "CellSpec":
        for name, part in (("training", self.training), ("test", self.test)):
            if part is not None and part[0] >= part[1]:
                raise ValueError(f"{name}: its end must be after its beginning")
        if self.training and self.test and self.training[1] > self.test[0]:
            raise ValueError("training: must end before the test begins")
        if self.training and not self.test:
            raise ValueError("test: missing; say which later part is scored")
        return self

    @property
    def title(self) -> str:
        """The name, or one made of the scenario and the axes that are set."""
        if self.name:
            return self.name
        parts = [self.scenario]
        if self.fleet is not None:
            parts.append(f"{self.fleet:g}")
        if self.cold_start_seconds is not None:
            parts.append(f"{self.cold_start_seconds:g}s")
        parts += [
            part
            for part in (self.pair, self.routing, None if self.queue_limit else "no-limit")
            if part is not None
        ]
        if self.quality_budget is not None:
            parts.append(f"q{self.quality_budget}")
        if self.quota_share is not None:
            parts.append(f"quota{self.quota_share:g}")
        if self.declared_slowness is not None:
            parts.append(f"declared{self.declared_slowness:g}")
        return "-".join(parts)

    def axes(self) -> dict[str, str]:
        """What is told of the cell beside its figures."""
        shown = self.model_dump(exclude={"name", "faults", "replicas"}, exclude_none=True)
        axes = {key: str(value) for key, value in shown.items()}
        if self.faults:
            axes["faults"] = ", ".join(fault["kind"] for fault in self.faults)
        return axes

    def resolved(self, document: dict[str, Any]) -> ScenarioSpec:
        """The scenario of ``document``, a scenario file's fields, with this cell's conditions.

        Raises:
            InvalidScenario: what comes out is none; lines begin with the cell's name.
        """
        changed = deepcopy(document)
        changed["name"] = self.title
        spec = changed["modelDeployment"]["spec"]
        truth = changed.setdefault("replicas", {})
        if self.pair is not None:
            _set_pair(changed, spec, PAIRS[self.pair])
            truth = changed["replicas"]
        if self.cold_start_seconds is not None:
            _set_cold_starts(truth, spec["variants"], self.cold_start_seconds)
        self._set_objectives(spec)
        if self.fleet is not None:
            changed["peakReplicas"] = self.fleet
            for variant in spec["variants"]:
                variant["maxReplicas"] = max(_LEAST_MAXIMUM, ceil(2 * self.fleet))
        for name, own in self.replicas.items():
            truth.setdefault(name, {}).update(own)
        for variant in spec["variants"]:
            own = truth.setdefault(variant["name"], {})
            if not self.queue_limit:
                own["queueLimit"] = None
            if self.declared_slowness is not None:
                own["profile"] = variant["performance"]["profile"]
                variant["performance"] = _declared(own["profile"], self.declared_slowness)
        if self.quota_share is not None:
            gpus = spec["variants"][0].get("gpusPerReplica", 1)
            changed["gpuQuota"] = ceil(self.quota_share * changed.get("peakReplicas", 20) * gpus)
        changed["faults"] = [*changed.get("faults", []), *self.faults]
        self._set_parts(changed["trace"])
        return checked(changed, self.title)

    def _set_objectives(self, spec: dict[str, Any]) -> None:
        if self.target is not None:
            spec["slo"]["target"] = self.target
        if self.quality_budget is not None:
            spec["quality"]["maxDegradedShare"] = self.quality_budget
        if self.routing is not None:
            _set_routing(spec, self.routing)

    def _set_parts(self, trace: dict[str, Any]) -> None:
        """Score the test part, at whose scale the training part is replayed too."""
        if self.test is not None:
            trace["fromSeconds"], trace["toSeconds"] = self.test
            trace["peakFromSeconds"], trace["peakToSeconds"] = self.test


#: Replicas of a variant that even a small fleet may have.
_LEAST_MAXIMUM = 8


def _set_pair(document: dict[str, Any], spec: dict[str, Any], pair: Pair) -> None:
    spec["variants"] = deepcopy(pair.variants)
    document["replicas"] = {
        one["name"]: {"coldStartMedianSeconds": one["coldStartSeconds"]} for one in spec["variants"]
    }
    if pair.objectives:
        spec["slo"]["objectives"] = deepcopy(pair.objectives)


def _set_cold_starts(
    replicas: dict[str, Any], variants: list[dict[str, Any]], seconds: float
) -> None:
    """The Primary's cold start, and the fallback's in proportion unless it is kept warm."""
    for variant in variants:
        own = seconds
        if variant["role"] == "Fallback":
            warm = variant["coldStartSeconds"] <= WARM_SECONDS
            own = variant["coldStartSeconds"] if warm else FALLBACK_COLD_START_SHARE * seconds
        variant["coldStartSeconds"] = round(own)
        replicas.setdefault(variant["name"], {})["coldStartMedianSeconds"] = own


#: A fallback that is Ready sooner is one that waits warm, whatever a cold start takes.
WARM_SECONDS = 15


def _declared(profile: str, slowness: float) -> dict[str, Any]:
    """A built-in profile's parameters, with every time so many times as long."""
    true = asdict(catalogue_profile(profile))
    return {
        "parameters": {
            to_camel(name): f"{slowness * value:.12f}" if name.endswith("_milliseconds") else value
            for name, value in true.items()
        }
    }


def _set_routing(spec: dict[str, Any], routing: str) -> None:
    if routing in {"Shared", "PerEndpoint"}:
        balancing = "LeastLoaded" if routing == "Shared" else "PerEndpoint"
        spec["routing"] = {"type": "Shared", "balancing": balancing}
        return
    spec["routing"] = {"type": routing, "balancing": "LeastLoaded"}
    if routing == "Weighted":
        spec["routing"]["httpRouteRef"] = {"name": "llama", "rule": 0}
        for variant in spec["variants"]:
            name = variant["targetRef"]["name"]
            variant["backendRef"] = {"kind": "Service", "name": name, "port": 8000}
