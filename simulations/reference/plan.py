"""The reference plan: the cheapest known path that attains the targets when replayed.

A Lagrangian dynamic programme over the whole true traffic proposes a path; the replay, request by
request in the scenario's own engine and router, says what it attains. Two things are learned from
every replay: how misses grow with utilisation (one law for the whole trace), and which buckets are
harder or easier than the law says (a factor on each bucket's demand). The share of misses the
programme aims at is then searched until the cheapest attaining path is bracketed.

Every replayed path is a candidate, so the result is never worse than any path tried, and a
policy's own run may replace it (``better_of``).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from simulations.reference.misses import STEP, MissLaw
from simulations.reference.path import Billing, Path, PathOutcome, Replay
from simulations.reference.programme import Solution, Stages, solve
from simulations.traces.trace import Demand

#: Buckets whose mean tokens lie in one cell of this relative width share a capacity table.
MIX_CELL = 0.04
#: How far one replay moves a bucket's factor towards what it saw, and the factor's bounds.
FACTOR_GAIN = 0.5
FACTOR_BOUNDS = (0.85, 1.3)
#: Prices searched, in cost of one replica-second (upper end: as good as forbidden).
PRICE_BOUNDS = (1e-3, 1e4)
PRICE_STEPS = 14


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CapacityTable:
    """What allocations carry for one token mix, shape (N + 1,) or (N + 1, F + 1).

    ``requests_per_second`` is the fleet's capacity; ``degraded_share`` the share of the requests
    that a fallback serves under the scenario's routing. Axis v counts replicas of variant v.
    """

    requests_per_second: NDArray[np.float64]
    degraded_share: NDArray[np.float64]


class FleetCapacity(Protocol):
    """Capacity of every allocation for a token mix."""

    def __call__(self, prompt_tokens_mean: float, output_tokens_mean: float) -> CapacityTable:
        """Return the table for requests of this mix."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a plan must reach: the share of good requests and, at most, of degraded ones."""

    attainment: float
    degraded_share: float = 0.0

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for shares outside [0, 1]."""
        for name in ("attainment", "degraded_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}: give a share in [0, 1]")

    def met_by(self, attainment: float, degraded_share: float) -> bool:
        """Whether a run with these shares counts; rounding of counts is forgiven."""
        return attainment >= self.attainment - 1e-9 and degraded_share <= self.degraded_share + 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attempt:
    """One replayed path."""

    path: Path
    outcome: PathOutcome


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """What the search works on: the demand with its capacity tables, and who pays what.

    ``tables`` (mixes, N, F) in requests per bucket, ``degraded`` alike, ``mix`` (buckets,).
    """

    demand: Demand
    tables: NDArray[np.float64]
    degraded: NDArray[np.float64]
    mix: NDArray[np.int64]
    billing: tuple[Billing, ...]
    aim: Aim
    warm: tuple[int, ...] | None

    def stages(self, law: MissLaw, factor: NDArray[np.float64]) -> Stages:
        """Stages of the programme under ``law``, demand scaled by ``factor`` (buckets,)."""
        return Stages(
            requests=self.demand.requests * factor,
            mix=self.mix,
            capacity=self.tables,
            degraded=self.degraded,
            miss_share=law.share,
            miss_step=STEP,
        )

    def utilisation(self, replicas: NDArray[np.int64]) -> NDArray[np.float64]:
        """Demand over capacity along a path (buckets, variants)."""
        second = replicas[:, 1] if replicas.shape[1] > 1 else 0
        capacity = self.tables[self.mix, replicas[:, 0], second]
        idle = np.where(self.demand.requests > 0.0, np.inf, 0.0)
        return np.where(capacity > 0.0, self.demand.requests / np.maximum(capacity, 1e-300), idle)


def pose(
    demand: Demand,
    capacity: FleetCapacity,
    billing: tuple[Billing, ...],
    aim: Aim,
    *,
    warm: tuple[int, ...] | None = None,
) -> Problem:
    """Group the buckets by token mix and ask for the capacity tables.

    Raises:
        ValueError: a table does not cover the allocations up to every ``max_replicas``.
    """
    shape = tuple(b.max_replicas + 1 for b in billing)
    tokens = np.stack([demand.prompt_tokens_mean, demand.output_tokens_mean])
    known = np.all(np.isfinite(tokens), axis=0) & (demand.requests > 0.0)
    if not np.any(known):
        raise ValueError("demand has no bucket with requests and token means: nothing to plan")
    cells = np.rint(np.log(tokens[:, known]) / np.log1p(MIX_CELL)).astype(np.int64)
    _, group = np.unique(cells, axis=1, return_inverse=True)
    group = group.reshape(-1)
    mix = np.zeros(len(demand.requests), np.int64)
    mix[known] = group
    weight = np.bincount(group, weights=demand.requests[known])
    prompt, output = (
        np.bincount(group, weights=demand.requests[known] * row) / weight
        for row in tokens[:, known]
    )
    tables, degraded = [], []
    for p, o in zip(prompt.tolist(), output.tolist(), strict=True):
        table = capacity(p, o)
        for name in ("requests_per_second", "degraded_share"):
            if getattr(table, name).shape != shape:
                raise ValueError(
                    f"capacity table's {name} has shape {getattr(table, name).shape}: "
                    f"give one entry per allocation up to max_replicas, {shape}"
                )
        tables.append(table.requests_per_second.reshape(shape[0], -1) * demand.bucket_seconds)
        degraded.append(table.degraded_share.reshape(shape[0], -1))
    return Problem(
        demand=demand,
        tables=np.array(tables),
        degraded=np.array(degraded),
        mix=mix,
        billing=billing,
        aim=aim,
        warm=warm,
    )


@dataclass(frozen=True, slots=True)
class _Prices:
    """Prices of a missed and of a degraded request, in replica-seconds of the first variant."""

    miss: float
    degraded: float


class _Programme:
    """Finds the prices at which the programme's path just keeps its budgets."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._unit = problem.billing[0].cost_per_second
        self._degraded_price = 0.0

    def path(self, law: MissLaw, factor: NDArray[np.float64], miss_share: float) -> Path:
        """Return the cheapest path predicted to miss at most ``miss_share`` of the requests."""
        problem = self._problem
        stages = problem.stages(law, factor)
        total = float(np.sum(stages.requests))
        allowed = miss_share * total
        solution = self._price_misses(stages, allowed)
        most = problem.aim.degraded_share * total
        if any(b.fallback for b in problem.billing) and (
            solution.degraded > most or self._degraded_price > 0.0
        ):
            self._price_degraded(stages, allowed, most)
            solution = self._price_misses(stages, allowed)
        return Path(bucket_seconds=problem.demand.bucket_seconds, replicas=solution.replicas)

    def _solve(self, stages: Stages, prices: _Prices) -> Solution:
        return solve(
            stages,
            self._problem.billing,
            self._problem.demand.bucket_seconds,
            miss_price=prices.miss * self._unit,
            degraded_price=prices.degraded * self._unit,
            warm=self._problem.warm,
        )

    def _price_misses(self, stages: Stages, allowed: float) -> Solution:
        """Bisect the price of a miss; returns the cheapest solution within ``allowed``."""
        low, high = np.log(PRICE_BOUNDS)
        best = self._solve(stages, _Prices(PRICE_BOUNDS[1], self._degraded_price))
        for _ in range(PRICE_STEPS):
            middle = 0.5 * (low + high)
            found = self._solve(stages, _Prices(float(np.exp(middle)), self._degraded_price))
            if found.missed <= allowed:
                best, high = found, middle
            else:
                low = middle
        return best

    def _price_degraded(self, stages: Stages, allowed: float, most: float) -> None:
        """Bisect the price of a degraded request at the matching price of a miss."""
        low, high = np.log(PRICE_BOUNDS)
        for _ in range(PRICE_STEPS):
            middle = 0.5 * (low + high)
            self._degraded_price = float(np.exp(middle))
            if self._price_misses(stages, allowed).degraded <= most:
                high = middle
            else:
                low = middle
        self._degraded_price = float(np.exp(high))


