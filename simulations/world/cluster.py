"""The simulated cluster: replicas from request to release, GPUs, and what they cost.

A replica is billed from the moment it holds GPUs until it is gone, cold start and drain included.
Scaling down removes replicas that are still starting first (youngest first), then the Ready one
with the fewest outstanding requests, which drains.
"""

import heapq
from dataclasses import dataclass
from itertools import count

import numpy as np

from controller.core.domain.variant import Variant
from simulations.engine.fleet import Fleet
from simulations.world.conditions import Conditions, FaultKind

_READY, _CRASH, _QUOTA = range(3)


@dataclass(slots=True, kw_only=True)
class Replica:
    """One replica; ``slot`` is its place in the engine once Ready."""

    number: int
    variant: int
    created_at: float
    speed: float
    scheduled_at: float | None = None
    ready_at: float | None = None
    slot: int | None = None
    draining: bool = False
    gone: bool = False


@dataclass(slots=True, kw_only=True)
class Bill:
    """GPU time so far of replicas that are gone, in replica-seconds by variant."""

    replica_seconds: list[float]
    starting_gpu_seconds: float = 0.0
    churn: int = 0


@dataclass(slots=True)
class _Draws:
    """One stream of random numbers per variant and purpose: common to all policies of a seed."""

    cold_starts: list[np.random.Generator]
    crashes: list[np.random.Generator]


