"""The search for a reference plan, with a fluid queue in place of the replay."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from simulations.reference.misses import MissLaw
from simulations.reference.path import Billing, Path, PathOutcome
from simulations.reference.plan import Aim, CapacityTable, better_of, pose, reference_plan
from simulations.reference.programme import path_cost
from simulations.reference.repair import Repair, Seen
from simulations.traces.trace import Demand

PRIMARY = Billing(
    cost_per_replica_hour=4.0, cold_start_seconds=120.0, min_replicas=1, max_replicas=30
)
FALLBACK = Billing(
    cost_per_replica_hour=2.0,
    cold_start_seconds=90.0,
    min_replicas=0,
    max_replicas=30,
    fallback=True,
)
PER_REPLICA = 20.0


def traffic(requests: NDArray[np.float64], bucket_seconds: float = 60.0) -> Demand:
    """Traffic of one mix."""
    return Demand(
        bucket_seconds=bucket_seconds,
        requests=requests,
        prompt_tokens_mean=np.full(len(requests), 1000.0),
        output_tokens_mean=np.full(len(requests), 200.0),
        imputed=np.zeros(len(requests), np.bool_),
    )


def hump(seed: int = 0, buckets: int = 180) -> Demand:
    """A noisy hump that needs up to some 20 replicas."""
    rng = np.random.default_rng(seed)
    rate = 60.0 + 300.0 * np.sin(np.pi * np.arange(buckets) / buckets) ** 2
    return traffic(np.round(60.0 * rate * rng.lognormal(0.0, 0.04, buckets)))


def linear(prompt_tokens_mean: float, output_tokens_mean: float) -> CapacityTable:
    """Capacity grows with replicas; tokens play no part."""
    assert prompt_tokens_mean > output_tokens_mean
    n = np.arange(31.0)
    return CapacityTable(requests_per_second=PER_REPLICA * n, degraded_share=np.zeros(31))


def both(prompt_tokens_mean: float, output_tokens_mean: float) -> CapacityTable:
    """A fallback's replica carries as much as a primary's, and its share of the requests."""
    assert prompt_tokens_mean > output_tokens_mean
    n, f = np.arange(31.0)[:, None], np.arange(31.0)[None, :]
    return CapacityTable(
        requests_per_second=PER_REPLICA * (n + f),
        degraded_share=f / np.maximum(n + f, 1.0),
    )


def fluid_replay(
    demand: Demand, billing: tuple[Billing, ...], hardness: NDArray[np.float64] | float = 1.0
) -> Callable[[Path], PathOutcome]:
    """Serve at capacity, keep a second's backlog, miss the rest; no table knows ``hardness``."""

    def replay(path: Path) -> PathOutcome:
        n = path.replicas.sum(axis=1)
        fallback = path.replicas[:, 1:].sum(axis=1)
        carried = PER_REPLICA * n * demand.bucket_seconds / hardness
        misses, left = np.zeros(len(n)), 0.0
        for t, (asked, room) in enumerate(zip(demand.requests, carried, strict=True)):
            waiting = max(0.0, asked + left - room)
            left = min(waiting, room / demand.bucket_seconds)
            misses[t] = waiting - left
        total = float(demand.requests.sum())
        good = demand.requests - misses
        return PathOutcome(
            cost=path_cost(path.replicas, billing, demand.bucket_seconds),
            attainment=1.0 - float(misses.sum()) / total,
            degraded_share=float((good * fallback / np.maximum(n, 1)).sum()) / total,
            misses=misses,
            requests=demand.requests,
        )

    return replay


def static(demand: Demand, billing: Billing) -> float:
    """Cost of the peak fleet held throughout."""
    peak = int(np.ceil(demand.requests.max() / (PER_REPLICA * demand.bucket_seconds)))
    return peak * len(demand.requests) * demand.bucket_seconds * billing.cost_per_second


