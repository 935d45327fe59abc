"""Builders that the core's tests share."""

from collections.abc import Callable

import pytest

from controller.core.domain.observation import (
    Missing,
    MissingReason,
    Observation,
    Traffic,
    VariantObservation,
)
from controller.core.domain.policy import (
    Balancing,
    Limits,
    Mode,
    OnExhausted,
    Policy,
    QualityBudget,
    Routing,
    RoutingLaw,
    Slo,
)
from controller.core.domain.variant import Role, Variant
from controller.core.performance.catalog import profile


def a_variant(name: str = "bf16", **changes: object) -> Variant:
    """A Primary on one H100, with the given fields changed."""
    fields: dict[str, object] = {
        "name": name,
        "role": Role.PRIMARY,
        "cost_per_replica_hour": 4.0,
        "quality": 1.0,
        "min_replicas": 1,
        "max_replicas": 32,
        "gpus_per_replica": 1,
        "cold_start_seconds": 120.0,
        "profile": profile("llama-8b-bf16-h100"),
        "queue_limit": 150,
    }
    return Variant(**{**fields, **changes})  # type: ignore[arg-type]  # a builder of tests


def a_fallback(name: str = "fp8", **changes: object) -> Variant:
    """An fp8 fallback on the same GPU, with the given fields changed."""
    fields: dict[str, object] = {
        "role": Role.FALLBACK,
        "min_replicas": 0,
        "quality": 0.99,
        "profile": profile("llama-8b-fp8-h100"),
    }
    return a_variant(name, **{**fields, **changes})


def a_policy(*variants: Variant, **changes: object) -> Policy:
    """A policy at 99 % within 1 s and 50 ms over a day, with the given fields changed."""
    fields: dict[str, object] = {
        "namespace": "serving",
        "name": "llama",
        "mode": Mode.AUTO,
        "slo": Slo(
            ttft_seconds=1.0,
            tpot_seconds=0.05,
            target=0.99,
            window_seconds=86400.0,
            planned_budget_share=0.5,
        ),
        "quality": QualityBudget(max_degraded_share=0.05, on_exhausted=OnExhausted.HOLD),
        "variants": variants or (a_variant(),),
        "routing": Routing(law=RoutingLaw.SHARED, balancing=Balancing.LEAST_LOADED),
        "limits": Limits(),
        "tick_seconds": 15.0,
    }
    return Policy(**{**fields, **changes})  # type: ignore[arg-type]  # a builder of tests


def an_observation(
    now: float,
    ready: tuple[int, ...],
    rate: float | None,
    *,
    desired: tuple[int, ...] | None = None,
    age_seconds: float = 15.0,
    tokens: tuple[float, float] = (1155.0, 211.0),
) -> Observation:
    """Traffic at ``rate`` requests/s over the last 15 s seen, or none when None."""
    desired = desired or ready
    requests = 0.0 if rate is None else rate * 15.0
    seen = now - age_seconds
    traffic = (
        Missing(MissingReason.ABSENT)
        if rate is None
        else Traffic(
            from_seconds=seen - 15.0,
            to_seconds=seen,
            requests=requests,
            refused=0.0,
            token_requests=requests,
            prompt_tokens=requests * tokens[0],
            output_tokens=requests * tokens[1],
        )
    )
    return Observation(
        workloads_at_seconds=now,
        variants=tuple(
            VariantObservation(
                desired=wanted,
                ready=serving,
                starting_since_seconds=(now,) * max(wanted - serving, 0),
            )
            for wanted, serving in zip(desired, ready, strict=True)
        ),
        traffic=traffic,
        outcomes=Missing(MissingReason.ABSENT),
    )


@pytest.fixture
def make_policy() -> Callable[..., Policy]:
    """Builder of policies."""
    return a_policy


@pytest.fixture
def make_variant() -> Callable[..., Variant]:
    """Builder of Primary variants."""
    return a_variant


@pytest.fixture
def make_fallback() -> Callable[..., Variant]:
    """Builder of Fallback variants."""
    return a_fallback


@pytest.fixture
def make_observation() -> Callable[..., Observation]:
    """Builder of observations."""
    return an_observation
