"""Runs every policy on one scenario, beside the reference plan and the lower bound.

Each (policy, seed) is a replay of its own and runs in a process of its own. With several seeds
the figures are means and the first seed's timeline is shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from controller.core.planner import PlannerSettings, SteelyardPlanner
from controller.ports import Planner
from simulations.peers.registry import PeerFacts, peer, peers
from simulations.reference.path import Billing, Path, PathOutcome
from simulations.reference.plan import Aim, CapacityTable, better_of, pose, reference_plan
from simulations.results import Comparison, PolicyResult
from simulations.setup import Prepared
from simulations.world.replay import replay_path
from simulations.world.simulation import simulate

#: Bucket of the reference plan's dynamic programme, in seconds.
PLAN_BUCKET_SECONDS = 60.0


class UnknownPolicy(ValueError):  # noqa: N818 - named after what happened, as users read it
    """No policy has this name."""


@dataclass(frozen=True, slots=True)
class _Own:
    """One of steelyard's own entries."""

    description: str
    settings: PlannerSettings


_OWN = {
    "steelyard": _Own("The decision core as the operator runs it", PlannerSettings()),
    "steelyard-persistence": _Own(
        "steelyard with plain persistence in place of the forecaster",
        PlannerSettings(regression=False),
    ),
}


def policies() -> tuple[tuple[str, str], ...]:
    """All policies that can be compared, with a line on each."""
    theirs = tuple((p.name, p.description) for p in peers())
    return tuple((name, own.description) for name, own in _OWN.items()) + theirs


def planner_of(name: str, prepared: Prepared) -> Planner[Any]:
    """Set a policy up for a scenario.

    Raises:
        UnknownPolicy: there is no policy of this name.
        NotApplicable: a peer cannot run in this scenario.
    """
    if name in _OWN:
        return SteelyardPlanner(_OWN[name].settings)
    known = [p.name for p in peers()]
    if name not in known:
        raise UnknownPolicy(f"policy {name!r} is not known; choose from {[*_OWN, *known]}")
    facts = PeerFacts(
        policy=prepared.setup.policy, knees=prepared.knees, peak_replicas=prepared.peak_replicas
    )
    return peer(name).setup(facts)


def compare(
    prepared: Prepared,
    names: Sequence[str],
    seeds: Sequence[int],
    *,
    processes: int = -1,
    plan_replays: int = 10,
    progress: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Replay every policy with every seed, then the reference plan and the bounds."""
    planners = [(name, planner_of(name, prepared)) for name in names]
    work = [(name, planner, seed) for name, planner in planners for seed in seeds]
    runs: dict[tuple[str, int], PolicyResult] = {}
    parallel = Parallel(n_jobs=processes, return_as="generator_unordered")
    plan_task = delayed(_plan)(prepared, seeds[0], plan_replays)
    tasks = [plan_task] + [
        delayed(_run)(prepared, planner, name, seed) for name, planner, seed in work
    ]
    plan: PolicyResult | None = None
    for name, seed, result in parallel(tasks):
        progress(name)
        if name == _PLAN:
            plan = result
        else:
            runs[name, seed] = result
    assert plan is not None
    results = tuple(_over_seeds([runs[name, seed] for seed in seeds]) for name in names)
    return _assembled(prepared, tuple(seeds), plan, results)


_PLAN = "reference-plan"


def _run(
    prepared: Prepared, planner: Planner[Any], name: str, seed: int
) -> tuple[str, int, PolicyResult]:
    return name, seed, simulate(prepared.with_seed(seed), planner, name)


def _plan(prepared: Prepared, seed: int, replays: int) -> tuple[str, int, PolicyResult]:
    """Search the reference plan with one seed's replays."""
    setup = prepared.with_seed(seed)
    results: list[PolicyResult] = []

    def replay(path: Path) -> PathOutcome:
        result, outcome = replay_path(setup, path, _PLAN)
        results.append(result)
        return outcome

    policy = setup.policy
    billing = tuple(
        Billing(
            cost_per_replica_hour=variant.cost_per_replica_hour,
            cold_start_seconds=cold.median_seconds,
            min_replicas=variant.min_replicas,
            max_replicas=variant.max_replicas,
            fallback=variant.role.value == "Fallback",
        )
        for variant, cold in zip(policy.variants, setup.conditions.cold_starts, strict=True)
    )
    problem = pose(
        setup.trace.demand(PLAN_BUCKET_SECONDS),
        _tables(prepared),
        billing,
        Aim(attainment=policy.slo.target, degraded_share=policy.quality.max_degraded_share),
    )
    found = reference_plan(problem, replay, replays=replays)
    best = next(
        result
        for result, attempt in zip(results, found.attempts, strict=True)
        if attempt.outcome is found.outcome
    )
    return _PLAN, seed, best


def _tables(prepared: Prepared) -> Callable[[float, float], CapacityTable]:
    """Capacity of every allocation, by token mix, as the performance model has it."""
    policy = prepared.setup.policy
    highest = tuple(variant.max_replicas for variant in policy.variants)
    counts = np.indices(tuple(n + 1 for n in highest)).reshape(len(highest), -1).T

    def table(prompt_tokens_mean: float, output_tokens_mean: float) -> CapacityTable:
        mix = prepared.mix.with_means(prompt_tokens_mean, output_tokens_mean)
        fleet = prepared.capacity.with_mix(mix)
        requests = fleet.table(highest)
        degraded = fleet.degraded_shares(counts).reshape(requests.shape)
        return CapacityTable(requests_per_second=requests, degraded_share=degraded)

    return table


def _over_seeds(results: list[PolicyResult]) -> PolicyResult:
    """The mean over seeds, with the first seed's timeline and digest."""
    first = results[0]
    if len(results) == 1:
        return first
    return replace(
        first,
        cost=float(np.mean([r.cost for r in results])),
        attainment=sum(r.good for r in results) / sum(r.requests for r in results),
        degraded_share=float(np.mean([r.degraded_share for r in results])),
        **{
            name: round(float(np.mean([getattr(r, name) for r in results])))
            for name in ("requests", "good", "refused", "timed_out", "failed", "churn")
        },
        starting_gpu_hours=float(np.mean([r.starting_gpu_hours for r in results])),
    )


def _assembled(
    prepared: Prepared,
    seeds: tuple[int, ...],
    plan: PolicyResult,
    results: tuple[PolicyResult, ...],
) -> Comparison:
    """Put the plan (or a run that beats it) and the bounds beside the results."""
    policy = prepared.setup.policy
    aim = Aim(attainment=policy.slo.target, degraded_share=policy.quality.max_degraded_share)
    better = better_of(plan, results, aim)
    plan = next((r for r in (plan, *results) if r is better), plan)
    bounds = bounds_of(prepared, (plan, *results))
    return Comparison(
        scenario=prepared.name,
        seeds=seeds,
        ceiling=prepared.ceiling,
        slo_target=policy.slo.target,
        reference_plan_cost=plan.cost,
        lower_bound_cost=bounds[0],
        reference_plan=plan,
        policies=results,
        lower_bounds={r.name: bound for r, bound in zip(results, bounds[2:], strict=True)},
    )
