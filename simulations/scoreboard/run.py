"""Runs a suite: tunes the peers, replays everything, and returns the rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from simulations.own import OWN
from simulations.peers.peer import Peer
from simulations.peers.registry import peers
from simulations.policies import COMPARED
from simulations.scoreboard.job import Job, plan_jobs
from simulations.scoreboard.suite import Cell, InvalidSuite, SuiteSpec
from simulations.scoreboard.sweep import Phase, Sweep
from simulations.scoreboard.tuning import KEPT_SHARE, RUNGS, settings_of, tuned

#: Seconds that a day of one policy at 20 replicas takes, of which a tenth is there for any replay:
#: what the announcement before a sweep reckons with.
SECONDS_PER_DAY = 5.0
#: The fleet that positions are reckoned from; a sweep of a few peers has it too.
STATIC_PEAK = "static-peak"
_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Rows of all replays, and the setting each peer was tuned to, by (cell, peer)."""

    rows: pl.DataFrame
    tuned: dict[tuple[str, str], str]


def compared_peers(suite: SuiteSpec) -> tuple[Peer, ...]:
    """The peers that take part; raises ``InvalidSuite`` where one that is left out is unknown."""
    known = [peer.name for peer in peers()]
    for name in suite.without:
        if name not in known:
            raise InvalidSuite(f"without: no peer {name}; choose from {', '.join(known)}")
    return tuple(peer for peer in peers() if peer.name not in suite.without)


def test_jobs(
    suite: SuiteSpec, cells: Sequence[Cell], settings: dict[tuple[str, str], str]
) -> list[Job]:
    """Everything that is replayed on the scored parts, the clairvoyant numbers first."""
    jobs = [job for cell in cells for job in plan_jobs(cell, suite.seeds[0], suite.plan_replays)]
    for cell in cells:
        names = [*_own(suite), *_theirs(suite, cell, settings)]
        jobs += [
            Job(cell=cell, policy=name, seed=seed)
            for name in dict.fromkeys(names)
            for seed in suite.seeds
        ]
        jobs += [Job(cell=cell, policy=name, seed=suite.seeds[0]) for name in _hindsight(suite)]
    return list({job.key: job for job in jobs}.values())


def _own(suite: SuiteSpec) -> Iterator[str]:
    yield from (name for name in OWN if suite.ablations or name in COMPARED)
    yield from (f"steelyard:target={target:g}" for target in suite.targets)


def _theirs(suite: SuiteSpec, cell: Cell, settings: dict[tuple[str, str], str]) -> Iterator[str]:
    for peer in compared_peers(suite):
        yield settings_of(peer, suite.settings)[0]
        if (cell.name, peer.name) in settings:
            yield settings[cell.name, peer.name]


def _hindsight(suite: SuiteSpec) -> Iterator[str]:
    for peer in compared_peers(suite):
        if peer.family in suite.hindsight:
            yield from settings_of(peer, suite.settings)


def run_suite(
    suite: SuiteSpec,
    cells: Sequence[Cell],
    sweep: Sweep,
    phase: Phase = lambda *_: lambda _: None,
) -> Outcome:
    """Do what is not done yet; ``phase`` is asked for the progress of each phase."""
    settings: dict[tuple[str, str], str] = {}
    if suite.tuned:
        settings = tuned(
            cells,
            compared_peers(suite),
            lambda jobs: sweep.run(jobs, "tuning", phase),
            most=suite.settings,
            seed=suite.seeds[0],
        )
    rows = sweep.run(test_jobs(suite, cells, settings), "scoring", phase)
    return Outcome(rows=rows, tuned=settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """How much a suite asks for."""

    replays: int
    cpu_hours: float


def estimate(suite: SuiteSpec, cells: Sequence[Cell]) -> Estimate:
    """Replays and CPU time of the whole suite, before anything of it is done."""
    scored = test_jobs(suite, cells, {})
    replays, seconds = len(scored), sum(_seconds(job) for job in scored)
    if suite.tuned:
        for cell in cells:
            if cell.spec.training is None:
                continue
            length = cell.spec.training[1] - cell.spec.training[0]
            for peer in compared_peers(suite):
                count = float(len(settings_of(peer, suite.settings))) if peer.knobs else 0.0
                for share in RUNGS:
                    replays += round(count)
                    seconds += count * _replay_seconds(cell, share * length)
                    count *= KEPT_SHARE
                # The tuned setting is scored too.
                replays += len(suite.seeds)
                seconds += len(suite.seeds) * _replay_seconds(cell, _length(cell))
    return Estimate(replays=replays, cpu_hours=seconds / 3600.0)


def _seconds(job: Job) -> float:
    replays = job.plan_replays if job.work == "plan" else 1
    return replays * _replay_seconds(job.cell, _length(job.cell))


def _length(cell: Cell) -> float:
    trace = cell.scenario.trace
    if trace.to_seconds is not None:
        return trace.to_seconds - trace.from_seconds
    if trace.synthetic is not None:
        return trace.synthetic.duration_seconds - trace.from_seconds
    return _DAY


def _replay_seconds(cell: Cell, seconds: float) -> float:
    by_fleet = 0.5 + 0.5 * cell.scenario.peak_replicas / 20.0
    return SECONDS_PER_DAY * (0.05 + seconds / _DAY * by_fleet)
