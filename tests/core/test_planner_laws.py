"""Laws that a decision keeps whatever is observed."""

from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from typing import TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.core.domain.decision import Allocation, Decision, Reason
from controller.core.domain.observation import (
    GaugeReading,
    Measured,
    Missing,
    MissingReason,
    Observation,
    Outcomes,
    OutcomesReading,
    Traffic,
    TrafficReading,
    VariantObservation,
)
from controller.core.domain.policy import Balancing, Limits, Mode, Policy, Routing, RoutingLaw
from controller.core.domain.variant import Variant
from controller.core.history import History
from controller.core.planner import SteelyardPlanner
from controller.core.serialization import to_json

NOW = 1_743_465_600.0
TICK = 15.0
MAX = (6, 4)
#: Prompt and output tokens: a conversation, single-token answers, and answers given up on.
MIXES = ((1155.0, 211.0), (200.0, 1.0), (300.0, 0.0))
PLANNER = SteelyardPlanner()
LAW = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
MakePolicy: TypeAlias = Callable[..., Policy]
MakeVariant: TypeAlias = Callable[..., Variant]

missing = st.sampled_from(MissingReason).map(Missing)
cold_starts = st.sampled_from((1.0, 100.0, 1e4))
counts = st.floats(0.0, 1e6) | st.sampled_from((0.0, 1.0, 300.0, 1500.0))


def gauges(now: float) -> st.SearchStrategy[GaugeReading]:
    """Gauges of any plausible and implausible value, fresh or old, or missing."""
    values = st.floats(0.0, 1e5) | st.sampled_from((0.0, 1.0, 100.0, inf, nan))
    measured = st.builds(Measured, values, st.floats(now - 600.0, now))
    return missing | measured


def traffic(now: float, mix: tuple[float, float]) -> st.SearchStrategy[TrafficReading]:
    """Traffic of the last window, of none, any or a huge rate, with or without known tokens."""

    def window(requests: float, refused: float, known: float) -> Traffic:
        return Traffic(
            from_seconds=now - 2 * TICK,
            to_seconds=now - TICK,
            requests=requests,
            refused=refused * requests,
            token_requests=known * requests,
            prompt_tokens=known * requests * mix[0],
            output_tokens=known * requests * mix[1],
        )

    share = st.sampled_from((0.0, 0.5, 1.0))
    return missing | st.builds(window, counts, share, share)


def outcomes(now: float) -> st.SearchStrategy[OutcomesReading]:
    """Outcomes with any part of them bad, or missing."""

    def ended(requests: float, bad: tuple[float, float, float], degraded: float) -> Outcomes:
        return Outcomes(
            from_seconds=now - 2 * TICK,
            to_seconds=now - TICK,
            ended=requests,
            failed=bad[0] * requests,
            bad_ttft=bad[1] * requests,
            bad_tpot=bad[2] * requests,
            degraded=degraded * requests,
        )

    share = st.floats(0.0, 1.0)
    return missing | st.builds(ended, counts, st.tuples(share, share, share), share)


@st.composite
def variants(draw: st.DrawFn, now: float, most: int) -> VariantObservation:
    """A variant with any replicas ready, starting, waiting for a GPU or draining."""
    desired = draw(st.integers(0, most))
    ready = draw(st.integers(0, desired))
    since = st.floats(now - 900.0, now)
    starting = draw(st.lists(since, min_size=desired - ready, max_size=desired - ready))
    return VariantObservation(
        desired=desired,
        ready=ready,
        starting_since_seconds=tuple(starting),
        unschedulable=draw(st.integers(0, len(starting))),
        draining=draw(st.integers(0, 3)),
        ready_after_seconds=tuple(draw(st.lists(cold_starts, max_size=3))),
        running=draw(gauges(now)),
        waiting=draw(gauges(now)),
        kv_use=draw(gauges(now)),
    )


@st.composite
def observations(draw: st.DrawFn, now: float, mix: tuple[float, float]) -> Observation:
    """Anything that can be seen of two variants, counts above their maximum included."""
    return Observation(
        workloads_at_seconds=now,
        variants=tuple(draw(variants(now, most)) for most in (9, 7)),
        traffic=draw(traffic(now, mix)),
        outcomes=draw(outcomes(now)),
    )


@st.composite
def days(draw: st.DrawFn) -> tuple[tuple[float, Observation], ...]:
    """A few observations in order of time, with gaps up to hours.

    One mix throughout: capacity tables, which take most of the time, are reused.
    """
    mix = draw(st.sampled_from(MIXES))
    gaps = draw(
        st.lists(st.sampled_from((TICK, TICK, 60.0, 900.0, 9000.0)), min_size=1, max_size=6)
    )
    now, seen = NOW, []
    for gap in gaps:
        now += gap
        seen.append((now, draw(observations(now, mix))))
    return tuple(seen)


