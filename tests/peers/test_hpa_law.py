"""The HPA law on hand-made cases and general laws, which need no vectors."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.policy import RatePolicy, ScalingRules, SelectPolicy
from simulations.peers.hpa.behavior import (
    HpaBehavior,
    Limit,
    Move,
    Recommendation,
    ScaleEvent,
    ScaleEvents,
    default_behavior,
    legacy_limited,
    legacy_stabilized,
    rate_limited,
    stabilized,
)
from simulations.peers.hpa.law import HpaHistory, HpaSpec, sync
from simulations.peers.hpa.metrics import (
    OVERFLOW_PROPOSAL,
    CpuMetric,
    CpuPod,
    Pod,
    PodPhase,
    Tolerance,
    combined_proposal,
    cpu_utilization_proposal,
    external_average_proposal,
    external_value_proposal,
    pods_proposal,
)

NEAR = Tolerance()
TICK = 15.0


def running(*samples: int | None) -> list[Pod]:
    """Running and Ready pods with these samples in whole units; None is a missing sample."""
    return [
        Pod(
            phase=PodPhase.RUNNING,
            ready=True,
            sample_milli=None if sample is None else 1000 * sample,
        )
        for sample in samples
    ]


def one_policy(direction: RatePolicy, window_seconds: int = 0) -> ScalingRules:
    """Rules of one direction with a single rate policy."""
    return ScalingRules(
        stabilization_window_seconds=window_seconds,
        select_policy=SelectPolicy.MAX,
        policies=(direction,),
    )


@pytest.mark.parametrize(("total", "expected"), [(21, 4), (26, 6), (0, 0), (-1, OVERFLOW_PROPOSAL)])
def test_external_average(total: int, expected: int) -> None:
    """The sum is divided by the target unless it is within 10 % of target times pods."""
    assert external_average_proposal(1000 * total, 5000, 4, NEAR) == expected


def test_external_average_without_pods_follows_the_sum() -> None:
    """With no pods any sum is out of tolerance."""
    assert external_average_proposal(400, 5000, 0, NEAR) == 1


@pytest.mark.parametrize(("ready", "expected"), [(1, 3), (3, 9), (0, 0), (None, None)])
def test_external_value_counts_ready_pods(ready: int | None, expected: int | None) -> None:
    """The ratio multiplies the Ready pods; no pod at all is a failed metric."""
    assert external_value_proposal(6000, 2000, 3, ready, NEAR) == expected


@pytest.mark.parametrize(
    ("samples", "replicas", "expected"),
    [
        ((20, 20, None, None), 4, 4),
        ((30, 30, None, None), 4, 6),
        ((4, 4, None), 3, 2),
        ((None, None), 2, None),
    ],
)
def test_missing_pods_damp_the_change(
    samples: tuple[int | None, ...], replicas: int, expected: int | None
) -> None:
    """Missing pods count as idle on the way up and as on target on the way down."""
    assert pods_proposal(running(*samples), 10_000, replicas, NEAR) == expected


def test_pending_pods_damp_only_the_way_up() -> None:
    """A pending pod counts as idle on the way up and not at all on the way down."""
    pending = Pod(phase=PodPhase.PENDING, ready=False)
    assert pods_proposal([*running(15, 15), pending], 10_000, 3, NEAR) == 3
    assert pods_proposal([*running(4, 4), pending], 10_000, 3, NEAR) == 1


def test_cpu_of_a_starting_pod_is_set_aside() -> None:
    """A hot sample from a pod's start does not scale up further."""

    def pod(started: float, milli: int) -> CpuPod:
        return CpuPod(
            pod=Pod(phase=PodPhase.RUNNING, ready=True, sample_milli=milli),
            request_milli=1000,
            started_at_seconds=started,
            ready_changed_at_seconds=started + 10,
            sampled_at_seconds=1000.0,
        )

    metric = CpuMetric(target_percent=50)
    fresh = [pod(0.0, 500), pod(980.0, 4000)]
    settled = [pod(0.0, 500), pod(100.0, 4000)]
    assert cpu_utilization_proposal(fresh, metric, 2, NEAR, 1000.0) == 2
    assert cpu_utilization_proposal(settled, metric, 2, NEAR, 1000.0) == 9


