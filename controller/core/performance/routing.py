"""Routing: how pools of replicas make one fleet under the declared law (DESIGN section 3).

- ``Shared``: all replicas are one pool.
- ``Weighted``: one pool per variant, traffic split by ``optimal_weights`` or by given ones.
- ``Overflow``: Primary variants are one pool; what it refuses goes to the pool of Fallbacks.
- ``Separate``: every variant has its own clients, so Fallback replicas carry none of the load;
  several Primaries take it in proportion to what each carries alone.

``PerEndpoint`` balancing makes every replica a pool of one, ``LeastLoaded`` balances a pool.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from controller.core.domain.decision import Allocation
from controller.core.domain.policy import Balancing, Routing, RoutingLaw, Slo
from controller.core.domain.variant import Role, Variant
from controller.core.performance.load_curve import LoadCurve, copies, overflow, split
from controller.core.performance.mix import TokenMix
from controller.core.performance.pool import Pool, load_curves, pools
from controller.core.performance.requests import BadTable, bad_table
from controller.core.performance.transient import Stream

Weights = tuple[float, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class RoutedFleet:
    """Load curves of allocations of ``variants`` as their profiles say; keeps what was computed."""

    variants: tuple[Variant, ...]
    slo: Slo
    routing: Routing
    mix: TokenMix
    _pools: dict[Allocation, tuple[Pool, LoadCurve]] = field(
        default_factory=dict, init=False, repr=False
    )
    _curves: dict[tuple[Allocation, Weights | None], LoadCurve] = field(
        default_factory=dict, init=False, repr=False
    )

    def curve(self, allocation: Allocation, weights: Weights | None = None) -> LoadCurve | None:
        """The fleet against its load, None where nothing serves.

        ``weights`` (Weighted routing only) are traffic shares in place of the optimal ones.
        """
        key = (allocation, weights)
        known = self._curves.get(key)
        if known is not None:
            return known
        if len(allocation) != len(self.variants) or min(allocation) < 0:
            raise ValueError(
                f"an allocation has a count of 0 or more for each of {len(self.variants)} "
                f"variants, got {allocation}"
            )
        law = self.routing.law
        if law is RoutingLaw.SEPARATE:
            allocation = self.of_role(allocation, Role.PRIMARY)
        if sum(allocation) == 0:
            return None
        if law is RoutingLaw.SHARED:
            curve = self._pooled(allocation)
        elif law is RoutingLaw.OVERFLOW:
            curve = self._overflow(allocation)
        else:
            curve = self._split(allocation, weights or self.optimal_weights(allocation))
        self._curves[key] = curve
        return curve

    def prepare(self, allocations: Iterable[Allocation]) -> None:
        """Compute the pools that these allocations are made of, many at a time."""
        by_kinds: dict[tuple[bool, ...], set[Allocation]] = {}
        for counts in {pool for one in allocations for pool in self._parts(one)}:
            if sum(counts) and counts not in self._pools:
                by_kinds.setdefault(tuple(n > 0 for n in counts), set()).add(counts)
        for group in by_kinds.values():
            wanted = sorted(group)
            made = pools(wanted, self._tables, self._limits)
            self._pools.update(zip(wanted, zip(made, load_curves(made), strict=True), strict=True))

    def carried(self, curve: LoadCurve) -> float:
        """Highest rate at which no more than the allowed share is bad (see ``capacity``)."""
        budget = 1.0 - self.slo.target
        return curve.capacity(max(budget, float(curve.bad[0]) + 0.5 * budget))

    def alone(self, variant: int, count: int) -> float:
        """Capacity of one variant's replicas by themselves."""
        if count == 0:
            return 0.0
        return self.carried(self._pooled(self.only(variant, count)))

    def finished_at_limit(self, variant: int) -> float:
        """Rate one replica of a variant finishes at its queue limit; infinite without a limit."""
        if self._limits[variant] is None:
            return math.inf
        return float(self._balanced(self.only(variant, 1))[0].finished[-1])

    def optimal_weights(self, allocation: Allocation) -> Weights:
        """Traffic share of every variant in proportion to what its pool carries; sums to 1."""
        alone = [self.alone(v, count) for v, count in enumerate(allocation)]
        whole = sum(alone)
        if whole > 0.0:
            return tuple(one / whole for one in alone)
        replicas = max(sum(allocation), 1)
        return tuple(count / replicas for count in allocation)

    def streams(self, allocation: Allocation) -> tuple[list[Stream], list[Stream]]:
        """Pools with the traffic share each gets, and those that take what they refuse."""
        law = self.routing.law
        if law is RoutingLaw.WEIGHTED:
            weights = self.optimal_weights(allocation)
            first = [
                stream
                for v, weight in enumerate(weights)
                for stream in self._streams(self.only(v, allocation[v]), weight)
            ]
            return first, []
        if law is RoutingLaw.SHARED:
            return self._streams(allocation, 1.0), []
        first = self._streams(self.of_role(allocation, Role.PRIMARY), 1.0)
        if law is RoutingLaw.SEPARATE:
            return first, []
        return first, self._streams(self.of_role(allocation, Role.FALLBACK), 1.0)

    def only(self, variant: int, count: int) -> Allocation:
        """``count`` replicas of one variant and none of the others."""
        return tuple(count if v == variant else 0 for v in range(len(self.variants)))

    def of_role(self, allocation: Allocation, role: Role) -> Allocation:
        """The allocation with the replicas of one role only."""
        return tuple(
            count if variant.role is role else 0
            for count, variant in zip(allocation, self.variants, strict=True)
        )

    @cached_property
    def _tables(self) -> tuple[BadTable, ...]:
        slo = self.slo
        return tuple(
            bad_table(variant.profile, self.mix, slo.ttft_seconds, slo.tpot_seconds)
            for variant in self.variants
        )

    @cached_property
    def _limits(self) -> tuple[int | None, ...]:
        return tuple(variant.queue_limit for variant in self.variants)

    def _parts(self, allocation: Allocation) -> list[Allocation]:
        """The balanced pools that an allocation's curve is made of."""
        law = self.routing.law
        if law is RoutingLaw.SEPARATE:
            allocation = self.of_role(allocation, Role.PRIMARY)
        if self.routing.balancing is Balancing.PER_ENDPOINT:
            return [self.only(v, 1) for v, count in enumerate(allocation) if count]
        if law is RoutingLaw.SHARED:
            return [allocation]
        if law is RoutingLaw.OVERFLOW:
            return [self.of_role(allocation, role) for role in Role]
        return [self.only(v, count) for v, count in enumerate(allocation)]

    def _balanced(self, counts: Allocation) -> tuple[Pool, LoadCurve]:
        """Replicas balanced by least outstanding."""
        known = self._pools.get(counts)
        if known is None:
            made = pools([counts], self._tables, self._limits)
            known = self._pools[counts] = (made[0], load_curves(made)[0])
        return known

    def _pooled(self, counts: Allocation) -> LoadCurve:
        """Replicas behind one address, balanced as declared."""
        if self.routing.balancing is Balancing.LEAST_LOADED:
            return self._balanced(counts)[1]
        number = sum(counts)
        return split(
            [
                (count / number, copies(self._balanced(self.only(v, 1))[1], count))
                for v, count in enumerate(counts)
                if count
            ]
        )

    def _split(self, allocation: Allocation, weights: Weights) -> LoadCurve:
        return split(
            [
                (weight, self._pooled(self.only(v, count)))
                for v, (count, weight) in enumerate(zip(allocation, weights, strict=True))
                if count
            ]
        )

    def _overflow(self, allocation: Allocation) -> LoadCurve:
        primary = self.of_role(allocation, Role.PRIMARY)
        fallback = self.of_role(allocation, Role.FALLBACK)
        if sum(primary) == 0:
            return self._pooled(fallback)
        if sum(fallback) == 0:
            return self._pooled(primary)
        return overflow(self._pooled(primary), self._pooled(fallback))

    def _streams(self, counts: Allocation, share: float) -> list[Stream]:
        """Pools behind one address with the traffic share each gets, for a fluid."""
        number = sum(counts)
        if number == 0:
            return []
        if self.routing.balancing is Balancing.LEAST_LOADED:
            return [Stream(copies=1, share=share, pool=self._balanced(counts)[0])]
        return [
            Stream(copies=n, share=share / number, pool=self._balanced(self.only(v, 1))[0])
            for v, n in enumerate(counts)
            if n
        ]
