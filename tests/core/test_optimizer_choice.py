"""The optimiser's choice is the cheapest of all allocations, and its parts are sound."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.core.domain.decision import Allocation, Reason
from controller.core.domain.policy import (
    Balancing,
    OnExhausted,
    Policy,
    QualityBudget,
    Routing,
    RoutingLaw,
)
from controller.core.domain.variant import Variant
from controller.core.optimizer import choice
from controller.core.optimizer.choice import choose
from controller.core.optimizer.demand import DemandNodes, nodes
from controller.core.optimizer.pacing import Prices
from controller.core.performance.capacity import FleetCapacity, fleet_capacity
from controller.core.performance.catalog import profile
from controller.core.performance.mix import TokenMix

MIX = TokenMix.from_means(1155.0, 211.0)
LEVELS = np.array((0.5, 0.8, 0.9, 0.95, 0.98, 0.99))
GRID = ((0, 0), (6, 4))
ROUTINGS = (
    Routing(law=RoutingLaw.SHARED, balancing=Balancing.LEAST_LOADED),
    Routing(law=RoutingLaw.SHARED, balancing=Balancing.PER_ENDPOINT),
    Routing(law=RoutingLaw.WEIGHTED, balancing=Balancing.LEAST_LOADED),
    Routing(law=RoutingLaw.OVERFLOW, balancing=Balancing.LEAST_LOADED),
    Routing(law=RoutingLaw.SEPARATE, balancing=Balancing.LEAST_LOADED),
)
FALLBACKS = (("llama-8b-fp8-h100", 4.0), ("llama-8b-fp8-l40s", 1.9), ("llama-8b-int4-h100", 1.0))
LAW = settings(
    deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MakePolicy: TypeAlias = Callable[..., Policy]
MakeVariant: TypeAlias = Callable[..., Variant]
FleetOf: TypeAlias = Callable[
    [Routing, tuple[str, float], int | None], tuple[Policy, FleetCapacity]
]


@st.composite
def demands(draw: st.DrawFn) -> DemandNodes:
    """Quantiles of any level and spread."""
    median = draw(st.floats(0.1, 200.0))
    steps = draw(st.lists(st.floats(0.0, 0.4), min_size=5, max_size=5))
    return nodes(LEVELS, median * np.exp(np.cumsum([0.0, *steps])))


@st.composite
def price_lists(draw: st.DrawFn) -> Prices:
    """Prices of a miss from next to nothing to hundreds of requests' cost."""
    miss = 10.0 ** draw(st.floats(-6.0, -1.0))
    return Prices(
        miss=miss,
        degraded=miss * draw(st.floats(0.0, 1.0)),
        degraded_share_allowed=draw(st.sampled_from((0.0, 0.05, 0.3, 1.0))),
    )


@pytest.fixture
def fleet_of(
    make_policy: MakePolicy, make_variant: MakeVariant, make_fallback: MakeVariant
) -> FleetOf:
    """A Primary of up to six beside a Fallback of up to four, by routing and fallback."""

    def build(
        routing: Routing, fallback: tuple[str, float], limit: int | None
    ) -> tuple[Policy, FleetCapacity]:
        name, cost = fallback
        spare = make_fallback(
            max_replicas=4, profile=profile(name), cost_per_replica_hour=cost, queue_limit=limit
        )
        main = make_variant(min_replicas=0, max_replicas=6, queue_limit=limit)
        policy = make_policy(main, spare, routing=routing)
        return policy, fleet_capacity(policy.variants, policy.slo, routing, MIX)

    return build


@pytest.fixture
def scored_in_full(fleet_of: FleetOf, monkeypatch: pytest.MonkeyPatch) -> FleetOf:
    """The same, with every allocation of the grid scored."""
    monkeypatch.setattr(choice, "SCORED_AT_MOST", 7 * 5)
    return fleet_of


def brute_force(
    policy: Policy,
    fleet: FleetCapacity,
    demand: DemandNodes,
    prices: Prices,
    bounds: tuple[Allocation, Allocation],
) -> float:
    """Least total price of all allocations within bounds that keep the quality budget."""
    median = demand.median
    ranges = [range(low, high + 1) for low, high in zip(*bounds, strict=True)]
    scored = choice.score(policy, fleet, demand, prices, list(product(*ranges)))
    allowed = [
        s.total
        for s in scored
        if s.degraded_per_second <= prices.degraded_share_allowed * median + 1e-9
    ]
    return min(allowed or [s.total for s in scored])


