"""Peers as planners: observation in, honest decision out."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from controller.core.domain.decision import Allocation, Decision, Reason
from controller.core.domain.observation import (
    Measured,
    Missing,
    MissingReason,
    Observation,
    Traffic,
    VariantObservation,
)
from controller.core.domain.policy import (
    Policy,
    RoutingLaw,
)
from controller.core.domain.variant import Role, Variant
from peers.building import facts_of, policy_of, variant_of
from simulations.peers.aibrix.law import Strategy
from simulations.peers.aibrix.planner import kv_autoscaler, queue_autoscaler
from simulations.peers.hpa.planner import ExternalAverage, HpaPlanner, Signal
from simulations.peers.hpa.setups import outstanding_target, queue_hpa, waiting_hpa
from simulations.peers.keda.fallback import Fallback
from simulations.peers.keda.planner import KedaPlanner, ScaledObject
from simulations.peers.keda.setups import queue_keda
from simulations.peers.knative.planner import concurrency_kpa
from simulations.peers.peer import InvalidSetting, NotApplicable, PeerFacts
from simulations.peers.ray.planner import queue_ray
from simulations.peers.registry import UnknownPeer, peer, peers
from simulations.peers.static import FixedPlanner, ScheduledPlanner, static_peak

GONE = Missing(MissingReason.QUERY_FAILED)
KNEES = (50.0, 40.0)
SILENT = Traffic(
    from_seconds=0.0,
    to_seconds=15.0,
    requests=0.0,
    refused=0.0,
    token_requests=0.0,
    prompt_tokens=0.0,
    output_tokens=0.0,
)


def variant(role: Role, *, low: int = 1, high: int = 24, queue_limit: int | None = None) -> Variant:
    """One variant at 4 (Primary) or 1.5 (Fallback) per replica-hour."""
    return variant_of(
        role,
        cost_per_replica_hour=4.0 if role is Role.PRIMARY else 1.5,
        min_replicas=low,
        max_replicas=high,
        queue_limit=queue_limit,
    )


def policy(law: RoutingLaw = RoutingLaw.OVERFLOW, *variants: Variant) -> Policy:
    """One Primary and one fallback that may be at zero, unless ``variants`` are given."""
    return policy_of(*(variants or (variant(Role.PRIMARY), variant(Role.FALLBACK, low=0))), law=law)


def seen(
    desired: int, outstanding: float | None, waiting: float | None = 0.0
) -> VariantObservation:
    """A variant with all desired replicas Ready and this load; None is a missing gauge."""
    return VariantObservation(
        desired=desired,
        ready=desired,
        running=GONE if outstanding is None else Measured(outstanding - (waiting or 0.0), 0.0),
        waiting=GONE if waiting is None else Measured(waiting, 0.0),
    )


def observation(*variants: VariantObservation) -> Observation:
    """An observation without traffic or outcomes: peers look at neither."""
    return Observation(workloads_at_seconds=0.0, variants=variants, traffic=GONE, outcomes=GONE)


def closed_loop(
    planner: HpaPlanner,
    of: Policy,
    loads: Sequence[tuple[float | None, ...]],
    start: tuple[int, ...],
) -> Iterator[Decision]:
    """Feed one load per variant and tick; replicas are Ready as soon as decided."""
    history = planner.initial(of, None)
    replicas = start
    for tick, load in enumerate(loads):
        pairs = zip(replicas, load, strict=True)
        now = observation(*(seen(desired, outstanding) for desired, outstanding in pairs))
        decision, history = planner.plan(of, now, history, 15.0 * tick)
        replicas = decision.allocation
        yield decision


def test_queue_hpa_follows_outstanding() -> None:
    """Outstanding over .8 of the knee gives the Primary's replicas; the fallback has no HPA."""
    (decision,) = closed_loop(queue_hpa(policy(), KNEES), policy(), [(161.0, 0.0)], (3, 0))
    assert decision.allocation == (5, 0)
    assert decision.binding is Reason.PEER_LAW
    assert decision.cost_per_hour == 20.0


def test_a_starting_replica_shares_the_average() -> None:
    """An External average counts replicas that are not Ready yet, so the law does not ask twice."""
    starting = replace(seen(2, 80.0), ready=1, starting_since_seconds=(0.0,))
    planner = queue_hpa(policy(), KNEES)
    now = observation(starting, seen(0, 0.0))
    decision, _ = planner.plan(policy(), now, planner.initial(policy(), None), 0.0)
    assert decision.allocation == (2, 0)


