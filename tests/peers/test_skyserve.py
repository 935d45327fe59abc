"""SkyServe's laws on hand-made cases, and as planners."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import (
    Missing,
    MissingReason,
    Observation,
    Traffic,
    TrafficReading,
    VariantObservation,
)
from controller.core.domain.policy import (
    Policy,
    RoutingLaw,
)
from controller.core.domain.variant import Role, Variant
from peers.building import facts_of, policy_of, variant_of
from simulations.peers.peer import NotApplicable, PeerFacts
from simulations.peers.registry import peer
from simulations.peers.skyserve.fleet import Replica, Status, brought_to
from simulations.peers.skyserve.law import (
    Mix,
    SkyHistory,
    SkySpec,
    decide,
    mixed,
    wanted_by_instances,
    wanted_by_rate,
)
from simulations.peers.skyserve.planner import SkyPlanner, SkyService

GONE = Missing(MissingReason.QUERY_FAILED)
TICK_SECONDS = 15.0
TEN = SkySpec(min_replicas=1, max_replicas=10)


def variant(name: str, role: Role = Role.PRIMARY, *, low: int = 1, high: int = 10) -> Variant:
    """A variant of this name and replica range."""
    return variant_of(role, name=name, min_replicas=low, max_replicas=high)


def policy(*variants: Variant, law: RoutingLaw = RoutingLaw.SHARED) -> Policy:
    """A Primary and a fallback that may be at zero, unless ``variants`` are given."""
    return policy_of(
        *(variants or (variant("fp16"), variant("int4", Role.FALLBACK, low=0))), law=law
    )


def facts(of: Policy) -> PeerFacts:
    """Facts of a scenario with this policy."""
    return facts_of(of, (50.0,) * len(of.variants), peak_replicas=5, p95_replicas=4)


def requests(qps: float, now: float) -> Traffic:
    """The last tick's requests at this rate."""
    return Traffic(
        from_seconds=now - TICK_SECONDS,
        to_seconds=now,
        requests=TICK_SECONDS * qps,
        refused=0.0,
        token_requests=0.0,
        prompt_tokens=0.0,
        output_tokens=0.0,
    )


def ready(count: int) -> VariantObservation:
    """So many replicas, all Ready."""
    return VariantObservation(desired=count, ready=count)


def closed_loop(
    service: SkyService,
    of: Policy,
    loads: Sequence[float | None],
    start: tuple[int, ...],
    ready_after_ticks: int = 0,
) -> list[Decision]:
    """Replay requests/s per tick (None: blind); a new replica is Ready after some ticks."""
    planner = SkyPlanner(service)
    history = planner.initial(of, None)
    decided = [start] * (ready_after_ticks + 1)
    decisions = []
    for tick, qps in enumerate(loads):
        now = TICK_SECONDS * (tick + 1)
        traffic: TrafficReading = GONE if qps is None else requests(qps, now)
        settled = [min(counts) for counts in zip(*decided[-ready_after_ticks - 1 :], strict=True)]
        seen = tuple(
            VariantObservation(
                desired=desired,
                ready=running,
                starting_since_seconds=(now,) * (desired - running),
            )
            for desired, running in zip(decided[-1], settled, strict=True)
        )
        observation = Observation(
            workloads_at_seconds=now, variants=seen, traffic=traffic, outcomes=GONE
        )
        decision, history = planner.plan(of, observation, history, now)
        decided.append(decision.allocation)
        decisions.append(decision)
    return decisions


def replicas(*statuses: tuple[Status, float]) -> list[Replica]:
    """Records with a status and a target each, numbered from 1."""
    return [
        Replica(number=number, status=status, target_qps=target)
        for number, (status, target) in enumerate(statuses, start=1)
    ]


def test_the_target_follows_on_the_fifteenth_decision() -> None:
    """13 requests/s at 5 each become 3 replicas after 300 s of decisions 20 s apart."""
    history = SkyHistory(target=1)
    for _ in range(14):
        history = decide(TEN, history, wanted_by_rate(TEN, 13.0, 5.0))
        assert history.target == 1
    assert decide(TEN, history, 3) == SkyHistory(target=3)


@pytest.mark.parametrize("between", [0, 1])
def test_another_wish_starts_the_count_again(between: int) -> None:
    """One decision that wants the same or the contrary undoes all that went before."""
    history = SkyHistory(target=1, up_count=14)
    spec = replace(TEN, min_replicas=0)
    history = decide(spec, history, between)
    assert history.up_count == 0
    assert decide(spec, history, 3) == SkyHistory(target=1, up_count=1)


def test_from_zero_the_target_moves_at_once() -> None:
    """At zero there is nothing to wait for; the counts stay, and decisions come every 5 s."""
    history = SkyHistory(target=0, up_count=2)
    assert history.next_decision_seconds == 5.0
    moved = decide(replace(TEN, min_replicas=0), history, 4)
    assert moved == SkyHistory(target=4, up_count=2)
    assert moved.next_decision_seconds == 20.0


