"""How a decision follows the load: more is never cheaper, and only what changes counts."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import Observation, Outcomes, PastTraffic, Traffic
from controller.core.domain.policy import Balancing, Policy, Routing, RoutingLaw
from controller.core.domain.variant import Role, Variant
from controller.core.history import History
from controller.core.performance.catalog import profile
from controller.core.planner import SteelyardPlanner

WEEK = 7 * 86_400
NOW = 1_743_465_600.0
TICK = 15.0
PLANNER = SteelyardPlanner()
LAW = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MakePolicy: TypeAlias = Callable[..., Policy]
MakeVariant: TypeAlias = Callable[..., Variant]
MakeObservation: TypeAlias = Callable[..., Observation]


def past_days(days: int, start: float) -> PastTraffic:
    """Days by the minute: a daily cycle, a burst on the half-hour, noise, and an unseen hour."""
    minutes = np.arange(days * 1440)
    rates = 60.0 - 25.0 * np.cos(2.0 * np.pi * minutes / 1440.0)
    rates = np.where(minutes % 60 // 6 == 5, 1.5 * rates, rates)
    requests = np.random.default_rng(3).poisson(60.0 * rates).astype(np.float64)
    requests[1000:1060] = np.nan
    return PastTraffic(
        from_seconds=start - 86_400.0 * days,
        step_seconds=60.0,
        requests=requests,
        prompt_tokens_mean=np.full(len(minutes), 1155.0),
        output_tokens_mean=np.full(len(minutes), 211.0),
    )


def driven(
    policy: Policy,
    history: History,
    rates: list[float],
    make_observation: MakeObservation,
    start: float = NOW,
) -> tuple[list[Decision], History]:
    """Decide tick by tick at these rates; every decision is Ready at once."""
    at = tuple(variant.min_replicas for variant in policy.variants)
    decisions = []
    for tick, rate in enumerate(rates, start=1):
        now = start + tick * TICK
        decision, history = PLANNER.plan(policy, make_observation(now, at, rate), history, now)
        at = decision.allocation
        decisions.append(decision)
    return decisions, history


def bad(observation: Observation, share: float) -> Observation:
    """The same observation with this share of its requests bad."""
    traffic = observation.traffic
    assert isinstance(traffic, Traffic)
    return replace(
        observation,
        outcomes=Outcomes(
            from_seconds=traffic.from_seconds,
            to_seconds=traffic.to_seconds,
            ended=traffic.requests,
            failed=share * traffic.requests,
            bad_ttft=0.0,
            bad_tpot=0.0,
            degraded=0.0,
        ),
    )


@pytest.mark.parametrize(("waited", "bound"), [(10.0, False), (60.0, True)])
def test_a_lack_of_gpus_is_what_binds(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_observation: MakeObservation,
    *,
    waited: float,
    bound: bool,
) -> None:
    """Once replicas have waited for GPUs for a while, that is told as what limits the decision."""
    policy = make_policy(make_variant())
    _, history = driven(policy, PLANNER.initial(policy, None), [60.0] * 4, make_observation)
    now = NOW + 5 * TICK
    seen = make_observation(now, (4,), 400.0)
    short = replace(
        seen.variants[0],
        ready=2,
        starting_since_seconds=(now - waited,) * 2,
        unschedulable=2,
    )
    decision, _ = PLANNER.plan(policy, replace(seen, variants=(short,)), history, now)
    assert (decision.binding is Reason.GPU_SHORTAGE) is bound
    assert decision.allocation[0] >= 4


@LAW
@given(
    rates=st.lists(st.floats(0.0, 400.0), min_size=0, max_size=12),
    rate=st.floats(0.0, 500.0),
    more=st.floats(0.0, 500.0),
    current=st.integers(1, 32),
)
@example(rates=[], rate=0.0, more=10.0, current=1)
def test_more_load_is_never_cheaper(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_observation: MakeObservation,
    rates: list[float],
    rate: float,
    more: float,
    current: int,
) -> None:
    """With the same history, a higher rate now never lowers the cost decided."""
    policy = make_policy(make_variant())
    _, history = driven(policy, PLANNER.initial(policy, None), rates, make_observation)
    now = NOW + (len(rates) + 1) * TICK
    costs = [
        PLANNER.plan(policy, make_observation(now, (current,), r), history, now)[0].cost_per_hour
        for r in (rate, rate + more)
    ]
    assert costs[0] <= costs[1]


@LAW
@given(
    rate=st.floats(1.0, 300.0),
    more=st.floats(0.0, 300.0),
    current=st.tuples(st.integers(1, 20), st.integers(0, 12)),
)
def test_more_load_is_never_cheaper_with_a_fallback(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_fallback: MakeVariant,
    make_observation: MakeObservation,
    rate: float,
    more: float,
    current: tuple[int, int],
) -> None:
    """The law holds where a fallback may stand in, after days of history."""
    policy = make_policy(make_variant(max_replicas=24), make_fallback(max_replicas=12))
    history = PLANNER.initial(policy, past_days(1, NOW))
    costs = [
        PLANNER.plan(policy, make_observation(NOW + TICK, current, r), history, NOW + TICK)[
            0
        ].cost_per_hour
        for r in (rate, rate + more)
    ]
    assert costs[0] <= costs[1] + 1e-9


@LAW
@given(rate=st.floats(1.0, 200.0), share=st.floats(0.0, 1.0), worse=st.floats(0.0, 1.0))
def test_more_misses_are_never_cheaper(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_observation: MakeObservation,
    rate: float,
    share: float,
    worse: float,
) -> None:
    """The more of the error budget was burnt, the more is provided for the same load."""
    policy = make_policy(make_variant())
    costs = []
    for missed in sorted((share, worse)):
        history = PLANNER.initial(policy, None)
        decisions = []
        for tick in range(1, 5):
            now = NOW + tick * TICK
            seen = bad(make_observation(now, (1,), rate), missed)
            decision, history = PLANNER.plan(policy, seen, history, now)
            decisions.append(decision)
        costs.append(decisions[-1].cost_per_hour)
    assert costs[0] <= costs[1]


@pytest.mark.parametrize("weeks", [1, 53])
def test_a_shift_by_whole_weeks_changes_nothing(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_fallback: MakeVariant,
    make_observation: MakeObservation,
    weeks: int,
) -> None:
    """Past, observations and clock moved by weeks give the very same decisions."""
    policy = make_policy(make_variant(), make_fallback())
    rates = [70.0 + 30.0 * np.sin(tick / 9.0) for tick in range(80)]
    runs = []
    for start in (NOW, NOW + weeks * WEEK):
        history = PLANNER.initial(policy, past_days(2, start))
        runs.append(driven(policy, history, rates, make_observation, start)[0])
    assert runs[0] == runs[1]
    assert any(d.forecast is not None and d.forecast.source == "regression" for d in runs[0])


@LAW
@given(rates=st.lists(st.floats(0.0, 2000.0), min_size=1, max_size=8))
@example(rates=[2000.0] * 8)
def test_a_separate_fallback_is_never_surge(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_fallback: MakeVariant,
    make_observation: MakeObservation,
    rates: list[float],
) -> None:
    """A fallback with its own clients carries nothing of the load, so it is not started for it."""
    policy = make_policy(
        make_variant(max_replicas=6),
        make_fallback(max_replicas=4),
        routing=Routing(law=RoutingLaw.SEPARATE, balancing=Balancing.LEAST_LOADED),
    )
    decisions, _ = driven(policy, PLANNER.initial(policy, None), rates, make_observation)
    assert [decision.allocation[1] for decision in decisions] == [0] * len(rates)


@LAW
@given(rates=st.lists(st.floats(0.0, 400.0), min_size=1, max_size=8))
@example(rates=[400.0] * 8)
def test_a_variant_that_lowers_capacity_is_refused(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_fallback: MakeVariant,
    make_observation: MakeObservation,
    rates: list[float],
) -> None:
    """L40S replicas behind the Service of four H100 cut what the whole carries: none is started."""
    slow = make_fallback(
        "l40s", max_replicas=4, cost_per_replica_hour=1.9, profile=profile("llama-8b-fp8-l40s")
    )
    policy = make_policy(
        make_variant(max_replicas=4),
        slow,
        routing=Routing(law=RoutingLaw.SHARED, balancing=Balancing.PER_ENDPOINT),
    )
    decisions, _ = driven(policy, PLANNER.initial(policy, None), rates, make_observation)
    assert [decision.allocation[1] for decision in decisions] == [0] * len(rates)
    assert policy.variants[1].role is Role.FALLBACK
