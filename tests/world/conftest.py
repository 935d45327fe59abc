"""A small world: one real scenario of two variants, short, and easy to change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulations.scenario import ScenarioSpec
from simulations.setup import Prepared, prepare


def _variant(name: str, role: str, profile: str, low: int) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "servedModelName": "llama",
        "engine": "VLLM",
        "accelerator": "nvidia-h100",
        "costPerReplicaHour": "3.60",
        "gpusPerReplica": 1,
        "quality": "1" if role == "Primary" else "0.99",
        "minReplicas": low,
        "maxReplicas": 12,
        "coldStartSeconds": 60,
        "performance": {"profile": profile},
    }


def _document() -> dict[str, Any]:
    """A scenario of ten minutes, a fleet of about 3, no chance in its cold starts."""
    return {
        "name": "small",
        "modelDeployment": {
            "apiVersion": "steelyard.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "llama", "namespace": "serving"},
            "spec": {
                "mode": "Auto",
                "slo": {
                    "objectives": [
                        {"metric": "TimeToFirstToken", "thresholdMilliseconds": 1000},
                        {"metric": "TimePerOutputToken", "thresholdMilliseconds": 50},
                    ],
                    "target": "0.99",
                },
                "quality": {"maxDegradedShare": "0.05"},
                "variants": [
                    _variant("bf16", "Primary", "llama-8b-bf16-h100", 1),
                    _variant("fp8", "Fallback", "llama-8b-fp8-h100", 0),
                ],
                "routing": {"type": "Shared", "balancing": "LeastLoaded"},
            },
        },
        "trace": {
            "synthetic": {
                "durationSeconds": 600,
                "levelRequestsPerSecond": 1,
                "components": [{"kind": "Wander", "sigma": 0.1, "memorySeconds": 120}],
            }
        },
        "peakReplicas": 3,
        "replicas": {
            "bf16": {"coldStartMedianSeconds": 60, "coldStartSigma": 0},
            "fp8": {"coldStartMedianSeconds": 45, "coldStartSigma": 0},
        },
        "warmupSeconds": 60,
    }


@pytest.fixture
def document() -> dict[str, Any]:
    """Return the small scenario as its file would hold it, to be changed at will."""
    return _document()


@pytest.fixture
def prepared() -> Callable[..., Prepared]:
    """Resolve the small scenario with some of its fields replaced."""

    def make(**fields: Any) -> Prepared:
        return prepare(ScenarioSpec.model_validate(_document() | fields), Path())

    return make
