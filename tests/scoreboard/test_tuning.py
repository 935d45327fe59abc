"""Tuning: the same settings every time, halved by the objective of the SLO."""

from collections.abc import Sequence
from dataclasses import asdict

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from simulations.peers.registry import peer, peers
from simulations.scoreboard.job import Job
from simulations.scoreboard.row import SCHEMA, Row
from simulations.scoreboard.suite import Cell
from simulations.scoreboard.tuning import RUNGS, ranked, settings_of, tuned


def rows_of(jobs: Sequence[Job], figures: dict[str, tuple[float, float]]) -> pl.DataFrame:
    """Rows with the given (cost, attainment) by setting; (9, .5) for others."""
    rows = []
    for job in jobs:
        cost, attainment = figures.get(job.policy, (9.0, 0.5))
        cell, policy, seed, part, code = job.key
        row = Row(
            cell=cell, policy=policy, seed=seed, part=part, code=code,
            cost=cost, attainment=attainment, degraded_share=0.0,
        )  # fmt: skip
        rows.append(asdict(row))
    return pl.DataFrame(rows, schema=SCHEMA)


@given(most=st.integers(1, 30), at=st.integers(0, len(peers()) - 1))
def test_settings_begin_with_the_default_and_are_at_most_so_many(most: int, at: int) -> None:
    """No setting comes twice, and the choice is the same every time."""
    known = peers()[at]
    settings = settings_of(known, most)
    assert settings == settings_of(known, most)
    assert 1 <= len(settings) <= most
    assert len(set(settings)) == len(settings)
    for knob in known.knobs:
        assert f"{knob.name}={knob.default:g}" in settings[0]


def test_what_attains_goes_before_what_is_cheaper(cell: Cell) -> None:
    """Among settings that attain the cheapest is best; of the others the one that misses least."""
    figures = {
        "cheap": (1.0, 0.98),
        "attains": (3.0, 0.995),
        "attains-dearer": (4.0, 0.999),
        "cheaper-worse": (0.5, 0.9),
    }
    jobs = [Job(cell=cell, policy="static-peak", seed=0)]
    rows = rows_of(jobs, {}).clear()
    for name, (cost, attainment) in figures.items():
        one = rows_of(jobs, {"static-peak": (cost, attainment)})
        rows = pl.concat([rows, one.with_columns(policy=pl.lit(name))])
    assert ranked(rows, cell) == ["attains", "attains-dearer", "cheap", "cheaper-worse"]


def test_halving_finds_the_best_setting_and_tries_fewer_each_time(cell: Cell) -> None:
    """Each rung is longer and has a third of the settings of the one before."""
    known = peer("hpa-queue")
    settings = settings_of(known, 9)
    best = settings[5]
    asked: list[tuple[str, int]] = []

    def run(jobs: list[Job]) -> pl.DataFrame:
        asked.append((jobs[0].part, len(jobs)))
        return rows_of(jobs, {best: (5.0, 0.995), settings[2]: (6.0, 0.995)})

    assert tuned([cell], [known], run, most=9, seed=0) == {(cell.name, "hpa-queue"): best}
    assert asked == [
        (f"training/{share:g}", count) for share, count in zip(RUNGS, (9, 3, 1), strict=True)
    ]


def test_a_peer_that_cannot_run_is_left_out(cell: Cell) -> None:
    """Its rows have no figures, so there is nothing to choose from."""

    def run(jobs: list[Job]) -> pl.DataFrame:
        return rows_of(jobs, {}).with_columns(cost=pl.lit(None, pl.Float64))

    assert tuned([cell], [peer("hpa-queue")], run, most=4, seed=0) == {}
