"""Writes a replay down tick by tick, in arrays whose size is known before it starts."""

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.decision import Decision, DecisionStep
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role
from controller.core.performance.work import reference_requests
from simulations.engine.fleet import Totals
from simulations.results import ForecastScore, Percentiles, Timeline
from simulations.world.world import Arrived

#: Seconds over which an arrival rate is averaged when a forecast is scored against it.
SCORED_OVER_SECONDS = 60.0


def percentile(edges: NDArray[np.float64], counts: NDArray[np.int64], share: float) -> float:
    """Upper edge of the fine bucket that holds the ``share`` quantile; NaN without counts."""
    cumulative = np.cumsum(counts)
    if cumulative[-1] == 0:
        return float("nan")
    index = int(np.searchsorted(cumulative, share * cumulative[-1]))
    return float(edges[min(index, len(edges) - 1)])


def percentiles(edges: NDArray[np.float64], counts: NDArray[np.int64]) -> Percentiles:
    """The three percentiles that results carry."""
    return Percentiles(
        p50=percentile(edges, counts, 0.50),
        p95=percentile(edges, counts, 0.95),
        p99=percentile(edges, counts, 0.99),
    )


def explain(policy: Policy, steps: tuple[DecisionStep, ...]) -> str:
    """One line that says how an allocation came about."""
    names = [variant.name for variant in policy.variants]

    def text(allocation: tuple[int, ...]) -> str:
        return " ".join(f"{name}={n}" for name, n in zip(names, allocation, strict=True))

    return "; ".join(
        f"{step.stage} {step.reason}"
        + (f": {text(step.before)} -> {text(step.after)}" if step.before != step.after else "")
        for step in steps
    )


