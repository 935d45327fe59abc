"""The automatic queue limit: what serves most when more arrives than the fleet carries."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.policy import Balancing, Routing, RoutingLaw, Slo
from controller.core.domain.variant import Role, Variant
from controller.core.performance.capacity import FleetCapacity, fleet_capacity
from controller.core.performance.catalog import profile
from controller.core.performance.mix import TokenMix
from simulations.queue_limit import FLEET, NEARLY, OVERLOAD, auto_queue_limit

MIXES = ((200.0, 60.0), (1000.0, 200.0), (12_000.0, 340.0))
KINDS = ("8b-bf16-h100", "8b-fp8-h100", "8b-bf16-l40s")


def unlimited(kind: str, mix: tuple[float, float]) -> FleetCapacity:
    """A fleet of one variant that never refuses."""
    variant = Variant(
        name=kind,
        role=Role.PRIMARY,
        cost_per_replica_hour=4.0,
        quality=1.0,
        min_replicas=0,
        max_replicas=64,
        gpus_per_replica=1,
        cold_start_seconds=120.0,
        profile=profile(f"llama-{kind}"),
        queue_limit=None,
    )
    slo = Slo(
        ttft_seconds=5.0 if mix[0] > 5000.0 else 1.0,
        tpot_seconds=0.05,
        target=0.99,
        window_seconds=86_400.0,
        planned_budget_share=0.8,
    )
    routing = Routing(law=RoutingLaw.SHARED, balancing=Balancing.LEAST_LOADED)
    return fleet_capacity((variant,), slo, routing, TokenMix.from_means(*mix))


def good_in_overload(fleet: FleetCapacity, limit: int | None, load: float) -> float:
    """Good requests/s over the capacity without a limit, at ``load`` times that capacity."""
    rate = load * fleet.capacity((FLEET,))
    (variant,) = fleet.variants
    limited = fleet_capacity(
        (replace(variant, queue_limit=limit),), fleet.slo, fleet.routing, fleet.mix
    )
    return load * (1.0 - limited.miss_share((FLEET,), rate))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(KINDS), st.sampled_from(MIXES), st.floats(0.7, 2.9))
def test_no_limit_serves_much_more_in_an_overload(
    kind: str, mix: tuple[float, float], share: float
) -> None:
    """Whatever else a replica might refuse at, hardly more would be served well."""
    fleet = unlimited(kind, mix)
    other = max(1, int(share * fleet.outstanding_at_capacity(0)))
    best = good_in_overload(fleet, other, OVERLOAD)
    # Between two of the limits tried one may serve a little more than both.
    assert good_in_overload(fleet, auto_queue_limit(fleet, 0), OVERLOAD) >= (NEARLY - 0.02) * best


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_limit_an_overload_is_late_for_nearly_all(kind: str) -> None:
    """It keeps at least nine tenths of the capacity good, where without it most would be lost."""
    fleet = unlimited(kind, (1000.0, 200.0))
    limit = auto_queue_limit(fleet, 0)
    assert good_in_overload(fleet, limit, 1.5) > 0.9 > 2.0 * good_in_overload(fleet, None, 1.5)


def test_the_fewer_a_replica_holds_the_more_room_it_has() -> None:
    """What chance brings together weighs more among ten outstanding than among a hundred."""
    many = unlimited("8b-bf16-h100", (1000.0, 200.0))
    few = unlimited("8b-fp8-h100", (12_000.0, 340.0))
    rooms = [auto_queue_limit(f, 0) / f.outstanding_at_capacity(0) for f in (many, few)]
    assert rooms[0] < 1.0 < rooms[1]


def test_a_variant_that_never_meets_the_slo_has_some_limit() -> None:
    """Prompts too long for the time to first token leave no capacity, and no crash."""
    hopeless = unlimited("8b-bf16-l40s", (100_000.0, 300.0))
    assert auto_queue_limit(hopeless, 0) >= 1
