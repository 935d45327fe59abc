"""Crane's EffectiveHorizontalPodAutoscaler on a ModelDeployment as a planner.

DSP is refitted every 12 h on the last week by the minute, the HPA in front of the forecast syncs
every plan call. While DSP has no forecast (a series that is not periodic, or shows less than two
periods) the HPA has no metric of it, and is a plain one. A forecast whose series is no longer found
periodic is used until it ends, as in Crane.
"""

import math
from dataclasses import dataclass

import numpy as np

from controller.core.domain.decision import Decision
from controller.core.domain.observation import Observation, PastTraffic
from controller.core.domain.policy import Policy
from simulations.peers.crane.law import Forecast, refit
from simulations.peers.crane.preprocessing import preprocessed
from simulations.peers.forecast_hpa import (
    ForecastHpa,
    ForecastHpaHistory,
    primary,
    status_replicas,
)
from simulations.peers.hpa.planner import arrival_rate, scraped_arrivals
from simulations.peers.rate_history import MINUTE_SECONDS, RateHistory

REFIT_SECONDS = 12.0 * 3600.0
#: DSP's default history of 7 days, and the hour that its query asks for besides.
HISTORY_SECONDS = 7.0 * 86_400.0 + 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CraneHistory:
    """The HPA's memory, the rates to fit on, the forecast, and when it is made anew."""

    hpa: ForecastHpaHistory
    rates: RateHistory
    forecast: Forecast | None = None
    refit_due_seconds: float = -math.inf


class CranePlanner:
    """The HPA on requests/s of the first Primary, with DSP's metric beside it.

    ``seed`` is that of the period test's permutations.
    """

    def __init__(self, hpa: ForecastHpa, seed: int = 0) -> None:
        self._hpa = hpa
        self._seed = seed

    def initial(self, policy: Policy, past: PastTraffic | None) -> CraneHistory:
        """The HPA remembers nothing, the metrics store what there is."""
        del policy
        return CraneHistory(hpa=ForecastHpaHistory(), rates=RateHistory.of(past, HISTORY_SECONDS))

    def plan(
        self, policy: Policy, observation: Observation, history: CraneHistory, now: float
    ) -> tuple[Decision, CraneHistory]:
        """Refit where that is due, and sync the HPA."""
        arrivals = scraped_arrivals(history.hpa.arrivals, observation.traffic, now)
        per_second = arrival_rate(arrivals, observation.traffic, now)
        rates, forecast = history.rates.scraped(per_second, now), history.forecast
        due = history.refit_due_seconds
        if now >= due:
            rates, due = rates.folded(), now + REFIT_SECONDS
            forecast = _forecast(rates, self._seed) or forecast
        seen = observation.variants[primary(policy)]
        pods = status_replicas(seen)
        proposals = [self._hpa.reactive(seen, per_second, pods)]
        ahead = None if forecast is None else forecast.highest(now)
        if ahead is not None:
            proposals.append(self._hpa.proposed(ahead, pods))
        decision, hpa = self._hpa.decided(policy, observation, history.hpa.hpa, proposals, now)
        return decision, CraneHistory(
            hpa=ForecastHpaHistory(hpa=hpa, arrivals=arrivals),
            rates=rates,
            forecast=forecast,
            refit_due_seconds=due,
        )


def _forecast(rates: RateHistory, seed: int) -> Forecast | None:
    """Forecast of the day or week after the newest sample; None where there can be none."""
    series = preprocessed(rates.at_seconds, rates.per_second, MINUTE_SECONDS)
    until = rates.until_seconds
    fit = refit(series, MINUTE_SECONDS, np.random.default_rng(seed))
    return None if fit is None else Forecast.of(fit, until + MINUTE_SECONDS, MINUTE_SECONDS)
