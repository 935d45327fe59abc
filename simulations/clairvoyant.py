"""The two clairvoyant numbers of a prepared scenario: the reference plan and the lower bound."""

from collections.abc import Iterator

import numpy as np

from controller.core.domain.variant import Role, Variant
from controller.core.performance.mix import TokenMix
from simulations.reference.bound import (
    Assumptions,
    LowerBound,
    Server,
    bounds_of,
    prepare_bound,
)
from simulations.reference.path import Billing, Path, PathOutcome
from simulations.reference.plan import Aim, CapacityTable, better_of, pose
from simulations.reference.plan import reference_plan as search
from simulations.results import PolicyResult
from simulations.setup import Prepared
from simulations.traces.slicing import slice_trace
from simulations.traces.trace import Arrivals, Trace
from simulations.world.replay import replay_path
from simulations.world.world import Setup

#: Parts of a trace whose requests' lengths are looked at by themselves, and requests looked at.
_PARTS = 24
_PART_SAMPLE = 4000
#: Bucket of the reference plan's dynamic programme, in seconds.
PLAN_BUCKET_SECONDS = 60.0


def aim_of(prepared: Prepared) -> Aim:
    """What a plan must reach in this scenario."""
    policy = prepared.setup.policy
    return Aim(attainment=policy.slo.target, degraded_share=policy.quality.max_degraded_share)


def reference_plan(prepared: Prepared, seed: int, replays: int, name: str) -> PolicyResult:
    """Search the cheapest path that attains the target, with at most ``replays`` replays."""
    setup = prepared.with_seed(seed)
    made: list[PolicyResult] = []

    def replay(path: Path) -> PathOutcome:
        result, outcome = replay_path(setup, path, name, prepared.capacity.optimal_weights)
        made.append(result)
        return outcome

    policy = setup.policy
    billing = tuple(
        Billing(
            cost_per_replica_hour=variant.cost_per_replica_hour,
            cold_start_seconds=cold.median_seconds,
            min_replicas=variant.min_replicas,
            max_replicas=_most(setup, variant),
            fallback=variant.role is Role.FALLBACK,
        )
        for variant, cold in zip(policy.variants, setup.conditions.cold_starts, strict=True)
    )
    demand = setup.trace.demand(PLAN_BUCKET_SECONDS)
    problem = pose(demand, _Tables(prepared), billing, aim_of(prepared))
    found = search(problem, replay, replays=replays)
    chosen = [attempt.outcome is found.outcome for attempt in found.attempts]
    return made[chosen.index(True)]


def cheaper_of(
    prepared: Prepared, plan: PolicyResult, results: tuple[PolicyResult, ...]
) -> PolicyResult:
    """The plan, or a policy's run that attains the aim for less."""
    return better_of(plan, results, aim_of(prepared))


