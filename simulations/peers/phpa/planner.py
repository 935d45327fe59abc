"""The predictive HPA on a ModelDeployment as a planner.

Its sync period is 15 s by default: a sync is every plan call, and the model runs at each. Where the
metric fails there is no sync, and nothing is added to the model's history.

The original keeps that history in a ConfigMap for as long as the object lives. Here it begins with
what the HPA would have proposed on the traffic that the metrics store remembers, as if the object
had been there; a metric other than the traffic's rate cannot be told from that, and begins empty.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from controller.core.domain.decision import Decision
from controller.core.domain.observation import Observation, PastTraffic
from controller.core.domain.policy import Policy
from simulations.peers.forecast_hpa import ForecastHpa, ForecastHpaHistory, primary
from simulations.peers.hpa.planner import Signal, arrival_rate, scraped_arrivals
from simulations.peers.phpa.law import DecisionType, decided
from simulations.peers.phpa.linear import Proposals

MemoryT = TypeVar("MemoryT")


class Model(Protocol[MemoryT]):
    """A model of the HPA's proposals, given as (seconds, replicas) in time order."""

    def begun(self, proposals: Proposals) -> MemoryT:
        """Return what is kept of proposals made before."""
        ...

    def synced(self, stored: MemoryT, at_seconds: float, replicas: int, /) -> tuple[int, MemoryT]:
        """Predict where the HPA proposes ``replicas`` now, and remember it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PhpaHistory(Generic[MemoryT]):
    """The HPA's memory and its model's."""

    hpa: ForecastHpaHistory
    model: MemoryT


class PhpaPlanner(Generic[MemoryT]):
    """The predictive HPA on the first Primary, with one model."""

    def __init__(
        self,
        hpa: ForecastHpa,
        model: Model[MemoryT],
        decision: DecisionType = DecisionType.MAXIMUM,
    ) -> None:
        self._hpa = hpa
        self._model = model
        self._decision = decision

    def initial(self, policy: Policy, past: PastTraffic | None) -> PhpaHistory[MemoryT]:
        """The HPA remembers nothing, the model what would have been proposed."""
        proposals: Proposals = ()
        if past is not None and self._hpa.metric.signal is Signal.ARRIVALS:
            proposals = _proposals(self._hpa, policy, past)
        return PhpaHistory(hpa=ForecastHpaHistory(), model=self._model.begun(proposals))

    def plan(
        self,
        policy: Policy,
        observation: Observation,
        history: PhpaHistory[MemoryT],
        now: float,
    ) -> tuple[Decision, PhpaHistory[MemoryT]]:
        """Sync once; the tolerance is around spec.replicas, where the HPA's is around the pods."""
        arrivals = scraped_arrivals(history.hpa.arrivals, observation.traffic, now)
        per_second = arrival_rate(arrivals, observation.traffic, now)
        seen = observation.variants[primary(policy)]
        proposal, model = self._hpa.reactive(seen, per_second, seen.desired), history.model
        if proposal is not None:
            prediction, model = self._model.synced(model, now, proposal)
            proposal = decided(self._decision, (proposal, prediction))
        decision, hpa = self._hpa.decided(policy, observation, history.hpa.hpa, [proposal], now)
        return decision, PhpaHistory(
            hpa=ForecastHpaHistory(hpa=hpa, arrivals=arrivals), model=model
        )


def _proposals(hpa: ForecastHpa, policy: Policy, past: PastTraffic) -> Proposals:
    """One proposal per sync, the replicas being the highest of a down-window's proposals."""
    variant = policy.variants[primary(policy)]
    least = max(1, variant.min_replicas)
    kept = math.ceil(hpa.behavior.scale_down.stabilization_window_seconds / policy.tick_seconds)
    recent = deque([least], maxlen=max(1, kept))
    proposals = []
    steps = len(past.requests)
    until = past.from_seconds + steps * past.step_seconds
    for sync in range(math.floor(steps * past.step_seconds / policy.tick_seconds), 0, -1):
        at = until - sync * policy.tick_seconds
        requests = past.requests[int((at - past.from_seconds) / past.step_seconds)]
        if np.isfinite(requests):
            replicas = min(max(*recent, least), variant.max_replicas)
            recent.append(hpa.proposed(float(requests) / past.step_seconds, replicas))
            proposals.append((at, recent[-1]))
    return tuple(proposals)