@pytest.mark.parametrize(
    "half_seen", [replace(seen(7, 0.0), running=GONE), replace(seen(7, 0.0), waiting=GONE)]
)
def test_a_missing_gauge_is_no_action(half_seen: VariantObservation) -> None:
    """When either part of the metric is missing the HPA leaves the replicas as they are."""
    planner = queue_hpa(policy(), KNEES)
    blind = observation(half_seen, seen(0, 0.0))
    history = planner.initial(policy(), None)
    for tick in range(40):
        decision, history = planner.plan(policy(), blind, history, 15.0 * tick)
        assert decision.allocation == (7, 0)
        assert decision.binding is Reason.METRICS_MISSING


def test_a_decrease_waits_for_the_down_window() -> None:
    """After the load is gone the HPA keeps its replicas for 300 s and says why."""
    decisions = list(
        closed_loop(
            queue_hpa(policy(), KNEES), policy(), [(400.0, 0.0)] + [(0.0, 0.0)] * 22, (10, 0)
        )
    )
    held, released = decisions[1:20], decisions[20:]
    assert {d.allocation for d in held} == {(10, 0)}
    assert {d.binding for d in held} == {Reason.STABILIZATION_WINDOW}
    assert {d.allocation for d in released} == {(1, 0)}
    assert released[0].binding is Reason.MIN_REPLICAS


def test_an_increase_is_limited_in_rate_and_by_the_maximum() -> None:
    """From one replica the default behavior gives 5, 10, 20 and then the maximum."""
    decisions = list(closed_loop(queue_hpa(policy(), KNEES), policy(), [(4000.0, 0.0)] * 4, (1, 0)))
    assert [d.allocation[0] for d in decisions] == [5, 10, 20, 24]
    assert [d.binding for d in decisions] == [Reason.SCALE_RATE_LIMITED] * 3 + [Reason.MAX_REPLICAS]


def test_every_step_leads_to_the_next() -> None:
    """The steps of a decision form a chain from the observed replicas to the allocation."""
    loads: list[tuple[float | None, ...]] = [(4000.0, 30.0), (0.0, None), (0.0, 0.0), (None, 90.0)]
    planner = queue_hpa(policy(), KNEES, roles=frozenset(Role))
    before: Allocation = (1, 1)
    for decision in closed_loop(planner, policy(), loads, before):
        assert decision.steps[0].before == before
        for one, following in pairwise(decision.steps):
            assert one.after == following.before
        assert decision.steps[-1].after == decision.allocation
        before = decision.allocation


def test_waiting_hpa_sees_no_running_requests() -> None:
    """The pure queue signal stays put at any concurrency until requests wait."""
    planner = waiting_hpa(policy())
    history = planner.initial(policy(), None)
    busy = observation(seen(3, 300.0, waiting=0.0), seen(0, 0.0))
    queued = observation(seen(3, 300.0, waiting=21.0), seen(0, 0.0))
    decision, history = planner.plan(policy(), busy, history, 0.0)
    assert decision.allocation == (3, 0)
    decision, history = planner.plan(policy(), queued, history, 15.0)
    assert decision.allocation == (5, 0)


def test_surge_scales_the_fallback_on_its_own_load() -> None:
    """Each variant follows its own outstanding against its own knee."""
    planner = queue_hpa(policy(), KNEES, roles=frozenset(Role))
    (decision,) = closed_loop(planner, policy(), [(80.0, 70.0)], (2, 1))
    assert decision.allocation == (2, 3)


def test_surge_keeps_one_fallback_replica() -> None:
    """A fallback created for an HPA starts at one replica and stays there without load."""
    planner = queue_hpa(policy(), KNEES, roles=frozenset(Role))
    decisions = closed_loop(planner, policy(), [(40.0, 0.0)] * 30, (1, 0))
    assert {decision.allocation for decision in decisions} == {(1, 1)}


def test_target_stays_below_a_queue_limit() -> None:
    """Where replicas refuse before the knee the target is a share of the limit."""
    primary = variant(Role.PRIMARY, queue_limit=40)
    assert outstanding_target(primary, 50.0) == pytest.approx(32.0)
    assert outstanding_target(variant(Role.PRIMARY), 50.0) == pytest.approx(40.0)
    assert outstanding_target(variant(Role.PRIMARY, queue_limit=90), 50.0) == pytest.approx(40.0)


