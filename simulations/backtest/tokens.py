"""Token lengths as an engine's histograms show them: a law per day, means by the hour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from simulations.traces.tokens import Pairs

Array = NDArray[np.float64]

#: Beyond a histogram's last edge lengths are drawn up to so many times that edge.
_BEYOND = 2.0


#: Points of a law's cumulative shares: its buckets are some twenty.
_POINTS = 2049


@dataclass(frozen=True, slots=True, eq=False)
class _Law:
    """Lengths of one histogram: cumulative shares ``upto`` at the logarithms ``log_length``.

    Between two edges the shares follow the monotone cubic of Fritsch and Carlson (SIAM J. Numer.
    Anal. 17, 1980): a straight line would put too many requests at a wide bucket's far end.
    """

    upto: Array
    log_length: Array
    mean: float

    @classmethod
    def of(cls, counts: Mapping[float, float]) -> "_Law | None":
        """The law of cumulative counts by upper edge; None where nothing was counted."""
        edges = np.array(sorted(counts))
        upto = np.maximum.accumulate([max(counts[edge], 0.0) for edge in edges.tolist()])
        if not len(edges) or not upto[-1] > 0.0:
            return None
        finite = edges[np.isfinite(edges)]
        last = float(finite[-1]) if len(finite) else 1.0
        high = np.where(np.isfinite(edges), edges, _BEYOND * last)
        # Of equal lengths, those up to one token among them, the last share counts.
        length, at = np.unique(np.maximum(high, 1.0)[::-1], return_index=True)
        share = upto[::-1][at] / upto[-1]
        if length[0] > 1.0:
            length, share = np.append(1.0, length), np.append(0.0, share)
        if len(length) == 1:
            return cls(np.array([0.0, 1.0]), np.zeros(2) + np.log(length[0]), float(length[0]))
        log_length = np.linspace(0.0, np.log(length[-1]), _POINTS)
        smooth = PchipInterpolator(np.log(length), share)(log_length)
        cumulative = np.maximum.accumulate(np.clip(smooth, 0.0, 1.0))
        middle = np.exp(0.5 * (log_length[1:] + log_length[:-1]))
        mean = float(cumulative[0] + np.diff(cumulative) @ middle)
        return cls(cumulative, log_length, mean)

    def draw(self, uniform: Array) -> Array:
        """Lengths for uniforms in [0, 1)."""
        return np.exp(np.interp(uniform, self.upto, self.log_length))


class HistogramTokens:
    """Prompt and output lengths drawn independently, from the histograms of the request's day.

    ``days`` is (prompt, output) cumulative counts by upper edge, one pair a day; ``day_of`` has
    shape (buckets,). Lengths are scaled so that their means are ``prompt_mean`` and
    ``output_mean`` (buckets,), where these are known (not NaN): inside a bucket of a histogram
    lengths may lie anywhere, but their sum was counted. A day with nothing counted takes the law
    of all days.
    """

    def __init__(
        self,
        days: Sequence[tuple[Mapping[float, float], Mapping[float, float]]],
        day_of: NDArray[np.int64],
        prompt_mean: Array,
        output_mean: Array,
    ) -> None:
        self._day_of = day_of
        self._sides = tuple(
            _Side.of([day[side] for day in days], day_of, mean)
            for side, mean in ((0, prompt_mean), (1, output_mean))
        )

    def draw(self, generator: np.random.Generator, buckets: NDArray[np.int64]) -> Pairs:
        """One pair per request, by its bucket's day and means."""
        prompt, output = (
            side.draw(generator, buckets, self._day_of[buckets]) for side in self._sides
        )
        return prompt, output

    def means(self, buckets: NDArray[np.int64]) -> tuple[Array, Array]:
        """Return the means of the given buckets."""
        prompt, output = (side.mean[buckets] for side in self._sides)
        return prompt, output


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One length: a law per day, the factor on it and the mean that results, by bucket."""

    laws: tuple[_Law, ...]
    factor: Array
    mean: Array

    @classmethod
    def of(
        cls, days: Sequence[Mapping[float, float]], day_of: NDArray[np.int64], mean: Array
    ) -> "_Side":
        whole: dict[float, float] = {}
        for day in days:
            for edge, count in day.items():
                whole[edge] = whole.get(edge, 0.0) + count
        general = _Law.of(whole)
        if general is None:
            raise ValueError("days: no histogram has counted anything")
        laws = tuple(_Law.of(day) or general for day in days)
        own = np.array([law.mean for law in laws])[day_of]
        wanted = np.maximum(np.where(np.isfinite(mean), mean, own), 1.0)
        return cls(laws, wanted / own, wanted)

    def draw(
        self,
        generator: np.random.Generator,
        buckets: NDArray[np.int64],
        days: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        uniform = generator.random(len(buckets))
        length = np.empty(len(buckets))
        for day in np.unique(days):
            its = days == day
            length[its] = self.laws[day].draw(uniform[its])
        length *= self.factor[buckets]
        # Rounded up or down at random, so that the mean is kept however short lengths are.
        tokens = np.floor(length + generator.random(len(buckets))).astype(np.int64)
        return np.maximum(tokens, 1)
