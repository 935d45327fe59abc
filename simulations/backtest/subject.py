"""Whose history is read: the engines of a ModelDeployment's variants, and its file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from controller.adapters.prometheus.engines import ArrivalsProfile, EngineProfile
from controller.adapters.prometheus.profiles import Profiles
from controller.api.v1alpha1 import KIND, ModelDeployment
from simulations.backtest.errors import InvalidHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """The pods that serve one model by one engine: those of one variant, or of several.

    ``workloads`` are the names of the variants' workloads, ``variants`` their positions. ``model``
    is None where the engine does not name it; its pods are then known by their workload's name,
    as they are wherever ``by_workload``.
    """

    profile: EngineProfile
    namespace: str
    model: str | None
    variants: tuple[int, ...]
    workloads: tuple[str, ...]
    by_workload: bool

    def variant_of(self, pod: str) -> int:
        """The variant whose workload a pod is named after: the longest name wins."""
        mine = [
            (len(workload), variant)
            for variant, workload in zip(self.variants, self.workloads, strict=True)
            if pod.startswith(f"{workload}-")
        ]
        return max(mine)[1] if mine else self.variants[0]

    def without_workloads(self) -> "Engines":
        """The same where pods are not named after their workloads: all are the first variant's."""
        return replace(self, by_workload=False)

    @property
    def pod_pattern(self) -> str:
        """A regular expression of the names that pods of the workloads have."""
        names = "|".join(re.escape(name) for name in self.workloads)
        return f"({names})-.+"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Where arrivals are counted outside the engines, and the value that is the object's."""

    profile: ArrivalsProfile
    value: str
    namespace: str


def document_of(path: Path) -> dict[str, Any]:
    """The one ModelDeployment in a YAML file; raises ``InvalidHistory``."""
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidHistory(f"-f: {path}: cannot be read as YAML: {error}") from error
    found = [one for one in documents if isinstance(one, Mapping) and one.get("kind") == KIND]
    if len(found) != 1:
        raise InvalidHistory(
            f"-f: {path}: found {len(found)} objects of kind {KIND}; give a file that holds one"
        )
    return dict(found[0])


def engines_of(deployment: ModelDeployment, profiles: Profiles) -> tuple[Engines, ...]:
    """Engines to read, each model of an engine once; raises ``InvalidHistory``."""
    groups: dict[tuple[str, str | None], list[int]] = {}
    variants = deployment.spec.variants
    for v, variant in enumerate(variants):
        profile = profiles.engines.get(variant.engine)
        if profile is None:
            raise InvalidHistory(
                f'spec.variants[{v}].engine: found "{variant.engine}"; write one of '
                f"{', '.join(profiles.engines)}, or give its profile with --metrics-profiles FILE"
            )
        model = None if profile.model_label is None else variant.served_model_name
        groups.setdefault((profile.name, model), []).append(v)
    return tuple(
        Engines(
            profile=profiles.engines[name],
            namespace=deployment.metadata.namespace,
            model=model,
            variants=tuple(members),
            workloads=tuple(variants[v].target_ref.name for v in members),
            by_workload=True,
        )
        for (name, model), members in groups.items()
    )


def gateway_of(deployment: ModelDeployment, profiles: Profiles) -> Gateway | None:
    """Where arrivals are counted outside the engines, if anywhere; raises ``InvalidHistory``."""
    arrivals = deployment.spec.arrivals
    if arrivals is None:
        return None
    profile = profiles.arrivals.get(arrivals.metrics_profile)
    if profile is None:
        raise InvalidHistory(
            f'spec.arrivals.metricsProfile: found "{arrivals.metrics_profile}", which is not '
            "built in; give the operator's file of profiles with --metrics-profiles FILE"
        )
    namespace = deployment.metadata.namespace
    return Gateway(
        profile=profile, value=profile.wanted(namespace, arrivals.name), namespace=namespace
    )