class Cluster:
    """Holds the replicas of one scenario and moves them through their lives."""

    def __init__(
        self, variants: tuple[Variant, ...], conditions: Conditions, fleet: Fleet, seed: int
    ) -> None:
        self._variants = variants
        self._conditions = conditions
        self._fleet = fleet
        streams = np.random.default_rng([seed, 7]).spawn(2 * len(variants))
        self._draws = _Draws(streams[: len(variants)], streams[len(variants) :])
        self._numbers = count()
        self._events: list[tuple[float, int, int, Replica | None]] = []
        self._alive: list[list[Replica]] = [[] for _ in variants]
        self._by_slot: dict[int, Replica] = {}
        self._became_ready_after: list[list[float]] = [[] for _ in variants]
        self.desired = [0] * len(variants)
        self.bill = Bill(replica_seconds=[0.0] * len(variants))
        for fault in conditions.faults:
            if fault.kind is FaultKind.GPU_SHORTAGE:
                self._push(fault.interval.to_seconds, _QUOTA, None)

    # --- reading -------------------------------------------------------------------------------

    def ready(self, variant: int) -> int:
        """Replicas of ``variant`` that serve and are not draining."""
        return sum(1 for r in self._alive[variant] if r.ready_at is not None and not r.draining)

    def starting_since(self, variant: int) -> tuple[float, ...]:
        """Creation times of the replicas that are not Ready yet."""
        return tuple(r.created_at for r in self._alive[variant] if r.ready_at is None)

    def unschedulable(self, variant: int) -> int:
        """Replicas that wait for a GPU."""
        return sum(1 for r in self._alive[variant] if r.scheduled_at is None)

    def draining(self, variant: int) -> int:
        """Replicas that finish what they have and take nothing new."""
        return sum(1 for r in self._alive[variant] if r.draining)

    def take_ready_after(self, variant: int) -> tuple[float, ...]:
        """Create-to-Ready times completed since the last call."""
        taken, self._became_ready_after[variant] = self._became_ready_after[variant], []
        return tuple(taken)

    def gpus_held(self) -> int:
        """GPUs held by all replicas that exist."""
        return sum(
            self._variants[v].gpus_per_replica
            for v, replicas in enumerate(self._alive)
            for r in replicas
            if r.scheduled_at is not None
        )

    def cost(self, until_seconds: float) -> float:
        """Cost of all GPU time up to ``until_seconds``."""
        total = 0.0
        for v, variant in enumerate(self._variants):
            seconds = self.bill.replica_seconds[v] + sum(
                until_seconds - r.scheduled_at for r in self._alive[v] if r.scheduled_at is not None
            )
            total += seconds / 3600.0 * variant.cost_per_replica_hour
        return total

    def starting_gpu_seconds(self, until_seconds: float) -> float:
        """GPU time spent on cold starts so far, those under way included."""
        under_way = sum(
            (until_seconds - r.scheduled_at) * self._variants[r.variant].gpus_per_replica
            for replicas in self._alive
            for r in replicas
            if r.ready_at is None and r.scheduled_at is not None
        )
        return self.bill.starting_gpu_seconds + under_way

    # --- changing ------------------------------------------------------------------------------

    def place_ready(self, variant: int, replicas: int, at_seconds: float) -> None:
        """Put warm replicas in place, as a scenario starts."""
        for _ in range(replicas):
            replica = self._create(variant, at_seconds)
            replica.scheduled_at = at_seconds
            self._make_ready(replica, at_seconds)
        self.desired[variant] += replicas

    def place_on_time(self, variant: int, replicas: int, at_seconds: float) -> None:
        """Put replicas in place that were requested one cold start before, and bill that start."""
        for _ in range(replicas):
            replica = self._create(variant, at_seconds)
            held = self.gpus_held() + self._variants[variant].gpus_per_replica
            lead = self._lead(replica, held, at_seconds)
            replica.created_at = replica.scheduled_at = at_seconds - lead
            self._make_ready(replica, at_seconds)
        self.bill.churn += replicas
        self.desired[variant] += replicas

    def scale(self, variant: int, replicas: int, at_seconds: float) -> None:
        """Set the desired replicas of ``variant``, as a write to its scale subresource does."""
        self.bill.churn += abs(replicas - self.desired[variant])
        self.desired[variant] = replicas
        present = [r for r in self._alive[variant] if not r.draining]
        for _ in range(replicas - len(present)):
            self._create(variant, at_seconds)
        surplus = len(present) - replicas
        if surplus > 0:
            self._remove(present, surplus, at_seconds)
        self._schedule(at_seconds)

    def next_event(self) -> float:
        """Scenario time of the next change of the cluster's own; infinite when none is due."""
        return self._events[0][0] if self._events else np.inf

    def settle(self, at_seconds: float) -> None:
        """Carry out what is due up to ``at_seconds``; the engine has been advanced to there."""
        for slot, empty_at in self._fleet.pop_drained():
            self._release(self._by_slot.pop(slot), empty_at)
        while self._events and self._events[0][0] <= at_seconds:
            when, _, kind, replica = heapq.heappop(self._events)
            if replica is not None and replica.gone:
                continue
            if kind == _READY and replica is not None:
                self._make_ready(replica, when)
            elif kind == _CRASH and replica is not None:
                self._crash(replica, when)
        self._schedule(at_seconds)

    # --- inside --------------------------------------------------------------------------------

    def _push(self, at_seconds: float, kind: int, replica: Replica | None) -> None:
        heapq.heappush(self._events, (at_seconds, next(self._numbers), kind, replica))

    def _create(self, variant: int, at_seconds: float) -> Replica:
        replica = Replica(
            number=next(self._numbers),
            variant=variant,
            created_at=at_seconds,
            speed=self._conditions.factor(FaultKind.SLOW_NODE, at_seconds),
        )
        self._alive[variant].append(replica)
        return replica

    def _quota(self, at_seconds: float) -> float:
        quota = self._conditions.gpu_quota
        if quota is None:
            return np.inf
        return quota - self._conditions.active(FaultKind.GPU_SHORTAGE, at_seconds)

    def _schedule(self, at_seconds: float) -> None:
        """Give GPUs to waiting replicas, oldest first, as far as the quota goes."""
        waiting = sorted(
            (r for replicas in self._alive for r in replicas if r.scheduled_at is None),
            key=lambda r: r.number,
        )
        if not waiting:
            return
        held = self.gpus_held()
        for replica in waiting:
            gpus = self._variants[replica.variant].gpus_per_replica
            if held + gpus > self._quota(at_seconds):
                continue
            held += gpus
            replica.scheduled_at = at_seconds
            self._push(at_seconds + self._lead(replica, held, at_seconds), _READY, replica)

    def _lead(self, replica: Replica, gpus_held: int, at_seconds: float) -> float:
        """Draw the time from scheduling to Ready."""
        cold = self._conditions.cold_starts[replica.variant]
        lead = cold.draw(self._draws.cold_starts[replica.variant])
        if cold.warm_gpus is not None and gpus_held > cold.warm_gpus:
            lead += cold.node_seconds
        return lead * self._conditions.factor(FaultKind.SLOW_START, at_seconds)

    def _make_ready(self, replica: Replica, at_seconds: float) -> None:
        replica.ready_at = at_seconds
        replica.slot = self._fleet.add_replica(replica.variant, at_seconds, replica.speed)
        self._by_slot[replica.slot] = replica
        if replica.scheduled_at is not None and at_seconds > replica.created_at:
            variant = self._variants[replica.variant]
            self.bill.starting_gpu_seconds += (
                at_seconds - replica.scheduled_at
            ) * variant.gpus_per_replica
            self._became_ready_after[replica.variant].append(at_seconds - replica.created_at)
        hazard = float(self._draws.crashes[replica.variant].standard_exponential())
        crash_at = self._conditions.crash_at(at_seconds, hazard)
        if crash_at < np.inf:
            self._push(crash_at, _CRASH, replica)

    def _crash(self, replica: Replica, at_seconds: float) -> None:
        """End a Ready replica; its workload replaces it at once, but not one that drains."""
        if replica.slot is None:
            return
        self._fleet.crash_replica(replica.slot, at_seconds)
        del self._by_slot[replica.slot]
        self._release(replica, at_seconds)
        if not replica.draining:
            self._create(replica.variant, at_seconds)

    def _remove(self, present: list[Replica], surplus: int, at_seconds: float) -> None:
        starting = sorted(
            (r for r in present if r.ready_at is None), key=lambda r: (r.created_at, r.number)
        )
        for replica in reversed(starting[-surplus:] if surplus <= len(starting) else starting):
            self._release(replica, at_seconds)
        remaining = surplus - len(starting)
        if remaining <= 0:
            return
        outstanding = self._fleet.slot_outstanding()
        serving = [r for r in present if r.slot is not None]
        serving.sort(key=lambda r: (int(outstanding[r.slot or 0]), -r.number))
        for replica in serving[:remaining]:
            replica.draining = True
            if replica.slot is not None:
                self._fleet.drain_replica(replica.slot, at_seconds)

    def _release(self, replica: Replica, at_seconds: float) -> None:
        """Take a replica out of the world and close its bill."""
        replica.gone = True
        self._alive[replica.variant].remove(replica)
        if replica.scheduled_at is None:
            return
        self.bill.replica_seconds[replica.variant] += at_seconds - replica.scheduled_at
        if replica.ready_at is None:
            variant = self._variants[replica.variant]
            self.bill.starting_gpu_seconds += (
                at_seconds - replica.scheduled_at
            ) * variant.gpus_per_replica