class _Search:
    """Proposes, replays and learns until the replays are spent."""

    def __init__(self, problem: Problem, replay: Replay) -> None:
        self._problem = problem
        self._replay = replay
        self._programme = _Programme(problem)
        self._law = MissLaw.prior(problem.aim.attainment)
        self._factor = np.ones(len(problem.demand.requests))
        self.attempts: list[Attempt] = []

    def attempt(self, miss_share: float) -> Attempt | None:
        """Replay the programme's path for ``miss_share``; None when it was tried before."""
        path = self._programme.path(self._law, self._factor, miss_share)
        for earlier in self.attempts:
            if np.array_equal(earlier.path.replicas, path.replicas):
                return None
        made = Attempt(path=path, outcome=self._replay(path))
        self.attempts.append(made)
        self._learn(made)
        return made

    def _learn(self, made: Attempt) -> None:
        """Refit the law on all replays, then move the factor of the buckets it does not explain."""
        problem = self._problem
        law = MissLaw.prior(problem.aim.attainment)
        for attempt in self.attempts:
            law = law.learned(
                problem.utilisation(attempt.path.replicas) * self._factor,
                attempt.outcome.misses,
                attempt.outcome.requests,
            )
        self._law = law
        requests = np.maximum(made.outcome.requests, 1.0)
        used = problem.utilisation(made.path.replicas)
        seen = law.inverse(made.outcome.misses / requests)
        expected = law.at(used * self._factor)
        # A bucket that was expected to miss nothing and missed nothing tells nothing.
        informative = np.maximum(expected * requests, made.outcome.misses) >= 1.0
        ratio = np.where(informative, seen / np.maximum(used * self._factor, STEP), 1.0)
        moved = self._factor * np.clip(ratio, 0.9, 1.1) ** FACTOR_GAIN
        self._factor = np.clip(moved, *FACTOR_BOUNDS)


