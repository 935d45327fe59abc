"""Built-in performance profiles: a prior for replicas nobody has measured yet.

Timing parameters of the fitted entries come from least squares on the GPU kernel measurements in
aiconfigurator-core 0.12.0 (vLLM 0.24.0 on H100 and L40S, vLLM 0.14.0 on A100), with beta fitted on
its measured 70B servers. ``8B`` is Llama-3.1-8B and ``70B`` Llama-3.1-70B; KV is held in bf16, so
a token takes 128 KiB (8B) or 320 KiB (70B). Room for KV tokens is what .9 of the GPUs' memory
leaves beside the weights.

``ASSUMED`` entries are derived from a fitted one by the rule in their ``source``; nothing was
measured behind them, and a calibrated profile should replace them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from controller.core.domain.variant import PerformanceProfile

_H100: Final = "nvidia-h100"
_A100: Final = "nvidia-a100"
_L40S: Final = "nvidia-l40s"

_KERNELS: Final = "fit on GPU kernel measurements, vLLM 0.24.0, in aiconfigurator-core 0.12.0"
_KERNELS_A100: Final = "fit on GPU kernel measurements, vLLM 0.14.0, in aiconfigurator-core 0.12.0"

#: int8 weights and activations: the ratios of fp8 to bf16 lie between those of H100 (T0 .70, delta
#: .82) and L40S (.60, .75); attention and KV reads do not change; the weights take what fp8's take.
_INT8_RULE: Final = (
    "ASSUMED: T0 x .65 and delta x .78 of bf16 (mean of the fp8 ratios of H100 and L40S), "
    "attention and KV reads of bf16, KV room of fp8"
)
#: int4 weights, bf16 activations: weight reads shrink, arithmetic does not.
_INT4_RULE: Final = (
    "ASSUMED: T0 x .40 of bf16 (batch-1 speed-up of 2 to 3), delta, attention and KV reads of "
    "bf16, KV room of bf16 plus 75,000 tokens (10.3 GB less of weights)"
)
_INT4_70B_RULE: Final = (
    "ASSUMED: T0 of fp8 on 2 H100 scaled by weight bytes per GPU (40 against 35 GB), delta, "
    "attention and KV reads of bf16 on 4 H100 x 4, KV room 72 GB less 40 GB of weights"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """A named profile: what one replica runs on, how it is timed and where that is from."""

    name: str
    accelerator: str
    gpus_per_replica: int
    profile: PerformanceProfile
    source: str

    @property
    def assumed(self) -> bool:
        """Whether the figures are derived from another entry rather than fitted."""
        return self.source.startswith("ASSUMED")


def _timing(
    t0: float, delta: float, epsilon: float, kappa: float, beta: float, kv_capacity_tokens: int
) -> PerformanceProfile:
    return PerformanceProfile(
        t0_milliseconds=t0,
        delta_milliseconds=delta,
        epsilon_milliseconds=epsilon,
        kappa_milliseconds=kappa,
        beta_milliseconds=beta,
        kv_capacity_tokens=kv_capacity_tokens,
    )


_8B_BF16_H100: Final = _timing(6.68, 0.02003, 5.1e-7, 4.40e-5, 0.0, 412_000)
_8B_FP8_H100: Final = _timing(4.66, 0.01648, 1.3e-7, 4.37e-5, 0.0, 470_000)
_8B_BF16_A100: Final = _timing(11.9, 0.06402, 2.2e-7, 8.58e-5, 0.0, 412_000)
_8B_BF16_L40S: Final = _timing(23.0, 0.06314, 2.8e-6, 2.10e-4, 0.0, 196_000)
_8B_FP8_L40S: Final = _timing(13.8, 0.04723, 1.6e-6, 2.01e-4, 0.0, 253_000)
_70B_BF16_4XH100: Final = _timing(16.1, 0.06459, 4.6e-7, 2.92e-5, 0.0, 448_000)
_70B_FP8_2XH100: Final = _timing(17.6, 0.07954, 0.0, 5.27e-5, 0.03, 225_000)
# KV room not published: 4 x 72 GB less 70 GB of weights, at 320 KiB a token.
_70B_FP8_4XH100: Final = _timing(11.6, 0.05417, 0.0, 2.96e-5, 0.03, 665_000)


def _int8(base: PerformanceProfile, kv_capacity_tokens: int) -> PerformanceProfile:
    return replace(
        base,
        t0_milliseconds=0.65 * base.t0_milliseconds,
        delta_milliseconds=0.78 * base.delta_milliseconds,
        kv_capacity_tokens=kv_capacity_tokens,
    )


def _int4(base: PerformanceProfile) -> PerformanceProfile:
    return replace(
        base,
        t0_milliseconds=0.40 * base.t0_milliseconds,
        kv_capacity_tokens=base.kv_capacity_tokens + 75_000,
    )


_70B_INT4_H100: Final = _timing(
    17.6 * 40.0 / 35.0, 4 * 0.06459, 4 * 4.6e-7, 4 * 2.92e-5, 0.0, 97_000
)


def _entry(
    name: str, accelerator: str, gpus: int, profile: PerformanceProfile, source: str
) -> CatalogEntry:
    return CatalogEntry(
        name=name,
        accelerator=accelerator,
        gpus_per_replica=gpus,
        profile=profile,
        source=source,
    )


#: All built-in profiles by name.
CATALOG: Final[Mapping[str, CatalogEntry]] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            _entry("llama-8b-bf16-h100", _H100, 1, _8B_BF16_H100, _KERNELS),
            _entry("llama-8b-fp8-h100", _H100, 1, _8B_FP8_H100, _KERNELS),
            _entry("llama-8b-int8-h100", _H100, 1, _int8(_8B_BF16_H100, 470_000), _INT8_RULE),
            _entry("llama-8b-int4-h100", _H100, 1, _int4(_8B_BF16_H100), _INT4_RULE),
            _entry("llama-8b-bf16-a100", _A100, 1, _8B_BF16_A100, _KERNELS_A100),
            _entry("llama-8b-int8-a100", _A100, 1, _int8(_8B_BF16_A100, 470_000), _INT8_RULE),
            _entry("llama-8b-int4-a100", _A100, 1, _int4(_8B_BF16_A100), _INT4_RULE),
            _entry("llama-8b-bf16-l40s", _L40S, 1, _8B_BF16_L40S, _KERNELS),
            _entry("llama-8b-fp8-l40s", _L40S, 1, _8B_FP8_L40S, _KERNELS),
            _entry("llama-8b-int8-l40s", _L40S, 1, _int8(_8B_BF16_L40S, 253_000), _INT8_RULE),
            _entry("llama-8b-int4-l40s", _L40S, 1, _int4(_8B_BF16_L40S), _INT4_RULE),
            _entry("llama-70b-bf16-4xh100", _H100, 4, _70B_BF16_4XH100, _KERNELS),
            _entry("llama-70b-fp8-2xh100", _H100, 2, _70B_FP8_2XH100, _KERNELS),
            _entry("llama-70b-fp8-4xh100", _H100, 4, _70B_FP8_4XH100, _KERNELS),
            _entry("llama-70b-int4-h100", _H100, 1, _70B_INT4_H100, _INT4_70B_RULE),
        )
    }
)


def entry(name: str) -> CatalogEntry:
    """Return the built-in entry; raises ``ValueError`` listing the known names."""
    found = CATALOG.get(name)
    if found is None:
        raise ValueError(f"unknown performance profile {name!r}; known: {', '.join(CATALOG)}")
    return found


def profile(name: str) -> PerformanceProfile:
    """Return the built-in profile; raises ``ValueError`` listing the known names."""
    return entry(name).profile