class Recorder:
    """Collects the timeline and the forecasts of one replay."""

    def __init__(
        self, policy: Policy, ticks: int, tick_seconds: float, fine_edges: NDArray[np.float64]
    ) -> None:
        variants = len(policy.variants)
        self._policy = policy
        self._tick_seconds = tick_seconds
        self._edges = fine_edges
        self._at = np.arange(ticks) * tick_seconds
        self._wanted = np.zeros((ticks, variants), np.int64)
        self._ready = np.zeros((ticks, variants), np.int64)
        self._profile = policy.variants[policy.indices(Role.PRIMARY)[0]].profile
        self._work = np.zeros(ticks)
        self._per_reference = np.ones(ticks)
        self._series = np.full((ticks, 5), np.nan)
        self._forecasts: dict[int, tuple[float, ...]] = {}
        self._levels: tuple[float, ...] = ()
        self._forecast_for = np.full(ticks, np.nan)
        self._level_now = np.full(ticks, np.nan)
        self._flags = np.zeros((ticks, 2), np.bool_)
        self._reasons: list[tuple[int, str]] = []
        self._last: tuple[int, ...] | None = None

    def traffic(
        self, tick: int, arrived: Arrived, before: Totals, after: Totals, cost: float
    ) -> None:
        """Record what happened from this tick to the next."""
        ttft = np.sum(after.ttft_fine - before.ttft_fine, axis=0)
        tpot = np.sum(after.tpot_fine - before.tpot_fine, axis=0)
        if arrived.requests:
            self._work[tick] = (
                reference_requests(
                    self._profile,
                    arrived.prompt_tokens / arrived.requests,
                    arrived.output_tokens / arrived.requests,
                )
                * arrived.requests
            )
        ended = after.ended - before.ended
        good = int(np.sum(after.good) - np.sum(before.good))
        self._series[tick] = (
            arrived.requests / self._tick_seconds,
            percentile(self._edges, ttft, 0.95),
            percentile(self._edges, tpot, 0.95),
            good / ended if ended else np.nan,
            cost,
        )

    def replicas(self, tick: int, wanted: list[int], ready: list[int]) -> None:
        """Record the replicas at this tick."""
        self._wanted[tick] = wanted
        self._ready[tick] = ready

    def decision(self, tick: int, decision: Decision, wanted: list[int], ready: list[int]) -> None:
        """Record what was decided at this tick, and the replicas at it."""
        self.replicas(tick, wanted, ready)
        if decision.allocation != self._last:
            self._last = decision.allocation
            self._reasons.append((tick, explain(self._policy, decision.steps)))
        forecast = decision.forecast
        if forecast is None:
            return
        self._levels = tuple(level for level, _ in forecast.quantiles)
        self._forecasts[tick] = tuple(value for _, value in forecast.quantiles)
        self._forecast_for[tick] = self._at[tick] + forecast.horizon_seconds
        self._per_reference[tick] = forecast.requests_per_reference
        self._level_now[tick] = forecast.level_requests_per_second
        self._flags[tick] = (forecast.trusted, forecast.changed_decision)

    def timeline(self, from_tick: int) -> Timeline:
        """The recorded ticks from ``from_tick`` on, with time counted from there."""
        forecast = np.full((len(self._at), len(self._levels)), np.nan)
        for tick, values in self._forecasts.items():
            if len(values) == len(self._levels):
                forecast[tick] = values
        start = self._at[from_tick]
        before = self._series[from_tick - 1, 4] if from_tick else 0.0
        return Timeline(
            variants=tuple(variant.name for variant in self._policy.variants),
            quantile_levels=self._levels,
            at_seconds=self._at[from_tick:] - start,
            arrivals_per_second=self._series[from_tick:, 0],
            wanted=self._wanted[from_tick:],
            ready=self._ready[from_tick:],
            ttft_p95_seconds=self._series[from_tick:, 1],
            tpot_p95_seconds=self._series[from_tick:, 2],
            good_share=self._series[from_tick:, 3],
            cumulative_cost=self._series[from_tick:, 4] - before,
            forecast=forecast[from_tick:],
            forecast_for_seconds=self._forecast_for[from_tick:] - start,
            reasons=tuple((t - from_tick, text) for t, text in self._reasons if t >= from_tick),
        )

    def score(self, from_tick: int) -> ForecastScore | None:
        """How the forecasts made from ``from_tick`` on compare with what came."""
        ticks = np.array([t for t in self._forecasts if t >= from_tick], np.int64)
        if not len(ticks):
            return None
        actual = self._actual(self._forecast_for[ticks]) * self._per_reference[ticks]
        known = np.isfinite(actual)
        flags = self._flags[ticks]
        ticks, actual = ticks[known], actual[known]
        values = np.array([self._forecasts[int(t)] for t in ticks]).reshape(len(ticks), -1)
        middle = int(np.argmin(np.abs(np.array(self._levels) - 0.5)))
        total = max(float(np.sum(actual)), 1e-12)
        return ForecastScore(
            trusted_share=float(np.mean(flags[:, 0])),
            changed_decision_share=float(np.mean(flags[:, 1])),
            wape=float(np.sum(np.abs(values[:, middle] - actual)) / total),
            persistence_wape=float(np.sum(np.abs(self._level_now[ticks] - actual)) / total),
            coverage={
                f"{level:g}": float(np.mean(actual <= values[:, i]))
                for i, level in enumerate(self._levels)
            },
        )

    def _actual(self, from_seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """True work of the minute from each time on, as a rate of requests of reference tokens.

        NaN beyond the record. Forecasts are of work, so they are scored in it.
        """
        cumulative = np.concatenate(([0.0], np.cumsum(self._work)))
        times = np.arange(len(cumulative)) * self._tick_seconds
        to_seconds = from_seconds + SCORED_OVER_SECONDS
        inside = (from_seconds >= 0.0) & (to_seconds <= times[-1])
        upper = np.interp(to_seconds, times, cumulative)
        lower = np.interp(from_seconds, times, cumulative)
        return np.where(inside, (upper - lower) / SCORED_OVER_SECONDS, np.nan)
