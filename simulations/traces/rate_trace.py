"""A trace of which only counts per bucket are known: arrivals are drawn, chunk by chunk."""

from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from simulations.traces.demand import chunk_bounds, demand_of
from simulations.traces.errors import InvalidTrace
from simulations.traces.level import Level, level_of
from simulations.traces.tokens import TokenSource
from simulations.traces.trace import Arrivals, Demand, DemandSums, Trace

_SHORTEST_CHUNK_SECONDS = 600.0
_BURST_CELL_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class RateTrace:
    """Expected requests per bucket (buckets,), and where their tokens come from.

    Arrivals are a Poisson process whose rate follows ``level.level_of`` the counts, and tokens are
    independent draws, both seeded by (``seed``, chunk index). ``local_dispersion`` above 1 makes
    one-second counts negative binomial with that index of dispersion (variance / mean) around the
    level, as short bursts do; it is the bracketed figure of ``describe``. Where ``recorded``, the
    counts are of requests that came, and just so many arrive at random times in their bucket:
    drawing them again would add noise to noise.
    """

    name: str
    bucket_seconds: float
    requests: NDArray[np.float64]
    tokens: TokenSource
    imputed: NDArray[np.bool_]
    seed: int = 0
    local_dispersion: float = 1.0
    recorded: bool = False
    chunk_seconds: float = 0.0
    _level: Level = field(init=False, repr=False)
    _demands: dict[float, Demand] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the counts and prepare the level."""
        if not self.bucket_seconds > 0.0 or len(self.requests) == 0:
            raise InvalidTrace(f"{self.name}: give at least one bucket, of positive length")
        if len(self.imputed) != len(self.requests):
            raise InvalidTrace(f"{self.name}: imputed and requests differ in length")
        if not np.all(np.isfinite(self.requests)) or bool(np.any(self.requests < 0.0)):
            raise InvalidTrace(f"{self.name}: requests must be finite and not negative")
        if not self.local_dispersion >= 1.0:
            raise InvalidTrace(f"{self.name}: local_dispersion must be at least 1 (Poisson)")
        if self.recorded and self.local_dispersion > 1.0:
            raise InvalidTrace(f"{self.name}: recorded counts have a dispersion of their own")
        if self.chunk_seconds == 0.0:
            whole = max(1.0, np.ceil(_SHORTEST_CHUNK_SECONDS / self.bucket_seconds))
            object.__setattr__(self, "chunk_seconds", float(whole) * self.bucket_seconds)
        object.__setattr__(self, "_level", level_of(self.requests, self.bucket_seconds))
        object.__setattr__(self, "_demands", {})

    @property
    def duration_seconds(self) -> float:
        """Length; arrivals lie in [0, duration)."""
        return len(self.requests) * self.bucket_seconds

    @property
    def resolution_seconds(self) -> float:
        """Bucket length of the counts."""
        return self.bucket_seconds

    def scaled(self, factor: float) -> "RateTrace":
        """Return the same traffic at ``factor`` times the rate."""
        return replace(self, requests=self.requests * factor)

    def with_tokens(self, tokens: TokenSource) -> "RateTrace":
        """Return the same arrivals with other lengths."""
        return replace(self, tokens=tokens)

    def chunk(self, index: int) -> Arrivals:
        """Arrivals in [index chunk_seconds, (index + 1) chunk_seconds)."""
        low, high = chunk_bounds(self, index)
        generator = np.random.Generator(np.random.SFC64([self.seed, index]))
        edges = self._cell_edges(low, high)
        starts, lengths = edges[:-1], np.diff(edges)
        bucket = self._level.bucket_of(starts + 0.5 * lengths)
        opening = starts / self.bucket_seconds - bucket
        closing = edges[1:] / self.bucket_seconds - bucket
        expected = self._expected(bucket, opening, closing)
        counts = self._counts(generator, expected)
        cell = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
        where = _ordered_uniforms(generator, counts, cell)
        tilted = self._level.rise[bucket] != 0.0
        if bool(tilted.any()):
            skew = self._opening_over_mean(bucket, opening, closing)
            where = _along_line(where, skew[cell])
        where *= lengths[cell]
        where += starts[cell]
        np.minimum(where, np.nextafter(high, low), out=where)
        prompt, output = self.tokens.draw(generator, bucket[cell])
        return Arrivals(seconds=where, prompt_tokens=prompt, output_tokens=output)

    def demand(self, bucket_seconds: float) -> Demand:
        """Return the expected traffic in buckets of ``bucket_seconds``."""
        if bucket_seconds not in self._demands:
            self._demands[bucket_seconds] = demand_of(self, bucket_seconds)
        return self._demands[bucket_seconds]

    def demand_sums(
        self, edges_seconds: NDArray[np.float64], generator: np.random.Generator | None = None
    ) -> DemandSums:
        """Expected traffic between ascending edges, or drawn where a generator is given.

        An interval is imputed where any part of it is.
        """
        at = np.clip(edges_seconds, 0.0, self.duration_seconds)
        bucket = self._level.bucket_of(at)
        share = at / self.bucket_seconds - bucket
        part = self._level.before(share, bucket) * self.bucket_seconds

        def sums(weight: NDArray[np.float64]) -> NDArray[np.float64]:
            before = np.append(0.0, np.cumsum(self.requests * weight))
            return np.maximum(np.diff(before[bucket] + part * weight[bucket]), 0.0)

        every = np.arange(len(self.requests), dtype=np.int64)
        expected = sums(np.ones(len(every)))
        prompt, output = (sums(mean) for mean in self.tokens.means(every))
        filled = np.append(0.0, np.cumsum(self.imputed))[bucket] + share * self.imputed[bucket]
        requests = expected
        if generator is not None:
            requests = self._counts(generator, expected).astype(np.float64)
        drawn = np.divide(requests, expected, out=np.ones_like(expected), where=expected > 0.0)
        return DemandSums(
            requests=requests,
            prompt_tokens=prompt * drawn,
            output_tokens=output * drawn,
            imputed=np.diff(filled) > 1e-9,
        )

    def token_sample(
        self,
        size: int,
        seed: int,
        from_seconds: float = 0.0,
        to_seconds: float = np.inf,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw pairs for requests of buckets chosen in proportion to their counts."""
        generator = np.random.default_rng(seed)
        edges = np.arange(len(self.requests) + 1) * self.bucket_seconds
        inside = self.demand_sums(np.clip(edges, from_seconds, to_seconds))
        upto = np.cumsum(inside.requests)
        if not upto[-1] > 0.0:
            raise InvalidTrace(f"{self.name}: has no requests to draw tokens for")
        bucket = np.searchsorted(upto, generator.random(size) * upto[-1], side="right")
        return self.tokens.draw(generator, np.minimum(bucket, len(upto) - 1))

    def _cell_edges(self, low: float, high: float) -> NDArray[np.float64]:
        """Edges inside which the rate is one straight line and one burst factor holds."""
        step = self.bucket_seconds
        if self.local_dispersion > 1.0:
            step = min(step, _BURST_CELL_SECONDS)
        grid = np.arange(np.floor(low / step) + 1.0, np.ceil(high / step)) * step
        if step < self.bucket_seconds:
            first = np.floor(low / self.bucket_seconds) + 1.0
            own = np.arange(first, np.ceil(high / self.bucket_seconds)) * self.bucket_seconds
            grid = np.union1d(grid, own)
        return np.concatenate(((low,), grid[(grid > low) & (grid < high)], (high,)))

    def _expected(
        self,
        bucket: NDArray[np.int64],
        opening: NDArray[np.float64],
        closing: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        inside = self._level.before(closing, bucket) - self._level.before(opening, bucket)
        return np.maximum(inside * self.bucket_seconds, 0.0)

    def _counts(
        self, generator: np.random.Generator, expected: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        if self.recorded:
            return np.rint(expected).astype(np.int64)
        return generator.poisson(self._modulated(generator, expected))

    def _modulated(
        self, generator: np.random.Generator, expected: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Poisson means; a gamma of scale D - 1 makes the counts' index of dispersion D."""
        if self.local_dispersion == 1.0:
            return expected
        excess = self.local_dispersion - 1.0
        return generator.gamma(expected / excess, excess)

    def _opening_over_mean(
        self,
        bucket: NDArray[np.int64],
        opening: NDArray[np.float64],
        closing: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Rate at a cell's start over its mean rate, in [0, 2]."""
        mean = self._level.mean[bucket]
        rise = self._level.rise[bucket]
        middle = mean + rise * (0.5 * (opening + closing) - 0.5)
        start = mean + rise * (opening - 0.5)
        ratio = np.ones_like(start)
        np.divide(start, middle, out=ratio, where=middle > 0.0)
        np.clip(ratio, 0.0, 2.0, out=ratio)
        return ratio


@runtime_checkable
class RateScalable(Protocol):
    """A trace whose rate can be multiplied, since its arrivals are drawn and not recorded."""

    def scaled(self, factor: float) -> Trace:
        """Return the same traffic at ``factor`` times the rate."""
        ...


def scale_rate(trace: Trace, factor: float) -> Trace:
    """Multiply a rate trace's rate; recorded requests are scaled by ``superpose`` instead.

    Raises:
        InvalidTrace: the trace, or a part of it, holds recorded requests.
    """
    if not factor > 0.0:
        raise InvalidTrace(f"factor is {factor}: give a positive one")
    if not isinstance(trace, RateScalable):
        raise InvalidTrace(f"{trace.name}: holds recorded requests; scale it with superpose")
    return trace.scaled(factor)


def _ordered_uniforms(
    generator: np.random.Generator, counts: NDArray[np.int64], cell: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Ascending uniforms in (0, 1) for each cell; shape (sum of counts,).

    The k-th of n ordered uniforms is distributed as the k-th partial sum of n + 1 exponentials
    over their total (Devroye, Non-Uniform Random Variate Generation, 1986, V.3), which needs no
    sorting.
    """
    sums = np.cumsum(generator.standard_exponential(len(cell) + len(counts)))
    last = np.cumsum(counts + 1) - 1
    base = np.append(0.0, sums[last[:-1]])
    uniforms: NDArray[np.float64] = sums[np.arange(len(cell)) + cell]
    uniforms -= base[cell]
    uniforms *= (1.0 / (sums[last] - base))[cell]
    return uniforms


def _along_line(
    uniforms: NDArray[np.float64], opening_over_mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Places in [0, 1] with density a + 2 (1 - a) x, the inverse of a x + (1 - a) x²."""
    a = opening_over_mean
    root: NDArray[np.float64] = np.sqrt(a * a + 4.0 * (1.0 - a) * uniforms)
    root += a
    np.maximum(root, 1e-300, out=root)
    np.divide(2.0 * uniforms, root, out=root)
    return root
