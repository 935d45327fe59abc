"""Bounded history of the demand of one model: fine windows for hours, minutes for days.

The fine part holds the observed windows of the last two hours as running sums, so that a mean
rate over any interval inside it is two interpolations. The minute part holds one mean rate per
clock minute for up to 14 days. What was not seen is NaN there and is not covered here: it is
never zero.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.observation import PastTraffic, Traffic

MINUTE_SECONDS: Final = 60.0
HOUR_MINUTES: Final = 60
DAY_MINUTES: Final = 1440
#: Minutes kept: 14 days, so that a lag of one week has a week of examples.
MAX_MINUTES: Final = 14 * DAY_MINUTES
#: Spans whose highest minutes are kept: a week, six hours, one hour.
PEAK_MINUTES: Final = (7 * DAY_MINUTES, 6 * HOUR_MINUTES, HOUR_MINUTES)
#: Fine windows kept: two hours of 15 s and room for the edges of gaps.
MAX_FINE: Final = 512
FINE_SECONDS: Final = 7200.0
#: A mean rate is known when at least this share of its interval was seen.
MIN_COVERED_SHARE: Final = 0.5
#: Past steps longer than this say nothing about what happens within a cold start.
MAX_LEARNABLE_STEP_SECONDS: Final = 120.0
TOKEN_WINDOW_SECONDS: Final = 900.0
#: Requests that the mean tokens known before count for beside a window's own.
TOKEN_PRIOR_REQUESTS: Final = 100.0

_END, _COVERED, _REQUESTS, _TOKEN_REQUESTS, _PROMPT, _OUTPUT = range(6)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DemandSeries:
    """Demand seen so far. Rates are requests per second.

    ``fine`` (6, k): end (Unix seconds), and running sums of seconds covered, requests, requests
    with known tokens, their prompt and their output tokens. ``minutes`` (m,) float32: mean rate of
    the clock minutes from ``first_minute`` (Unix minutes) on, NaN unseen. Minutes before
    ``learnable_from`` come from steps too coarse to learn a cold start's change from.
    ``peak_hour``, ``peak_six_hours`` and ``peak_week`` are the highest minutes seen in those spans.
    """

    fine: NDArray[np.float64]
    minutes: NDArray[np.float32]
    first_minute: int
    learnable_from: int
    peak_hour: float
    peak_six_hours: float
    peak_week: float
    prompt_tokens_mean: float
    output_tokens_mean: float

    @property
    def seen(self) -> bool:
        """Whether any rate is known."""
        return self.fine.shape[1] > 1 or bool(np.isfinite(self.minutes).any())

    @property
    def end_seconds(self) -> float:
        """When the last seen window ended; -inf before any."""
        if self.fine.shape[1]:
            return float(self.fine[_END, -1])
        return self.end_minute * MINUTE_SECONDS if len(self.minutes) else -np.inf

    @property
    def end_minute(self) -> int:
        """Unix minute after the last one kept."""
        return self.first_minute + len(self.minutes)

    def rates_between(self, edges_seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean rates between successive ``edges_seconds`` (k + 1,), NaN where mostly unseen."""
        ends = self.fine[_END]
        if not len(ends):
            return np.full(len(edges_seconds) - 1, np.nan)
        covered = np.interp(edges_seconds, ends, self.fine[_COVERED])
        requests = np.interp(edges_seconds, ends, self.fine[_REQUESTS])
        seconds = covered[1:] - covered[:-1]
        known = seconds >= MIN_COVERED_SHARE * (edges_seconds[1:] - edges_seconds[:-1])
        return np.where(known, (requests[1:] - requests[:-1]) / np.where(known, seconds, 1), np.nan)

    def _sums_at(self, column: int) -> list[float]:
        """End, seconds covered and requests of one window: as plain floats, which add up faster."""
        sums: list[float] = self.fine[:_TOKEN_REQUESTS, column].tolist()
        return sums

    def recent_rate(self, window_seconds: float) -> float:
        """Mean rate of what was seen of the last ``window_seconds``.

        A gap inside the window leaves the mean of the rest; where nothing of it was seen, the last
        minute known stands, NaN when there is none.
        """
        if self.fine.shape[1] > 1:
            end, covered, requests = self._sums_at(-1)
            start = end - window_seconds
            at = max(int(self.fine[_END].searchsorted(start)), 1)
            end_0, covered_0, requests_0 = self._sums_at(at - 1)
            end_1, covered_1, requests_1 = self._sums_at(at)
            part = max((start - end_0) / (end_1 - end_0), 0.0)
            seconds = covered - (covered_0 + part * (covered_1 - covered_0))
            if seconds > 0.0:
                return (requests - (requests_0 + part * (requests_1 - requests_0))) / seconds
        known = self.minutes[np.isfinite(self.minutes)]
        return float(known[-1]) if len(known) else np.nan

    def peak_of(self, minutes: int) -> float:
        """Highest of the last ``minutes`` clock minutes, 0 when none was seen."""
        return _peak(self.minutes[-minutes:])


