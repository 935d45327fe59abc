"""The yardstick of the forecast benchmark: a fluid fleet and what a clairvoyant one costs."""

from dataclasses import replace

import numpy as np
import pytest

from controller.core.forecasting.calibration import LEVELS
from simulations.bench import forecast as bench
from simulations.bench.forecast import Replay


def replay(ticks: int = 4000, cold_start_ticks: int = 8) -> Replay:
    """Smooth demand with a burst now and then, and nothing said about it."""
    rng = np.random.default_rng(0)
    tick = np.arange(ticks)
    demand = 100.0 + 30.0 * np.sin(tick / 300.0) + np.where(tick % 480 < 30, 80.0, 0.0)
    demand = demand * rng.normal(1.0, 0.01, ticks)
    seen = np.ones(ticks, dtype=np.bool_)
    return Replay(
        cold_start_ticks=cold_start_ticks,
        demand=demand,
        seen=seen,
        target=bench._targets(demand, seen, cold_start_ticks + 2),
        candidates=np.zeros((ticks, 3, len(LEVELS))),
        published=np.zeros((ticks, len(LEVELS))),
        level=demand,
        attaining=demand,
        sources=np.array(["persistence"] * ticks),
        trusted=seen,
        microseconds=np.ones(ticks),
        start_seconds=0.0,
    )


def test_a_perfect_forecast_costs_what_the_clairvoyant_fleet_does() -> None:
    """Knowing the minute around one cold start ahead is the plan, within two per cent."""
    run = replay()
    smooth = np.convolve(run.demand, np.full(4, 0.25), "same")
    ahead = run.cold_start_ticks + 2
    known = np.concatenate((smooth[ahead:], np.full(ahead, smooth[-1])))
    ratio = bench.fleet(run, known).at(0.99) / bench.clairvoyant(run).at(0.99)
    assert ratio == pytest.approx(1.0, abs=0.02)


def test_persistence_costs_more_than_foresight() -> None:
    """Bursts that only the clairvoyant sees coming make persistence dear."""
    run = replay()
    assert bench.fleet(run, run.level).at(0.99) > 1.2 * bench.clairvoyant(run).at(0.99)


def test_what_is_not_reached_costs_infinity() -> None:
    """A fleet of nothing attains nothing at any margin."""
    assert bench.fleet(replay(), np.zeros(4000)).at(0.99) == np.inf


def test_capacity_is_ready_one_cold_start_after_it_was_wanted() -> None:
    """A step in what is wanted serves from a tick of age and a cold start later on."""
    run = replay()
    run = replace(run, demand=np.full(4000, 10.0))
    wanted = np.where(np.arange(4000) < 2000, 0.0, 10.0)
    fleet = bench.fleet(run, wanted, np.ones(1))
    served = 4000 - 2000 - 2 - run.cold_start_ticks
    assert fleet.attainment[0] == pytest.approx(served / 3998)


def test_skill_of_known_quantiles() -> None:
    """Quantiles of the true spread cover their levels, with an error that knows its blocks."""
    run = replay()
    noise = np.random.default_rng(1).normal(size=4000)
    target = np.where(np.isfinite(run.target), 100.0 + 10.0 * noise, np.nan)
    normal = np.array([0.0, 0.8416, 1.2816, 1.6449, 2.0537, 2.3263])
    figures = bench.skill(replace(run, target=target), np.tile(100.0 + 10.0 * normal, (4000, 1)))
    assert figures["coverageWithinTarget"]
    assert figures["wape"] == pytest.approx(0.08, abs=0.005)
    assert figures["coverage"]["0.95"] == pytest.approx(0.95, abs=0.01)
    assert 0.001 < figures["coverageStandardError"]["0.95"] < 0.01


def test_targets_are_the_minutes_ahead_and_unseen_ones_unknown() -> None:
    """The target of a tick is the mean of four ticks from the horizon on."""
    demand = np.arange(20.0)
    seen = np.ones(20, dtype=np.bool_)
    seen[12] = False
    target = bench._targets(demand, seen, 3)
    assert target[0] == pytest.approx(5.5)
    assert np.isnan(target[5:9]).all()
    assert np.isnan(target[-7:]).all()
