"""What a replay yields: one ``PolicyResult`` per policy, with a timeline for the report."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Percentiles of a latency over all answered requests, in seconds; NaN when none."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastScore:
    """How a policy's forecasts of the arrival rate compare with what came.

    WAPE is sum |error| / sum |actual| of the median; ``coverage`` maps quantile level to the
    share of targets at or below the forecast. Shares are of ticks.
    """

    trusted_share: float
    changed_decision_share: float
    wape: float
    persistence_wape: float
    coverage: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Timeline:
    """The replay tick by tick. T ticks, V variants, Q quantile levels.

    ``at_seconds`` (T,) from the start of the scored part; ``arrivals_per_second`` (T,) true rate
    in the tick; ``wanted`` and ``ready`` (T, V) replicas; ``ttft_p95_seconds``,
    ``tpot_p95_seconds``, ``good_share`` (T,) of requests ended in the tick, NaN when none;
    ``cumulative_cost`` (T,) up to the tick's end; ``forecast`` (T, Q) requests/s for
    ``forecast_for_seconds`` (T,), NaN when the policy gave none; ``reasons`` one line per tick on
    which the decision changed: (tick, text).
    """

    variants: tuple[str, ...]
    quantile_levels: tuple[float, ...]
    at_seconds: NDArray[np.float64]
    arrivals_per_second: NDArray[np.float64]
    wanted: NDArray[np.int64]
    ready: NDArray[np.int64]
    ttft_p95_seconds: NDArray[np.float64]
    tpot_p95_seconds: NDArray[np.float64]
    good_share: NDArray[np.float64]
    cumulative_cost: NDArray[np.float64]
    forecast: NDArray[np.float64]
    forecast_for_seconds: NDArray[np.float64]
    reasons: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyResult:
    """One policy's replay. Costs in the price table's currency, all GPU time request to release."""

    name: str
    cost: float
    attainment: float
    degraded_share: float
    requests: int
    good: int
    refused: int
    timed_out: int
    failed: int
    ttft_seconds: Percentiles
    tpot_seconds: Percentiles
    churn: int
    starting_gpu_hours: float
    forecast: ForecastScore | None
    plan_seconds_mean: float
    plan_seconds_p99: float
    seen_attainment: tuple[float, float]
    digest: str
    timeline: Timeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All policies on one scenario. ``ceiling`` is the attainment with unlimited replicas.

    ``lower_bounds`` maps a policy's name to the proved bound at that policy's own attainment and
    degraded share; ``lower_bound_cost`` is the bound at the SLO target and quality budget, which
    is ``max_degraded_share``.
    """

    scenario: str
    seeds: tuple[int, ...]
    ceiling: float
    slo_target: float
    reference_plan_cost: float
    lower_bound_cost: float
    reference_plan: PolicyResult
    policies: tuple[PolicyResult, ...]
    lower_bounds: dict[str, float] = field(default_factory=dict)
    max_degraded_share: float = 1.0
