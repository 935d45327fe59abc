"""Standing: how an object does, read off the history of its decisions."""

from math import ceil, isfinite

from controller.core.domain.decision import Standing
from controller.core.domain.observation import Observation
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role
from controller.core.forecasting.calibration import LEVELS
from controller.core.history import History
from controller.core.optimizer.pacing import Ledger
from controller.core.outlook import Outlook

#: Level of the forecast whose coverage is told.
_TOLD_LEVEL = 0.95


def standing(
    policy: Policy,
    observation: Observation,
    history: History,
    outlook: Outlook,
    cold_starts_p90: tuple[float, ...],
) -> Standing:
    """Sum up what the history knows."""
    trust = outlook.forecast.trust
    scored = trust.scored > 0 and isfinite(trust.wape)
    return Standing(
        attainment=_attainment(history.ledger),
        errors_left=_left(history.ledger.missed, history.ledger.ended, 1.0 - policy.slo.target),
        quality_left=_left(
            history.ledger.degraded, history.ledger.ended, policy.quality.max_degraded_share
        )
        if policy.indices(Role.FALLBACK)
        else None,
        forecast_error=trust.wape if scored else None,
        forecast_coverage=(_TOLD_LEVEL, trust.coverage[LEVELS.index(_TOLD_LEVEL)])
        if scored
        else None,
        cold_start_seconds=cold_starts_p90,
        capacities=_capacities(observation, outlook),
        static_peak_cost_per_hour=_static_peak(policy, history, outlook),
    )


def _attainment(ledger: Ledger) -> tuple[float, float] | None:
    if ledger.ended <= 0.0:
        return None
    return 1.0 - ledger.missed / ledger.ended, 1.0 - ledger.surely_missed / ledger.ended


def _left(spent: float, ended: float, share: float) -> float | None:
    """Share of a budget that is left; None before anything ended or where there is no budget."""
    budget = share * ended
    if budget <= 0.0:
        return None
    return 1.0 - spent / budget


def _capacities(observation: Observation, outlook: Outlook) -> tuple[float, ...]:
    counts = [variant.ready for variant in observation.variants]
    return tuple(
        outlook.carries(tuple(n if w == v else 0 for w in range(len(counts)))) if n else 0.0
        for v, n in enumerate(counts)
    )


def _static_peak(policy: Policy, history: History, outlook: Outlook) -> float | None:
    """Cost of the replicas of the first Primary that carry the last week's highest minute."""
    peak = history.forecast.series.peak_week * outlook.per_reference
    primary = policy.variants[policy.indices(Role.PRIMARY)[0]]
    if peak <= 0.0 or outlook.primary_rate <= 0.0:
        return None
    replicas = max(ceil(peak / outlook.primary_rate), primary.min_replicas)
    return replicas * primary.cost_per_replica_hour
