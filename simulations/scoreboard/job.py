"""One piece of work of a sweep: a replay, a search for the plan, or a proof of the bound."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from time import perf_counter
from typing import Literal, TypeAlias

from simulations.clairvoyant import (
    bound_at_aim,
    integrality_cost,
    provable_bound,
    reference_plan,
)
from simulations.compare import run
from simulations.peers.peer import InvalidSetting, NotApplicable
from simulations.scenario import ScenarioSpec
from simulations.scoreboard.code import fingerprint, plan_fingerprint
from simulations.scoreboard.row import INTEGRALITY, LOWER_BOUND, REFERENCE_PLAN, TEST, Row, row_of
from simulations.scoreboard.suite import SCENARIOS, Cell
from simulations.setup import Prepared, prepare

Work: TypeAlias = Literal["replay", "plan", "bound", "integrality"]

#: Cell, policy, seed, part and code.
Key: TypeAlias = tuple[str, str, int, str, str]

#: Scenarios a process keeps ready: jobs come in the order of their cells.
_KEPT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done, small enough to be sent to another machine.

    ``part`` is ``test``, or ``training/SHARE``: the last so much of the training part.
    """

    cell: Cell
    work: Work = "replay"
    policy: str
    seed: int
    part: str = TEST
    plan_replays: int = 6

    @property
    def code(self) -> str:
        """Fingerprint of the code and the conditions that the row depends on."""
        code = fingerprint(self.policy.partition(":")[0]) if self.work == "replay" else ""
        text = code or plan_fingerprint()
        conditions = self.cell.scenario.model_dump_json(exclude={"description", "policies"})
        if self.work == "plan":
            conditions += str(self.plan_replays)
        return sha256(f"{text}{conditions}".encode()).hexdigest()[:16]

    @property
    def key(self) -> Key:
        """What tells its row apart from all others, also those of other code."""
        return self.cell.name, self.policy, self.seed, self.part, self.code


def plan_jobs(cell: Cell, seed: int, plan_replays: int) -> tuple[Job, Job, Job]:
    """The clairvoyant numbers of a cell."""
    return (
        Job(cell=cell, work="plan", policy=REFERENCE_PLAN, seed=seed, plan_replays=plan_replays),
        Job(cell=cell, work="bound", policy=LOWER_BOUND, seed=seed),
        Job(cell=cell, work="integrality", policy=INTEGRALITY, seed=seed),
    )


def carry_out(job: Job, key: Key | None = None) -> tuple[Job, Row]:
    """Do the work; the row has no figures where the policy cannot run in the cell.

    ``key`` is the job's as it was when it was handed out: the code may have changed since then.
    """
    key = key or job.key
    prepared = prepared_for(job.cell, job.part)
    started = perf_counter()
    if job.work == "bound":
        cost = bound_at_aim(provable_bound(prepared), prepared)
        return job, _row(key, cost, perf_counter() - started)
    if job.work == "integrality":
        return job, _row(key, integrality_cost(prepared), perf_counter() - started)
    if job.work == "plan":
        result = reference_plan(prepared, job.seed, job.plan_replays, REFERENCE_PLAN)
    else:
        try:
            result = run(prepared, job.policy, job.seed)
        except (NotApplicable, InvalidSetting):
            return job, _row(key, None, 0.0)
    cell, policy, seed, part, code = key
    return job, row_of(
        result,
        cell=cell,
        policy=policy,
        seed=seed,
        part=part,
        code=code,
        wall_seconds=perf_counter() - started,
    )


def _row(key: Key, cost: float | None, wall_seconds: float) -> Row:
    cell, policy, seed, part, code = key
    return Row(
        cell=cell,
        policy=policy,
        seed=seed,
        part=part,
        code=code,
        cost=cost,
        wall_seconds=wall_seconds,
    )


def prepared_for(cell: Cell, part: str = TEST) -> Prepared:
    """The cell's scenario on a part of its trace, ready to be replayed."""
    return _prepared(_on_part(cell, part))


def _on_part(cell: Cell, part: str) -> str:
    if part == TEST or cell.spec.training is None:
        return cell.scenario.model_dump_json(by_alias=True)
    start, end = cell.spec.training
    share = float(part.partition("/")[2])
    trace = cell.scenario.trace.model_copy(
        update={"from_seconds": end - share * (end - start), "to_seconds": end}
    )
    return cell.scenario.model_copy(update={"trace": trace}).model_dump_json(by_alias=True)


@lru_cache(maxsize=_KEPT)
def _prepared(scenario: str) -> Prepared:
    return prepare(ScenarioSpec.model_validate_json(scenario), SCENARIOS)
