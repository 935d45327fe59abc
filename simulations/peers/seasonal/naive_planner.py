"""An HPA on outstanding requests with a seasonal-naive forecast in front, as a planner.

What the forecast proposes for the coming cold start and tick stands beside what the HPA proposes,
and the greater counts. Every plan call syncs and forecasts; the forecast is of whole minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from controller.core.domain.decision import Decision
from controller.core.domain.observation import Observation, PastTraffic
from controller.core.domain.policy import Policy
from simulations.peers.forecast_hpa import (
    ForecastHpa,
    ForecastHpaHistory,
    primary,
    status_replicas,
)
from simulations.peers.hpa.planner import arrival_rate, scraped_arrivals
from simulations.peers.rate_history import RateHistory
from simulations.peers.seasonal.demand import Demand
from simulations.peers.seasonal.naive import LEVEL_SECONDS, seasonal_naive


@dataclass(frozen=True, slots=True, kw_only=True)
class NaiveHistory:
    """The HPA's memory, and the rates of the seasons before."""

    hpa: ForecastHpaHistory
    rates: RateHistory


class NaivePlanner:
    """The HPA on the first Primary, and the forecast against what its replicas carry.

    ``share`` of the capacity is what the forecast is to fill; ``seasons_seconds`` are tried in
    order, the first that is known is taken.
    """

    def __init__(
        self, hpa: ForecastHpa, demand: Demand, share: float, seasons_seconds: Sequence[float]
    ) -> None:
        self._hpa = hpa
        self._demand = demand
        self._share = share
        self._seasons_seconds = tuple(seasons_seconds)

    def initial(self, policy: Policy, past: PastTraffic | None) -> NaiveHistory:
        """The HPA remembers nothing, the metrics store a season and the level before it."""
        del policy
        kept = max(self._seasons_seconds) + LEVEL_SECONDS
        return NaiveHistory(hpa=ForecastHpaHistory(), rates=RateHistory.of(past, kept))

    def plan(
        self, policy: Policy, observation: Observation, history: NaiveHistory, now: float
    ) -> tuple[Decision, NaiveHistory]:
        """Forecast, and sync the HPA."""
        arrivals = scraped_arrivals(history.hpa.arrivals, observation.traffic, now)
        per_second = arrival_rate(arrivals, observation.traffic, now)
        rates = history.rates.scraped(per_second, now)
        first = primary(policy)
        seen = observation.variants[first]
        window = policy.variants[first].cold_start_seconds + policy.tick_seconds
        proposals = [self._hpa.reactive(seen, per_second, status_replicas(seen))]
        expected = seasonal_naive(rates, self._seasons_seconds, window, now)
        if expected is not None:
            proposals.append(self._demand.replicas(expected / self._share))
        decision, hpa = self._hpa.decided(policy, observation, history.hpa.hpa, proposals, now)
        return decision, NaiveHistory(
            hpa=ForecastHpaHistory(hpa=hpa, arrivals=arrivals), rates=rates
        )
