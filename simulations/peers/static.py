"""Policies that do not look: a fixed allocation, and one that follows a written schedule."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from controller.core.domain.decision import Allocation, Decision
from controller.core.domain.observation import Observation, PastTraffic
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role
from simulations.peers.account import peer_decision


class FixedPlanner:
    """Always the same allocation."""

    def __init__(self, allocation: Allocation) -> None:
        if any(replicas < 0 for replicas in allocation):
            raise ValueError(f"allocation: replicas must be >= 0, got {allocation}")
        self._allocation = allocation

    def initial(self, policy: Policy, past: PastTraffic | None) -> None:
        """Nothing is remembered; check that the allocation fits the policy."""
        del past
        _check_variants(policy, self._allocation)

    def plan(
        self, policy: Policy, observation: Observation, history: None, now: float
    ) -> tuple[Decision, None]:
        """Return the fixed allocation."""
        del now
        observed = tuple(variant.desired for variant in observation.variants)
        return peer_decision(policy, observed, self._allocation), history


class ScheduledPlanner:
    """Replays an allocation written for every moment.

    ``allocations[i]`` is in force from ``at_seconds[i]`` (Unix, strictly ascending) until the
    next; the first one also before its time.
    """

    def __init__(self, at_seconds: Sequence[float], allocations: Sequence[Sequence[int]]) -> None:
        starts = [float(at) for at in at_seconds]
        if not starts or len(starts) != len(allocations):
            raise ValueError(
                "allocations: need one allocation per time and at least one, "
                f"got {len(allocations)} for {len(starts)} times"
            )
        if any(later <= earlier for earlier, later in pairwise(starts)):
            raise ValueError("at_seconds: times must be strictly ascending; sort and merge them")
        self._starts = starts
        self._allocations = [tuple(int(replicas) for replicas in row) for row in allocations]
        if min(min(row) for row in self._allocations) < 0:
            raise ValueError("allocations: replicas must be >= 0")

    def initial(self, policy: Policy, past: PastTraffic | None) -> None:
        """Nothing is remembered; check that the allocations fit the policy."""
        del past
        for allocation in self._allocations:
            _check_variants(policy, allocation)

    def plan(
        self, policy: Policy, observation: Observation, history: None, now: float
    ) -> tuple[Decision, None]:
        """Return the allocation in force at ``now``."""
        row = max(bisect_right(self._starts, now) - 1, 0)
        observed = tuple(variant.desired for variant in observation.variants)
        return peer_decision(policy, observed, self._allocations[row]), history


def static_peak(policy: Policy, primaries: int) -> FixedPlanner:
    """Keep ``primaries`` replicas of the first Primary variant, other variants at their minimum."""
    first = policy.indices(Role.PRIMARY)[0]
    allocation = [variant.min_replicas for variant in policy.variants]
    low, high = policy.variants[first].min_replicas, policy.variants[first].max_replicas
    allocation[first] = min(max(primaries, low), high)
    return FixedPlanner(tuple(allocation))


def _check_variants(policy: Policy, allocation: Allocation) -> None:
    if len(allocation) != len(policy.variants):
        raise ValueError(
            f"allocation: {len(allocation)} entries for {len(policy.variants)} variants "
            f"of {policy.namespace}/{policy.name}; give one per variant, in the policy's order"
        )
