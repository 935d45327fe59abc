"""An HPA on the first Primary to which a forecast proposes too.

What a forecast proposes stands beside what the metric at hand proposes, the greater one counts,
and the HPA's windows and rates come after. The other variants stay at their minimum.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from controller.core.domain.decision import Decision
from controller.core.domain.observation import (
    GaugeReading,
    Measured,
    Observation,
    VariantObservation,
)
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role
from simulations.peers.hpa.behavior import HpaBehavior
from simulations.peers.hpa.law import HpaHistory, HpaOutcome, HpaSpec, sync
from simulations.peers.hpa.metrics import Tolerance, external_average_proposal
from simulations.peers.hpa.planner import ExternalAverage, readings, told
from simulations.peers.promql import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastHpaHistory:
    """The HPA's memory, and the gateway's counter of requests as far as rate() sees it."""

    hpa: HpaHistory = HpaHistory()  # noqa: RUF009 - frozen, without state
    arrivals: Samples = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastHpa:
    """The HPA object; its minReplicas is at least 1, like that of every HPA here."""

    metric: ExternalAverage
    behavior: HpaBehavior
    tolerance: Tolerance = Tolerance()  # noqa: RUF009 - frozen, without state

    def proposed(self, total: float, status_replicas: int) -> int:
        """Replicas for a total of the metric."""
        return external_average_proposal(
            math.ceil(1000 * total), self.metric.target_milli, status_replicas, self.tolerance
        )

    def reactive(
        self, seen: VariantObservation, per_second: GaugeReading, status_replicas: int
    ) -> int | None:
        """Replicas for the metric as it is; None where any part of it is missing."""
        total = 0.0
        for reading in readings(self.metric.signal, seen, per_second):
            if not isinstance(reading, Measured):
                return None
            total += reading.value
        return self.proposed(total, status_replicas)

    def decided(
        self,
        policy: Policy,
        observation: Observation,
        history: HpaHistory,
        proposals: Sequence[int | None],
        now: float,
    ) -> tuple[Decision, HpaHistory]:
        """Sync once on these proposals. The Deployment is created with its minimum."""
        first = primary(policy)
        variant, seen = policy.variants[first], observation.variants[first]
        spec = HpaSpec(
            min_replicas=max(1, variant.min_replicas),
            max_replicas=variant.max_replicas,
            behavior=self.behavior,
        )
        created_now = history.recommendations is None and seen.desired == 0
        replicas = spec.min_replicas if created_now else seen.desired
        outcome, after = sync(spec, history, replicas, proposals, now)
        outcomes: list[HpaOutcome | None] = [None] * len(policy.variants)
        outcomes[first] = outcome
        return told(policy, observation, outcomes), after


def primary(policy: Policy) -> int:
    """The variant that is scaled: the first Primary, since the gateway counts for all."""
    return policy.indices(Role.PRIMARY)[0]


def status_replicas(seen: VariantObservation) -> int:
    """Every pod that is not being deleted, Ready or not."""
    return seen.ready + len(seen.starting_since_seconds)
