"""A comparison that looks like a real one: a day of traffic, four policies and a plan."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from controller.core.domain.policy import Slo
from simulations.results import Comparison, ForecastScore, Percentiles, PolicyResult, Timeline

TICK_SECONDS = 15.0
LEAD_TICKS = 10
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
PRICES = np.array([4.0, 2.2])


def _arrivals(rng: np.random.Generator, ticks: int) -> NDArray[np.float64]:
    """A diurnal curve with noise, hourly bursts and one short flash crowd, requests/s."""
    hours = np.arange(ticks) * TICK_SECONDS / 3600.0
    base = 40.0 - 28.0 * np.cos(2 * np.pi * (hours - 3.0) / 24.0)
    hourly = 8.0 * np.exp(-(((hours % 1.0) / 0.05) ** 2))
    flash = 45.0 * np.exp(-(((hours - 15.0) / 0.12) ** 2))
    return np.maximum(base + hourly + flash + rng.normal(0.0, 2.5, ticks), 0.0)


def _held(needed: NDArray[np.float64], hold_ticks: int) -> NDArray[np.int64]:
    """The maximum of the last ``hold_ticks``: how every sensible policy scales down."""
    padded = np.concatenate((np.full(hold_ticks - 1, needed[0]), needed))
    windows = np.lib.stride_tricks.sliding_window_view(padded, hold_ticks)
    return np.ceil(np.max(windows, axis=1)).astype(np.int64)


def _reasons(wanted: NDArray[np.int64]) -> tuple[tuple[int, str], ...]:
    changed = [0, *(np.flatnonzero(np.any(np.diff(wanted, axis=0), axis=1)) + 1)]
    texts = []
    for tick in changed:
        before, after = wanted[max(tick - 1, 0)], wanted[tick]
        stage = "Optimise CheapestWithinBudgets" if tick % 3 else "Guard ReactiveFloor <now & here>"
        texts.append((int(tick), f"{stage}: fp8={before[0]} -> fp8={after[0]}"))
    return tuple(texts)


@dataclass(frozen=True)
class Behaviour:
    """How an invented policy behaves: its margin, its delay and what it is called."""

    name: str
    margin: float
    late_ticks: int
    forecasts: bool
    fallback: int = 0
    static: bool = False


def _timeline(
    behaviour: Behaviour, arrivals: NDArray[np.float64], rng: np.random.Generator
) -> Timeline:
    ticks = len(arrivals)
    ahead = arrivals[np.minimum(np.arange(ticks) + LEAD_TICKS, ticks - 1)]
    seen = ahead if behaviour.forecasts else np.roll(arrivals, behaviour.late_ticks)
    if behaviour.static:
        seen = np.full(ticks, np.max(arrivals))
    primary = _held(behaviour.margin * seen / 4.5, 12)
    burst = np.where(arrivals > 70.0, behaviour.fallback, 0)
    wanted = np.column_stack((primary, burst)).astype(np.int64)
    ready = wanted[np.maximum(np.arange(ticks) - LEAD_TICKS, 0)]
    load = arrivals / (4.5 * np.maximum(ready.sum(axis=1), 1))
    pressure = np.maximum(load - 0.85, 0.0)
    ttft = 0.12 + 0.2 * load + 9.0 * pressure**1.5 + np.abs(rng.normal(0.0, 0.02, ticks))
    tpot = 0.018 + 0.022 * load + np.abs(rng.normal(0.0, 0.001, ticks))
    good = np.clip(1.0 - 2.2 * np.maximum(load - 1.0, 0.0), 0.0, 1.0)
    ttft[100:104] = tpot[100:104] = good[100:104] = np.nan
    forecast = np.full((ticks, len(LEVELS)), np.nan)
    if behaviour.forecasts:
        spread = np.array([0.0, 0.08, 0.12, 0.17, 0.21, 0.25])
        forecast = ahead[:, None] * (1.0 + spread) + rng.normal(0.0, 0.8, ticks)[:, None]
        forecast[:40] = np.nan
    at = np.arange(ticks) * TICK_SECONDS
    return Timeline(
        variants=("fp8", "int4"),
        quantile_levels=LEVELS if behaviour.forecasts else (),
        at_seconds=at,
        arrivals_per_second=arrivals,
        wanted=wanted,
        ready=ready,
        ttft_p95_seconds=ttft,
        tpot_p95_seconds=tpot,
        good_share=good,
        cumulative_cost=np.cumsum(wanted @ PRICES) * TICK_SECONDS / 3600.0,
        forecast=forecast if behaviour.forecasts else np.empty((ticks, 0)),
        forecast_for_seconds=np.where(
            np.isnan(forecast[:, -1]), np.nan, at + LEAD_TICKS * TICK_SECONDS
        ),
        reasons=_reasons(wanted),
    )


def _result(behaviour: Behaviour, timeline: Timeline) -> PolicyResult:
    arrivals = timeline.arrivals_per_second
    requests = int(np.sum(arrivals) * TICK_SECONDS)
    share = np.nan_to_num(timeline.good_share, nan=1.0)
    good = int(np.sum(arrivals * share) * TICK_SECONDS)
    ttft = np.nanpercentile(timeline.ttft_p95_seconds, (50, 95, 99))
    tpot = np.nanpercentile(timeline.tpot_p95_seconds, (50, 95, 99))
    degraded = np.sum(arrivals * (timeline.ready[:, 1] > 0)) / max(np.sum(arrivals), 1e-9)
    return PolicyResult(
        name=behaviour.name,
        cost=float(timeline.cumulative_cost[-1]),
        attainment=good / requests if requests else float("nan"),
        degraded_share=0.2 * float(degraded),
        requests=requests,
        good=good,
        refused=(requests - good) // 3,
        timed_out=0,
        failed=0,
        ttft_seconds=Percentiles(p50=ttft[0], p95=ttft[1], p99=ttft[2]),
        tpot_seconds=Percentiles(p50=tpot[0], p95=tpot[1], p99=tpot[2]),
        churn=int(np.sum(np.abs(np.diff(timeline.wanted, axis=0)))),
        starting_gpu_hours=3.25,
        forecast=ForecastScore(
            trusted_share=0.91,
            changed_decision_share=0.23,
            wape=0.061,
            persistence_wape=0.084,
            coverage={f"{level:g}": min(level + 0.004, 1.0) for level in LEVELS},
        )
        if behaviour.forecasts
        else None,
        plan_seconds_mean=0.00031,
        plan_seconds_p99=0.0011,
        seen_attainment=(0.985, 0.994),
        digest="0f3a",
        timeline=timeline,
    )


PLAN = Behaviour("reference-plan", 1.0, 0, forecasts=True)
BEHAVIOURS = (
    Behaviour("static-peak", 1.05, 0, forecasts=False, static=True),
    Behaviour("steelyard", 1.08, 0, forecasts=True, fallback=2),
    Behaviour("hpa-queue", 1.5, 2, forecasts=False),
    Behaviour("hpa-running </script><b>", 1.1, 6, forecasts=False),
)

MakeComparison = Callable[[int], Comparison]


@pytest.fixture(scope="session")
def slo() -> Slo:
    """Objectives of the invented scenario."""
    return Slo(
        ttft_seconds=1.0,
        tpot_seconds=0.05,
        target=0.99,
        window_seconds=86400.0,
        planned_budget_share=0.5,
    )


@pytest.fixture(scope="session")
def make_comparison() -> MakeComparison:
    """Make a comparison with timelines of the given number of ticks."""

    def make(ticks: int) -> Comparison:
        rng = np.random.default_rng(7)
        arrivals = _arrivals(rng, ticks)
        plan = _result(PLAN, _timeline(PLAN, arrivals, rng))
        results = tuple(_result(b, _timeline(b, arrivals, rng)) for b in BEHAVIOURS)
        return Comparison(
            scenario="azure-2023-conv & more <20 replicas>",
            seeds=(0,),
            ceiling=0.9994,
            slo_target=0.99,
            reference_plan_cost=plan.cost,
            lower_bound_cost=0.9 * plan.cost,
            reference_plan=plan,
            policies=results,
            lower_bounds={r.name: 0.88 * plan.cost for r in results},
        )

    return make