def test_cpu_requests_must_agree() -> None:
    """Pods of one workload with different requests are rejected with the field's name."""
    pods = [
        CpuPod(
            pod=running(1)[0],
            request_milli=request,
            started_at_seconds=0.0,
            ready_changed_at_seconds=0.0,
            sampled_at_seconds=0.0,
        )
        for request in (500, 1000)
    ]
    with pytest.raises(ValueError, match="request_milli"):
        cpu_utilization_proposal(pods, CpuMetric(target_percent=50), 2, NEAR, 0.0)


@pytest.mark.parametrize(
    ("proposals", "expected"),
    [((None, 2), None), ((None, 6), 6), ((None, None), None), ((3, 5), 5)],
)
def test_a_failed_metric_vetoes_a_decrease(
    proposals: tuple[int | None, ...], expected: int | None
) -> None:
    """Beside a failed metric only an increase passes."""
    assert combined_proposal(proposals, 4) == expected


@pytest.mark.parametrize(("replicas", "expected"), [(1, 5), (5, 10)])
def test_default_rate_up(replicas: int, expected: int) -> None:
    """The API default lets replicas double or grow by 4 in 15 s, whichever is more."""
    move = Move(replicas=replicas, wanted=99, min_replicas=1, max_replicas=99)
    limited = rate_limited(default_behavior(), ScaleEvents(), move, 0.0)
    assert limited == (expected, Limit.SCALE_UP)


@pytest.mark.parametrize(("replicas", "expected"), [(1, 4), (2, 4), (5, 10)])
def test_legacy_rate_up(replicas: int, expected: int) -> None:
    """Without a behavior block replicas reach twice their number, or 4."""
    move = Move(replicas=replicas, wanted=99, min_replicas=1, max_replicas=99)
    assert legacy_limited(move) == (expected, Limit.SCALE_UP)


def test_a_recent_decrease_uses_up_its_policy() -> None:
    """One pod per 120 s holds when a pod went 60 s ago."""
    behavior = HpaBehavior(
        scale_up=default_behavior().scale_up,
        scale_down=one_policy(RatePolicy(percent=False, value=1, period_seconds=120)),
    )
    events = ScaleEvents(down=(ScaleEvent(0.0, 1),))
    move = Move(replicas=5, wanted=1, min_replicas=1, max_replicas=9)
    assert rate_limited(behavior, events, move, 60.0) == (5, Limit.SCALE_DOWN)
    assert rate_limited(behavior, events, move, 120.0) == (4, Limit.SCALE_DOWN)


def test_percent_limits_round_in_doubles() -> None:
    """100 x 1.1 is above 110 and 10 x (1 - .9) below 1, as in the controller's arithmetic."""
    behavior = HpaBehavior(
        scale_up=one_policy(RatePolicy(percent=True, value=10, period_seconds=60)),
        scale_down=one_policy(RatePolicy(percent=True, value=90, period_seconds=60)),
    )
    up = Move(replicas=100, wanted=999, min_replicas=1, max_replicas=999)
    down = Move(replicas=10, wanted=0, min_replicas=0, max_replicas=999)
    assert rate_limited(behavior, ScaleEvents(), up, 0.0) == (111, Limit.SCALE_UP)
    assert rate_limited(behavior, ScaleEvents(), down, 0.0) == (0, Limit.WITHIN_RANGE)


def test_windows() -> None:
    """Down goes to the greatest recommendation in the window, up to the least."""
    down = tuple(Recommendation(15.0 * i, n) for i, n in enumerate((8, 3, 5)))
    assert stabilized(default_behavior(), down, 8, 2, 45.0) == 8
    slow_up = HpaBehavior(
        scale_up=one_policy(RatePolicy(percent=True, value=100, period_seconds=15), 60),
        scale_down=default_behavior().scale_down,
    )
    up = (Recommendation(0.0, 4), Recommendation(15.0, 9))
    assert stabilized(slow_up, up, 4, 9, 30.0) == 4
    assert stabilized(slow_up, up, 4, 9, 60.0) == 9


def test_legacy_window_is_closed_at_both_ends() -> None:
    """The legacy window still sees a recommendation of exactly its own age."""
    past = (Recommendation(0.0, 7),)
    assert legacy_stabilized(past, 2, 300.0, 300.0) == 7
    assert legacy_stabilized(past, 2, 300.0, 315.0) == 2


