"""A fleet against its arrival rate, and how fleets combine under a routing law."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Shares below this are as good as none; it keeps logarithms finite.
LEAST_MISS: Final = 1e-9
_UNION_POINTS: Final = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadCurve:
    """What becomes of a steady Poisson stream; arrays (loads,), ``served`` (loads, variants).

    ``rates`` in requests/s rise from 0. ``bad`` is the share of arrivals missed, refused ones
    included, and never falls; ``refused`` the share refused; ``served`` the share each variant
    takes; ``outstanding`` the mean number in the whole fleet.
    """

    rates: Array
    bad: Array
    refused: Array
    served: Array
    outstanding: Array

    @cached_property
    def log_bad(self) -> Array:
        """Logarithm of ``bad``, interpolated over that of the rate: a power law at low load."""
        return np.log(self.bad)

    @cached_property
    def log_rates(self) -> Array:
        """Logarithm of ``rates``, that of 0 far below the next."""
        return np.asarray(np.log(np.maximum(self.rates, LEAST_MISS * self.rates[1])))

    def miss_share(self, rate: float) -> float:
        """Share of arrivals missed at this arrival rate."""
        return float(np.exp(np.interp(np.log(max(rate, 1e-300)), self.log_rates, self.log_bad)))

    def miss_shares(self, rates: Array) -> Array:
        """Share of arrivals missed at each of these arrival rates."""
        return np.asarray(
            np.exp(np.interp(np.log(np.maximum(rates, 1e-300)), self.log_rates, self.log_bad))
        )

    def served_shares(self, rate: float) -> Array:
        """Share of arrivals that each variant takes at this arrival rate, shape (variants,)."""
        columns = range(self.served.shape[1])
        return np.array([np.interp(rate, self.rates, self.served[:, v]) for v in columns])

    def served_share(self, variants: Sequence[int], rate: float) -> float:
        """Share of arrivals that these variants take together at this arrival rate."""
        return float(sum(np.interp(rate, self.rates, self.served[:, v]) for v in variants))

    def mean_outstanding(self, rate: float) -> float:
        """Mean requests outstanding in the fleet at this arrival rate."""
        return float(np.interp(rate, self.rates, self.outstanding))

    def rate_at(self, outstanding: float) -> float:
        """Arrival rate at which so many are outstanding; the last rate where none is enough."""
        return float(np.interp(outstanding, self.outstanding, self.rates))

    def capacity(self, allowed: float) -> float:
        """Highest arrival rate up to which at most ``allowed`` of the arrivals are missed."""
        first = int(np.searchsorted(self.bad, allowed, side="right"))
        if first == 0:
            return 0.0
        if first == len(self.bad):
            return float(self.rates[-1])
        low, high = self.log_bad[first - 1], self.log_bad[first]
        share = (np.log(allowed) - low) / (high - low)
        below, above = self.log_rates[first - 1], self.log_rates[first]
        return float(np.exp(below + share * (above - below)))


def copies(curve: LoadCurve, count: int) -> LoadCurve:
    """``count`` independent fleets like this one, the stream split evenly at random."""
    return LoadCurve(
        rates=curve.rates * count,
        bad=curve.bad,
        refused=curve.refused,
        served=curve.served,
        outstanding=curve.outstanding * count,
    )


def split(parts: Sequence[tuple[float, LoadCurve]]) -> LoadCurve:
    """Independent fleets, each given a fixed share of the stream; shares sum to 1."""
    parts = [(share, curve) for share, curve in parts if share > 0.0]
    if len(parts) == 1:
        return parts[0][1]
    rates = np.unique(np.concatenate([curve.rates / share for share, curve in parts]))
    bad = np.zeros(len(rates))
    refused = np.zeros(len(rates))
    served = np.zeros((len(rates), parts[0][1].served.shape[1]))
    outstanding = np.zeros(len(rates))
    for share, curve in parts:
        own = rates * share
        bad += share * curve.miss_shares(own)
        refused += share * np.interp(own, curve.rates, curve.refused)
        outstanding += np.interp(own, curve.rates, curve.outstanding)
        for variant in range(served.shape[1]):
            served[:, variant] += share * np.interp(own, curve.rates, curve.served[:, variant])
    return LoadCurve(rates=rates, bad=bad, refused=refused, served=served, outstanding=outstanding)


def overflow(first: LoadCurve, second: LoadCurve) -> LoadCurve:
    """``first`` serves what it accepts; what it refuses is sent on to ``second``.

    The refused stream is taken as Poisson at its mean rate. It comes in bursts, so ``second``
    carries a little less than this says (2 to 8 % of the whole on chat-like mixes).
    """
    top = max(first.rates[-1], first.rates[-1] + second.rates[-1])
    rates = np.unique(np.concatenate([first.rates, np.linspace(0.0, top, _UNION_POINTS)]))
    refused = np.interp(rates, first.rates, first.refused)
    accepted = 1.0 - refused
    late = np.maximum(first.miss_shares(rates) - refused, 0.0)
    # Beyond its last rate the first fleet keeps finishing what it finished there.
    most = first.rates[-1] * (1.0 - first.refused[-1])
    beyond = rates > first.rates[-1]
    refused = np.where(beyond, 1.0 - most / np.maximum(rates, 1e-12), refused)
    accepted = 1.0 - refused
    late = np.where(beyond, late * most / np.maximum(rates, 1e-12), late)
    passed = rates * refused
    bad = late + refused * second.miss_shares(passed)
    lost = refused * np.interp(passed, second.rates, second.refused)
    served = np.empty((len(rates), first.served.shape[1]))
    for variant in range(served.shape[1]):
        own = np.interp(rates, first.rates, first.served[:, variant])
        other = np.interp(passed, second.rates, second.served[:, variant])
        served[:, variant] = accepted * own + refused * other
    outstanding = np.interp(rates, first.rates, first.outstanding)
    outstanding = outstanding + np.interp(passed, second.rates, second.outstanding)
    return LoadCurve(
        rates=rates,
        bad=np.maximum.accumulate(np.clip(bad, LEAST_MISS, 1.0)),
        refused=lost,
        served=served,
        outstanding=outstanding,
    )