def test_a_plan_attains_its_target_with_little_to_spare() -> None:
    """At 99 % the plan attains, misses most of what it may, and is far below static peak."""
    demand = hump()
    problem = pose(demand, linear, (PRIMARY,), Aim(attainment=0.99))
    plan = reference_plan(problem, fluid_replay(demand, (PRIMARY,)), replays=10)
    assert plan.attained
    assert 0.99 <= plan.outcome.attainment <= 0.994
    assert plan.outcome.cost < 0.75 * static(demand, PRIMARY)
    assert len(plan.attempts) <= 10
    assert plan.path.replicas.shape == (180, 1)
    attaining = [a.outcome.cost for a in plan.attempts if a.outcome.attainment >= 0.99]
    assert plan.outcome.cost == min(attaining)


def test_a_plan_costs_no_more_than_following_demand_exactly() -> None:
    """The plan beats the ceiling of demand over capacity in every bucket, which attains too."""
    demand = hump(1)
    needed = np.maximum(np.ceil(demand.requests / (PER_REPLICA * 60.0)), 1).astype(np.int64)
    following = path_cost(needed[:, None], (PRIMARY,), 60.0)
    problem = pose(demand, linear, (PRIMARY,), Aim(attainment=0.99))
    plan = reference_plan(problem, fluid_replay(demand, (PRIMARY,)), replays=10)
    assert plan.attained
    assert plan.outcome.cost < following


def test_replays_correct_a_capacity_model_that_is_wrong() -> None:
    """Where replicas carry 8 % less than the table says the plan still attains."""
    demand = hump(2)
    problem = pose(demand, linear, (PRIMARY,), Aim(attainment=0.99))
    plan = reference_plan(problem, fluid_replay(demand, (PRIMARY,), 1.08), replays=10)
    assert plan.attained
    assert not plan.attempts[0].outcome.attainment >= 0.99
    assert plan.outcome.attainment <= 0.997


