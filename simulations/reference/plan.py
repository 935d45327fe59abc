"""The reference plan: the cheapest known path that attains the targets when replayed.

A Lagrangian dynamic programme over the whole true traffic proposes a path; the replay, request by
request in the scenario's own engine and router, says what it attains. Three things are learned from
all replays so far: how many are missed where the model says so many (one law
for the whole trace), which buckets
are harder or easier than the law says, and how the share served by a fallback compares with the
capacity model's. The share of misses the programme aims at then follows the replays' until the
target is met with nothing to spare.

Every replayed path is a candidate, so the result is never worse than any path tried, and a
policy's own run may replace it (``better_of``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from simulations.reference.budgets import Budget, Budgets
from simulations.reference.misses import MissLaw
from simulations.reference.path import Path, PathOutcome, Replay
from simulations.reference.problem import Aim, CapacityTable, FleetCapacity, Problem, pose
from simulations.reference.repair import Repair, Seen

__all__ = [
    "Aim",
    "Attempt",
    "CapacityTable",
    "FleetCapacity",
    "Problem",
    "ReferencePlan",
    "better_of",
    "pose",
    "reference_plan",
]

#: A bucket that misses e times what the law says is as hard as one of so much more demand.
HARDNESS_SCALE = 0.04
HARDNESS_BOUNDS = (0.93, 1.10)
#: Misses, as a share of a bucket's requests, below which differences from the law are chance.
HARDNESS_PRIOR = 0.01
#: The power of (allowed / missed) by which the aim follows a replay: of one that attained, and of
#: one that did not.
AIM_GAIN, AIM_GAIN_SHORT = 0.25, 0.6
#: The aim moves by this when the programme returns a path that was tried before.
AIM_STEP = 1.05
#: The programme proposes so many paths before every other turn repairs one.
PROPOSALS = 3
#: A repair spends so much of the misses to spare, and buys off so much of those too many.
SPENT, BOUGHT = 0.8, 1.3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attempt:
    """One replayed path, and the share of degraded requests that the programme predicted."""

    path: Path
    outcome: PathOutcome
    predicted_degraded_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferencePlan:
    """The cheapest attaining attempt; ``attained`` is false when none did (then: the best one)."""

    path: Path
    outcome: PathOutcome
    attained: bool
    attempts: tuple[Attempt, ...]


class Run(Protocol):
    """A policy's run, as far as it may replace the plan."""

    @property
    def cost(self) -> float:
        """Cost in the price table's currency."""
        ...

    @property
    def attainment(self) -> float:
        """Share of good requests."""
        ...

    @property
    def degraded_share(self) -> float:
        """Share of requests a fallback served."""
        ...


RunT = TypeVar("RunT", bound=Run)


def better_of(plan: RunT, runs: Iterable[RunT], aim: Aim) -> RunT:
    """Return the cheapest of the plan and the runs that meet the aim; the plan when none does."""
    best = plan
    for run in runs:
        if not aim.met_by(run.attainment, run.degraded_share):
            continue
        if not aim.met_by(best.attainment, best.degraded_share) or run.cost < best.cost:
            best = run
    return best


