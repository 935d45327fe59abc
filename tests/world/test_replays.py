"""Whole replays of the simulated world: scored right, repeatable, and nothing lost."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from controller.core.domain.observation import Observation
from controller.core.domain.policy import Mode
from simulations.engine.fleet import Fleet, PoolLaw
from simulations.peers.static import FixedPlanner, ScheduledPlanner
from simulations.reference.path import Path
from simulations.results import PolicyResult
from simulations.setup import Prepared
from simulations.world.ceiling import ceiling
from simulations.world.replay import replay_path
from simulations.world.scoring import Scorer
from simulations.world.simulation import simulate
from simulations.world.stepping import step
from simulations.world.world import ArrivalStream, World

Make = Callable[..., Prepared]

FAULTS: list[dict[str, Any]] = [
    {"kind": "Crash", "fromSeconds": 100, "toSeconds": 400, "amount": 60},
    {"kind": "ScrapeGap", "fromSeconds": 200, "toSeconds": 300},
    {"kind": "SlowNode", "fromSeconds": 150, "toSeconds": 600, "amount": 0.7},
]
CLIENTS = {"timeoutSeconds": 20, "retries": 2, "retryBackoffSeconds": 2}


def fixed(prepared: Prepared, *allocation: int, seed: int = 0) -> PolicyResult:
    """Replay one allocation for ever."""
    return simulate(prepared.with_seed(seed), FixedPlanner(allocation), "fixed")


def constant(*allocation: int) -> Path:
    """Keep an allocation in every minute of ten."""
    return Path(bucket_seconds=60.0, replicas=np.array([allocation] * 10))


# --- stepping ----------------------------------------------------------------------------------


def test_a_port_that_suspends_is_refused() -> None:
    """Waiting would let real time into the simulation."""

    async def waits() -> int:
        await asyncio.sleep(0)
        return 1

    with pytest.raises(RuntimeError, match="must answer at once"):
        step(waits())


def test_a_port_that_answers_at_once_is_stepped_to_its_result() -> None:
    """Coroutines that never suspend need no event loop, and their errors pass through."""

    async def answers() -> int:
        return 7

    async def fails() -> int:
        raise KeyError("x")

    assert step(answers()) == 7
    with pytest.raises(KeyError):
        step(fails())


# --- arrivals ----------------------------------------------------------------------------------


def test_slices_of_an_arrival_stream_hold_every_arrival_once(prepared: Make) -> None:
    """Uneven slices across chunk edges join to the trace."""
    trace = prepared().setup.trace
    stream = ArrivalStream(trace)
    edges = [0.0, 0.4, 17.0, 17.0, 299.9, 300.0, 555.5, 600.0]
    parts = [part.seconds for low, high in pairwise(edges) for part in stream.between(low, high)]
    chunks = int(np.ceil(trace.duration_seconds / trace.chunk_seconds))
    whole = np.concatenate([trace.chunk(i).seconds for i in range(chunks)])
    assert np.array_equal(np.concatenate(parts), whole)


# --- conservation and repeatability ------------------------------------------------------------


@pytest.mark.parametrize("admission", ["Reserve", "Preempt"])
def test_every_request_ends_exactly_once_with_faults_time_outs_and_retries(
    prepared: Make, admission: str
) -> None:
    """Over a whole replay each arrival is good, bad, refused, timed out or failed, and once."""
    made = prepared(faults=FAULTS, clients=CLIENTS, admission=admission, warmupSeconds=0)
    world = World(made.setup)
    scorer = Scorer(world, "watched")
    count = round(made.setup.trace.demand(60.0).requests.sum() * 1.3)
    world.fleet.watch(count)
    for tick in range(scorer.ticks):
        # Up and down, so that requests live through starts, drains and crashes.
        world.cluster.scale(0, 2 + tick // 4 % 3, world.seconds)
        scorer.placed(tick)
        scorer.advance(tick)
    result = scorer.result([])
    chunks = int(np.ceil(made.setup.trace.duration_seconds / made.setup.trace.chunk_seconds))
    arrived = sum(len(made.setup.trace.chunk(i)) for i in range(chunks))
    endings = world.fleet.endings()
    assert np.array_equal(np.sort(endings["uid"]), np.arange(arrived))
    assert result.requests == arrived
    assert result.requests == result.good + _missed(world.fleet, result)
    assert min(result.refused, result.timed_out, result.failed) > 0
    assert np.sum(result.timeline.arrivals_per_second) * 15.0 == pytest.approx(arrived)


def _missed(fleet: Fleet, result: PolicyResult) -> int:
    """Lost requests, and those answered in full but too slowly."""
    totals = fleet.totals()
    slow = int(totals.finished.sum() - totals.good.sum())
    return slow + result.refused + result.timed_out + result.failed


def test_the_same_seed_gives_the_same_replay_and_another_one_another(prepared: Make) -> None:
    """All of a result but the time it took depends on scenario, policy and seed alone."""
    made = prepared(faults=FAULTS, clients=CLIENTS)
    first, again, other = (fixed(made, 3, 0, seed=seed) for seed in (4, 4, 5))
    assert first.digest == again.digest
    assert (first.cost, first.good, first.refused, first.failed, first.ttft_seconds) == (
        again.cost,
        again.good,
        again.refused,
        again.failed,
        again.ttft_seconds,
    )
    assert np.array_equal(first.timeline.cumulative_cost, again.timeline.cumulative_cost)
    assert np.array_equal(first.timeline.ready, again.timeline.ready)
    assert other.digest != first.digest


def test_a_fixed_fleet_costs_replicas_times_time(prepared: Make) -> None:
    """3 replicas at 3.60 an hour over the 9 scored minutes, and nothing of the warm-up."""
    result = fixed(prepared(), 3, 0)
    assert result.cost == pytest.approx(3 * 540.0 / 1000.0)
    assert result.timeline.cumulative_cost[-1] == pytest.approx(result.cost)
    assert result.timeline.at_seconds[-1] == 540.0 - 15.0
    assert (result.churn, result.starting_gpu_hours, result.degraded_share) == (0, 0.0, 0.0)
    assert result.attainment == result.good / result.requests


def test_what_prometheus_would_show_holds_the_truth_between_its_ends(prepared: Make) -> None:
    """Each objective has a histogram of its own, so only an interval is visible."""
    made = prepared(faults=FAULTS, clients=CLIENTS, warmupSeconds=0)
    result = fixed(made, 2, 0)
    low, high = result.seen_attainment
    assert low <= result.attainment <= high
    assert result.attainment < 0.99
    calm = fixed(prepared(warmupSeconds=0), 4, 0)
    assert calm.seen_attainment == pytest.approx((calm.attainment,) * 2, abs=0.005)


def test_what_is_not_answered_within_an_hour_is_missed(prepared: Make) -> None:
    """A queue without limit in a hopeless overload leaves nobody out of the count."""
    made = prepared(
        replicas={"bf16": {"queueLimit": None}, "fp8": {"queueLimit": None}},
        peakReplicas=12,
        warmupSeconds=0,
        trace={"synthetic": {"durationSeconds": 600, "levelRequestsPerSecond": 1}},
    )
    setup = made.with_seed(0)
    world = World(setup, warm=(1, 0))
    scorer = Scorer(world, "alone")
    for tick in range(scorer.ticks):
        scorer.placed(tick)
        scorer.advance(tick)
    result = scorer.result([])
    assert result.requests == round(float(np.sum(result.timeline.arrivals_per_second)) * 15.0)
    assert result.timed_out == world.fleet.live > 0
    assert result.requests == _missed(world.fleet, result) + result.good


# --- clairvoyant paths -------------------------------------------------------------------------


def test_a_constant_path_is_a_fixed_fleet(prepared: Make) -> None:
    """Replayed as a path or held by a planner, it attains and costs the same."""
    made = prepared()
    planned = fixed(made, 3, 0)
    replayed, outcome = replay_path(made.setup, constant(3, 0))
    assert replayed.attainment == planned.attainment
    assert replayed.cost <= planned.cost + 1e-9
    assert replayed.digest == planned.digest
    assert outcome.cost == replayed.cost
    assert outcome.misses.sum() / outcome.requests.sum() == pytest.approx(
        1.0 - replayed.attainment, abs=0.02
    )


def test_a_path_pays_for_each_start_and_is_ready_on_time(prepared: Make) -> None:
    """One replica more for one minute costs that minute and one cold start."""
    made = prepared()
    base, _ = replay_path(made.setup, constant(3, 0))
    steps = np.array([(4, 0) if minute == 5 else (3, 0) for minute in range(10)])
    more, _ = replay_path(made.setup, Path(bucket_seconds=60.0, replicas=steps))
    extra_seconds = (more.cost - base.cost) * 1000.0
    assert extra_seconds == pytest.approx(60.0 + 60.0, abs=30.0), "and a drain"
    assert more.timeline.ready[16:20, 0].tolist() == [4, 4, 4, 4]
    assert more.starting_gpu_hours == pytest.approx(60.0 / 3600.0)
    assert more.churn == 2


def test_a_planner_pays_the_same_start_later(prepared: Make) -> None:
    """Asked for when it is needed, a replica is Ready one cold start after, and costs as much."""
    made = prepared()
    origin = made.setup.origin_seconds
    late = ScheduledPlanner([origin, origin + 300.0], [(3, 0), (4, 0)])
    result = simulate(made.setup, late, "late")
    ready = result.timeline.ready[:, 0]
    assert ready[: 16 + 4].tolist() == [3] * 20
    assert ready[16 + 4 :].tolist() == [4] * (len(ready) - 20)
    assert result.cost * 1000.0 == pytest.approx(3 * 540.0 + 300.0)


# --- ceiling -----------------------------------------------------------------------------------


def test_the_ceiling_is_what_requests_attain_alone(prepared: Make) -> None:
    """The closed form agrees with the engine, one request after the other on an idle replica."""
    made = prepared()
    rng = np.random.default_rng(3)
    prompt = np.rint(10.0 ** rng.uniform(1.0, 5.2, 300)).astype(np.int64)
    output = np.rint(10.0 ** rng.uniform(0.0, 3.5, 300)).astype(np.int64)
    profile, slo = made.setup.pools[0].profile, made.setup.policy.slo
    fleet = Fleet(made.setup.pools[:1], made.setup.engine, 1)
    fleet.add_replica(0, 0.0)
    at = np.arange(300) * 1_000.0
    fleet.advance(300_000.0, at, prompt, output)
    attained = float(fleet.totals().good.sum()) / 300.0
    assert 0.3 < attained < 0.95
    assert ceiling(profile, slo, prompt, output) == pytest.approx(attained, abs=0.005)


# --- routing and setup -------------------------------------------------------------------------


def test_separate_variants_are_entered_at_the_primary(
    prepared: Make, document: dict[str, Any]
) -> None:
    """The trace holds the requests of the preferred quality, wherever its variant stands."""
    deployment = document["modelDeployment"]
    deployment["spec"]["variants"].reverse()
    deployment["spec"]["routing"] = {"type": "Separate"}
    made = prepared(modelDeployment=deployment)
    assert made.setup.engine.law is PoolLaw.SEPARATE
    result = fixed(made, 0, 4)
    assert result.attainment > 0.95
    assert result.degraded_share == 0.0


def test_a_weighted_route_gives_nothing_to_a_pool_without_a_ready_replica(
    prepared: Make, document: dict[str, Any]
) -> None:
    """Weights above zero reach a pool when it is Ready, and its share is degraded then."""
    deployment = document["modelDeployment"]
    deployment["spec"]["routing"] = {
        "type": "Weighted",
        "httpRouteRef": {"name": "llama", "rule": 0},
    }
    for variant in deployment["spec"]["variants"]:
        variant["backendRef"] = {"kind": "Service", "name": variant["name"], "port": 80}
    made = prepared(modelDeployment=deployment, warmupSeconds=0)
    assert fixed(made, 4, 0).attainment > 0.999
    world = World(made.setup)
    world.cluster.scale(1, 1, 0.0)
    world.route((0.5, 0.5))
    world.advance(30.0)
    assert world.fleet.totals().routed.tolist()[1] == 0
    world.advance(50.0)
    world.route((0.5, 0.5))
    world.advance(100.0)
    assert world.fleet.totals().routed[1] > 0


def test_a_replay_carries_decisions_out_whatever_the_mode(
    prepared: Make, document: dict[str, Any]
) -> None:
    """An object that only recommends is replayed to see what it would do."""
    deployment = document["modelDeployment"]
    deployment["spec"]["mode"] = "Recommend"
    made = prepared(modelDeployment=deployment)
    assert made.setup.policy.mode is Mode.AUTO
    assert fixed(made, 5, 0).timeline.ready[-1].tolist() == [5, 0]


def test_schedules_are_open_at_their_hours_of_the_replayed_day(
    prepared: Make, document: dict[str, Any]
) -> None:
    """A floor at five past midnight is expanded over the replay, which starts at midnight."""
    deployment = document["modelDeployment"]
    deployment["spec"]["schedules"] = [
        {
            "name": "early",
            "variant": "bf16",
            "cron": "5 0 * * *",
            "durationSeconds": 120,
            "minReplicas": 6,
        }
    ]
    schedule = prepared(modelDeployment=deployment).setup.policy.schedules[0]
    now = prepared().setup.origin_seconds
    assert [schedule.open_at(now + second) for second in (299, 300, 419, 420)] == [
        False,
        True,
        True,
        False,
    ]


def test_a_policy_sees_replicas_and_their_creation_in_unix_time(prepared: Make) -> None:
    """The observation names what starts, what waits and how long finished starts took."""
    made = prepared(gpuQuota=4)
    world = World(made.setup, warm=(3, 0))
    world.advance(15.0)
    world.cluster.scale(0, 6, world.seconds)
    world.advance(30.0)
    seen = _observed(world)
    assert (seen.variants[0].desired, seen.variants[0].ready) == (6, 3)
    assert seen.variants[0].starting_since_seconds == (made.setup.origin_seconds + 15.0,) * 3
    assert seen.variants[0].unschedulable == 2
    world.advance(75.0)
    assert _observed(world).variants[0].ready_after_seconds == (60.0,)
    assert _observed(world).variants[0].ready_after_seconds == (), "told once"


def _observed(world: World) -> Observation:
    now = world.setup.origin_seconds + world.seconds
    return step(world.observe([world.setup.policy], now))[0]
