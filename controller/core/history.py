"""History: all that one decision hands to the next. Bounded, frozen, and serialisable."""

from dataclasses import dataclass

from controller.core.domain.decision import Allocation
from controller.core.domain.observation import VariantObservation
from controller.core.domain.policy import Policy
from controller.core.forecasting.forecaster import ForecastState
from controller.core.optimizer.pacing import Ledger
from controller.core.performance.learning import CapacityLearning
from controller.core.performance.lengths import TokenLengths
from controller.core.performance.work import RecentTokens

#: Measured cold starts kept per variant, newest last.
COLD_STARTS_KEPT = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a planner remembers of one ModelDeployment.

    ``seen_since_seconds`` is the first observation of this process. ``traffic_at_seconds`` is the
    end of the last traffic that was seen. ``recommended`` holds (Unix seconds, allocation) over
    the longest hold or stabilization window, ``changes`` the signed changes of desired replicas
    (Unix seconds, variant, change) over the longest rate period.
    """

    seen_since_seconds: float | None
    traffic_at_seconds: float | None
    forecast: ForecastState
    tokens: RecentTokens
    lengths: TokenLengths
    learning: CapacityLearning
    ledger: Ledger
    cold_starts: tuple[tuple[float, ...], ...]
    recommended: tuple[tuple[float, Allocation], ...] = ()
    changes: tuple[tuple[float, int, int], ...] = ()


def cold_start_p90(policy: Policy, cold_starts: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    """P90 of the measured cold starts of each variant in seconds, pulled to the declared prior.

    The prior counts as three measurements at its own value, so that one odd start does not decide.
    """
    return tuple(
        _p90((variant.cold_start_seconds,) * 3 + measured)
        for variant, measured in zip(policy.variants, cold_starts, strict=True)
    )


def _p90(values: tuple[float, ...]) -> float:
    ranked = sorted(values)
    return ranked[min(int(0.9 * len(ranked)), len(ranked) - 1)]


def remember_cold_starts(
    kept: tuple[tuple[float, ...], ...], seen: tuple[VariantObservation, ...]
) -> tuple[tuple[float, ...], ...]:
    """Append the cold starts just completed, keeping the newest."""
    return tuple(
        (old + new.ready_after_seconds)[-COLD_STARTS_KEPT:] if new.ready_after_seconds else old
        for old, new in zip(kept, seen, strict=True)
    )
