"""Missing data never scales down, and a restart loses no capacity."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.core.domain.decision import Allocation, Reason
from controller.core.domain.observation import (
    Measured,
    Missing,
    MissingReason,
    Observation,
    PastTraffic,
    Traffic,
    VariantObservation,
)
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Variant
from controller.core.history import History
from controller.core.planner import SteelyardPlanner

NOW = 1_743_465_600.0
TICK = 15.0
COLD_START = 120.0
PLANNER = SteelyardPlanner()
LAW = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MakePolicy: TypeAlias = Callable[..., Policy]
MakeVariant: TypeAlias = Callable[..., Variant]
MakeObservation: TypeAlias = Callable[..., Observation]
Run: TypeAlias = Callable[[Policy, History, list[float], float], tuple[Allocation, History]]

reasons = st.sampled_from(MissingReason)
rates = st.lists(st.floats(0.0, 400.0), min_size=0, max_size=10)


@pytest.fixture
def policy(
    make_policy: MakePolicy, make_variant: MakeVariant, make_fallback: MakeVariant
) -> Policy:
    """A Primary of up to 24 and a Fallback of up to 12 replicas."""
    return make_policy(make_variant(max_replicas=24), make_fallback(max_replicas=12))


@pytest.fixture
def run(make_observation: MakeObservation) -> Run:
    """Decide tick by tick at some rates, with every decision Ready at once."""

    def go(
        policy: Policy, history: History, rates: list[float], start: float
    ) -> tuple[Allocation, History]:
        at: Allocation = tuple(max(v.min_replicas, v.max_replicas // 2) for v in policy.variants)
        for tick, rate in enumerate(rates, start=1):
            now = start + tick * TICK
            decision, history = PLANNER.plan(policy, make_observation(now, at, rate), history, now)
            at = decision.allocation
        return at, history

    return go


def past_day(rate: float) -> PastTraffic:
    """A day at this rate, by the minute, until NOW."""
    return PastTraffic(
        from_seconds=NOW - 86_400.0,
        step_seconds=60.0,
        requests=np.random.default_rng(1).poisson(60.0 * rate, 1440).astype(np.float64),
        prompt_tokens_mean=np.full(1440, 1155.0),
        output_tokens_mean=np.full(1440, 211.0),
    )


def blinded(observation: Observation, reason: MissingReason, gauges: float | None) -> Observation:
    """The observation without traffic, its gauges missing too or at a value."""
    at = observation.workloads_at_seconds
    reading = Missing(reason) if gauges is None else Measured(gauges, at)
    return replace(
        observation,
        traffic=Missing(reason),
        outcomes=Missing(reason),
        variants=tuple(
            replace(v, running=reading, waiting=reading, kv_use=reading)
            for v in observation.variants
        ),
    )


@LAW
@given(
    lost=st.tuples(reasons, st.none() | st.floats(0.0, 1e4)),
    before=st.tuples(rates, st.none() | st.floats(0.0, 300.0)),
    current=st.tuples(st.integers(1, 24), st.integers(0, 12)),
    gaps=st.lists(st.sampled_from((TICK, 300.0, 3600.0)), min_size=1, max_size=5),
)
def test_missing_traffic_never_scales_down(
    policy: Policy,
    run: Run,
    make_observation: MakeObservation,
    lost: tuple[MissingReason, float | None],
    before: tuple[list[float], float | None],
    current: Allocation,
    gaps: list[float],
) -> None:
    """For every reason, with gauges or without, at any age, also right after a restart."""
    seen, remembered = before
    past = None if remembered is None else past_day(remembered)
    _, history = run(policy, PLANNER.initial(policy, past), seen, NOW)
    now = NOW + len(seen) * TICK
    for gap in gaps:
        now += gap
        observation = blinded(make_observation(now, current, None), *lost)
        decision, history = PLANNER.plan(policy, observation, history, now)
        assert all(n >= before for n, before in zip(decision.allocation, current, strict=True))
        current = decision.allocation


@LAW
@given(rate=st.floats(1.0, 200.0))
def test_a_window_without_known_tokens_is_decided_on_by_its_arrivals(
    policy: Policy, run: Run, make_observation: MakeObservation, rate: float
) -> None:
    """Arrivals carry the demand: where only tokens are missing, the last mix stands."""
    _, history = run(policy, PLANNER.initial(policy, None), [rate] * 3, NOW)
    now = NOW + 4 * TICK
    whole = make_observation(now, (12, 6), rate)
    assert isinstance(whole.traffic, Traffic)
    tokenless = replace(whole.traffic, token_requests=0.0, prompt_tokens=0.0, output_tokens=0.0)
    partial = replace(whole, traffic=tokenless)
    decisions = [PLANNER.plan(policy, seen, history, now)[0] for seen in (whole, partial)]
    assert decisions[0].allocation == decisions[1].allocation


@LAW
@given(
    before=st.floats(100.0, 300.0),
    after=st.floats(0.0, 300.0),
    past=st.sampled_from((None, 5.0, 300.0)),
)
def test_a_restart_loses_no_capacity(
    policy: Policy,
    run: Run,
    make_observation: MakeObservation,
    before: float,
    after: float,
    past: float | None,
) -> None:
    """With its history gone, nothing shrinks until what is seen covers the hold."""
    current, _ = run(policy, PLANNER.initial(policy, None), [before] * 6, NOW)
    history = PLANNER.initial(policy, None if past is None else past_day(past))
    start = NOW + 7 * TICK
    for tick in range(int(COLD_START // TICK)):
        now = start + tick * TICK
        decision, history = PLANNER.plan(
            policy, make_observation(now, current, after), history, now
        )
        assert all(n >= old for n, old in zip(decision.allocation, current, strict=True))
        current = decision.allocation


def test_after_the_hold_a_restarted_planner_does_shrink(
    policy: Policy, run: Run, make_observation: MakeObservation
) -> None:
    """The restart only delays: at a low load an oversized fleet goes once the hold is covered."""
    del run
    history, current = PLANNER.initial(policy, None), (20, 0)
    for tick in range(40):
        now = NOW + tick * TICK
        decision, history = PLANNER.plan(policy, make_observation(now, current, 20.0), history, now)
        current = decision.allocation
    assert current[0] < 10


def test_the_first_seen_tick_after_blindness_does_not_shrink_at_once(
    policy: Policy, run: Run, make_observation: MakeObservation
) -> None:
    """What was not seen covers no hold: after an hour blind, one low reading releases nothing."""
    current, history = run(policy, PLANNER.initial(policy, None), [250.0] * 10, NOW)
    now = NOW + 10 * TICK
    for _ in range(240):
        now += TICK
        blind = blinded(make_observation(now, current, None), MissingReason.ABSENT, None)
        decision, history = PLANNER.plan(policy, blind, history, now)
        current = decision.allocation
    now += TICK
    decision, _ = PLANNER.plan(policy, make_observation(now, current, 20.0), history, now)
    assert all(n >= old for n, old in zip(decision.allocation, current, strict=True))


def test_nothing_ever_seen_keeps_what_there_is(
    policy: Policy, make_observation: MakeObservation
) -> None:
    """Without any traffic or past there is nothing to decide on but the bounds."""
    decision, _ = PLANNER.plan(
        policy, make_observation(NOW, (7, 2), None), PLANNER.initial(policy, None), NOW
    )
    assert decision.allocation == (7, 2)
    assert decision.binding is Reason.METRICS_MISSING


def test_answers_without_tokens_are_planned_for(
    policy: Policy, run: Run, make_observation: MakeObservation
) -> None:
    """A mean below one output token (aborted answers) is a mix like any other, no crash."""
    del run
    observation = make_observation(NOW, (4, 0), 50.0, tokens=(300.0, 0.5))
    decision, _ = PLANNER.plan(policy, observation, PLANNER.initial(policy, None), NOW)
    assert decision.allocation[0] >= 1


def test_a_sleeping_fleet_wakes_for_requests_of_unknown_tokens(
    make_policy: MakePolicy, make_variant: MakeVariant
) -> None:
    """At zero replicas no engine tells tokens: arrivals alone must start the first replica."""
    asleep = make_policy(make_variant(min_replicas=0))
    seen = Observation(
        workloads_at_seconds=NOW,
        variants=(VariantObservation(desired=0, ready=0),),
        traffic=Traffic(
            from_seconds=NOW - 30.0,
            to_seconds=NOW - 15.0,
            requests=150.0,
            refused=150.0,
            token_requests=0.0,
            prompt_tokens=0.0,
            output_tokens=0.0,
        ),
        outcomes=Missing(MissingReason.ABSENT),
    )
    decision, _ = PLANNER.plan(asleep, seen, PLANNER.initial(asleep, None), NOW)
    assert decision.allocation[0] >= 1


def test_a_fleet_that_wakes_follows_its_arrivals_before_the_first_is_ready(
    make_policy: MakePolicy, make_variant: MakeVariant
) -> None:
    """What was started on the first glimpse of the traffic is no reason to wait for tokens."""
    policy = make_policy(make_variant(min_replicas=0))
    history, wanted = PLANNER.initial(policy, None), 0
    path = []
    for tick, requests in enumerate([0.0, 0.0, 150.0, 1500.0, 1500.0]):
        now = NOW + tick * TICK
        seen = Observation(
            workloads_at_seconds=now,
            variants=(VariantObservation(desired=wanted, ready=0),),
            traffic=Traffic(
                from_seconds=now - 2 * TICK,
                to_seconds=now - TICK,
                requests=requests,
                refused=requests,
                token_requests=0.0,
                prompt_tokens=0.0,
                output_tokens=0.0,
            ),
            outcomes=Missing(MissingReason.ABSENT),
        )
        decision, history = PLANNER.plan(policy, seen, history, now)
        wanted = decision.allocation[0]
        path.append(wanted)
    assert path[1] == 0 < path[2] < path[4]


@pytest.mark.parametrize("every", [2, 4])
def test_scrapes_rarer_than_ticks_still_let_go(
    make_policy: MakePolicy, make_observation: MakeObservation, every: int
) -> None:
    """A tick without a new sample keeps what there is, and does not begin the hold anew."""
    policy = make_policy()
    history, replicas = PLANNER.initial(policy, None), 20
    unseen = Missing(MissingReason.STALE)
    for tick in range(1, 61):
        now = NOW + tick * TICK
        seen = make_observation(now, (replicas,), 60.0)
        if tick % every:
            seen = replace(seen, traffic=unseen)
        decision, history = PLANNER.plan(policy, seen, history, now)
        if tick % every:
            assert decision.allocation[0] >= replicas
        replicas = decision.allocation[0]
    assert replicas < 8