class _Search:
    """Proposes, replays and learns."""

    def __init__(self, problem: Problem, replay: Replay) -> None:
        self._problem = problem
        self._replay = replay
        self._budgets = Budgets(problem)
        self._law = MissLaw.prior()
        self._hardness = np.ones(len(problem.requests))
        self._degraded_bias = 1.0
        self.attempts: list[Attempt] = []

    def propose(self, miss_share: float) -> Attempt | None:
        """Replay the programme's path for ``miss_share``; None when it was tried before."""
        aim = self._problem.aim
        budget = Budget(miss_share, aim.degraded_share / self._degraded_bias)
        solution = self._budgets.solve(self._law, self._hardness, budget)
        share = solution.degraded / max(float(np.sum(self._demand())), 1.0)
        return self._try(solution.replicas, share)

    def repair(self) -> Attempt | None:
        """Move the attempt that promises most onto the target; None when it was tried before."""
        problem, skipped = self._problem, self._problem.skipped
        repair = Repair(problem, self._law, self._hardness)
        for attempt in sorted(self.attempts, key=self._cost_at_target):
            outcome = attempt.outcome
            seen = Seen(misses=outcome.misses[skipped:], requests=outcome.requests[skipped:])
            surplus = self._surplus(outcome)
            surplus *= SPENT if surplus > 0.0 else BOUGHT
            made = self._try(
                repair.onto(attempt.path.replicas[skipped:], seen, surplus),
                attempt.predicted_degraded_share,
            )
            if made is not None:
                return made
        return None

    def _surplus(self, outcome: PathOutcome) -> float:
        """Misses that the outcome could have had more (negative: has too many)."""
        requests = float(np.sum(outcome.requests[self._problem.skipped :]))
        return (outcome.attainment - self._problem.aim.attainment) * requests

    def _cost_at_target(self, attempt: Attempt) -> float:
        """Cost had its misses been moved to the target at the programme's price of a miss."""
        if attempt.outcome.degraded_share > self._problem.aim.degraded_share:
            return np.inf
        return attempt.outcome.cost - self._budgets.miss_cost * self._surplus(attempt.outcome)

    def _try(self, replicas: NDArray[np.int64], degraded_share: float) -> Attempt | None:
        path = self._path(replicas)
        if any(np.array_equal(a.path.replicas, path.replicas) for a in self.attempts):
            return None
        made = Attempt(
            path=path, outcome=self._replay(path), predicted_degraded_share=degraded_share
        )
        self.attempts.append(made)
        self._learn()
        return made

    def _demand(self) -> NDArray[np.float64]:
        return np.asarray(self._problem.requests * self._hardness)

    def _path(self, replicas: NDArray[np.int64]) -> Path:
        """The path from scenario time zero: what is not scored holds the first scored fleet."""
        before = np.repeat(replicas[:1], self._problem.skipped, axis=0)
        return Path(
            bucket_seconds=self._problem.bucket_seconds,
            replicas=np.concatenate([before, replicas]),
        )

    def _learn(self) -> None:
        """Refit the law to all replays, then the hardness of buckets, then the law again."""
        problem, skipped = self._problem, self._problem.skipped
        paths = [a.path.replicas[skipped:] for a in self.attempts]
        missed = [a.outcome.misses[skipped:] for a in self.attempts]
        requests = [a.outcome.requests[skipped:] for a in self.attempts]
        prior = MissLaw.prior()
        hard = [problem.positions(path, self._hardness) for path in paths]
        first = prior.learned_from(hard, missed, requests)
        plain = [problem.positions(path) for path in paths]
        expected = sum(first.at(at) * r for at, r in zip(plain, requests, strict=True))
        chance = HARDNESS_PRIOR * np.sum(requests, axis=0) + 1.0
        surprise = np.log((np.sum(missed, axis=0) + chance) / (expected + chance))
        self._hardness = np.clip(1.0 + HARDNESS_SCALE * surprise, *HARDNESS_BOUNDS)
        hard = [problem.positions(path, self._hardness) for path in paths]
        self._law = prior.learned_from(hard, missed, requests)
        predicted = sum(a.predicted_degraded_share for a in self.attempts)
        realised = sum(a.outcome.degraded_share for a in self.attempts)
        if predicted > 0.0 and realised > 0.0:
            self._degraded_bias = float(np.clip(realised / predicted, 0.5, 3.0))


def reference_plan(problem: Problem, replay: Replay, *, replays: int = 10) -> ReferencePlan:
    """Search for the cheapest path that attains the aim, with at most ``replays`` replays.

    Raises:
        ValueError: ``replays`` is below 1.
    """
    if replays < 1:
        raise ValueError(f"replays is {replays}: give at least 1")
    search = _Search(problem, replay)
    allowed = max(1.0 - problem.aim.attainment, 1e-6)
    share = allowed
    for turn in range(3 * replays):
        if len(search.attempts) >= replays:
            break
        if turn >= PROPOSALS and turn % 2:
            search.repair()
            continue
        made = search.propose(share)
        if made is None:
            last = search.attempts[-1]
            share *= AIM_STEP if _attains(problem.aim, last) else 1.0 / AIM_STEP
        else:
            missed = max(1.0 - made.outcome.attainment, 1e-6)
            gain = AIM_GAIN if missed <= allowed else AIM_GAIN_SHORT
            share *= (allowed / missed) ** gain
        share = float(np.clip(share, 0.05 * allowed, min(5.0 * allowed, 1.0)))
    return _choose(problem.aim, search.attempts)


def _attains(aim: Aim, attempt: Attempt) -> bool:
    return aim.met_by(attempt.outcome.attainment, attempt.outcome.degraded_share)


def _choose(aim: Aim, attempts: list[Attempt]) -> ReferencePlan:
    """The cheapest attempt that attains; else, within the quality budget if any is, the best."""
    attaining = [a for a in attempts if _attains(aim, a)]
    if attaining:
        best = min(attaining, key=lambda a: a.outcome.cost)
    else:
        within = [a for a in attempts if aim.met_by(1.0, a.outcome.degraded_share)]
        best = max(within or attempts, key=lambda a: a.outcome.attainment)
    return ReferencePlan(
        path=best.path,
        outcome=best.outcome,
        attained=bool(attaining),
        attempts=tuple(attempts),
    )
