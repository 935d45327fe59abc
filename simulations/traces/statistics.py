"""What a trace is like: length, rate, burstiness, tokens and seasonality."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.traces.demand import bucket_edges
from simulations.traces.errors import InvalidTrace
from simulations.traces.request_trace import RequestTrace
from simulations.traces.trace import Trace

_TOKEN_SAMPLE = 200_000
_DAY_HOURS = 24
_MINUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispersion:
    """Index of dispersion, variance / mean of counts (Poisson: 1); None where not resolved.

    ``local_1s`` is the mean of that of 1 s counts inside windows of 60 s, which leaves the level's
    movement out: the real short-term burstiness.
    """

    local_1s: float | None
    at_1s: float | None
    at_60s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStatistics:
    """One length in tokens."""

    mean: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceStatistics:
    """A trace in figures; rates in requests/s.

    ``peak`` is over 60 s, or over a bucket where buckets are longer; ``peak_1s`` and dispersions
    are None where the trace does not resolve them. ``coefficient_of_variation`` is of the counts
    at ``resolution_seconds`` (1 s where requests are known). ``day_autocorrelation`` and
    ``week_autocorrelation`` are of hourly sums, None for traces shorter than two periods.
    ``imputed_share`` is of buckets.
    """

    name: str
    duration_seconds: float
    resolution_seconds: float
    requests: float
    mean: float
    peak: float
    peak_bucket_seconds: float
    peak_1s: float | None
    dispersion: Dispersion
    coefficient_of_variation: float
    prompt_tokens: TokenStatistics
    output_tokens: TokenStatistics
    day_autocorrelation: float | None
    week_autocorrelation: float | None
    imputed_share: float

    @property
    def peak_over_mean(self) -> float:
        """How much the peak stands out."""
        return self.peak / self.mean

    def cells(self) -> tuple[str, ...]:
        """Length, requests, mean, peak, dispersion at 1 s [local] and tokens, as short text."""
        days = self.duration_seconds / 86_400.0
        length = f"{days:.2f} d" if days >= 1.0 else f"{self.duration_seconds / 60.0:.1f} min"
        peak = f"{self.peak:.4g}"
        if self.peak_bucket_seconds > _MINUTE_SECONDS:
            peak += f" ({self.peak_bucket_seconds:g} s)"
        local, whole = self.dispersion.local_1s, self.dispersion.at_1s
        known = local is not None and whole is not None
        tokens = "; ".join(
            f"{t.mean:,.0f}/{t.p50:,.0f}/{t.p99:,.0f}"
            for t in (self.prompt_tokens, self.output_tokens)
        )
        return (
            length,
            f"{self.requests:,.0f}",
            f"{self.mean:.4g}",
            peak,
            f"{whole:.3g} [{local:.3g}]" if known else "-",
            tokens,
        )


def describe(trace: Trace) -> TraceStatistics:
    """Work a trace's figures out from its true traffic.

    For a rate trace these are its counts as given or generated: arrivals drawn from it add a
    Poisson's 1 to the dispersion.
    """
    resolution = trace.resolution_seconds
    finest = max(1.0, resolution)
    fine = trace.demand(finest)
    bucket = max(_MINUTE_SECONDS, resolution)
    peak = float(_whole(trace.demand(bucket).requests, trace, bucket).max()) / bucket
    total = float(fine.requests.sum())
    if total == 0.0:
        raise InvalidTrace(f"{trace.name}: has no requests")
    if isinstance(trace, RequestTrace):
        prompt, output = trace.arrivals.prompt_tokens, trace.arrivals.output_tokens
    else:
        prompt, output = trace.token_sample(_TOKEN_SAMPLE, seed=0)
    counts = _whole(fine.requests, trace, finest)
    return TraceStatistics(
        name=trace.name,
        duration_seconds=trace.duration_seconds,
        resolution_seconds=resolution,
        requests=total,
        mean=total / trace.duration_seconds,
        peak=peak,
        peak_bucket_seconds=bucket,
        peak_1s=float(counts.max()) if finest == 1.0 else None,
        dispersion=dispersion(trace),
        coefficient_of_variation=float(counts.std() / counts.mean()),
        prompt_tokens=_tokens(prompt),
        output_tokens=_tokens(output),
        day_autocorrelation=_hourly_autocorrelation(trace, _DAY_HOURS),
        week_autocorrelation=_hourly_autocorrelation(trace, 7 * _DAY_HOURS),
        imputed_share=float(fine.imputed.mean()),
    )


def dispersion(trace: Trace) -> Dispersion:
    """Index of dispersion of the known counts at 1 s and 60 s, as far as they resolve them."""
    return _dispersion(trace, None)


def drawn_dispersion(trace: Trace, seed: int = 0) -> Dispersion:
    """The same of counts as a replay sees them: those of a rate trace are drawn."""
    return _dispersion(trace, np.random.default_rng(seed))


def _dispersion(trace: Trace, generator: np.random.Generator | None) -> Dispersion:
    def counted(bucket_seconds: float) -> NDArray[np.float64]:
        if generator is None:
            return trace.demand(bucket_seconds).requests
        edges = bucket_edges(trace.duration_seconds, bucket_seconds)
        return trace.demand_sums(edges, generator).requests

    resolution = 0.0 if generator is not None else trace.resolution_seconds
    local = at_1s = at_60s = None
    if resolution <= 1.0:
        counts = counted(1.0)
        at_1s = _index_of_dispersion(counts)
        windows = counts[: len(counts) // 60 * 60].reshape(-1, 60)
        busy = windows[windows.sum(axis=1) > 0.0]
        if len(busy):
            local = float(np.mean(busy.var(axis=1, ddof=1) / busy.mean(axis=1)))
    if resolution <= _MINUTE_SECONDS:
        at_60s = _index_of_dispersion(_whole(counted(_MINUTE_SECONDS), trace, _MINUTE_SECONDS))
    return Dispersion(local_1s=local, at_1s=at_1s, at_60s=at_60s)


def _whole(counts: NDArray[np.float64], trace: Trace, bucket_seconds: float) -> NDArray[np.float64]:
    """Counts without a last bucket that the trace's end cuts short, unless it is the only one."""
    whole = int(trace.duration_seconds / bucket_seconds + 1e-9)
    return counts[: max(1, whole)]


def _index_of_dispersion(counts: NDArray[np.float64]) -> float | None:
    mean = float(counts.mean())
    return float(counts.var()) / mean if mean > 0.0 else None


def _tokens(tokens: NDArray[np.int64]) -> TokenStatistics:
    p50, p99 = np.percentile(tokens, (50.0, 99.0))
    return TokenStatistics(mean=float(tokens.mean()), p50=float(p50), p99=float(p99))


def _hourly_autocorrelation(trace: Trace, lag: int) -> float | None:
    """Pearson correlation of hourly sums with those ``lag`` hours before."""
    hours = _whole(trace.demand(3_600.0).requests, trace, 3_600.0)
    if len(hours) < 2 * lag:
        return None
    before, after = hours[:-lag], hours[lag:]
    if before.std() == 0.0 or after.std() == 0.0:
        return None
    return float(np.corrcoef(before, after)[0, 1])