def test_an_event_slot_is_reused_by_its_own_direction() -> None:
    """A new event takes the slot its own direction no longer needs, so the other loses it."""
    behavior = HpaBehavior(
        scale_up=one_policy(RatePolicy(percent=False, value=3, period_seconds=15)),
        scale_down=one_policy(RatePolicy(percent=False, value=2, period_seconds=120)),
    )
    events = ScaleEvents().recorded(behavior, 4, 7, 0.0)
    assert events.recorded(behavior, 7, 8, 15.0).up == (ScaleEvent(0.0, 3), ScaleEvent(15.0, 1))
    assert events.recorded(behavior, 7, 8, 30.0).up == (ScaleEvent(30.0, 1),)


def test_zero_set_by_hand_stays() -> None:
    """An HPA that did not set zero itself takes it for switched off, whatever the load."""
    spec = HpaSpec(min_replicas=0, max_replicas=9, behavior=default_behavior())
    outcome, _ = sync(spec, HpaHistory(), 0, [50], 0.0)
    assert (outcome.desired, outcome.active) == (0, False)


def test_own_zero_is_left_again() -> None:
    """An HPA that went to zero itself comes back with the load."""
    spec = HpaSpec(min_replicas=0, max_replicas=9, behavior=default_behavior(0))
    outcome, history = sync(spec, HpaHistory(), 2, [0], 0.0)
    assert (outcome.desired, history.scaled_to_zero) == (0, True)
    outcome, history = sync(spec, history, 0, [3], 15.0)
    assert (outcome.desired, history.scaled_to_zero) == (3, False)


proposals_over_time = st.lists(st.none() | st.integers(0, 60), min_size=1, max_size=60)
behaviors = st.sampled_from([None, default_behavior(), default_behavior(0), default_behavior(60)])


def replay(
    spec: HpaSpec, replicas: int, proposals: list[int | None], start: float
) -> list[tuple[int, HpaHistory]]:
    """Feed proposals through a closed loop, one sync per tick."""
    history = HpaHistory()
    path = []
    for tick, proposal in enumerate(proposals):
        outcome, history = sync(spec, history, replicas, [proposal], start + TICK * tick)
        replicas = outcome.desired
        path.append((replicas, history))
    return path


@settings(deadline=None)
@given(proposals_over_time, behaviors, st.integers(1, 5), st.integers(0, 20), st.integers(1, 40))
def test_replicas_stay_in_range_and_memory_is_bounded(
    proposals: list[int | None],
    behavior: HpaBehavior | None,
    low: int,
    width: int,
    replicas: int,
) -> None:
    """Desired replicas lie in [min, max] or stay; memory holds no more than the windows need."""
    spec = HpaSpec(min_replicas=low, max_replicas=low + width, behavior=behavior)
    for desired, history in replay(spec, replicas, proposals, 0.0):
        assert low <= desired <= low + width
        assert len(history.recommendations or ()) <= 300 / TICK + 2
        assert len(history.events.up) + len(history.events.down) <= 6


@settings(deadline=None)
@given(proposals_over_time, behaviors, st.integers(1, 20), st.integers(0, 10**6))
def test_only_differences_of_time_matter(
    proposals: list[int | None], behavior: HpaBehavior | None, replicas: int, shift: int
) -> None:
    """A shift of the clock changes no decision."""
    spec = HpaSpec(min_replicas=1, max_replicas=40, behavior=behavior)
    here = [desired for desired, _ in replay(spec, replicas, proposals, 0.0)]
    there = [desired for desired, _ in replay(spec, replicas, proposals, float(shift))]
    assert here == there


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**5), st.integers(1, 10**4), st.integers(0, 50))
def test_more_load_never_proposes_less(total: int, more: int, target: int, pods: int) -> None:
    """An External AverageValue proposal does not fall while the sum grows, tolerance aside."""
    less, greater = (
        external_average_proposal(load, target, pods, Tolerance(up=0.0, down=0.0))
        for load in (total, total + more)
    )
    assert less <= greater


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=21, max_size=60), st.integers(1, 40))
def test_down_window_covers_the_last_five_minutes(proposals: list[int], replicas: int) -> None:
    """With the default window a decrease never goes below any proposal of the last 300 s."""
    spec = HpaSpec(min_replicas=1, max_replicas=40, behavior=default_behavior())
    path = [replicas, *(desired for desired, _ in replay(spec, replicas, list(proposals), 0.0))]
    for tick in range(20, len(proposals)):
        if path[tick + 1] < path[tick]:
            assert path[tick + 1] >= min(max(proposals[tick - 19 : tick + 1]), path[tick])
