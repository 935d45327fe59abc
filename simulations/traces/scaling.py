"""Scaling a trace to the peak a fleet is sized for."""

from dataclasses import dataclass

from simulations.traces.errors import InvalidTrace
from simulations.traces.rate_trace import RateScalable, scale_rate
from simulations.traces.request_trace import RequestTrace
from simulations.traces.slicing import slice_trace
from simulations.traces.statistics import Dispersion, drawn_dispersion
from simulations.traces.superposition import SuperposedTrace, superpose
from simulations.traces.trace import Trace

#: The peak of a trace is its highest mean rate over so long.
PEAK_BUCKET_SECONDS = 60.0


def peak_requests_per_second(
    trace: Trace, from_seconds: float = 0.0, to_seconds: float | None = None
) -> float:
    """Highest mean rate over 60 s of the part in [from, to), in buckets counted from ``from``."""
    part = slice_trace(trace, from_seconds, to_seconds)
    return float(part.demand(PEAK_BUCKET_SECONDS).requests.max()) / PEAK_BUCKET_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingReport:
    """How a trace was scaled, and its dispersion as a replay sees it, before and after."""

    method: str
    factor: float
    before: Dispersion
    after: Dispersion

    def text(self) -> str:
        """Return it as one line."""
        figures = [
            f"{label} {_figure(before)} -> {_figure(after)}"
            for label, before, after in (
                ("1 s in 60 s", self.before.local_1s, self.after.local_1s),
                ("60 s", self.before.at_60s, self.after.at_60s),
            )
        ]
        return f"{self.method}; index of dispersion {', '.join(figures)}"


def scaling_report(before: Trace, after: Trace) -> ScalingReport:
    """Say how ``after`` was made of ``before`` by ``superpose``, ``scale_rate`` or neither."""
    requests = [
        float(trace.demand(PEAK_BUCKET_SECONDS).requests.sum()) for trace in (before, after)
    ]
    factor = requests[1] / requests[0]
    method = f"rate times {factor:.4g}"
    if isinstance(after, SuperposedTrace):
        method = f"{factor:.4g} copies shifted by up to {after.jitter_seconds:g} s"
    return ScalingReport(
        method=method,
        factor=factor,
        before=drawn_dispersion(before),
        after=drawn_dispersion(after),
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def scaled_to_peak(
    trace: Trace,
    peak: float,
    *,
    from_seconds: float = 0.0,
    to_seconds: float | None = None,
    jitter_seconds: float = 60.0,
    seed: int = 0,
) -> Trace:
    """The whole trace, scaled so that the part in [from, to) peaks at ``peak`` requests/s.

    A rate trace is multiplied. Recorded requests are superposed: since jitter moves the peak, the
    number of copies is searched: the peak is met from below, to within one request in 60 s.
    """
    if not peak > 0.0:
        raise InvalidTrace(f"{trace.name}: a peak of {peak} requests/s; give a positive one")
    own = peak_requests_per_second(trace, from_seconds, to_seconds)
    if own == 0.0:
        raise InvalidTrace(f"{trace.name}: has no requests in the part to be scaled")
    if isinstance(trace, RequestTrace):
        return _superposed_to_peak(trace, peak, from_seconds, to_seconds, jitter_seconds, seed)
    if isinstance(trace, RateScalable):
        return scale_rate(trace, peak / own)
    raise InvalidTrace(f"{trace.name}: scale the recorded requests before joining or copying them")


def _superposed_to_peak(
    trace: RequestTrace,
    peak: float,
    from_seconds: float,
    to_seconds: float | None,
    jitter_seconds: float,
    seed: int,
) -> Trace:
    """Bisect the total number of requests: more of them never lower a peak, copies are nested."""

    def made(requests: int) -> Trace:
        return superpose(trace, requests / len(trace), jitter_seconds, seed)

    def too_many(requests: int) -> bool:
        rate = peak_requests_per_second(made(requests), from_seconds, to_seconds)
        return rate > peak * (1.0 + 1e-12)

    low, high = 0, len(trace)
    while not too_many(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if too_many(middle) else (middle, high)
    return made(max(low, 1))