def test_replays_find_buckets_that_are_harder_than_the_rest() -> None:
    """A stretch that is harder than the table says gets more replicas than its demand asks."""
    demand = traffic(np.full(120, 60.0 * 100.0))
    hard = np.where(np.arange(120) // 20 == 3, 1.08, 1.0)
    problem = pose(demand, linear, (PRIMARY,), Aim(attainment=0.995))
    plan = reference_plan(problem, fluid_replay(demand, (PRIMARY,), hard), replays=10)
    replicas = plan.path.replicas[:, 0]
    assert plan.attained
    assert replicas[60:80].mean() > np.delete(replicas, np.arange(60, 80)).mean()


def test_a_cheaper_fallback_is_used_within_the_degraded_share() -> None:
    """A fallback at half the price serves part of the requests, and no more than it may."""
    demand = hump(3, 120)
    bills = (PRIMARY, FALLBACK)
    aim = Aim(attainment=0.99, degraded_share=0.1)
    problem = pose(demand, both, bills, aim)
    plan = reference_plan(problem, fluid_replay(demand, bills), replays=10)
    alone = reference_plan(
        pose(demand, linear, (PRIMARY,), aim), fluid_replay(demand, (PRIMARY,)), replays=10
    )
    assert plan.attained
    assert 0.03 < plan.outcome.degraded_share <= 0.1
    assert plan.outcome.cost < alone.outcome.cost


def test_what_is_not_scored_does_not_shape_the_plan() -> None:
    """A spike before the scored part leaves the plan as it is, but for the lead-in."""
    requests = np.full(90, 60.0 * 100.0)
    spiked = requests.copy()
    spiked[5] *= 4.0
    aim = Aim(attainment=0.99)
    paths = []
    for demand in (traffic(requests), traffic(spiked)):
        problem = pose(demand, linear, (PRIMARY,), aim, scored_from_seconds=600.0)
        plan = reference_plan(problem, fluid_replay(traffic(requests), (PRIMARY,)), replays=2)
        paths.append(plan.path.replicas)
        assert len(plan.path.replicas) == 90
    assert np.array_equal(*paths)


def test_a_target_out_of_reach_yields_the_best_attempt() -> None:
    """With too few replicas allowed nothing attains, and the plan says so."""
    small = Billing(
        cost_per_replica_hour=4.0, cold_start_seconds=120.0, min_replicas=1, max_replicas=4
    )

    def table(prompt_tokens_mean: float, output_tokens_mean: float) -> CapacityTable:
        whole = linear(prompt_tokens_mean, output_tokens_mean)
        return CapacityTable(
            requests_per_second=whole.requests_per_second[:5], degraded_share=np.zeros(5)
        )

    demand = hump(4, 60)
    problem = pose(demand, table, (small,), Aim(attainment=0.99))
    plan = reference_plan(problem, fluid_replay(demand, (small,)), replays=4)
    assert not plan.attained
    assert plan.outcome.attainment == max(a.outcome.attainment for a in plan.attempts)


@dataclass(frozen=True)
class Run:
    """A policy's run."""

    cost: float
    attainment: float
    degraded_share: float


def test_a_cheaper_attaining_run_replaces_the_plan() -> None:
    """Runs that miss the target or degrade too much do not; the cheapest that attains does."""
    aim = Aim(attainment=0.99, degraded_share=0.05)
    plan = PathOutcome(
        cost=10.0, attainment=0.991, degraded_share=0.0, misses=np.zeros(1), requests=np.ones(1)
    )
    cheap = Run(9.0, 0.99, 0.05)
    others = [Run(8.0, 0.98, 0.0), Run(7.0, 0.995, 0.2), Run(9.5, 1.0, 0.0)]
    assert better_of(plan, others[:2], aim) is plan
    assert better_of(plan, [*others, cheap], aim) is cheap
    failed = Run(1.0, 0.5, 0.0)
    assert better_of(failed, [cheap], aim) is cheap  # type: ignore[arg-type]


def test_repair_moves_misses_towards_the_target_at_the_least_cost() -> None:
    """A surplus is spent on fewer replica-seconds, a deficit is bought off, bounds are kept."""
    demand = traffic(np.full(60, 60.0 * 195.0))
    problem = pose(demand, linear, (PRIMARY,), Aim(attainment=0.99))
    repair = Repair(problem, MissLaw.prior(), np.ones(60))
    generous = np.full((60, 1), 11, np.int64)
    seen = Seen(misses=np.zeros(60), requests=demand.requests)
    spent = repair.onto(generous, seen, surplus=0.01 * float(demand.requests.sum()))
    assert path_cost(spent, (PRIMARY,), 60.0) < path_cost(generous, (PRIMARY,), 60.0)
    assert spent.min() >= 1
    tight = np.full((60, 1), 9, np.int64)
    seen = Seen(misses=0.08 * demand.requests, requests=demand.requests)
    bought = repair.onto(tight, seen, surplus=-0.04 * float(demand.requests.sum()))
    assert bought.sum() > tight.sum()
    assert bought.max() <= 30


def test_problems_that_cannot_be_posed_are_named() -> None:
    """A table of the wrong size, traffic without requests, shares and replays out of range."""

    def short(prompt_tokens_mean: float, output_tokens_mean: float) -> CapacityTable:
        assert prompt_tokens_mean > output_tokens_mean
        return CapacityTable(requests_per_second=np.arange(3.0), degraded_share=np.zeros(3))

    with pytest.raises(ValueError, match="requests_per_second has shape"):
        pose(hump(), short, (PRIMARY,), Aim(attainment=0.99))
    with pytest.raises(ValueError, match="nothing to plan"):
        pose(traffic(np.zeros(5)), linear, (PRIMARY,), Aim(attainment=0.99))
    with pytest.raises(ValueError, match="attainment"):
        Aim(attainment=99.0)
    problem = pose(hump(), linear, (PRIMARY,), Aim(attainment=0.99))
    with pytest.raises(ValueError, match="replays"):
        reference_plan(problem, fluid_replay(hump(), (PRIMARY,)), replays=0)
