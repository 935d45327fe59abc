"""Fleet capacity: the load a fleet carries within the SLO under its declared routing law.

Capacity is the highest arrival rate at which no more than the allowed share of requests is bad. The
allowed share is ``1 - slo.target``; where the mix's longest prompts use part of it up on an idle
fleet, load still gets half of it, so that a target above the ceiling leaves a capacity to plan with
(``ceiling`` says what can be reached).

Routing laws (DESIGN section 3):

- ``Shared``: all replicas are one pool.
- ``Weighted``: one pool per variant, traffic split by ``optimal_weights`` or by given ones.
- ``Overflow``: Primary variants are one pool; what it refuses goes to the pool of Fallbacks.
- ``Separate``: every variant has its own clients, so Fallback replicas carry none of the load;
  several Primaries take it in proportion to what each carries alone.

``PerEndpoint`` balancing makes every replica a pool of one, ``LeastLoaded`` balances a pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.decision import Allocation
from controller.core.domain.policy import Balancing, Routing, RoutingLaw, Slo
from controller.core.domain.variant import Role, Variant
from controller.core.performance.ladder import Grid, between, ladder
from controller.core.performance.load_curve import LoadCurve, copies, overflow, split
from controller.core.performance.mix import TokenMix
from controller.core.performance.pool import Pool, load_curve, pool
from controller.core.performance.requests import BadTable, bad_table
from controller.core.performance.transient import Stream, transient_misses

Array = NDArray[np.float64]

#: Tables are exact at powers of this, by the number of variants; interpolated in between.
_STEPS: Final = {1: 2, 2: 2, 3: 3}
_MOST_AXES: Final = len(_STEPS)
_MOST_REPLICAS: Final = 65_536


@dataclass(frozen=True, kw_only=True, eq=False)
class FleetCapacity:
    """Capacity of every allocation of ``variants`` under one SLO, routing law and token mix.

    ``correction`` is the online factor by which replicas are faster (above 1) or slower than their
    profiles say. Allocations are replicas per variant in the order of ``variants``; rates are in
    requests/s. Prefer ``fleet_capacity``, which keeps what was computed.
    """

    variants: tuple[Variant, ...]
    slo: Slo
    routing: Routing
    mix: TokenMix
    correction: float = 1.0
    _pools: dict[Allocation, tuple[Pool, LoadCurve]] = field(
        default_factory=dict, init=False, repr=False
    )
    _fleets: dict[tuple[Allocation, tuple[float, ...] | None], LoadCurve] = field(
        default_factory=dict, init=False, repr=False
    )
    _capacities: dict[Allocation, float] = field(default_factory=dict, init=False, repr=False)
    _grids: dict[tuple[int, ...], Grid] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Reject a correction no replica can have; raises ``ValueError``."""
        if not (np.isfinite(self.correction) and self.correction > 0.0):
            raise ValueError(f"correction must be a finite factor above 0, got {self.correction}")

    def capacity(self, allocation: Allocation) -> float:
        """Highest arrival rate at which the target share of requests is good."""
        known = self._capacities.get(allocation)
        if known is None:
            curve = self._fleet(allocation, None)
            known = 0.0 if curve is None else self._carried(curve)
            self._capacities[allocation] = known
        return known * self.correction

    def miss_share(
        self,
        allocation: Allocation,
        arrival_rate: float,
        weights: tuple[float, ...] | None = None,
    ) -> float:
        """Share of the arrivals missed at a steady rate: late, slow or refused.

        ``weights`` (Weighted routing only) are the traffic shares instead of the optimal ones.
        """
        curve = self._fleet(allocation, weights)
        return 1.0 if curve is None else curve.miss_share(arrival_rate / self.correction)

    def degraded_share(
        self,
        allocation: Allocation,
        arrival_rate: float,
        weights: tuple[float, ...] | None = None,
    ) -> float:
        """Share of the arrivals that a Fallback takes."""
        curve = self._fleet(allocation, weights)
        if curve is None:
            return 0.0
        return curve.served_share(self._fallbacks, arrival_rate / self.correction)

    def outstanding(self, allocation: Allocation, arrival_rate: float) -> float:
        """Mean requests running and waiting in the whole fleet."""
        curve = self._fleet(allocation, None)
        return 0.0 if curve is None else curve.mean_outstanding(arrival_rate / self.correction)

    def rate_at(self, allocation: Allocation, outstanding: float) -> float:
        """Arrival rate at which so many are outstanding in the mean; 0 where nothing serves."""
        curve = self._fleet(allocation, None)
        return 0.0 if curve is None else curve.rate_at(outstanding) * self.correction

    def outstanding_at_capacity(self, variant: int, replicas: int = 20) -> float:
        """Mean outstanding per replica of a fleet of one variant at its capacity: the knee."""
        allocation = self._just(variant, replicas)
        return self.outstanding(allocation, self.capacity(allocation)) / replicas

    def shares(self, allocation: Allocation, arrival_rates: Array) -> tuple[Array, Array]:
        """Missed and degraded shares at many arrival rates at once, both of their shape."""
        curve = self._fleet(allocation, None)
        if curve is None:
            return np.ones(len(arrival_rates)), np.zeros(len(arrival_rates))
        rates = arrival_rates / self.correction
        return curve.miss_shares(rates), self._degraded(curve, rates)

    def degraded_shares(self, counts: NDArray[np.int64]) -> Array:
        """Degraded share at capacity of many allocations, ``counts`` (allocations, variants).

        Interpolated on the ladder of ``table``, like which it needs one to three variants.
        """
        most = tuple(int(n) for n in counts.max(axis=0))
        per_replica = self._grid(most).per_replica[tuple(counts.T)]
        served = counts * per_replica
        whole = served.sum(axis=1)
        part = served[:, self._fallbacks].sum(axis=1)
        return np.asarray(np.where(whole > 0.0, part / np.maximum(whole, 1e-12), 0.0))

    def with_mix(self, mix: TokenMix) -> "FleetCapacity":
        """Return the same fleet under another token mix."""
        return fleet_capacity(self.variants, self.slo, self.routing, mix, self.correction)

    def ceiling(self, allocation: Allocation) -> float:
        """Share of requests that is good when next to nothing arrives."""
        return 1.0 - self.miss_share(allocation, 0.0)

    def optimal_weights(self, allocation: Allocation) -> tuple[float, ...]:
        """Traffic share of every variant in proportion to what its pool carries; sums to 1."""
        alone = [self._alone(v, count) for v, count in enumerate(allocation)]
        whole = sum(alone)
        if whole > 0.0:
            return tuple(one / whole for one in alone)
        replicas = max(sum(allocation), 1)
        return tuple(count / replicas for count in allocation)

    def lowers_capacity(self, allocation: Allocation, variant: int) -> bool:
        """Whether the fleet carries less with this variant's replicas than without them."""
        without = tuple(0 if v == variant else n for v, n in enumerate(allocation))
        return sum(without) > 0 and self.capacity(allocation) < self.capacity(without)

    def required_replicas(self, variant: int, arrival_rate: float) -> int:
        """Fewest replicas of one variant that carry ``arrival_rate`` by themselves.

        Raises ``ValueError`` when no number of replicas does, naming the variant.
        """
        if arrival_rate <= 0.0:
            return 0
        wanted = arrival_rate / self.correction
        low, high = 0, 1
        while self._alone(variant, high) < wanted:
            low, high = high, 2 * high
            if high > _MOST_REPLICAS:
                name = self.variants[variant].name
                raise ValueError(f"no number of replicas of {name!r} carries {arrival_rate}/s")
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._alone(variant, middle) < wanted else (low, middle)
        return high

    def table(self, max_counts: tuple[int, ...]) -> Array:
        """Capacity of every allocation up to these counts, shape (max + 1, ...).

        Exact on a ladder of counts (1, 2, 4, 8, ... and the last), else interpolated. Raises
        ``ValueError`` for more than three variants, whose allocations are too many to list.
        """
        return self._grid(max_counts).capacity * self.correction

    def _grid(self, max_counts: tuple[int, ...]) -> Grid:
        if len(max_counts) != len(self.variants) or len(max_counts) > _MOST_AXES:
            raise ValueError(
                f"a table needs one to {_MOST_AXES} variants and a count for each, got "
                f"{max_counts} for {len(self.variants)} variants"
            )
        known = self._grids.get(max_counts)
        if known is not None:
            return known
        axes = [ladder(most, _STEPS[len(max_counts)]) for most in max_counts]
        shape = tuple(len(axis) for axis in axes)
        capacity = np.zeros(shape)
        per_replica = np.zeros((*shape, len(axes)))
        for index in np.ndindex(shape):
            counts = tuple(axis[i] for axis, i in zip(axes, index, strict=True))
            capacity[index] = self.capacity(counts) / self.correction
            # A kind with no replica yet takes as much per replica as its first one would.
            near = tuple(max(count, 1) for count in counts)
            curve = self._fleet(near, None)
            if curve is not None:
                rate = self.capacity(near) / self.correction
                per_replica[index] = curve.served_shares(rate) / near
        for axis, most in zip(range(len(axes)), max_counts, strict=True):
            capacity = between(axes[axis], capacity, axis, most)
            per_replica = between(axes[axis], per_replica, axis, most)
        known = self._grids[max_counts] = Grid(capacity, per_replica)
        return known

    def transient_misses(
        self,
        allocation: Allocation,
        backlog: float,
        rates: Sequence[float] | Array,
        step_seconds: float,
    ) -> float:
        """Expected requests missed along a path of arrival rates, ``step_seconds`` each.

        ``backlog`` is the number outstanding in the fleet at the start.
        """
        path = np.asarray(rates, dtype=np.float64) / self.correction
        step = step_seconds * self.correction
        law = self.routing.law
        whole = allocation
        if law is not RoutingLaw.SHARED:
            whole = self._of_role(allocation, Role.PRIMARY)
        if law is RoutingLaw.WEIGHTED:
            streams = [
                stream
                for v, weight in enumerate(self.optimal_weights(allocation))
                for stream in self._streams(self._just(v, allocation[v]), weight)
            ]
        else:
            streams = self._streams(whole, 1.0)
        spilled = self._of_role(allocation, Role.FALLBACK) if law is RoutingLaw.OVERFLOW else ()
        return transient_misses(streams, self._streams(tuple(spilled), 1.0), backlog, path, step)

    def _degraded(self, curve: LoadCurve, rates: Array) -> Array:
        column = curve.served[:, self._fallbacks].sum(axis=1)
        return np.asarray(np.interp(rates, curve.rates, column))

    @cached_property
    def _fallbacks(self) -> list[int]:
        return [v for v, variant in enumerate(self.variants) if variant.role is Role.FALLBACK]

    def _carried(self, curve: LoadCurve) -> float:
        """Capacity of a fleet at correction 1."""
        budget = 1.0 - self.slo.target
        return curve.capacity(max(budget, float(curve.bad[0]) + 0.5 * budget))

    def _table(self, variant: int) -> BadTable:
        profile = self.variants[variant].profile
        return bad_table(profile, self.mix, self.slo.ttft_seconds, self.slo.tpot_seconds)

    def _balanced(self, counts: Allocation) -> tuple[Pool, LoadCurve]:
        """Replicas balanced by least outstanding."""
        known = self._pools.get(counts)
        if known is None:
            tables = tuple(self._table(v) for v in range(len(self.variants)))
            limits = tuple(variant.queue_limit for variant in self.variants)
            built = pool(counts, tables, limits)
            known = self._pools[counts] = (built, load_curve(built))
        return known

    def _just(self, variant: int, count: int) -> Allocation:
        return tuple(count if v == variant else 0 for v in range(len(self.variants)))

    def _pooled(self, counts: Allocation) -> LoadCurve:
        """Replicas behind one address, balanced as declared."""
        if self.routing.balancing is Balancing.LEAST_LOADED:
            return self._balanced(counts)[1]
        number = sum(counts)
        return split(
            [
                (count / number, copies(self._balanced(self._just(v, 1))[1], count))
                for v, count in enumerate(counts)
                if count
            ]
        )

    def _alone(self, variant: int, count: int) -> float:
        """Capacity of one variant's replicas by themselves, at correction 1."""
        if count == 0:
            return 0.0
        return self._carried(self._pooled(self._just(variant, count)))

    def _of_role(self, allocation: Allocation, role: Role) -> Allocation:
        return tuple(
            count if variant.role is role else 0
            for count, variant in zip(allocation, self.variants, strict=True)
        )

    def _fleet(self, allocation: Allocation, weights: tuple[float, ...] | None) -> LoadCurve | None:
        """The fleet under the routing law, None where nothing serves."""
        key = (allocation, weights)
        known = self._fleets.get(key)
        if known is not None:
            return known
        if len(allocation) != len(self.variants) or min(allocation) < 0:
            raise ValueError(
                f"an allocation has a count of 0 or more for each of {len(self.variants)} "
                f"variants, got {allocation}"
            )
        law = self.routing.law
        if law is RoutingLaw.SEPARATE:
            allocation = self._of_role(allocation, Role.PRIMARY)
        if sum(allocation) == 0:
            return None
        if law is RoutingLaw.SHARED:
            curve = self._pooled(allocation)
        elif law is RoutingLaw.OVERFLOW:
            curve = self._overflow(allocation)
        else:
            curve = self._split(allocation, weights or self.optimal_weights(allocation))
        self._fleets[key] = curve
        return curve

    def _split(self, allocation: Allocation, weights: tuple[float, ...]) -> LoadCurve:
        return split(
            [
                (weight, self._pooled(self._just(v, count)))
                for v, (count, weight) in enumerate(zip(allocation, weights, strict=True))
                if count
            ]
        )

    def _overflow(self, allocation: Allocation) -> LoadCurve:
        primary = self._of_role(allocation, Role.PRIMARY)
        fallback = self._of_role(allocation, Role.FALLBACK)
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
            Stream(copies=n, share=share / number, pool=self._balanced(self._just(v, 1))[0])
            for v, n in enumerate(counts)
            if n
        ]


@lru_cache(maxsize=512)
def fleet_capacity(
    variants: tuple[Variant, ...],
    slo: Slo,
    routing: Routing,
    mix: TokenMix,
    correction: float = 1.0,
) -> FleetCapacity:
    """Return the capacity of these variants, keeping what was computed for equal arguments."""
    return FleetCapacity(
        variants=variants, slo=slo, routing=routing, mix=mix, correction=correction
    )
