"""Tunes a peer's own knobs by successive halving, on a part of the trace before the scored one.

Every setting is tried on a short part, the better third on twice as much, the better third of
those on all of it (Jamieson and Talwalkar, Non-stochastic best arm identification and
hyperparameter optimization, 2016). The objective is that of the SLO: what attains the target and
keeps the quality budget for the least cost; where nothing does, what misses least.
"""

from collections.abc import Callable, Sequence
from itertools import product
from math import ceil

import numpy as np
import polars as pl

from simulations.peers.peer import Peer
from simulations.policies import PolicyChoice
from simulations.scoreboard.job import Job
from simulations.scoreboard.suite import Cell

#: Shares of the training part, each tried with what the one before left.
RUNGS = (0.25, 0.5, 1.0)
#: Share of the settings that goes on to the next rung.
KEPT_SHARE = 1.0 / 3.0


def settings_of(peer: Peer, most: int) -> tuple[str, ...]:
    """At most ``most`` settings of a peer, its default first; the same ones every time."""
    default = PolicyChoice(peer.name, {knob.name: knob.default for knob in peer.knobs})
    grid = [
        PolicyChoice(peer.name, dict(zip([k.name for k in peer.knobs], values, strict=True)))
        for values in product(*(knob.values for knob in peer.knobs))
    ]
    others = [choice.text for choice in grid if choice.text != default.text]
    if len(others) > most - 1:
        chosen = np.random.default_rng(0).choice(len(others), most - 1, replace=False)
        others = [others[i] for i in sorted(chosen)]
    return (default.text, *others)


def training_jobs(cell: Cell, settings: Sequence[str], share: float, seed: int) -> list[Job]:
    """Replays of settings on the last ``share`` of the training part."""
    part = f"training/{share:g}"
    return [Job(cell=cell, policy=setting, seed=seed, part=part) for setting in settings]


def ranked(rows: pl.DataFrame, cell: Cell) -> list[str]:
    """Settings of one peer in one cell, the best first."""
    slo, quality = _objective(cell)
    known = rows.filter(pl.col("cost").is_not_null())
    attains = (pl.col("attainment") >= slo) & (pl.col("degraded_share") <= quality)
    return (
        known.with_columns(attains=attains)
        .sort(
            pl.col("attains").not_(),
            pl.when("attains").then("cost").otherwise(1.0 - pl.col("attainment")),
            "policy",
        )["policy"]
        .to_list()
    )


def _objective(cell: Cell) -> tuple[float, float]:
    policy = cell.scenario.policy()
    return policy.slo.target, policy.quality.max_degraded_share


def tuned(
    cells: Sequence[Cell],
    peers: Sequence[Peer],
    run: Callable[[list[Job]], pl.DataFrame],
    *,
    most: int,
    seed: int,
) -> dict[tuple[str, str], str]:
    """The best setting of every peer with knobs in every cell with a training part.

    ``run`` carries jobs out and returns their rows. Keys are (cell, peer).
    """
    left = {
        (cell.name, peer.name): list(settings_of(peer, most))
        for cell in cells
        if cell.spec.training is not None
        for peer in peers
        if peer.knobs
    }
    by_name = {cell.name: cell for cell in cells}
    for share in RUNGS:
        jobs = [
            job
            for (name, _), settings in left.items()
            for job in training_jobs(by_name[name], settings, share, seed)
        ]
        rows = run(jobs)
        for (name, peer), settings in list(left.items()):
            own = rows.filter(
                (pl.col("cell") == name)
                & (pl.col("part") == f"training/{share:g}")
                & pl.col("policy").is_in(settings)
            )
            best = ranked(own, by_name[name])
            if not best:
                del left[name, peer]
                continue
            kept = 1 if share == RUNGS[-1] else ceil(KEPT_SHARE * len(best))
            left[name, peer] = best[:kept]
    return {key: settings[0] for key, settings in left.items()}
