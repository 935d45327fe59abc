"""Sweeps: done once, resumed after an end, and the same on a Dask cluster."""

from pathlib import Path

import polars as pl
import pytest

from simulations.scoreboard import job as jobs
from simulations.scoreboard.job import Job, Key, carry_out, plan_jobs
from simulations.scoreboard.row import SCHEMA, Row
from simulations.scoreboard.store import Store
from simulations.scoreboard.suite import Cell
from simulations.scoreboard.sweep import Sweep

FIGURES = ["policy", "cost", "attainment", "missed", "digest"]


def replays(cell: Cell) -> list[Job]:
    """Three replays, one of a peer that cannot run in the cell."""
    names = ("static-peak", "hpa-queue:target_share=0.7", "hpa-queue-surge")
    return [Job(cell=cell, policy=name, seed=0) for name in names]


def test_what_is_done_is_not_done_again(cell: Cell, tmp_path: Path) -> None:
    """A second sweep over the same folder finds every row, also of what cannot run."""
    asked = replays(cell)
    first = Sweep(Store(tmp_path), processes=1)
    assert len(first.pending(asked)) == 3
    rows = first.run(asked)
    assert first.pending(asked) == []
    again = Sweep(Store(tmp_path), processes=1).run(asked)
    assert again.sort("policy").equals(rows.sort("policy"))
    cannot = rows.filter(pl.col("policy") == "hpa-queue-surge")
    assert cannot["cost"].to_list() == [None]


def test_a_sweep_that_is_ended_keeps_what_it_did(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends it, the rows that were made are on disk."""
    asked = replays(cell)
    done = []

    def failing(job: Job, key: Key) -> tuple[Job, Row]:
        if done:
            raise KeyboardInterrupt
        done.append(job)
        return carry_out(job, key)

    monkeypatch.setattr("simulations.scoreboard.sweep.carry_out", failing)
    with pytest.raises(KeyboardInterrupt):
        Sweep(Store(tmp_path), processes=1).run(asked)
    monkeypatch.undo()
    assert len(Sweep(Store(tmp_path), processes=1).pending(asked)) == 2


def test_rows_of_other_code_or_conditions_are_made_anew(
    cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A figure is only taken for done when what it depends on is the same."""
    asked = replays(cell)
    sweep = Sweep(Store(tmp_path), processes=1)
    sweep.run(asked)
    slower = cell.scenario.model_copy(update={"warmup_seconds": 30.0})
    assert len(sweep.pending(replays(Cell(cell.spec, slower, None)))) == 3
    monkeypatch.setattr(jobs, "fingerprint", lambda _: "other")
    assert len(sweep.pending(asked)) == 3


def test_files_are_put_together_without_loss(tmp_path: Path) -> None:
    """Compaction leaves one file with the same rows, the newest of each."""
    store = Store(tmp_path)
    for cost in (1.0, 2.0):
        row = Row(cell="c", policy=f"p{cost:g}", seed=0, part="test", code="x", cost=cost)
        store.add([row])
    before = store.rows().sort("policy")
    store.compact()
    assert store.rows().sort("policy").equals(before)
    assert len(list(tmp_path.glob("*.parquet"))) == 1
    assert before.schema == pl.Schema(SCHEMA)


def test_a_dask_cluster_gives_the_same_figures(cell: Cell, tmp_path: Path) -> None:
    """The same jobs through a scheduler and its workers, byte for byte the same replays."""
    distributed = pytest.importorskip("distributed")
    here = Sweep(Store(tmp_path / "here"), processes=1).run(replays(cell))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        there = Sweep(Store(tmp_path / "there"), dask=cluster.scheduler_address).run(replays(cell))
    assert there.select(FIGURES).sort("policy").equals(here.select(FIGURES).sort("policy"))


def test_the_clairvoyant_numbers_bound_each_other(cell: Cell) -> None:
    """The plan attains the target and costs at least the proved bound."""
    plan, bound, integrality = (carry_out(job)[1] for job in plan_jobs(cell, 0, 2))
    assert plan.cost is not None
    assert bound.cost is not None
    assert integrality.cost is not None
    assert 0.0 < bound.cost <= plan.cost
    assert 0.0 < integrality.cost < plan.cost
    assert plan.attainment is not None
    assert plan.attainment >= cell.scenario.policy().slo.target
