"""Scaling a trace to the peak a fleet is sized for."""

from simulations.traces.errors import InvalidTrace
from simulations.traces.rate_trace import RateScalable, scale_rate
from simulations.traces.request_trace import RequestTrace
from simulations.traces.slicing import slice_trace
from simulations.traces.superposition import superpose
from simulations.traces.trace import Trace

#: The peak of a trace is its highest mean rate over so long.
PEAK_BUCKET_SECONDS = 60.0


def peak_requests_per_second(
    trace: Trace, from_seconds: float = 0.0, to_seconds: float | None = None
) -> float:
    """Highest mean rate over 60 s of the part in [from, to), in buckets counted from ``from``."""
    part = slice_trace(trace, from_seconds, to_seconds)
    return float(part.demand(PEAK_BUCKET_SECONDS).requests.max()) / PEAK_BUCKET_SECONDS


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
    number of copies is searched, and the peak is ``peak`` to within one request per 60 s (or the
    few that share one instant), from below.
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