@LAW
@given(
    demand=demands(),
    prices=price_lists(),
    routing=st.sampled_from(ROUTINGS),
    fallback=st.sampled_from(FALLBACKS),
    limit=st.sampled_from((None, 150)),
)
def test_choice_is_the_cheapest_of_all_allocations(
    scored_in_full: FleetOf,
    demand: DemandNodes,
    prices: Prices,
    routing: Routing,
    fallback: tuple[str, float],
    limit: int | None,
) -> None:
    """With every allocation scored, the choice costs what the best of the whole grid costs."""
    policy, fleet = scored_in_full(routing, fallback, limit)
    chosen = choose(policy, fleet, demand, prices, GRID).best
    (again,) = choice.score(policy, fleet, demand, prices, [chosen.allocation])
    assert chosen.total == pytest.approx(again.total, rel=1e-12)
    best = brute_force(policy, fleet, demand, prices, GRID)
    assert chosen.total == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize(
    ("routing", "limit"),
    [
        pytest.param(routing, limit, id=f"{routing.law}-{routing.balancing}-{limit}")
        for routing in ROUTINGS
        for limit in (None, 150)
        # Slow replicas that draw as much as fast ones and never refuse: more replicas carry less.
        if routing.balancing is not Balancing.PER_ENDPOINT or limit
    ],
)
@pytest.mark.parametrize("fallback", FALLBACKS, ids=lambda f: f[0])
def test_screening_loses_next_to_nothing(
    fleet_of: FleetOf, routing: Routing, fallback: tuple[str, float], limit: int | None
) -> None:
    """Scoring only the few that screening leaves costs a tenth of a percent in the mean."""
    policy, fleet = fleet_of(routing, fallback, limit)
    rng = np.random.default_rng(5)
    losses = []
    for _ in range(120):
        spread = np.cumsum([0.0, *rng.uniform(0.0, 0.15, 5)])
        demand = nodes(LEVELS, np.exp(rng.uniform(0.0, 5.0)) * np.exp(spread))
        miss = 10.0 ** rng.uniform(-3.5, -1.4)
        prices = Prices(
            miss=miss,
            degraded=min(miss, 10.0 ** rng.uniform(-6.4, -4.2)),
            degraded_share_allowed=float(rng.choice((0.0, 0.05, 0.3, 1.0))),
        )
        chosen = choose(policy, fleet, demand, prices, GRID).best
        losses.append(chosen.total / brute_force(policy, fleet, demand, prices, GRID) - 1.0)
    assert np.mean(losses) < 1e-3
    assert min(losses) > -1e-9


@LAW
@given(demand=demands(), prices=price_lists(), low=st.integers(0, 6), high=st.integers(0, 6))
def test_choice_stays_within_its_bounds(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    demand: DemandNodes,
    prices: Prices,
    low: int,
    high: int,
) -> None:
    """The chosen and the rejected allocations lie between lowest and highest."""
    low, high = sorted((low, high))
    policy = make_policy(make_variant(max_replicas=6))
    fleet = fleet_capacity(policy.variants, policy.slo, policy.routing, MIX)
    result = choose(policy, fleet, demand, prices, ((low,), (high,)))
    considered = [result.best.allocation, *(r.allocation for r in result.rejected())]
    assert all(low <= n <= high for (n,) in considered)
    assert len(set(considered)) == len(considered)


@LAW
@given(demand=demands(), prices=price_lists(), dearer=st.floats(1.0, 20.0))
def test_a_dearer_miss_never_buys_less_capacity(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    demand: DemandNodes,
    prices: Prices,
    dearer: float,
) -> None:
    """Raising the price of a miss never lowers the replicas of a single variant."""
    policy = make_policy(make_variant(max_replicas=16))
    fleet = fleet_capacity(policy.variants, policy.slo, policy.routing, MIX)
    counts = [
        choose(policy, fleet, demand, p, ((0,), (16,))).best.allocation[0]
        for p in (prices, replace(prices, miss=dearer * prices.miss))
    ]
    assert counts[0] <= counts[1]


def test_degrade_gives_up_quality_only_when_nothing_else_carries_the_demand(
    make_policy: MakePolicy, make_variant: MakeVariant, make_fallback: MakeVariant
) -> None:
    """With its budget spent, Hold stays without the fallback; Degrade uses it in need only."""
    variants = (make_variant(max_replicas=2), make_fallback(max_replicas=4))
    prices = Prices(miss=1e-2, degraded=1e-5, degraded_share_allowed=0.0)
    taken = {}
    for rule, rate in product(OnExhausted, (20.0, 120.0)):
        quality = QualityBudget(max_degraded_share=0.05, on_exhausted=rule)
        policy = make_policy(*variants, quality=quality)
        fleet = fleet_capacity(policy.variants, policy.slo, policy.routing, MIX)
        demand = nodes(LEVELS, np.full(len(LEVELS), rate))
        result = choose(policy, fleet, demand, prices, ((1, 0), (2, 4)))
        taken[rule, rate] = result.best.allocation[1]
        assert result.reason is not Reason.FALLBACK_NOT_CHEAPER
    assert taken[OnExhausted.HOLD, 20.0] == taken[OnExhausted.HOLD, 120.0] == 0
    assert taken[OnExhausted.DEGRADE, 20.0] == 0
    assert taken[OnExhausted.DEGRADE, 120.0] > 0


@LAW
@given(demand=demands(), factor=st.floats(0.4, 2.5))
def test_demand_nodes_are_a_distribution(demand: DemandNodes, factor: float) -> None:
    """Weights sum to one, rates ascend and are no less than zero, also in faster replicas."""
    assert abs(demand.weights.sum() - 1.0) < 1e-12
    assert (np.diff(demand.rates) >= -1e-9).all()
    assert demand.rates[0] >= 0.0
    scaled = demand.over(factor)
    assert np.allclose(scaled.rates * factor, demand.rates)
    assert (scaled.weights == demand.weights).all()
