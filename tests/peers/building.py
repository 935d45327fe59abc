"""What the tests of peers plan for: variants, a policy over them, and what is known of it."""

from dataclasses import replace
from typing import Any

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
from controller.core.domain.variant import PerformanceProfile, Role, Variant
from controller.core.performance.capacity import fleet_capacity
from controller.core.performance.mix import TokenMix
from simulations.peers.peer import PeerFacts

#: An engine of round numbers.
ENGINE = PerformanceProfile(
    t0_milliseconds=6.0,
    delta_milliseconds=0.03,
    epsilon_milliseconds=0.0,
    kappa_milliseconds=0.0,
    kv_capacity_tokens=400_000,
)
CHAT = TokenMix.from_means(1000.0, 200.0)
SLO = Slo(
    ttft_seconds=1.0,
    tpot_seconds=0.05,
    target=0.99,
    window_seconds=86400.0,
    planned_budget_share=0.5,
)


def variant_of(role: Role, **changes: Any) -> Variant:
    """A variant of up to 24 replicas at 4 per hour each, none of which must be there."""
    made = Variant(
        name=role.lower(),
        role=role,
        cost_per_replica_hour=4.0,
        quality=1.0,
        min_replicas=0,
        max_replicas=24,
        gpus_per_replica=1,
        cold_start_seconds=120.0,
        profile=ENGINE,
    )
    return replace(made, **changes)


def policy_of(*variants: Variant, law: RoutingLaw = RoutingLaw.OVERFLOW, slo: Slo = SLO) -> Policy:
    """A policy over these variants, which ticks every 15 s."""
    return Policy(
        namespace="serving",
        name="chat",
        mode=Mode.AUTO,
        slo=slo,
        quality=QualityBudget(max_degraded_share=0.05, on_exhausted=OnExhausted.HOLD),
        variants=variants,
        routing=Routing(law=law, balancing=Balancing.LEAST_LOADED),
        limits=Limits(),
        tick_seconds=15.0,
    )


def facts_of(
    policy: Policy,
    knees: tuple[float, ...],
    *,
    peak_replicas: int = 9,
    p95_replicas: int = 7,
    mix: TokenMix = CHAT,
) -> PeerFacts:
    """What a user knows of a scenario with this policy."""
    return PeerFacts(
        policy=policy,
        knees=knees,
        peak_replicas=peak_replicas,
        p95_replicas=p95_replicas,
        capacity=fleet_capacity(policy.variants, policy.slo, policy.routing, mix),
        mix=mix,
    )
