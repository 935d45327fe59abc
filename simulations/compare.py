"""Runs every policy on one scenario, beside the reference plan and the lower bound.

Each (policy, seed) is a replay of its own and runs in a process of its own. With several seeds
the figures are means and the first seed's timeline is shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from math import nan
from typing import Any, TypeVar

import numpy as np
from joblib import Parallel, delayed

from simulations.clairvoyant import (
    bound_at_aim,
    bound_at_own,
    cheaper_of,
    provable_bound,
    reference_plan,
)
from simulations.policies import entrant
from simulations.results import Comparison, ForecastScore, Percentiles, PolicyResult
from simulations.setup import Prepared
from simulations.world.simulation import simulate


def run(prepared: Prepared, name: str, seed: int) -> PolicyResult:
    """Replay one policy with one seed."""
    ready = entrant(name, prepared, seed)
    return simulate(ready.setup, ready.planner, name)


def steps(names: Sequence[str], seeds: Sequence[int], *, bounds: bool = True) -> int:
    """How often ``compare`` tells its progress."""
    return len(names) * len(seeds) + 1 + (len(names) + 2 if bounds else 0)


def compare(
    prepared: Prepared,
    names: Sequence[str],
    seeds: Sequence[int],
    *,
    processes: int = -1,
    plan_replays: int = 10,
    bounds: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Replay every policy with every seed, search the reference plan, and prove the bounds.

    Without ``bounds``, which take far longer than the replays do, the lower ones are NaN.

    Raises:
        UnknownPolicy: there is no policy of one of the names.
        InvalidSetting: one of the policies has no such setting.
        NotApplicable: a peer cannot run in this scenario.
    """
    for name in names:
        entrant(name, prepared)

    def carried_out(tasks: list[Any]) -> dict[tuple[str, int], Any]:
        done = {}
        for key, outcome in Parallel(n_jobs=processes, return_as="generator_unordered")(tasks):
            done[key] = outcome
            progress(key[0])
        return done

    runs = carried_out(
        [_task(run, (name, seed), prepared, name, seed) for seed in seeds for name in names]
        + ([_task(provable_bound, _BOUND, prepared)] if bounds else [])
    )
    results = tuple(_over_seeds([runs[name, seed] for seed in seeds]) for name in names)
    # The plan replays one path after the other: it runs beside the bounds, which share cores.
    tasks = [_task(reference_plan, _PLAN, prepared, seeds[0], plan_replays, _PLAN[0])]
    if bounds:
        bound = runs[_BOUND]
        tasks.append(_task(bound_at_aim, _BOUND, bound, prepared))
        tasks += [_task(bound_at_own, (result.name, 0), bound, result) for result in results]
    found = carried_out(tasks)
    plan = cheaper_of(prepared, found[_PLAN], results)
    return Comparison(
        scenario=prepared.name,
        seeds=tuple(seeds),
        ceiling=prepared.ceiling,
        slo_target=prepared.setup.policy.slo.target,
        max_degraded_share=prepared.setup.policy.quality.max_degraded_share,
        reference_plan_cost=plan.cost,
        lower_bound_cost=found.get(_BOUND, nan),
        reference_plan=plan,
        policies=results,
        lower_bounds={
            result.name: found[result.name, 0] for result in results if (result.name, 0) in found
        },
    )


_PLAN = ("reference-plan", -1)
_BOUND = ("lower bound", -1)


def _task(work: Callable[..., Any], key: tuple[str, int], *arguments: Any) -> Any:
    """One task for a process of its own, which answers with its key and its outcome."""
    return delayed(_keyed)(work, key, *arguments)


def _keyed(
    work: Callable[..., Any], key: tuple[str, int], *arguments: Any
) -> tuple[tuple[str, int], Any]:
    return key, work(*arguments)


def _over_seeds(results: list[PolicyResult]) -> PolicyResult:
    """The mean over seeds, with the first seed's timeline and digest."""
    first = results[0]
    if len(results) == 1:
        return first

    def mean(name: str) -> float:
        return float(np.mean([getattr(result, name) for result in results]))

    return replace(
        first,
        cost=mean("cost"),
        attainment=sum(r.good for r in results) / max(sum(r.requests for r in results), 1),
        degraded_share=mean("degraded_share"),
        requests=round(mean("requests")),
        good=round(mean("good")),
        refused=round(mean("refused")),
        timed_out=round(mean("timed_out")),
        failed=round(mean("failed")),
        ttft_seconds=_mean_fields([r.ttft_seconds for r in results]),
        tpot_seconds=_mean_fields([r.tpot_seconds for r in results]),
        churn=round(mean("churn")),
        starting_gpu_hours=mean("starting_gpu_hours"),
        forecast=_mean_score([r.forecast for r in results if r.forecast is not None]),
        plan_seconds_mean=mean("plan_seconds_mean"),
        plan_seconds_p99=mean("plan_seconds_p99"),
        seen_attainment=(
            float(np.mean([r.seen_attainment[0] for r in results])),
            float(np.mean([r.seen_attainment[1] for r in results])),
        ),
    )


FieldsT = TypeVar("FieldsT", Percentiles, ForecastScore)


def _mean_fields(values: Sequence[FieldsT]) -> FieldsT:
    """The mean of every number; one that is not known in a seed is not known."""
    numbers = [f.name for f in fields(values[0]) if isinstance(getattr(values[0], f.name), float)]
    means: dict[str, Any] = {
        name: float(np.mean([getattr(v, name) for v in values])) for name in numbers
    }
    return replace(values[0], **means)


def _mean_score(scores: Sequence[ForecastScore]) -> ForecastScore | None:
    """The mean of the forecast's scores; None for a policy that never forecasts."""
    if not scores:
        return None
    levels = set.intersection(*(set(score.coverage) for score in scores))
    coverage = {
        level: float(np.mean([score.coverage[level] for score in scores]))
        for level in scores[0].coverage
        if level in levels
    }
    return replace(_mean_fields(scores), coverage=coverage)