def provable_bound(prepared: Prepared) -> LowerBound:
    """Read the arrivals once, so that a bound can be asked for at any attainment."""
    setup = prepared.setup
    policy = setup.policy
    servers = tuple(
        Server(
            profile=pool.profile,
            cost_per_replica_hour=variant.cost_per_replica_hour,
            shortest_cold_start_seconds=cold.shortest_seconds,
            min_replicas=variant.min_replicas,
            fallback=pool.fallback,
        )
        for pool, variant, cold in zip(
            setup.pools, policy.variants, setup.conditions.cold_starts, strict=True
        )
    )
    ticks = int(setup.trace.duration_seconds // policy.tick_seconds)
    assumed = Assumptions(
        from_seconds=setup.warmup_seconds // policy.tick_seconds * policy.tick_seconds,
        to_seconds=ticks * policy.tick_seconds,
        preemption=setup.engine.admission == "Preempt",
        max_replicas=setup.max_replicas,
    )

    def chunks() -> Iterator[Arrivals]:
        count = int(np.ceil(setup.trace.duration_seconds / setup.trace.chunk_seconds))
        return (setup.trace.chunk(i) for i in range(count))

    return prepare_bound(chunks, servers, policy.slo, assumed)


def integrality_cost(prepared: Prepared) -> float:
    """What whole Primary replicas for each minute's demand cost beyond the parts it takes."""
    setup = prepared.setup
    policy = setup.policy
    primary = policy.indices(Role.PRIMARY)[0]
    minutes = setup.trace.demand(PLAN_BUCKET_SECONDS)
    rates = minutes.requests[int(setup.warmup_seconds // PLAN_BUCKET_SECONDS) :]
    counts = np.arange(policy.variants[primary].max_replicas + 1)
    carried = np.array(
        [
            prepared.capacity.capacity(
                tuple(int(n) if v == primary else 0 for v in range(len(policy.variants)))
            )
            for n in counts
        ]
    )
    parts = np.interp(rates / PLAN_BUCKET_SECONDS, carried, counts.astype(np.float64))
    hours = float(np.sum(np.ceil(parts - 1e-9) - parts)) * PLAN_BUCKET_SECONDS / 3600.0
    return hours * policy.variants[primary].cost_per_replica_hour


def bound_at_aim(bound: LowerBound, prepared: Prepared) -> float:
    """Return what nothing that meets the target and the quality budget costs less than."""
    aim = aim_of(prepared)
    return bound.at(aim.attainment, aim.degraded_share).cost


def bound_at_own(bound: LowerBound, result: PolicyResult) -> float:
    """Return what nothing that attains what ``result`` did costs less than."""
    return bounds_of(bound, (result,))[result.name].cost


def _most(setup: Setup, variant: Variant) -> int:
    """Replicas of a variant that its maximum and the GPUs there are allow."""
    quota = setup.conditions.gpu_quota
    if quota is None:
        return variant.max_replicas
    return max(variant.min_replicas, min(variant.max_replicas, quota // variant.gpus_per_replica))


def _local_mixes(trace: Trace) -> list[TokenMix]:
    """The token mix of each of ``_PARTS`` parts of a trace that has requests."""
    edges = np.linspace(0.0, trace.duration_seconds, _PARTS + 1)
    busy = trace.demand_sums(edges).requests >= _PART_SAMPLE
    return [
        TokenMix.from_samples(*slice_trace(trace, low, high).token_sample(_PART_SAMPLE, seed=0))
        for low, high, enough in zip(edges[:-1], edges[1:], busy, strict=True)
        if enough
    ]


class _Tables:
    """Capacity of every allocation, by token mix, as the performance model has it.

    How lengths spread about their means changes with the hour as the means do, and capacity with
    both: for a mix, the spread is taken from that part of the trace whose means are nearest.
    """

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        setup = prepared.setup
        self._mixes = _local_mixes(setup.trace) or [prepared.mix]
        self._means = np.log([[mix.prompt_mean, mix.output_mean] for mix in self._mixes])
        highest = tuple(_most(setup, variant) for variant in setup.policy.variants)
        self._highest = highest
        self._counts = np.indices(tuple(n + 1 for n in highest)).reshape(len(highest), -1).T

    def __call__(self, prompt_tokens_mean: float, output_tokens_mean: float) -> CapacityTable:
        """Return the table for requests of these mean tokens and the scenario's shape."""
        wanted = np.log([max(prompt_tokens_mean, 1.0), max(output_tokens_mean, 1.0)])
        nearest = int(np.argmin(np.sum((self._means - wanted) ** 2, axis=1)))
        mix = self._mixes[nearest].with_means(prompt_tokens_mean, output_tokens_mean)
        fleet = self._prepared.capacity.with_mix(mix)
        requests = fleet.table(self._highest)
        degraded = fleet.degraded_shares(self._counts).reshape(requests.shape)
        return CapacityTable(requests_per_second=requests, degraded_share=degraded)
