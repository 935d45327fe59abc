"""Replicas for a load, as a load test of whole fleets shows them: not in proportion to it."""

from dataclasses import dataclass

from controller.core.domain.policy import Policy
from controller.core.performance.capacity import FleetCapacity
from simulations.peers.forecast_hpa import primary


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Demand:
    """Replicas of the first Primary that carry a load within the SLO, at one token mix."""

    capacity: FleetCapacity
    variant: int
    most: int

    @classmethod
    def of(cls, policy: Policy, capacity: FleetCapacity) -> "Demand":
        """The demand for the variant that is scaled."""
        first = primary(policy)
        return cls(capacity=capacity, variant=first, most=policy.variants[first].max_replicas)

    def replicas(self, per_second: float) -> int:
        """Fewest replicas that carry so many requests/s, and at most what the policy allows."""
        try:
            return min(self.capacity.required_replicas(self.variant, per_second), self.most)
        except ValueError:
            # More than any fleet carries.
            return self.most
