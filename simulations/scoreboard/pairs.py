"""Pairs of variants that deployments choose between: what the fallback is to the Primary."""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

PairName: TypeAlias = Literal["same-gpu-fp8", "cheaper-gpu", "70b-half-gpus", "warm-twin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Variants as a ModelDeployment writes them; ``objectives`` where the scenario's do not fit."""

    description: str
    variants: list[dict[str, Any]]
    objectives: list[dict[str, Any]] = field(default_factory=list)


def _variant(name: str, role: str, profile: str, accelerator: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"llama-{name}"},
        "servedModelName": "llama-3.1",
        "engine": "VLLM",
        "accelerator": accelerator,
        "gpusPerReplica": 1,
        "quality": "1" if role == "Primary" else "0.99",
        "minReplicas": 1 if role == "Primary" else 0,
        "maxReplicas": 40,
        "coldStartSeconds": 120 if role == "Primary" else 90,
        "performance": {"profile": profile},
        **more,
    }


_BF16_H100 = _variant("bf16", "Primary", "llama-8b-bf16-h100", "nvidia-h100")

#: Cold start of a replica whose weights already lie in the GPU's memory.
_WARM_START_SECONDS = 5

PAIRS: dict[PairName, Pair] = {
    "same-gpu-fp8": Pair(
        description="8B: bf16, and fp8 on the same H100",
        variants=[_BF16_H100, _variant("fp8", "Fallback", "llama-8b-fp8-h100", "nvidia-h100")],
    ),
    "cheaper-gpu": Pair(
        description="8B: bf16 on H100, and fp8 on L40S, a cheaper GPU",
        variants=[_BF16_H100, _variant("fp8", "Fallback", "llama-8b-fp8-l40s", "nvidia-l40s")],
    ),
    "70b-half-gpus": Pair(
        description="70B: bf16 on four H100, and fp8 on two",
        variants=[
            _variant("bf16", "Primary", "llama-70b-bf16-4xh100", "nvidia-h100", gpusPerReplica=4),
            _variant("fp8", "Fallback", "llama-70b-fp8-2xh100", "nvidia-h100", gpusPerReplica=2),
        ],
        objectives=[
            {"metric": "TimeToFirstToken", "thresholdMilliseconds": 2500},
            {"metric": "TimePerOutputToken", "thresholdMilliseconds": 100},
        ],
    ),
    "warm-twin": Pair(
        description="8B: bf16 on H100, and an int4 twin kept warm in a quarter of a GPU",
        variants=[
            _BF16_H100,
            _variant(
                "int4",
                "Fallback",
                "llama-8b-int4-h100",
                "nvidia-h100",
                costPerReplicaHour="1.00",
                coldStartSeconds=_WARM_START_SECONDS,
                quality="0.97",
            ),
        ],
    ),
}