def test_bad_targets_are_named() -> None:
    """A target or a knee that means nothing is rejected by name."""
    with pytest.raises(ValueError, match="target"):
        ExternalAverage(signal=Signal.WAITING, target=0.0)
    with pytest.raises(ValueError, match="knee"):
        outstanding_target(variant(Role.PRIMARY), 0.0)
    with pytest.raises(ValueError, match="hpas"):
        HpaPlanner(()).initial(policy(), None)


def test_fixed_planner_never_moves() -> None:
    """A fixed allocation is decided whatever is seen."""
    planner = FixedPlanner((3, 2))
    planner.initial(policy(), None)
    for load in (0.0, 1e6, None):
        decision, _ = planner.plan(policy(), observation(seen(1, load), seen(0, load)), None, 0.0)
        assert decision.allocation == (3, 2)
        assert decision.cost_per_hour == 15.0


def test_static_peak_respects_the_variant() -> None:
    """Static peak is cut to the Primary's range and leaves the fallback at its minimum."""
    nothing = observation(seen(1, 0.0), seen(0, 0.0))
    for primaries, expected in ((5, (5, 0)), (90, (24, 0)), (0, (1, 0))):
        decision, _ = static_peak(policy(), primaries).plan(policy(), nothing, None, 0.0)
        assert decision.allocation == expected


def test_scheduled_planner_follows_its_times() -> None:
    """Each allocation holds from its time to the next one's, the first also before."""
    planner = ScheduledPlanner([100.0, 160.0], [(1, 0), (4, 2)])
    planner.initial(policy(), None)
    nothing = observation(seen(1, 0.0), seen(0, 0.0))
    for now, expected in ((0.0, (1, 0)), (159.9, (1, 0)), (160.0, (4, 2)), (1e9, (4, 2))):
        assert planner.plan(policy(), nothing, None, now)[0].allocation == expected


def test_bad_allocations_are_named() -> None:
    """Allocations that do not fit are rejected with what is wrong."""
    with pytest.raises(ValueError, match="allocation"):
        FixedPlanner((-1,))
    with pytest.raises(ValueError, match="variants"):
        FixedPlanner((1,)).initial(policy(), None)
    with pytest.raises(ValueError, match="variants"):
        ScheduledPlanner([0.0], [(1,)]).initial(policy(), None)
    with pytest.raises(ValueError, match="ascending"):
        ScheduledPlanner([1.0, 1.0], [(1, 0), (1, 0)])
    with pytest.raises(ValueError, match="one allocation per time"):
        ScheduledPlanner([], [])
    with pytest.raises(ValueError, match=">= 0"):
        ScheduledPlanner([1.0], [(1, -1)])


def test_keda_takes_an_empty_result_for_no_load() -> None:
    """By default KEDA reads an absent metric as 0 and gives capacity back after the window."""
    planner = queue_keda(policy(), KNEES)
    history = planner.initial(policy(), None)
    absent = replace(seen(7, 0.0), running=Missing(MissingReason.ABSENT))
    path = []
    for tick in range(30):
        now = observation(absent, seen(0, 0.0))
        decision, history = planner.plan(policy(), now, history, 15.0 * tick)
        path.append(decision.allocation)
    assert path[:20] == [(7, 0)] * 20
    assert path[-1] == (1, 0)


def test_keda_freezes_on_a_failed_query_without_fallback() -> None:
    """A failed query is no action."""
    planner = queue_keda(policy(), KNEES)
    history = planner.initial(policy(), None)
    for tick in range(30):
        now = observation(seen(7, None), seen(0, 0.0))
        decision, history = planner.plan(policy(), now, history, 15.0 * tick)
        assert decision.allocation == (7, 0)
        assert decision.binding is Reason.METRICS_MISSING


def test_keda_fallback_takes_over_after_its_threshold() -> None:
    """From one failure more than the threshold on KEDA makes the HPA ask for its replicas."""
    scaled = ScaledObject(
        triggers=(ExternalAverage(signal=Signal.OUTSTANDING, target=40.0),),
        fallback=Fallback(failure_threshold=2, replicas=9),
    )
    planner = KedaPlanner((scaled, None))
    history = planner.initial(policy(), None)
    wanted = []
    for tick in range(4):
        now = observation(seen(5, None), seen(0, 0.0))
        decision, history = planner.plan(policy(), now, history, 15.0 * tick)
        wanted.append(decision.allocation[0])
    assert wanted == [5, 5, 9, 9]