def test_a_delay_is_cut_to_whole_decisions() -> None:
    """30 s are one decision."""
    spec = replace(TEN, upscale_delay_seconds=30.0)
    assert decide(spec, SkyHistory(target=1), 2).target == 2


@given(wanted=st.lists(st.integers(1, 10), min_size=1, max_size=80), start=st.integers(1, 10))
@settings(deadline=None)
def test_a_target_moves_only_to_what_was_wanted_throughout(wanted: list[int], start: int) -> None:
    """The target changes only after the whole delay in one direction, to the newest wish."""
    spec = replace(TEN, upscale_delay_seconds=60.0, downscale_delay_seconds=100.0)
    history = SkyHistory(target=start)
    for position, wish in enumerate(wanted):
        before = history.target
        history = decide(spec, history, wish)
        if history.target == before:
            continue
        assert history.target == wish
        length = 3 if wish > before else 5
        assert position + 1 >= length
        recent = wanted[position + 1 - length : position + 1]
        assert all((one > before) == (wish > before) and one != before for one in recent)


def test_ondemand_fills_the_gap_until_spot_is_ready() -> None:
    """Ten replicas of which two are always on demand: five Ready spot leave a gap of three."""
    spec = SkySpec(min_replicas=1, max_replicas=20, base_ondemand=2, dynamic_ondemand=True)
    assert mixed(spec, 10, ready_spot=5) == Mix(spot=8, ondemand=5)
    assert mixed(spec, 10, ready_spot=8) == Mix(spot=8, ondemand=2)
    assert brought_to(replicas(*[(Status.STARTING, 0.0)] * 8), 8).launch == 0


def test_ondemand_never_exceeds_the_target() -> None:
    """Replicas kept beyond the target are not stood in for."""
    spec = SkySpec(min_replicas=1, max_replicas=9, overprovision=2, dynamic_ondemand=True)
    assert mixed(spec, 3, ready_spot=0) == Mix(spot=5, ondemand=3)


def test_the_youngest_in_life_go_first() -> None:
    """Provisioning goes before starting before Ready; of equals the newest."""
    fleet = replicas(
        (Status.READY, 1.0),
        (Status.STARTING, 1.0),
        (Status.PROVISIONING, 1.0),
        (Status.STARTING, 1.0),
        (Status.FAILED, 1.0),
    )
    assert brought_to(fleet, 1).terminate == (3, 4, 2)
    old = [replace(fleet[0], version=1), replace(fleet[0], number=9, version=2)]
    assert brought_to(old, 1).terminate == (1,)


def test_the_slowest_go_first_whatever_they_do() -> None:
    """By type the state does not count: a slow Ready replica goes before a fast starting one."""
    fleet = replicas((Status.READY, 2.0), (Status.STARTING, 6.0))
    assert brought_to(fleet, 1, by_qps=True).terminate == (1,)


@pytest.mark.parametrize(
    ("qps", "fleet", "expected"),
    [
        (13.0, [(Status.READY, 6.0), (Status.STARTING, 6.0)], 3),
        (13.0, [(Status.READY, 6.0), (Status.READY, 6.0), (Status.SHUTTING_DOWN, 6.0)], 4),
        (5.0, [(Status.READY, 2.0), (Status.READY, 6.0), (Status.READY, 2.0)], 1),
        (6.0, [(Status.READY, 2.0), (Status.READY, 6.0), (Status.READY, 2.0)], 2),
        (4.0, [(Status.STARTING, 6.0)], 1),
        (99.0, [(Status.NOT_READY, 6.0)], 1),
        (0.0, [(Status.READY, 6.0)], 1),
    ],
)
def test_instances_are_counted_by_what_they_carry(
    qps: float, fleet: list[tuple[Status, float]], expected: int
) -> None:
    """Missing ones come on top of all records; else the fewest of the best Ready ones are kept."""
    assert wanted_by_instances(TEN, qps, replicas(*fleet), 6.0) == expected


def test_delays_keep_their_meaning_under_our_tick() -> None:
    """With a tick of 15 s an increase still takes 300 s, and a decrease 1200 s."""
    service = SkyService(target_qps=(5.0, 4.0), primaries=(0,))
    decisions = closed_loop(service, policy(), [24.0] * 30 + [4.0] * 120, (1, 0))
    counts = [decision.allocation[0] for decision in decisions]
    risen = counts.index(5)
    fallen = counts.index(1, risen)
    assert 15.0 * risen == pytest.approx(280.0, abs=15.0)
    assert 15.0 * (fallen - 30) == pytest.approx(1200.0, abs=60.0)
    assert decisions[4].binding is Reason.STABILIZATION_WINDOW


def test_the_fallback_stands_in_until_primaries_are_ready() -> None:
    """While four Primaries start the fallback carries their load, and then it goes."""
    service = SkyService(
        target_qps=(5.0, 10.0), primaries=(0,), standin=1, upscale_delay_seconds=20.0
    )
    decisions = closed_loop(service, policy(), [5.0] * 4 + [25.0] * 30, (1, 0), 8)
    path = [decision.allocation for decision in decisions]
    assert path[3] == (1, 0)
    assert max(fallback for _, fallback in path) == 2
    assert path[-1] == (5, 0)
    first = path.index((5, 2))
    assert {fallback for _, fallback in path[first : first + 7]} == {2}


