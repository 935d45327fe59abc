"""Our law beside the answers of the WVA's own code."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from simulations.peers.vectors import Compared, VectorSet
from simulations.peers.wva.capacity_v2 import (
    CapacityMemory,
    EngineArguments,
    EngineMetrics,
    WvaVariant,
)
from simulations.peers.wva.enforcer import enforced
from simulations.peers.wva.optimizer import Candidate, RoleNeed, optimized, optimized_roles
from simulations.peers.wva.release import Release
from simulations.peers.wva.saturation_v1 import (
    ReplicaLoad,
    Thresholds,
    VariantState,
    recommended,
    saturation,
)
from simulations.peers.wva.saturation_v2 import (
    Analysis,
    Analyzer,
    Balance,
    Replicas,
    SchedulerQueue,
    analyzed,
    balanced,
)

#: The recorded sums are rounded to three decimals.
_SUMS = 0.01
_Row = dict[str, Any]


def _rows(document: dict[str, Any]) -> Iterator[tuple[str, _Row]]:
    for number, tick in enumerate(document["ticks"]):
        yield f"tick {number}", dict(zip(document["columns"], tick, strict=True))


def _release(document: dict[str, Any]) -> Release:
    return next(release for release in Release if document["version"].startswith(release))


def _targets(
    at: str, expected: Sequence[Sequence[Any]] | None, found: Mapping[str, int] | None
) -> Iterator[Compared]:
    """Replicas by variant; None on both sides is a model that was skipped."""
    if expected is None or found is None:
        agree = (expected is None) == (found is None)
        yield Compared(at=f"{at}, skipped", expected=1.0, found=float(agree))
        return
    theirs = dict(map(tuple, expected))
    for name in sorted({*theirs, *found}):
        yield Compared(
            at=f"{at}, target of {name}", expected=theirs.get(name), found=found.get(name)
        )


def _thresholds(config: _Row) -> Thresholds:
    return Thresholds(
        kv_use=config["kv_threshold"],
        waiting=config["queue_threshold"],
        spare_kv=config["kv_spare_trigger"],
        spare_waiting=config["queue_spare_trigger"],
    )


def _states(row: _Row) -> list[VariantState]:
    states = []
    for name, current, pending, desired, *bounds in row["states"]:
        low, high = bounds or (None, None)
        states.append(
            VariantState(
                name=name,
                current=current,
                pending=pending,
                desired=desired,
                min_replicas=low,
                max_replicas=high,
            )
        )
    return states


def _v1_steps(document: dict[str, Any]) -> Iterator[Compared]:
    limits = _thresholds(document["config"])
    for at, row in _rows(document):
        loads = [ReplicaLoad(*replica) for replica in row["replicas"]]
        verdict = saturation(loads, limits)
        exact = {
            "scale_up": verdict.scale_up,
            "scale_down_safe": verdict.scale_down_safe,
            "non_saturated": verdict.unsaturated,
        }
        sums = {"avg_spare_kv": verdict.spare_kv, "avg_spare_queue": verdict.spare_waiting}
        for column, found in (exact | sums).items():
            if column in row:
                yield Compared(
                    at=f"{at}, {column}",
                    expected=float(row[column]),
                    found=float(found),
                    absolute=_SUMS if column in sums else 0.0,
                )
        targets = recommended(_release(document), _states(row), loads, limits)
        yield from _targets(at, row["target"], targets)


def _v1_series(document: dict[str, Any]) -> Iterator[Compared]:
    config = document["config"]
    limits = _thresholds(config)
    for at, row in _rows(document):
        loads = [ReplicaLoad(*replica) for replica in row["replicas"]]
        targets = None
        if loads:
            targets = enforced(
                recommended(_release(document), _states(row), loads, limits),
                {load.variant: load.cost for load in loads},
                scale_to_zero=config["scale_to_zero"],
                requests=row["requests"],
            )
        yield from _targets(at, row["target"], targets)


def _optimizer_steps(document: dict[str, Any]) -> Iterator[Compared]:
    release = _release(document)
    for at, row in _rows(document):
        candidates = []
        for name, replicas, *rest in row["variants"]:
            # The old release's rows have pending replicas here, which its optimizer ignores.
            numbers = rest[1:] if release is Release.OLD else rest
            capacity, cost, low, high = [*numbers, None, None][:4]
            candidates.append(
                Candidate(
                    name=name,
                    replicas=replicas,
                    capacity=capacity,
                    cost=cost,
                    min_replicas=low or 0,
                    max_replicas=high,
                )
            )
        found = optimized(release, candidates, row["required"], row["spare"])
        yield from _targets(at, row["target"], found)


def _variants(config: _Row) -> dict[str, WvaVariant]:
    variants = {}
    for one in config["variants"]:
        arguments = None
        if one["deployment_record"]:
            arguments = EngineArguments(
                batched_tokens=one["batched_tokens"], max_running=one["max_num_seqs"]
            )
        variants[one["variant"]] = WvaVariant(
            name=one["variant"],
            accelerator=one["accelerator"],
            gpus=one["gpus"],
            cost=one["cost_spec"],
            role=one.get("role", ""),
            deployment=arguments,
        )
    return variants


def _candidate(analysis: Analysis, config: _Row, row: _Row, name: str) -> Candidate:
    bounds = next(one for one in config["variants"] if one["variant"] == name)
    seen = next(one for one in analysis.capacities if one.variant.name == name)
    return Candidate(
        name=name,
        replicas=next(state[1] for state in row["states"] if state[0] == name),
        capacity=seen.capacity,
        cost=seen.cost,
        min_replicas=bounds.get("min") or 0,
        max_replicas=bounds.get("max"),
    )


_Told = Callable[[str, _Row, Analyzer, Analysis, dict[str, Any]], Iterator[Compared]]


def _v2_series(document: dict[str, Any], told: _Told) -> Iterator[Compared]:
    """Analyze every tick with what was remembered of those before it."""
    config = document["config"]
    analyzer = Analyzer(
        release=_release(document),
        scale_up_threshold=config["scale_up_threshold"],
        scale_down_boundary=config["scale_down_boundary"],
    )
    variants = _variants(config)
    memory = CapacityMemory()
    for at, row in _rows(document):
        engines = []
        for name, total, used, waiting, prompt, output, *new in row["replicas"]:
            kv_use, hit = new or (0.0, 0.0)
            engines.append(
                EngineMetrics(
                    variant=name,
                    total_tokens=total,
                    used_tokens=used,
                    waiting=waiting,
                    prompt_mean=prompt,
                    output_mean=output,
                    kv_use=kv_use,
                    prefix_hit=hit,
                )
            )
        fleet = [(variants[name], Replicas(*rest)) for name, *rest in row["states"]]
        queue = row.get("scheduler_queue")
        analysis, memory = analyzed(
            analyzer,
            fleet,
            engines,
            memory,
            float(row["t"]),
            queue=SchedulerQueue(*queue) if queue else None,
        )
        if analysis is None:
            yield from _targets(at, row["capacities"], None)
        else:
            yield from told(at, row, analyzer, analysis, config)


def _sums(at: str, expected: Mapping[str, float], found: Balance) -> Iterator[Compared]:
    for name, theirs in expected.items():
        yield Compared(
            at=f"{at}, {name}", expected=theirs, found=getattr(found, name), absolute=_SUMS
        )


def _old_told(
    at: str, row: _Row, analyzer: Analyzer, analysis: Analysis, config: _Row
) -> Iterator[Compared]:
    for (name, capacity, cost), ours in zip(row["capacities"], analysis.capacities, strict=True):
        yield Compared(at=f"{at}, capacity of {name}", expected=capacity, found=ours.capacity)
        yield Compared(at=f"{at}, cost of {name}", expected=cost, found=ours.cost)
    names = ("supply", "demand", "required", "spare")
    balance = analysis.balance
    yield from _sums(at, {name: row[name] for name in names}, balance)
    candidates = [_candidate(analysis, config, row, name) for name, *_ in row["states"]]
    targets = optimized(analyzer.release, candidates, balance.required, balance.spare)
    yield from _targets(f"{at}, optimizer", row["optimizer"], targets)
    costs = {candidate.name: candidate.cost for candidate in candidates}
    final = enforced(targets, costs, scale_to_zero=False, requests=None)
    yield from _targets(at, row["final"], final)


def _new_told(
    at: str, row: _Row, analyzer: Analyzer, analysis: Analysis, config: _Row
) -> Iterator[Compared]:
    for theirs, ours in zip(row["capacities"], analysis.capacities, strict=True):
        found = (ours.instances, ours.pending, ours.capacity, ours.demand, ours.cost)
        columns = ("instances", "pending", "capacity", "demand", "cost")
        for column, expected, value in zip(columns, theirs[1:], found, strict=True):
            yield Compared(at=f"{at}, {column} of {theirs[0]}", expected=expected, found=value)
    roles = {}
    for scope, supply, anticipated, demand, required, spare in row["totals"]:
        expected = {
            "supply": supply,
            "anticipated": anticipated,
            "demand": demand,
            "required": required,
            "spare": spare,
        }
        balance = analysis.balance
        if scope != "model":
            of_role = [one for one in analysis.capacities if one.variant.role == scope]
            balance = roles[scope] = balanced(analyzer, of_role)
        yield from _sums(f"{at}, {scope}", expected, balance)
    candidates = {
        one.variant.role: _candidate(analysis, config, row, one.variant.name)
        for one in analysis.capacities
    }
    if roles:
        targets = optimized_roles(
            [
                RoleNeed(candidate=candidates[role], required=one.required, spare=one.spare)
                for role, one in roles.items()
            ]
        )
    else:
        all_of_them = [_candidate(analysis, config, row, name) for name, *_ in row["states"]]
        total = analysis.balance
        targets = optimized(analyzer.release, all_of_them, total.required, total.spare)
    yield from _targets(at, row["target"], targets)


def _v2_old(document: dict[str, Any]) -> Iterator[Compared]:
    return _v2_series(document, _old_told)


def _v2_new(document: dict[str, Any]) -> Iterator[Compared]:
    return _v2_series(document, _new_told)


VECTORS = (
    VectorSet(
        law="WVA saturation V1, old and new",
        files=("wva-v1-steps", "wva-v1-new-steps"),
        replay=_v1_steps,
    ),
    VectorSet(
        law="WVA saturation V1 with its enforcer, old",
        files=("wva-v1-series", "wva-v1-series-zero"),
        replay=_v1_series,
    ),
    VectorSet(
        law="WVA cost-aware optimizer, old and new",
        files=("wva-v2-old-optimizer-steps", "wva-v2-new-optimizer-steps"),
        replay=_optimizer_steps,
    ),
    VectorSet(
        law="WVA saturation V2, optimizer and enforcer, old",
        files=("wva-v2-old-series", "wva-v2-old-series-zero-variant"),
        replay=_v2_old,
    ),
    VectorSet(
        law="WVA saturation V2 and optimizer, new",
        files=(
            "wva-v2-new-series",
            "wva-v2-new-series-zero-variant",
            "wva-v2-new-series-dp2",
            "wva-v2-new-series-pd",
        ),
        replay=_v2_new,
    ),
)
