"""Persistence with a margin and a hold, as a planner.

Replicas for ``margin`` times the present load, and none released before one lead time (cold start
and tick) has passed without need for it: the optimum for a known load, shifted by the lead. It
knows no queue, no trend and no season.
"""

from dataclasses import dataclass

from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import Measured, Observation, PastTraffic
from controller.core.domain.policy import Policy
from simulations.peers.account import peer_decision
from simulations.peers.forecast_hpa import primary
from simulations.peers.hpa.planner import arrival_rate, scraped_arrivals
from simulations.peers.promql import Samples
from simulations.peers.seasonal.demand import Demand


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistenceHistory:
    """What was wanted within the lead, as (seconds, replicas), and the gateway's counter.

    ``wanted`` None: the first call takes what it finds for wanted, as does every blind one.
    """

    wanted: tuple[tuple[float, int], ...] | None = None
    arrivals: Samples = ()


class PersistencePlanner:
    """The first Primary follows the load; the other variants stay at their minimum."""

    def __init__(self, demand: Demand, margin: float) -> None:
        self._demand = demand
        self._margin = margin

    def initial(self, policy: Policy, past: PastTraffic | None) -> PersistenceHistory:
        """Nothing is remembered at the start."""
        del policy, past
        return PersistenceHistory()

    def plan(
        self, policy: Policy, observation: Observation, history: PersistenceHistory, now: float
    ) -> tuple[Decision, PersistenceHistory]:
        """Keep the most that was wanted within the lead; blind, keep what is there."""
        arrivals = scraped_arrivals(history.arrivals, observation.traffic, now)
        per_second = arrival_rate(arrivals, observation.traffic, now)
        observed = tuple(variant.desired for variant in observation.variants)
        first = primary(policy)
        variant = policy.variants[first]
        lead = variant.cold_start_seconds + policy.tick_seconds
        before = ((now, observed[first]),) if history.wanted is None else history.wanted
        seen = isinstance(per_second, Measured)
        needed = observed[first]
        if isinstance(per_second, Measured):
            needed = self._demand.replicas(self._margin * per_second.value)
        wanted = (*(one for one in before if one[0] > now - lead), (now, needed))
        held = max(replicas for _, replicas in wanted) if seen else needed
        stages = [
            tuple(
                replicas if v == first else one.min_replicas
                for v, one in enumerate(policy.variants)
            )
            for replicas in (
                needed,
                held,
                max(held, variant.min_replicas),
                min(max(held, variant.min_replicas), variant.max_replicas),
            )
        ]
        reasons = (Reason.HOLD_NOT_EXPIRED, Reason.MIN_REPLICAS, Reason.MAX_REPLICAS)
        decision = peer_decision(
            policy,
            observed,
            stages[0],
            limits=tuple(zip(reasons, stages[1:], strict=True)),
            kept_for=None if seen else Reason.METRICS_MISSING,
        )
        return decision, PersistenceHistory(wanted=wanted, arrivals=arrivals)
