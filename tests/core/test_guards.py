"""Guards keep a recommendation safe: each rule on its own."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.core.domain.decision import Allocation
from controller.core.domain.observation import Measured, Observation
from controller.core.domain.policy import (
    Behavior,
    Limits,
    Pause,
    Policy,
    RatePolicy,
    ScalingRules,
    SelectPolicy,
)
from controller.core.domain.variant import Variant
from controller.core.guards import (
    behavior,
    blindness,
    bounds,
    hold,
    pause,
    replacement,
    saturation,
)
from controller.core.guards.context import GuardContext, PresentLoad

NOW = 1_000_000.0


@pytest.fixture
def context(
    make_policy: Callable[..., Policy],
    make_variant: Callable[..., Variant],
    make_fallback: Callable[..., Variant],
    make_observation: Callable[..., Observation],
) -> Callable[..., GuardContext]:
    """Builder of guard contexts over a Primary and a Fallback."""

    def build(**changes: object) -> GuardContext:
        current = changes.get("current", (5, 0))
        assert isinstance(current, tuple)
        fields: dict[str, object] = {
            "policy": make_policy(make_variant(), make_fallback()),
            "observation": make_observation(NOW, current, 50.0),
            "now": NOW,
            "current": current,
            "hold_seconds": (120.0, 60.0),
            "seen_since_seconds": NOW - 10_000.0,
            "recommended": (),
            "load": PresentLoad(5.0, lambda allocation: float(sum(allocation))),
        }
        return GuardContext(**{**fields, **changes})  # type: ignore[arg-type]  # a builder

    return build


def test_hold_keeps_what_was_recommended_within_one_cold_start(
    context: Callable[..., GuardContext],
) -> None:
    """A recommendation younger than the hold keeps its replicas; an older one does not."""
    recent = ((NOW - 100.0, (5, 0)),)
    old = ((NOW - 130.0, (5, 0)),)
    assert hold.hold(context(recommended=recent), (3, 0)).allocation == (5, 0)
    assert hold.hold(context(recommended=old), (3, 0)).allocation == (3, 0)


def test_hold_is_counted_per_variant(context: Callable[..., GuardContext]) -> None:
    """Each variant is held for its own cold start."""
    recommended = ((NOW - 100.0, (5, 2)),)
    verdict = hold.hold(context(current=(5, 2), recommended=recommended), (3, 0))
    assert verdict.allocation == (5, 0)


def test_restart_never_lowers_before_the_hold_was_seen(
    context: Callable[..., GuardContext],
) -> None:
    """After a restart nothing shrinks until history covers the hold."""
    assert hold.restart(context(seen_since_seconds=NOW - 60.0), (2, 0)).allocation == (5, 0)
    assert hold.restart(context(seen_since_seconds=NOW - 121.0), (2, 0)).allocation == (2, 0)


def test_blind_holds_and_rises_only_along_a_trusted_forecast(
    context: Callable[..., GuardContext],
) -> None:
    """Blind never lowers; it rises with a trusted forecast for half an hour at most."""
    blind = context()
    assert blindness.blind(blind, (2, 0), 60.0, forecast_trusted=True).allocation == (5, 0)
    assert blindness.blind(blind, (8, 0), 60.0, forecast_trusted=True).allocation == (8, 0)
    assert blindness.blind(blind, (8, 0), 60.0, forecast_trusted=False).allocation == (5, 0)
    assert blindness.blind(blind, (8, 0), 1801.0, forecast_trusted=True).allocation == (5, 0)


def test_replaced_replicas_stay_until_the_new_ones_are_ready(
    context: Callable[..., GuardContext], make_observation: Callable[..., Observation]
) -> None:
    """Primary replicas give way to a fallback only once it serves."""
    starting = make_observation(NOW, (5, 0), 50.0, desired=(5, 5))
    serving = make_observation(NOW, (5, 5), 50.0)
    moved = (1, 5)
    held = replacement.replacement(context(current=(5, 5), observation=starting), moved)
    freed = replacement.replacement(context(current=(5, 5), observation=serving), moved)
    assert held.allocation == (5, 5)
    assert freed.allocation == moved


def test_full_quota_gives_way_one_replica_at_a_time(
    context: Callable[..., GuardContext], make_observation: Callable[..., Observation]
) -> None:
    """With no GPU for the new ones, one old replica goes while the rest covers the load."""
    seen = make_observation(NOW, (6, 0), 50.0, desired=(6, 2))
    blocked = replace(seen, variants=(seen.variants[0], replace(seen.variants[1], unschedulable=2)))
    one_less = replacement.replacement(context(current=(6, 2), observation=blocked), (2, 2))
    assert one_less.allocation == (5, 2)
    full = make_observation(NOW, (5, 0), 50.0, desired=(5, 2))
    stuck = replace(full, variants=(full.variants[0], replace(full.variants[1], unschedulable=2)))
    none = replacement.replacement(context(current=(5, 2), observation=stuck), (2, 2))
    assert none.allocation == (5, 2)


def test_saturation_adds_a_step_only_when_nothing_is_starting(
    context: Callable[..., GuardContext],
) -> None:
    """Blind with a backlog, one step is added; while it starts, no other."""
    base = context()
    waiting = replace(base.observation.variants[0], waiting=Measured(40.0, NOW))
    backlog = replace(
        base,
        observation=replace(base.observation, variants=(waiting, base.observation.variants[1])),
    )
    assert saturation.saturation(backlog, (5, 0)).allocation == (6, 0)
    busy = replace(waiting, starting_since_seconds=(NOW - 10.0,))
    adding = replace(
        base, observation=replace(base.observation, variants=(busy, base.observation.variants[1]))
    )
    assert saturation.saturation(adding, (5, 0)).allocation == (5, 0)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    allocation=st.tuples(st.integers(0, 64), st.integers(0, 64)),
    gpus=st.integers(1, 40),
    cost=st.floats(4.0, 200.0),
)
def test_bounds_hold_whatever_is_recommended(
    context: Callable[..., GuardContext], allocation: Allocation, gpus: int, cost: float
) -> None:
    """After the bounds an allocation is within limits, minimum and maximum."""
    base = context()
    policy = replace(base.policy, limits=Limits(max_gpus=gpus, max_cost_per_hour=cost))
    kept = allocation
    for guard in (bounds.minimum, bounds.cost_limit, bounds.gpu_limit, bounds.maximum):
        kept = guard(replace(base, policy=policy), kept).allocation
    assert 1 <= kept[0] <= 32
    assert 0 <= kept[1] <= 32
    assert sum(kept) <= gpus
    assert 4.0 * sum(kept) <= cost + 1e-9


def _rules(
    window: int, *policies: RatePolicy, select: SelectPolicy = SelectPolicy.MAX
) -> ScalingRules:
    return ScalingRules(
        stabilization_window_seconds=window, select_policy=select, policies=policies
    )


def test_behavior_takes_the_largest_of_the_down_window(
    context: Callable[..., GuardContext],
) -> None:
    """The down-window keeps the largest recommendation in it, as HPA does."""
    block = Behavior(scale_down=_rules(300))
    policy = replace(context().policy, behavior=block)
    recommended = ((NOW - 299.0, (4, 0)), (NOW - 400.0, (5, 0)))
    verdict = behavior.stabilization(context(policy=policy, recommended=recommended), (2, 0))
    assert verdict.allocation == (4, 0)


def test_behavior_limits_the_rate_from_the_start_of_the_period(
    context: Callable[..., GuardContext],
) -> None:
    """Four pods per minute leave two more after two were added in it."""
    block = Behavior(scale_up=_rules(0, RatePolicy(percent=False, value=4, period_seconds=60)))
    limited = context(policy=replace(context().policy, behavior=block))
    changes = ((NOW - 30.0, 0, 2),)
    assert behavior.rate(limited, (20, 0), changes).allocation == (7, 0)
    assert behavior.rate(limited, (20, 0), ()).allocation == (9, 0)


def test_disabled_direction_does_not_move(context: Callable[..., GuardContext]) -> None:
    """Disabled as selectPolicy freezes a direction."""
    block = Behavior(scale_down=_rules(0, select=SelectPolicy.DISABLED))
    frozen = context(policy=replace(context().policy, behavior=block))
    assert behavior.rate(frozen, (1, 0), ()).allocation == (5, 0)


@pytest.mark.parametrize(
    ("asked", "smaller", "larger"),
    [
        (Pause.NONE, (3, 0), (8, 1)),
        (Pause.ALL, (5, 0), (5, 0)),
        (Pause.IN, (5, 0), (8, 1)),
        (Pause.OUT, (3, 0), (5, 0)),
    ],
)
def test_a_pause_stops_changes_the_way_it_says(
    context: Callable[..., GuardContext], asked: Pause, smaller: Allocation, larger: Allocation
) -> None:
    """All changes, only fewer replicas or only more."""
    base = context()
    paused = replace(base, policy=replace(base.policy, pause=asked))
    assert pause.pause(paused, (3, 0)).allocation == smaller
    assert pause.pause(paused, (8, 1)).allocation == larger