def empty() -> DemandSeries:
    """Return the history of a model never seen."""
    return DemandSeries(
        fine=np.zeros((6, 0)),
        minutes=np.zeros(0, dtype=np.float32),
        first_minute=0,
        learnable_from=0,
        peak_hour=0.0,
        peak_six_hours=0.0,
        peak_week=0.0,
        prompt_tokens_mean=np.nan,
        output_tokens_mean=np.nan,
    )


def seeded(past: PastTraffic) -> DemandSeries:
    """Return the history that ``past`` tells; raises ``ValueError`` naming a wrong field."""
    if not past.step_seconds > 0:
        raise ValueError(f"PastTraffic.step_seconds must be positive, got {past.step_seconds}")
    if (past.requests < 0).any():
        raise ValueError("PastTraffic.requests must not be negative: use NaN for what was not seen")
    minutes, first_minute = _minutes_of(past)
    minutes = minutes[-MAX_MINUTES:]
    end_minute = first_minute + len(minutes)
    coarse = past.step_seconds > MAX_LEARNABLE_STEP_SECONDS
    series = replace(
        empty(),
        fine=_fine_of(minutes[-int(FINE_SECONDS / MINUTE_SECONDS) :], end_minute),
        minutes=minutes,
        first_minute=end_minute - len(minutes),
        learnable_from=end_minute if coarse else end_minute - len(minutes),
        prompt_tokens_mean=_last_known(past.prompt_tokens_mean),
        output_tokens_mean=_last_known(past.output_tokens_mean),
    )
    week, six, hour = (minutes[-span:] for span in PEAK_MINUTES)
    return replace(series, peak_hour=_peak(hour), peak_six_hours=_peak(six), peak_week=_peak(week))


def _fine_of(minutes: NDArray[np.float32], end_minute: int) -> NDArray[np.float64]:
    """The running sums that ``minutes`` up to ``end_minute`` amount to."""
    if not len(minutes):
        return np.zeros((6, 0))
    fine = np.zeros((6, len(minutes) + 1))
    fine[_END] = (end_minute + np.arange(-len(minutes), 1)) * MINUTE_SECONDS
    rates = minutes.astype(np.float64)
    seen = np.isfinite(rates)
    fine[_COVERED, 1:] = MINUTE_SECONDS * np.cumsum(seen)
    fine[_REQUESTS, 1:] = MINUTE_SECONDS * np.cumsum(np.where(seen, rates, 0.0))
    return fine