def reference_plan(problem: Problem, replay: Replay, *, replays: int = 10) -> ReferencePlan:
    """Search for the cheapest path that attains the aim, with at most ``replays`` replays.

    The programme aims at a share of misses; that share is bracketed between the largest that
    attained and the smallest that did not, while the law and the factors settle.

    Raises:
        ValueError: ``replays`` is below 1.
    """
    if replays < 1:
        raise ValueError(f"replays is {replays}: give at least 1")
    search = _Search(problem, replay)
    allowed = max(1.0 - problem.aim.attainment, 1e-6)
    share = allowed
    for _ in range(4 * replays):
        if len(search.attempts) >= replays:
            break
        made = search.attempt(share)
        if made is None:
            # The same path again: a slightly larger aim may be cheaper, as the last one attained.
            share *= 1.03 if _attains(problem.aim, search.attempts[-1]) else 0.93
            continue
        missed = max(1.0 - made.outcome.attainment, 1e-6)
        # The learned law already carries most of the error, so the aim moves by a part of it.
        share = float(np.clip(share * (allowed / missed) ** 0.25, 0.1 * allowed, 3.0 * allowed))
    return _choose(problem.aim, search.attempts)


def _attains(aim: Aim, attempt: Attempt) -> bool:
    return aim.met_by(attempt.outcome.attainment, attempt.outcome.degraded_share)


def _choose(aim: Aim, attempts: list[Attempt]) -> ReferencePlan:
    attaining = [a for a in attempts if _attains(aim, a)]
    best = (
        min(attaining, key=lambda a: a.outcome.cost)
        if attaining
        else max(attempts, key=lambda a: a.outcome.attainment)
    )
    return ReferencePlan(
        path=best.path,
        outcome=best.outcome,
        attained=bool(attaining),
        attempts=tuple(attempts),
    )
