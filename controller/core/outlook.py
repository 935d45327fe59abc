"""Outlook: the forecast one lead ahead, the fleet's capacity at the present mix, and the prices."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.decision import Allocation
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role
from controller.core.forecasting import forecaster
from controller.core.forecasting.forecaster import Forecast
from controller.core.history import History
from controller.core.intake import lead_seconds, reference_profile
from controller.core.optimizer.pacing import Prices, prices
from controller.core.performance.capacity import FleetCapacity, fleet_capacity
from controller.core.performance.mix import TokenMix
from controller.core.performance.work import REFERENCE_TOKENS, reference_requests
from controller.core.settings import Foresight

#: Seconds of arrivals that the reactive floor stands on.
REACTIVE_WINDOW_SECONDS = 30.0
#: Grid of the mixes that capacity is worked out for. It may be coarse, since demand is told in work
#: and a fleet's capacity in work hardly moves with the mix.
MIX_STEP = 0.08
#: Fleet over which the cost of serving one request, and of the peak, is reckoned.
REFERENCE_FLEET = 10
#: Requests/s of a replica that meets the SLO at no rate, so that prices stay finite.
_LEAST_RATE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the optimiser needs to know: the forecast, the fleet and the price of a miss.

    ``fleet`` is by the profiles; ``factor`` is by how much the replicas have shown themselves
    faster (above 1) or slower. The forecast is in requests of the reference tokens;
    ``per_reference`` converts to requests of the present mix, as ``recent_rate`` is.
    ``primary_rate`` is what a replica of the first Primary carries in a fleet of some size.
    """

    forecast: Forecast
    fleet: FleetCapacity
    factor: float
    per_reference: float
    prices: Prices
    recent_rate: float
    primary_rate: float

    def quantiles(self) -> NDArray[np.float64]:
        """The forecast's quantiles in requests/s of the present mix."""
        return self.forecast.quantiles * self.per_reference

    def persistence_quantiles(self) -> NDArray[np.float64]:
        """Plain persistence's, likewise."""
        return self.forecast.persistence_quantiles * self.per_reference

    def carries(self, allocation: Allocation) -> float:
        """Arrival rate the allocation carries within the SLO, in requests/s."""
        return self.fleet.capacity(allocation) * self.factor


def outlook(
    policy: Policy,
    history: History,
    cold_starts_p90: tuple[float, ...],
    now: float,
    *,
    none_ready: bool = False,
    calibrated: bool = True,
    foresight: Foresight | None = None,
) -> Outlook | None:
    """Look one cold start ahead; None while no traffic was ever seen.

    Tokens are told by engines. Where ``none_ready`` nothing can tell them, so a fleet whose tokens
    were never seen starts for requests of the reference tokens; otherwise they are waited for.
    ``foresight`` takes the place of what is forecast, at the same lead.
    """
    if history.traffic_at_seconds is None and not history.forecast.seen:
        return None
    # The forecast runs from the end of what was seen, so the lead holds the sample's age.
    age = now - (history.traffic_at_seconds or now)
    horizon = lead_seconds(policy, cold_starts_p90) - policy.tick_seconds + age
    forecast = forecaster.forecast(history.forecast, horizon, now, calibrated=calibrated)
    mix = _mix(history, none_ready=none_ready)
    if forecast is None or mix is None:
        return None
    if foresight is not None:
        known = np.full_like(forecast.quantiles, foresight(now, forecast.at_seconds))
        forecast = replace(forecast, quantiles=known, persistence_quantiles=known)
    fleet = fleet_capacity(policy.variants, policy.slo, policy.routing, mix)
    factor = history.learning.factor
    per_reference = 1.0 / reference_requests(
        reference_profile(policy), mix.prompt_mean, mix.output_mean
    )
    recent = forecaster.recent_rate(history.forecast, REACTIVE_WINDOW_SECONDS) * per_reference
    primary = policy.indices(Role.PRIMARY)[0]
    primary_rate = max(_rate_per_replica(policy, fleet, primary) * factor, _LEAST_RATE)
    cost_per_request = policy.variants[primary].cost_per_replica_hour / 3600.0 / primary_rate
    return Outlook(
        forecast=forecast,
        fleet=fleet,
        factor=factor,
        per_reference=per_reference,
        prices=prices(policy, history.ledger, cost_per_request, max(recent, 1e-3)),
        recent_rate=recent,
        primary_rate=primary_rate,
    )


def _mix(history: History, *, none_ready: bool) -> TokenMix | None:
    """The recent token mix, rounded so that capacity tables are reused; None while unknown."""
    prompt, output = forecaster.token_means(history.forecast)
    if not (np.isfinite(prompt) and np.isfinite(output)):
        if not none_ready:
            return None
        prompt, output = REFERENCE_TOKENS
    # A window's sums may be cut off mid-request; no request has less than a token either way.
    prompt, output = max(prompt, 1.0), max(output, 1.0)
    return TokenMix.from_means(prompt, output, history.lengths.shape).rounded(MIX_STEP)


def _rate_per_replica(policy: Policy, fleet: FleetCapacity, variant: int) -> float:
    """Requests/s that a replica of one variant carries in a fleet of ``REFERENCE_FLEET``."""
    counts = tuple(REFERENCE_FLEET if v == variant else 0 for v in range(len(policy.variants)))
    return fleet.capacity(counts) / REFERENCE_FLEET