def _last_known(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else np.nan


def _minutes_of(past: PastTraffic) -> tuple[NDArray[np.float32], int]:
    """Mean rate of every clock minute that lies within ``past``, and the first one's number."""
    steps = len(past.requests)
    end_seconds = past.from_seconds + steps * past.step_seconds
    first = int(np.ceil(past.from_seconds / MINUTE_SECONDS))
    count = max(int(np.floor(end_seconds / MINUTE_SECONDS)) - first, 0)
    rates = past.requests / past.step_seconds
    if past.step_seconds > MAX_LEARNABLE_STEP_SECONDS:
        # Linear between the middles of the steps: a staircase would invent jumps at the steps.
        middles = (first + 0.5 + np.arange(count)) * MINUTE_SECONDS - past.from_seconds
        at = np.arange(steps) + 0.5
        minutes = np.interp(middles / past.step_seconds, at, np.where(np.isnan(rates), 0, rates))
        weight = np.interp(middles / past.step_seconds, at, np.isfinite(rates).astype(float))
        return np.where(weight >= 1, minutes, np.nan).astype(np.float32), first
    at = past.from_seconds + past.step_seconds * np.arange(steps + 1)
    edges = (first + np.arange(count + 1)) * MINUTE_SECONDS
    seen = np.isfinite(rates)
    covered = np.concatenate(([0.0], np.cumsum(np.where(seen, past.step_seconds, 0.0))))
    requests = np.concatenate(([0.0], np.cumsum(np.where(seen, past.requests, 0.0))))
    seconds = np.diff(np.interp(edges, at, covered))
    known = seconds >= MIN_COVERED_SHARE * MINUTE_SECONDS
    mean = np.diff(np.interp(edges, at, requests)) / np.where(known, seconds, 1.0)
    return np.where(known, mean, np.nan).astype(np.float32), first


def appended(series: DemandSeries, traffic: Traffic) -> DemandSeries:
    """Return ``series`` with one more seen window.

    What lies before the last end is known already: a repeated window adds nothing, an overlapping
    one its later part in proportion. Raises ``ValueError`` for counts that cannot be.
    """
    seconds = traffic.to_seconds - traffic.from_seconds
    if not (traffic.requests >= 0 and seconds >= 0):
        raise ValueError(
            f"Traffic needs requests >= 0 over from <= to, got {traffic.requests} requests"
            f" over {seconds} s: pass Missing for what was not seen"
        )
    last = series.end_seconds
    start = max(traffic.from_seconds, last)
    if traffic.to_seconds <= start:
        return series
    share = (traffic.to_seconds - start) / seconds
    fine = _bounded(series.fine, traffic.to_seconds)
    if not fine.shape[1]:
        fine = np.array([[start], [0.0], [0.0], [0.0], [0.0], [0.0]])
    _, covered, requests, token_requests, prompt, output = fine[:, -1].tolist()
    sums = (
        traffic.to_seconds,
        covered + traffic.to_seconds - start,
        requests + share * traffic.requests,
        token_requests + share * traffic.token_requests,
        prompt + share * traffic.prompt_tokens,
        output + share * traffic.output_tokens,
    )
    if start > fine[_END, -1]:
        gap = (start, covered, requests, token_requests, prompt, output)
        new = np.array((gap, sums)).T
    else:
        new = np.array(sums)[:, None]
    series = _with_fine(series, np.concatenate((fine, new), axis=1))
    if int(traffic.to_seconds // MINUTE_SECONDS) > series.end_minute or not len(series.minutes):
        series = _with_closed_minutes(series)
    return series


def _with_fine(series: DemandSeries, fine: NDArray[np.float64]) -> DemandSeries:
    """``series`` with other fine windows; spelled out because ``replace`` is slow on every tick."""
    tokens = series.prompt_tokens_mean, series.output_tokens_mean
    prompt, output = _token_means(fine, tokens) if np.isnan(tokens[0]) else tokens
    return DemandSeries(
        fine=fine,
        minutes=series.minutes,
        first_minute=series.first_minute,
        learnable_from=series.learnable_from,
        peak_hour=series.peak_hour,
        peak_six_hours=series.peak_six_hours,
        peak_week=series.peak_week,
        prompt_tokens_mean=prompt,
        output_tokens_mean=output,
    )


def _bounded(fine: NDArray[np.float64], now: float) -> NDArray[np.float64]:
    """``fine`` without what is older than two hours or over the bound, as a view."""
    if not fine.shape[1]:
        return fine
    keep = max(int(fine[_END].searchsorted(now - FINE_SECONDS)) - 1, 0)
    return fine[:, max(keep, fine.shape[1] + 2 - MAX_FINE) :]


def _with_closed_minutes(series: DemandSeries) -> DemandSeries:
    """``series`` with every clock minute that ended by now, the unseen ones NaN."""
    ends = series.fine[_END]
    end = int(ends[-1] // MINUTE_SECONDS)
    first = series.end_minute if len(series.minutes) else int(ends[0] // MINUTE_SECONDS)
    count = min(end - first, MAX_MINUTES)
    if count <= 0:
        return series
    edges = np.arange(end - count, end + 1, dtype=np.float64) * MINUTE_SECONDS
    closed = series.rates_between(edges).astype(np.float32)
    # The minutes between the old end and the new ones, where a gap exceeded the bound, are gone.
    minutes = np.concatenate((series.minutes[count - MAX_MINUTES :], closed))
    if count < end - first:
        minutes = closed
    tokens = series.prompt_tokens_mean, series.output_tokens_mean
    prompt, output = _token_means(series.fine, tokens)
    week, six, hour = (minutes[-span:] for span in PEAK_MINUTES)
    # The week's peak is read anew once an hour; in between only a higher minute changes it.
    anew = end // HOUR_MINUTES > first // HOUR_MINUTES
    peak_week = 0.0 if anew else series.peak_week
    return DemandSeries(
        fine=series.fine,
        minutes=minutes,
        first_minute=end - len(minutes),
        learnable_from=series.learnable_from if len(series.minutes) else end - count,
        peak_hour=_peak(hour),
        peak_six_hours=_peak(six),
        peak_week=max(peak_week, _peak(week if anew else closed)),
        prompt_tokens_mean=prompt,
        output_tokens_mean=output,
    )


def _peak(minutes: NDArray[np.float32]) -> float:
    """Highest minute seen, 0 when none was."""
    return float(np.fmax.reduce(minutes, initial=0.0))


def _token_means(fine: NDArray[np.float64], before: tuple[float, float]) -> tuple[float, float]:
    """Mean tokens of the last 15 min, the mean from before counted in as some requests more."""
    ends = fine[_END]
    start = int(np.searchsorted(ends, ends[-1] - TOKEN_WINDOW_SECONDS))
    requests, prompt, output = (fine[3:, -1] - fine[3:, start]).tolist()
    if np.isfinite(before[0]):
        requests += TOKEN_PRIOR_REQUESTS
        prompt += TOKEN_PRIOR_REQUESTS * before[0]
        output += TOKEN_PRIOR_REQUESTS * before[1]
    return (prompt / requests, output / requests) if requests > 0 else before