def test_keda_sleeps_after_its_cooldown_and_wakes_on_arrivals() -> None:
    """With a minimum of 0 the workload goes to 0 after 300 s of silence and back on arrivals."""
    of = policy(RoutingLaw.SEPARATE, variant(Role.PRIMARY, low=0))
    planner = queue_keda(of, KNEES[:1])
    history = planner.initial(of, None)
    path = []
    replicas = 1
    for tick in range(48):
        arriving = tick in {0, 40, 41}
        now = replace(
            observation(seen(replicas, 10.0 if arriving and replicas else 0.0)),
            traffic=replace(SILENT, requests=8.0) if arriving else SILENT,
        )
        decision, history = planner.plan(of, now, history, 15.0 * tick)
        (replicas,) = decision.allocation
        path.append(replicas)
    assert path[:20] == [1] * 20
    assert path[24:40] == [0] * 16
    assert path[42:] == [1] * 6


def test_kpa_panics_up_and_does_not_come_down_in_panic() -> None:
    """A load of more than twice the ready replicas' target holds the peak for a stable window."""
    planner = concurrency_kpa(policy(), KNEES)
    history = planner.initial(policy(), None)
    path = []
    for tick, load in enumerate([30.0] * 5 + [700.0] + [30.0] * 10):
        now = observation(seen(1, load), seen(0, 0.0))
        decision, history = planner.plan(policy(), now, history, 15.0 * tick)
        path.append(decision.allocation[0])
    assert path[:5] == [1] * 5
    assert path[5:9] == [20] * 4
    assert path[-1] == 1


def test_kpa_sleeps_after_its_windows_and_wakes_on_arrivals() -> None:
    """With a minimum of 0 the last replica goes after silence and comes back on arrivals."""
    of = policy(RoutingLaw.SEPARATE, variant(Role.PRIMARY, low=0))
    planner = concurrency_kpa(of, KNEES[:1])
    history = planner.initial(of, None)
    path = []
    replicas = 1
    for tick in range(60):
        arriving = tick < 8 or tick >= 50
        now = replace(
            observation(seen(replicas, 10.0 if arriving and replicas else 0.0)),
            traffic=replace(SILENT, requests=8.0) if arriving else SILENT,
        )
        decision, history = planner.plan(of, now, history, 15.0 * tick)
        (replicas,) = decision.allocation
        path.append(replicas)
    assert path[:11] == [1] * 11
    assert path[16:50] == [0] * 34
    assert path[50:] == [1] * 10


def test_kpa_holds_without_data() -> None:
    """Once its window is empty the KPA decides nothing."""
    planner = concurrency_kpa(policy(), KNEES)
    history = planner.initial(policy(), None)
    for tick in range(10):
        now = observation(seen(6, None), seen(0, 0.0))
        decision, history = planner.plan(policy(), now, history, 15.0 * tick)
        assert decision.allocation == (6, 0)
        assert decision.binding is Reason.METRICS_MISSING


def test_aibrix_counts_loading_pods_as_zero() -> None:
    """A pod that still loads pulls the average down, as AIBrix's scrape of it is refused."""
    planner = kv_autoscaler(policy(), Strategy.APA)
    full = replace(seen(2, 0.0), kv_use=Measured(0.9, 0.0))
    loading = replace(full, desired=4, starting_since_seconds=(0.0, 0.0))
    history = planner.initial(policy(), None)
    decision, _ = planner.plan(policy(), observation(full, seen(0, 0.0)), history, 0.0)
    assert decision.allocation == (4, 0)
    decision, _ = planner.plan(policy(), observation(loading, seen(0, 0.0)), history, 0.0)
    assert decision.allocation == (4, 0)
    assert decision.binding is Reason.PEER_LAW


def test_aibrix_on_outstanding() -> None:
    """The tuned setup divides outstanding per Ready pod by a share of the knee."""
    planner = queue_autoscaler(policy(), KNEES, Strategy.APA)
    history = planner.initial(policy(), None)
    decision, _ = planner.plan(policy(), observation(seen(4, 240.0), seen(0, 0.0)), history, 0.0)
    assert decision.allocation == (6, 0)


def test_aibrix_holds_when_every_fetch_fails() -> None:
    """Without any value AIBrix reports an error and leaves the replicas."""
    planner = kv_autoscaler(policy(), Strategy.KPA)
    history = planner.initial(policy(), None)
    decision, _ = planner.plan(policy(), observation(seen(6, 0.0), seen(0, 0.0)), history, 0.0)
    assert decision.allocation == (6, 0)
    assert decision.binding is Reason.METRICS_MISSING


