"""The fleet that really ran, replayed: what it cost, and how far the simulator is from the truth.

The same engine, router and prices as every policy has, at the replicas that were seen: so its cost
compares with theirs, and its latencies with those of the user's own histograms.
"""

from dataclasses import dataclass, replace

import numpy as np

from simulations.backtest.counting import Array
from simulations.backtest.history import History
from simulations.backtest.seen import Objective, Seen
from simulations.engine.config import EngineConfig
from simulations.engine.kernel import MAX_SLOTS
from simulations.engine.totals import FINE_LOWER_SECONDS
from simulations.reference.path import Path
from simulations.results import PolicyResult
from simulations.setup import Prepared
from simulations.world.replay import follow
from simulations.world.scoring import Scorer
from simulations.world.world import Setup, World

NAME = "as-it-was"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """One objective, simulated at the replicas that ran and seen: shares of answered requests."""

    objective: Objective
    simulated_share: float

    @property
    def error(self) -> float:
        """How much better the simulator has it than it was, as a share."""
        return self.simulated_share - self.objective.share


@dataclass(frozen=True, slots=True, kw_only=True)
class AsItWas:
    """The replay of what ran. ``held_share`` of the steps had no samples: the last count held."""

    result: PolicyResult
    fits: tuple[Fit, ...]
    held_share: float
    most_replicas: tuple[int, ...]


def _with_seen_edges(engine: EngineConfig, seen: Seen) -> EngineConfig:
    """Let the simulated histograms have the edges that the user's have, to be set beside them."""
    if seen.ttft_edges_seconds:
        engine = replace(engine, ttft_edges_seconds=_apart(seen.ttft_edges_seconds))
    if seen.tpot_edges_seconds:
        engine = replace(engine, tpot_edges_seconds=_apart(seen.tpot_edges_seconds))
    return engine


def _apart(edges: tuple[float, ...]) -> tuple[float, ...]:
    """The edges without those that the simulator's own, finer buckets cannot tell apart."""
    _, first = np.unique(
        np.searchsorted(FINE_LOWER_SECONDS, edges, side="right"), return_index=True
    )
    return tuple(edges[i] for i in first)


def replay_as_it_was(prepared: Prepared, history: History, seen: Seen, seed: int) -> AsItWas:
    """Replay the replicas that were seen."""
    replicas = _held(history.replicas)
    setup = _roomy(prepared.with_seed(seed), int(replicas.sum(axis=0).max()))
    setup = replace(setup, engine=_with_seen_edges(setup.engine, seen))
    path = Path(
        bucket_seconds=history.replayed.grid.step_seconds, replicas=replicas.T.astype(np.int64)
    )
    world = World(setup, warm=path.at(0.0), scraped=False)
    scorer = Scorer(world, NAME)
    before = world.totals()
    for tick in range(scorer.ticks):
        follow(world, path.at(world.seconds), prepared.capacity.optimal_weights)
        scorer.placed(tick)
        if tick == scorer.from_tick:
            before = world.totals()
        scorer.advance(tick)
    result = scorer.result([])
    after = world.fleet.totals()
    late, slow = world.prometheus.bad(before, after)
    answered = {
        "TTFT": (late, float(np.sum(after.ttft_histogram - before.ttft_histogram))),
        "TPOT": (slow, float(np.sum(after.tpot_histogram - before.tpot_histogram))),
    }
    return AsItWas(
        result=result,
        fits=tuple(
            Fit(
                objective=objective,
                simulated_share=1.0 - answered[objective.metric][0] / answered[objective.metric][1],
            )
            for objective in seen.objectives
            if answered[objective.metric][1] > 0.0 and not objective.of_gaps
        ),
        held_share=float(np.isnan(history.replicas).any(axis=0).mean()),
        most_replicas=tuple(int(n) for n in replicas.max(axis=1)),
    )


def _held(replicas: Array) -> Array:
    """Replicas (variants, steps), the last known count where none is; the first known before."""
    seen = np.isfinite(replicas).all(axis=0)
    steps = np.arange(replicas.shape[1])
    last = np.maximum.accumulate(np.where(seen, steps, -1))
    held: Array = replicas[:, np.where(last >= 0, last, int(np.argmax(seen)))]
    return held


def _roomy(setup: Setup, replicas: int) -> Setup:
    """Room for more replicas than the ModelDeployment allows, if more ran."""
    room = min(max(setup.max_replicas, 2 * replicas + 8), MAX_SLOTS)
    return replace(setup, max_replicas=room)
