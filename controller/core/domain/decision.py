"""A decision: the replicas of every variant, and the account of how they were chosen."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

#: Replicas of every variant, in the order of the policy's variants.
Allocation: TypeAlias = tuple[int, ...]


class Stage(StrEnum):
    """Who changed the allocation, in the order the stages run."""

    OBSERVE = "Observe"
    FORECAST = "Forecast"
    OPTIMISE = "Optimise"
    GUARD = "Guard"


class Reason(StrEnum):
    """Why a stage set, kept or limited the allocation: a closed list for conditions and events."""

    # Observe
    MODE_OFF = "ModeOff"
    METRICS_MISSING = "MetricsMissing"
    METRICS_STALE = "MetricsStale"
    # Forecast
    FORECAST_TRUSTED = "ForecastTrusted"
    FORECAST_UNTRUSTED = "ForecastUntrusted"
    # Optimise
    CHEAPEST_WITHIN_BUDGETS = "CheapestWithinBudgets"
    CURRENT_ALLOCATION_KEPT = "CurrentAllocationKept"
    ROUTING_WOULD_LOWER_CAPACITY = "RoutingWouldLowerCapacity"
    FALLBACK_NOT_CHEAPER = "FallbackNotCheaper"
    QUALITY_BUDGET_SPENT = "QualityBudgetSpent"
    INFEASIBLE_WITHIN_LIMITS = "InfeasibleWithinLimits"
    DEMAND_ABOVE_CAPACITY = "DemandAboveCapacity"
    PEER_LAW = "PeerLaw"
    # Guard
    REACTIVE_FLOOR = "ReactiveFloor"
    SATURATION_FLOOR = "SaturationFloor"
    HOLD_NOT_EXPIRED = "HoldNotExpired"
    REPLACEMENT_NOT_READY = "ReplacementNotReady"
    HISTORY_TOO_SHORT = "HistoryTooShort"
    BLIND_HOLD = "BlindHold"
    BLIND_RISE = "BlindRise"
    STABILIZATION_WINDOW = "StabilizationWindow"
    SCALE_RATE_LIMITED = "ScaleRateLimited"
    SCHEDULE_FLOOR = "ScheduleFloor"
    SCHEDULE_CEILING = "ScheduleCeiling"
    MIN_REPLICAS = "MinReplicas"
    MAX_REPLICAS = "MaxReplicas"
    MAX_COST_PER_HOUR = "MaxCostPerHour"
    MAX_GPUS = "MaxGpus"
    GPU_SHORTAGE = "GpuShortage"
    PAUSED = "Paused"


@dataclass(frozen=True, slots=True)
class DecisionStep:
    """One stage's effect on the allocation."""

    stage: Stage
    reason: Reason
    before: Allocation
    after: Allocation


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedAlternative:
    """An allocation not taken: what it costs and is expected to miss, and why it lost."""

    allocation: Allocation
    cost_per_hour: float
    missed_per_second: float
    degraded_per_second: float
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSummary:
    """The forecast a decision used: mean arrival rate of the minute ``horizon_seconds`` ahead.

    Rates are in requests/s of the token mix present at the decision. The forecast is of work, told
    in requests of reference tokens; ``requests_per_reference`` is what one of these is worth.
    ``quantiles`` maps level to arrival rate. ``source`` names the candidate that was used.
    ``changed_decision`` says whether plain persistence would have decided otherwise.
    """

    source: str
    horizon_seconds: float
    level_requests_per_second: float
    quantiles: tuple[tuple[float, float], ...]
    requests_per_reference: float
    trusted: bool
    changed_decision: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the object does, as far as the decision's history knows; None is not known yet.

    ``attainment`` is (lower, upper) over about the SLO window, ``errors_left`` and ``quality_left``
    the shares of the budgets that are left, negative once overspent. ``forecast_error`` is the
    rolling WAPE and ``forecast_coverage`` (nominal, observed). ``cold_start_seconds`` (P90) and
    ``capacities`` (requests/s of the Ready replicas alone) are by variant.
    ``static_peak_cost_per_hour`` is what Primaries for the highest load of the last week cost.
    """

    attainment: tuple[float, float] | None
    errors_left: float | None
    quality_left: float | None
    forecast_error: float | None
    forecast_coverage: tuple[float, float] | None
    cold_start_seconds: tuple[float, ...]
    capacities: tuple[float, ...]
    static_peak_cost_per_hour: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now. ``weights`` are traffic shares per variant (None: not asked to route).

    ``miss_price`` and ``degraded_price`` are the prices, in the price table's currency, of one
    missed and of one degraded request at which the allocation was chosen. ``binding`` names what
    kept the decision from being cheaper.
    """

    allocation: Allocation
    weights: tuple[float, ...] | None
    steps: tuple[DecisionStep, ...]
    binding: Reason
    rejected: tuple[RejectedAlternative, ...] = ()
    forecast: ForecastSummary | None = None
    miss_price: float = 0.0
    degraded_price: float = 0.0
    cost_per_hour: float = 0.0
    capacity_requests_per_second: float | None = None
    standing: Standing | None = None