@pytest.mark.parametrize(("inverted", "expected"), [(True, 1), (False, 4)])
def test_aibrix_cooldown_and_its_twin(inverted: bool, expected: int) -> None:  # noqa: FBT001 - the case
    """As written a lower recommendation is taken up at once; the twin holds the greatest."""
    planner = kv_autoscaler(policy(), Strategy.APA, inverted_cooldown=inverted)
    history = planner.initial(policy(), None)
    replicas = 4
    for tick, use in enumerate([0.5] + [0.01] * 13):
        now = observation(replace(seen(replicas, 0.0), kv_use=Measured(use, 0.0)), seen(0, 0.0))
        decision, history = planner.plan(policy(), now, history, 15.0 * tick)
        replicas = decision.allocation[0]
    assert replicas == expected


def test_ray_waits_for_its_delays() -> None:
    """Ray goes up 30 s after the first tick that wants more, and down 600 s after."""
    planner = queue_ray(policy(), KNEES)
    history = planner.initial(policy(), None)
    path = []
    replicas = 2
    for tick, load in enumerate([80.0] * 3 + [240.0] * 6 + [80.0] * 50):
        now = observation(seen(replicas, load), seen(0, 0.0))
        decision, history = planner.plan(policy(), now, history, 15.0 * tick)
        replicas = decision.allocation[0]
        path.append(replicas)
    assert path[:5] == [2] * 5
    assert path[9:40] == [6] * 31
    assert path[-1] == 2


def test_ray_holds_without_samples() -> None:
    """Once the look-back holds no sample nothing changes."""
    planner = queue_ray(policy(), KNEES)
    history = planner.initial(policy(), None)
    for tick in range(60):
        now = observation(seen(6, None), seen(0, 0.0))
        decision, history = planner.plan(policy(), now, history, 15.0 * tick)
        assert decision.allocation == (6, 0)
        assert decision.binding is Reason.METRICS_MISSING


def facts(law: RoutingLaw = RoutingLaw.OVERFLOW, *variants: Variant) -> PeerFacts:
    """Facts of a scenario with two variants, unless ``variants`` are given."""
    of = policy(law, *variants)
    return facts_of(of, KNEES[: len(of.variants)])


@pytest.mark.parametrize("name", [known.name for known in peers()])
def test_every_listed_peer_plans(name: str) -> None:
    """Every peer can be set up by name and decides within the variants' ranges."""
    chosen = peer(name)
    planner = chosen.planner(facts())
    history = planner.initial(policy(), None)
    decision, _ = planner.plan(policy(), observation(seen(2, 60.0), seen(1, 0.0)), history, 0.0)
    assert chosen.description
    for replicas, limit in zip(decision.allocation, policy().variants, strict=True):
        assert limit.min_replicas <= replicas <= limit.max_replicas


def test_names_are_unique_and_unknown_ones_are_told() -> None:
    """A wrong name lists the known ones."""
    names = [known.name for known in peers()]
    assert len(set(names)) == len(names)
    with pytest.raises(UnknownPeer, match="hpa-queue"):
        peer("hpa-queu")


def test_settings_are_checked_by_name_and_range() -> None:
    """A setting that a peer lacks, or a value out of range, is told with what may be written."""
    with pytest.raises(InvalidSetting, match="target_share, down_window_seconds"):
        peer("hpa-queue").planner(facts(), {"target": 1.0})
    with pytest.raises(InvalidSetting, match="from 0 to 3600"):
        peer("hpa-queue").planner(facts(), {"down_window_seconds": 3601.0})
    with pytest.raises(InvalidSetting, match="no settings"):
        peer("static-peak").planner(facts(), {"replicas": 3.0})


def test_a_lower_target_share_asks_for_more_replicas() -> None:
    """What is asked for a knob reaches the law."""
    load = observation(seen(4, 160.0), seen(1, 0.0))
    counts = []
    for share in (0.9, 0.6):
        planner = peer("hpa-queue").planner(facts(), {"target_share": share})
        decision, _ = planner.plan(policy(), load, planner.initial(policy(), None), 0.0)
        counts.append(decision.allocation[0])
    assert counts[0] < counts[1]


def test_surge_needs_overflow_and_a_fallback() -> None:
    """The surge peer says which field of the scenario keeps it from being set up."""
    surge = peer("hpa-queue-surge")
    with pytest.raises(NotApplicable, match=r"routing\.type"):
        surge.planner(facts(RoutingLaw.SHARED))
    with pytest.raises(NotApplicable, match="Fallback"):
        surge.planner(facts(RoutingLaw.OVERFLOW, variant(Role.PRIMARY)))