def two_variants(make_policy: MakePolicy, make: MakeVariant, spare: MakeVariant) -> Policy:
    """A Primary of up to six and a Fallback of up to four replicas."""
    return make_policy(make(max_replicas=MAX[0]), spare(max_replicas=MAX[1]))


def planned(
    policy: Policy, seen: tuple[tuple[float, Observation], ...]
) -> tuple[list[Decision], History]:
    """Decisions on a sequence of observations, from a new history."""
    history = PLANNER.initial(policy, None)
    decisions = []
    for now, observation in seen:
        decision, history = PLANNER.plan(policy, observation, history, now)
        decisions.append(decision)
    return decisions, history


def current(observation: Observation) -> Allocation:
    """The desired allocation as it was observed."""
    return tuple(variant.desired for variant in observation.variants)


@LAW
@given(
    seen=days(),
    limits=st.builds(
        lambda gpus, cost: Limits(max_gpus=gpus, max_cost_per_hour=cost),
        st.integers(1, 12),
        st.floats(4.0, 60.0),
    ),
    law=st.sampled_from(RoutingLaw),
)
def test_decision_stays_within_minimum_maximum_and_limits(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_fallback: MakeVariant,
    seen: tuple[tuple[float, Observation], ...],
    limits: Limits,
    law: RoutingLaw,
) -> None:
    """Whatever is observed, a decision keeps to every variant's range and to the limits."""
    policy = two_variants(make_policy, make_variant, make_fallback)
    routing = Routing(law=law, balancing=Balancing.LEAST_LOADED)
    policy = replace(policy, limits=limits, routing=routing)
    assert limits.max_gpus is not None
    assert limits.max_cost_per_hour is not None
    for decision in planned(policy, seen)[0]:
        primary, fallback = decision.allocation
        assert 1 <= primary <= MAX[0]
        assert 0 <= fallback <= MAX[1]
        assert primary + fallback <= limits.max_gpus
        assert 4.0 * (primary + fallback) <= limits.max_cost_per_hour + 1e-9
        assert decision.cost_per_hour == 4.0 * (primary + fallback)


@LAW
@given(seen=days())
def test_steps_tell_the_whole_way_from_the_current_allocation(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_fallback: MakeVariant,
    seen: tuple[tuple[float, Observation], ...],
) -> None:
    """Every step begins where the last one ended, from what is desired to what is decided."""
    policy = two_variants(make_policy, make_variant, make_fallback)
    for (_, observation), decision in zip(seen, planned(policy, seen)[0], strict=True):
        at = current(observation)
        assert decision.steps
        for step in decision.steps:
            assert step.before == at
            at = step.after
        assert at == decision.allocation


@LAW
@given(seen=days())
def test_plan_is_pure(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_fallback: MakeVariant,
    seen: tuple[tuple[float, Observation], ...],
) -> None:
    """The same arguments give the same decision and history, and stay as they were."""
    policy = two_variants(make_policy, make_variant, make_fallback)
    _, history = planned(policy, seen[:-1])
    now, observation = seen[-1]
    before = (repr(policy), repr(observation), to_json(history))
    first, first_history = PLANNER.plan(policy, observation, history, now)
    second, second_history = SteelyardPlanner().plan(policy, observation, history, now)
    assert first == second
    assert to_json(first_history) == to_json(second_history)
    assert before == (repr(policy), repr(observation), to_json(history))


@LAW
@given(seen=days())
def test_mode_off_keeps_what_there_is(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_fallback: MakeVariant,
    seen: tuple[tuple[float, Observation], ...],
) -> None:
    """Switched off, nothing is decided, even where the allocation is out of bounds."""
    policy = replace(two_variants(make_policy, make_variant, make_fallback), mode=Mode.OFF)
    for (_, observation), decision in zip(seen, planned(policy, seen)[0], strict=True):
        assert decision.allocation == current(observation)
        assert decision.binding is Reason.MODE_OFF


@LAW
@given(seen=days(), low=st.tuples(st.integers(1, 6), st.integers(0, 4)))
def test_a_lowered_maximum_wins_at_once_even_blind(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_fallback: MakeVariant,
    seen: tuple[tuple[float, Observation], ...],
    low: tuple[int, int],
) -> None:
    """The user's new maximum holds from the next decision on, whether or not traffic is seen."""
    policy = two_variants(make_policy, make_variant, make_fallback)
    _, history = planned(policy, seen)
    now = seen[-1][0] + TICK
    lowered = replace(
        policy,
        variants=tuple(
            replace(variant, max_replicas=most, min_replicas=min(variant.min_replicas, most))
            for variant, most in zip(policy.variants, low, strict=True)
        ),
    )
    blind = replace(seen[-1][1], traffic=Missing(MissingReason.STALE))
    decision, _ = PLANNER.plan(lowered, blind, history, now)
    assert all(n <= most for n, most in zip(decision.allocation, low, strict=True))
