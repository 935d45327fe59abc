"""HPA on running requests and on requests/s."""

from dataclasses import replace

import pytest

from controller.core.domain.decision import Reason
from controller.core.domain.observation import (
    Measured,
    Missing,
    MissingReason,
    Observation,
    Traffic,
    TrafficReading,
    VariantObservation,
)
from controller.core.domain.policy import (
    Policy,
)
from controller.core.domain.variant import Role, Variant
from controller.core.performance.capacity import fleet_capacity
from controller.core.performance.mix import TokenMix
from peers.building import ENGINE, policy_of, variant_of
from simulations.peers.hpa.planner import arrival_rate, scraped_arrivals
from simulations.peers.hpa.setups import concurrency_hpa, rps_hpa, running_target
from simulations.peers.load_test import carried_per_replica
from simulations.peers.peer import PeerFacts

FAILED = Missing(MissingReason.QUERY_FAILED)


def variant(role: Role, *, max_running: int = 256) -> Variant:
    """A variant of up to 24 replicas, with so many slots each."""
    return variant_of(
        role,
        min_replicas=1 if role is Role.PRIMARY else 0,
        profile=replace(ENGINE, max_running=max_running),
    )


def policy() -> Policy:
    """A Primary and a fallback."""
    return policy_of(variant(Role.PRIMARY), variant(Role.FALLBACK))


def observed(
    replicas: int, running: float, waiting: float, traffic: TrafficReading = FAILED
) -> Observation:
    """A fleet of Primaries with this load."""
    primary = VariantObservation(
        desired=replicas,
        ready=replicas,
        running=Measured(running, 0.0),
        waiting=Measured(waiting, 0.0),
    )
    return Observation(
        workloads_at_seconds=0.0,
        variants=(primary, VariantObservation(desired=0, ready=0)),
        traffic=traffic,
        outcomes=FAILED,
    )


def requests(count: float, now: float) -> Traffic:
    """So many requests in the 15 s before ``now``."""
    return Traffic(
        from_seconds=now - 15.0,
        to_seconds=now,
        requests=count,
        refused=0.0,
        token_requests=0.0,
        prompt_tokens=0.0,
        output_tokens=0.0,
    )


def test_concurrency_counts_running_requests_only() -> None:
    """161 running at .8 of a knee of 50 are 5 replicas, however many wait."""
    planner = concurrency_hpa(policy(), (50.0, 40.0))
    decision, _ = planner.plan(
        policy(), observed(3, 161.0, 500.0), planner.initial(policy(), None), 0.0
    )
    assert decision.allocation == (5, 0)


def test_concurrency_cannot_ask_for_more_than_the_slots() -> None:
    """A knee above the engine's slots would never be seen: the slots take its place."""
    assert running_target(variant(Role.PRIMARY), 50.0) == pytest.approx(40.0)
    assert running_target(variant(Role.PRIMARY, max_running=32), 50.0) == pytest.approx(25.6)


def test_requests_per_second_are_shared_by_what_a_replica_carries() -> None:
    """22 requests/s at .8 of 5 each are 6 replicas once the rate has two samples."""
    planner = rps_hpa(policy(), 5.0)
    history = planner.initial(policy(), None)
    counts = []
    for tick in range(5):
        now = 15.0 * tick
        load = observed(4, 0.0, 0.0, requests(22.0 * 15.0, now))
        decision, history = planner.plan(policy(), load, history, now)
        counts.append(decision.allocation)
    assert counts[-1] == (6, 0)


def test_requests_per_second_hold_when_the_query_fails() -> None:
    """Without an answer the HPA does nothing; once there is no rate any more, neither."""
    planner = rps_hpa(policy(), 5.0)
    history = planner.initial(policy(), None)
    for tick in range(40):
        traffic = requests(300.0, 0.0) if tick == 0 else FAILED
        if tick > 20:
            traffic = Missing(MissingReason.STALE)
        decision, history = planner.plan(
            policy(), observed(7, 0.0, 0.0, traffic), history, 15.0 * tick
        )
        assert decision.allocation == (7, 0)
    assert decision.binding is Reason.METRICS_MISSING


def test_a_gap_in_the_scrapes_is_counted_when_it_ends() -> None:
    """The counter goes on while nobody looks: what came meanwhile shows in the next sample."""
    arrivals = scraped_arrivals((), requests(30.0, 15.0), 15.0)
    assert arrival_rate(arrivals, requests(30.0, 15.0), 15.0) == Measured(
        pytest.approx(2.0 * (15.0 + 7.5) / 60.0), 15.0
    )
    arrivals = scraped_arrivals(arrivals, Missing(MissingReason.STALE), 30.0)
    late = Traffic(
        from_seconds=15.0,
        to_seconds=45.0,
        requests=60.0,
        refused=0.0,
        token_requests=0.0,
        prompt_tokens=0.0,
        output_tokens=0.0,
    )
    arrivals = scraped_arrivals(arrivals, late, 45.0)
    assert [value for _, value in arrivals] == [0.0, 30.0, 90.0]
    assert scraped_arrivals(arrivals, late, 45.0) == arrivals
    assert scraped_arrivals(arrivals, FAILED, 80.0) == arrivals[2:]


def test_a_load_test_is_of_the_peaks_fleet() -> None:
    """What a replica carries is its share of what the fleet of the peak carries."""
    of = policy()
    mix = TokenMix.from_means(1000.0, 200.0)
    capacity = fleet_capacity(of.variants, of.slo, of.routing, mix)
    facts = PeerFacts(
        policy=of, knees=(50.0, 40.0), peak_replicas=4, p95_replicas=3, capacity=capacity, mix=mix
    )
    assert carried_per_replica(facts, 0) == pytest.approx(capacity.capacity((4, 0)) / 4)
    assert carried_per_replica(facts, 0) > capacity.capacity((1, 0))