def test_a_blind_spell_changes_nothing_and_is_not_made_up_for() -> None:
    """Once the window is empty the fleet stays, and the decisions of that time are not counted."""
    service = SkyService(target_qps=(5.0, 4.0), primaries=(0,), standin=1)
    decisions = closed_loop(service, policy(), [30.0] + [None] * 200 + [30.0], (3, 1))
    blind = decisions[5:201]
    assert {decision.allocation for decision in blind} == {(3, 0)}
    assert {decision.binding for decision in blind} == {Reason.METRICS_MISSING}
    assert decisions[-1].allocation[0] == 3


def test_it_sleeps_and_wakes() -> None:
    """With a minimum of 0 the last replica goes after its delay and comes back with a request."""
    of = policy(variant("fp16", low=0))
    service = SkyService(target_qps=(5.0,), primaries=(0,), downscale_delay_seconds=60.0)
    decisions = closed_loop(service, of, [2.0] * 4 + [0.0] * 20 + [2.0], (1,))
    counts = [decision.allocation[0] for decision in decisions]
    assert counts[3] == 1
    assert counts[15:24] == [0] * 9
    assert counts[24] == 1


def test_of_two_primaries_the_slower_goes_first() -> None:
    """Launches go to the first Primary until it is full; a decrease takes the slower one's."""
    of = policy(variant("a", high=4), variant("b", high=6))
    service = SkyService(
        target_qps=(5.0, 10.0),
        primaries=(0, 1),
        instance_aware=True,
        upscale_delay_seconds=20.0,
        downscale_delay_seconds=20.0,
    )
    up = closed_loop(service, of, [70.0] * 3, (2, 2))
    assert up[0].allocation == (4, 4)
    down = closed_loop(service, of, [12.0] * 3, (3, 3))
    assert down[-1].allocation == (1, 1)


def test_weighted_routing_is_by_what_is_ready() -> None:
    """Where steelyard writes the weights, the peer's own balancer decides them."""
    of = policy(law=RoutingLaw.WEIGHTED)
    service = SkyService(target_qps=(5.0, 10.0), primaries=(0,), standin=1)
    planner = SkyPlanner(service)
    observation = Observation(
        workloads_at_seconds=15.0,
        variants=(ready(2), ready(1)),
        traffic=requests(5.0, 15.0),
        outcomes=GONE,
    )
    decision, _ = planner.plan(of, observation, planner.initial(of, None), 15.0)
    assert decision.weights == (0.5, 0.5)


@given(
    loads=st.lists(st.none() | st.floats(0.0, 1e5), min_size=1, max_size=30),
    start=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    name=st.sampled_from(["skyserve", "skyserve-fallback", "skyserve-instance-aware"]),
    delay=st.sampled_from([0.0, 20.0, 300.0]),
)
@settings(deadline=None, max_examples=60)
def test_every_decision_is_within_the_variants_ranges(
    loads: list[float | None], start: tuple[int, int], name: str, delay: float
) -> None:
    """Whatever arrives and whatever is found, replicas stay within each variant's range."""
    of = policy()
    asked = {"upscale_delay_seconds": delay, "downscale_delay_seconds": delay}
    planner = peer(name).planner(facts(of), asked)
    history = planner.initial(of, None)
    counts = start
    for tick, qps in enumerate(loads):
        now = TICK_SECONDS * (tick + 1)
        observation = Observation(
            workloads_at_seconds=now,
            variants=(ready(counts[0]), ready(counts[1])),
            traffic=GONE if qps is None else requests(qps, now),
            outcomes=GONE,
        )
        decision, history = planner.plan(of, observation, history, now)
        for count, limit in zip(decision.allocation, of.variants, strict=True):
            assert limit.min_replicas <= count <= limit.max_replicas
        counts = (decision.allocation[0], decision.allocation[1])


def test_the_mix_needs_a_fallback_that_can_stand_in() -> None:
    """Without a fallback, or with clients of its own for it, the mix cannot be set up."""
    with pytest.raises(NotApplicable, match="Fallback"):
        peer("skyserve-fallback").planner(facts(policy(variant("fp16"))))
    with pytest.raises(NotApplicable, match=r"routing\.type"):
        peer("skyserve-fallback").planner(facts(policy(law=RoutingLaw.SEPARATE)))


def test_bad_setups_are_named() -> None:
    """A target that nothing can be divided by, and one too few, are rejected by name."""
    with pytest.raises(ValueError, match="target_qps"):
        SkyService(target_qps=(0.0,), primaries=(0,))
    with pytest.raises(ValueError, match="one per variant"):
        SkyPlanner(SkyService(target_qps=(1.0,), primaries=(0,))).initial(policy(), None)
