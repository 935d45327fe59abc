"""Fleet capacity: the load a fleet carries within the SLO under its declared routing law.

Capacity is the highest arrival rate at which no more than the allowed share of requests is bad. The
allowed share is ``1 - slo.target``; where the mix's longest prompts use part of it up on an idle
fleet, load still gets half of it, so that a target above the ceiling leaves a capacity to plan with
(``ceiling`` says what can be reached).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.decision import Allocation
from controller.core.domain.policy import Routing, Slo
from controller.core.domain.variant import Role, Variant
from controller.core.performance.mix import TokenMix
from controller.core.performance.routing import RoutedFleet
from controller.core.performance.tables import Table, tabulate
from controller.core.performance.transient import transient_misses

Array = NDArray[np.float64]

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
    _capacities: dict[Allocation, float] = field(default_factory=dict, init=False, repr=False)
    _tables: dict[Allocation, Table] = field(default_factory=dict, init=False, repr=False)
    _columns: dict[Allocation, tuple[Array, ...]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        """Reject a correction no replica can have; raises ``ValueError``."""
        if not (np.isfinite(self.correction) and self.correction > 0.0):
            raise ValueError(f"correction must be a finite factor above 0, got {self.correction}")

    def capacity(self, allocation: Allocation) -> float:
        """Highest arrival rate at which the target share of requests is good."""
        known = self._capacities.get(allocation)
        if known is None:
            curve = self._fleet.curve(allocation)
            known = 0.0 if curve is None else self._fleet.carried(curve)
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
        curve = self._fleet.curve(allocation, weights)
        return 1.0 if curve is None else curve.miss_share(arrival_rate / self.correction)

    def degraded_share(
        self,
        allocation: Allocation,
        arrival_rate: float,
        weights: tuple[float, ...] | None = None,
    ) -> float:
        """Share of the arrivals that a Fallback takes."""
        curve = self._fleet.curve(allocation, weights)
        if curve is None:
            return 0.0
        return curve.served_share(self._fallbacks, arrival_rate / self.correction)

    def outstanding(self, allocation: Allocation, arrival_rate: float) -> float:
        """Mean requests running and waiting in the whole fleet."""
        curve = self._fleet.curve(allocation)
        return 0.0 if curve is None else curve.mean_outstanding(arrival_rate / self.correction)

    def rate_at(self, allocation: Allocation, outstanding: float) -> float:
        """Arrival rate at which so many are outstanding in the mean; 0 where nothing serves."""
        curve = self._fleet.curve(allocation)
        return 0.0 if curve is None else curve.rate_at(outstanding) * self.correction

    def outstanding_at_capacity(self, variant: int, replicas: int = 20) -> float:
        """Mean outstanding per replica of a fleet of one variant at its capacity: the knee."""
        allocation = self._fleet.only(variant, replicas)
        return self.outstanding(allocation, self.capacity(allocation)) / replicas

    def shares(self, allocation: Allocation, arrival_rates: Array) -> tuple[Array, Array]:
        """Missed and degraded shares at many arrival rates at once, both of their shape."""
        missed, degraded = self.shares_of([allocation], arrival_rates)
        return missed[0], degraded[0]

    def shares_of(
        self, allocations: Sequence[Allocation], arrival_rates: Array
    ) -> tuple[Array, Array]:
        """``shares`` of many allocations, both of shape (allocations, rates)."""
        rates = arrival_rates / self.correction
        log_rates = np.log(np.maximum(rates, 1e-300))
        log_missed = np.zeros((len(allocations), len(rates)))
        degraded = np.zeros(log_missed.shape)
        self._fleet.prepare([one for one in allocations if one not in self._columns])
        for row, allocation in enumerate(allocations):
            columns = self._columns.get(allocation) or self._columns_of(allocation)
            if columns:
                log_missed[row] = np.interp(log_rates, columns[0], columns[1])
                if len(columns) > 2:
                    degraded[row] = np.interp(rates, columns[2], columns[3])
        return np.exp(log_missed), degraded

    def degraded_shares(self, counts: NDArray[np.int64]) -> Array:
        """Degraded share at capacity of many allocations, ``counts`` (allocations, variants).

        Interpolated on the ladder of ``table``, like which it needs one to three variants.
        """
        most = tuple(int(n) for n in counts.max(axis=0))
        per_replica = self._table(most).per_replica[tuple(counts.T)]
        served = counts * per_replica
        whole = served.sum(axis=1)
        part = served[:, self._fallbacks].sum(axis=1)
        return np.asarray(np.where(whole > 0.0, part / np.maximum(whole, 1e-12), 0.0))

    def overflow_rates(self, counts: NDArray[np.int64]) -> Array:
        """Arrival rate beyond which everything more overflows to the Fallbacks, (allocations,).

        ``counts`` (allocations, variants). It is what the Primaries finish at their queue limits:
        of less than this only some overflows, in bursts. Infinite where nothing ever does.
        """
        kept = np.zeros(len(counts))
        for v in set(range(len(self.variants))).difference(self._fallbacks):
            some = counts[:, v] > 0
            kept[some] += counts[some, v] * self._fleet.finished_at_limit(v)
        spills = counts[:, self._fallbacks].any(axis=1)
        return np.where(spills, kept * self.correction, np.inf)

    def with_mix(self, mix: TokenMix) -> "FleetCapacity":
        """Return the same fleet under another token mix."""
        return fleet_capacity(self.variants, self.slo, self.routing, mix, self.correction)

    def ceiling(self, allocation: Allocation) -> float:
        """Share of requests that is good when next to nothing arrives."""
        return 1.0 - self.miss_share(allocation, 0.0)

    def optimal_weights(self, allocation: Allocation) -> tuple[float, ...]:
        """Traffic share of every variant in proportion to what its pool carries; sums to 1."""
        return self._fleet.optimal_weights(allocation)

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
        while self._fleet.alone(variant, high) < wanted:
            low, high = high, 2 * high
            if high > _MOST_REPLICAS:
                name = self.variants[variant].name
                raise ValueError(f"no number of replicas of {name!r} carries {arrival_rate}/s")
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (middle, high) if self._fleet.alone(variant, middle) < wanted else (low, middle)
            )
        return high

    def table(self, max_counts: tuple[int, ...]) -> Array:
        """Capacity of every allocation up to these counts, shape (max + 1, ...).

        Exact on a ladder of counts (1, 2, 4, 8, ... and the last), else interpolated. Raises
        ``ValueError`` for more than three variants, whose allocations are too many to list.
        """
        return self._table(max_counts).capacity * self.correction

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
        first, spilled = self._fleet.streams(allocation)
        return transient_misses(first, spilled, backlog, path, step)

    def _table(self, max_counts: Allocation) -> Table:
        known = self._tables.get(max_counts)
        if known is None:
            known = self._tables[max_counts] = tabulate(self._fleet, max_counts)
        return known

    @cached_property
    def _fleet(self) -> RoutedFleet:
        """The fleet as the profiles have it."""
        return RoutedFleet(variants=self.variants, slo=self.slo, routing=self.routing, mix=self.mix)

    def _columns_of(self, allocation: Allocation) -> tuple[Array, ...]:
        """Log rates and log missed share there, rates and degraded share there.

        Without the latter two where no Fallback serves, without any where nothing does.
        Laid out once, since a decision looks a handful of allocations up every tick.
        """
        curve = self._fleet.curve(allocation)
        if curve is None:
            return ()
        columns: tuple[Array, ...] = (curve.log_rates, curve.log_bad)
        if any(allocation[v] for v in self._fallbacks):
            columns += (curve.rates, curve.served[:, self._fallbacks].sum(axis=1))
        self._columns[allocation] = columns
        return columns

    @cached_property
    def _fallbacks(self) -> list[int]:
        return [v for v, variant in enumerate(self.variants) if variant.role is Role.FALLBACK]


# Objects are decided on in turn: a cache that holds fewer than there are never has the one that is
# asked for. A thousand with two mixes each fit, at some .4 MB; else each decision takes 17 ms.
@lru_cache(maxsize=2048)
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
