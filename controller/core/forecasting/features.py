"""Features of the regression, one row per origin: what was known then about the minute to come.

Rates enter as logs of their ratio to the last minute's, so that a row does not depend on the level.
Every ratio adds ``SMOOTHING`` to both sides: without it a rate of zero has no logarithm. What was
not seen counts as no change (0). The calendar terms are those of the middle of the target minute;
whole weeks leave them unchanged.
"""

from dataclasses import dataclass
from math import isfinite, log, nan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.forecasting.series import DAY_MINUTES, MINUTE_SECONDS, DemandSeries

#: One request a minute, added to every rate.
SMOOTHING: Final = 1.0 / 60.0
#: The target is the mean rate of the minute that begins one horizon after the origin: a replica
#: that is Ready just then serves it.
TARGET_SECONDS: Final = 60.0

_LAGS: Final = 10
_MEANS: Final = (5, 15, 30, 60)
_PEAKS: Final = (60, 360)
_SEASONS: Final = (1, 2, 7)
#: Harmonics of the day. None of the week: from less than a few weeks they extrapolate wildly.
_DAY: Final = (1, 2, 3, 4)
#: Minutes of the hour each have a term of their own: jobs start on the hour and half-hour.
MINUTE_TERMS: Final = 60
LINEAR_TERMS: Final = _LAGS - 1 + len(_MEANS) + len(_PEAKS) + len(_SEASONS) + 2 * len(_DAY)
_RECENT_TERMS: Final = _LAGS - 1 + len(_MEANS) + len(_PEAKS)
_CALENDAR_TERMS: Final = _RECENT_TERMS + len(_SEASONS)
#: Minutes before the origin at which the running sums are read.
_BACK: Final = (60, 30, 15, *range(_LAGS, -1, -1))
_EDGES: Final = -MINUTE_SECONDS * np.array(_BACK, dtype=np.float64)
#: Windows as positions in _BACK: the last minute, those before it, the means.
_WINDOWS: Final = (
    *((_BACK.index(lag), _BACK.index(lag - 1)) for lag in range(1, _LAGS + 1)),
    *((_BACK.index(mean), _BACK.index(0)) for mean in _MEANS),
)
_WINDOW_STARTS: Final = np.array([start for start, _ in _WINDOWS])
_WINDOW_ENDS: Final = np.array([end for _, end in _WINDOWS])
#: Where the edges lie from the end of a history of gapless windows of 15 s: the usual case, which
#: needs no search.
_REGULAR: Final = -1 - 4 * np.array(_BACK)
_REGULAR_SPAN: Final = 4 * max(_BACK)
_REGULAR_STARTS: Final = _REGULAR[_WINDOW_STARTS]
_REGULAR_ENDS: Final = _REGULAR[_WINDOW_ENDS]


def _calendar() -> NDArray[np.float64]:
    """Day terms (minutes of the day, 8)."""
    day = 2.0 * np.pi / DAY_MINUTES * np.outer(np.arange(DAY_MINUTES), _DAY)
    terms = np.concatenate((np.sin(day), np.cos(day)), axis=1)
    terms.flags.writeable = False
    return terms


#: Read by the minute: the terms hardly move within one, and eight sines take longer.
_CALENDAR: Final = _calendar()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """Features of one origin. ``base`` is its smoothed level (requests/s), ``linear`` (p,)."""

    base: float
    linear: NDArray[np.float64]
    target_minute: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Features of many origins, one per minute of a series: origin i is the end of its minute i.

    ``linear`` (m, p); ``base`` and ``target`` (m,) smoothed rates, NaN where unseen;
    ``target_minute`` (m,) Unix minutes of the middle of the target.
    """

    linear: NDArray[np.float64]
    base: NDArray[np.float64]
    target: NDArray[np.float64]
    target_minute: NDArray[np.float64]


def row_of(series: DemandSeries, horizon_seconds: float) -> Row | None:
    """Features as of the series' last observation, or None when its last minute is unseen.

    Windows are counted back from the last observation, not from a clock minute.
    """
    end = series.end_seconds
    covered, requests = _window_sums(series.fine, end + _EDGES)
    if covered[0] < 0.5 * MINUTE_SECONDS:
        return None
    rates = requests / np.maximum(covered, 1e-9) + SMOOTHING
    base = float(rates[0])
    linear = np.empty(LINEAR_TERMS)
    ratios = np.log(rates[1:] / base)
    linear[: _RECENT_TERMS - 2] = ratios if covered.all() else np.where(covered[1:] > 0, ratios, 0)
    linear[_RECENT_TERMS - 2] = max(log((series.peak_hour + SMOOTHING) / base), 0.0)
    linear[_RECENT_TERMS - 1] = max(log((series.peak_six_hours + SMOOTHING) / base), 0.0)
    origin = end / MINUTE_SECONDS
    ahead = horizon_seconds / MINUTE_SECONDS
    for at, days in enumerate(_SEASONS, start=_RECENT_TERMS):
        linear[at] = _season(series, origin - days * DAY_MINUTES, ahead)
    middle = origin + ahead + 0.5
    linear[_CALENDAR_TERMS:] = _CALENDAR[int(middle % DAY_MINUTES)]
    return Row(base=base, linear=linear, target_minute=middle)


def _window_sums(fine: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds covered and requests (2, windows) in every window between two of ``edges``."""
    ends = fine[0]
    if len(ends) > _REGULAR_SPAN and (ends.take(_REGULAR) == edges).all():
        sums = fine[1:3]
        return np.asarray(sums.take(_REGULAR_ENDS, axis=1) - sums.take(_REGULAR_STARTS, axis=1))
    after = np.minimum(np.maximum(ends.searchsorted(edges), 1), len(ends) - 1)
    before = ends[after - 1]
    share = np.maximum((edges - before) / (ends[after] - before), 0.0)
    low = fine[1:3, after - 1]
    sums = low + share * (fine[1:3, after] - low)
    return np.asarray(sums.take(_WINDOW_ENDS, axis=1) - sums.take(_WINDOW_STARTS, axis=1))


def _season(series: DemandSeries, origin: float, ahead: float) -> float:
    """Log ratio of the target minute to the minute before it at an earlier origin; 0 unseen."""
    then = _minute_mean(series, origin - 1.0)
    later = _minute_mean(series, origin + ahead)
    ratio = log((later + SMOOTHING) / (then + SMOOTHING))
    return ratio if isfinite(ratio) else 0.0


def _minute_mean(series: DemandSeries, start: float) -> float:
    """Mean rate of the minute that starts at Unix minute ``start``, which may lie between two."""
    whole = int(start // 1.0)
    share = start - whole
    at = whole - series.first_minute
    if at < 0 or at + 1 >= len(series.minutes):
        return nan
    first = float(series.minutes[at])
    return first if share == 0.0 else (1.0 - share) * first + share * float(series.minutes[at + 1])


def minute_bins(target_minute: float) -> tuple[int, int, float]:
    """Return the two minute-of-hour terms around a target's middle, and the share of the second."""
    place = (target_minute - 0.5) % MINUTE_TERMS
    first = int(place)
    return first % MINUTE_TERMS, (first + 1) % MINUTE_TERMS, place - first


def rows_of(series: DemandSeries, horizon_seconds: float) -> Rows:
    """Features at the end of every minute of ``series``; each uses what was seen by then only."""
    rates = series.minutes.astype(np.float64)
    count = len(rates)
    seen = np.isfinite(rates)
    sums = np.concatenate(([0.0], np.cumsum(np.where(seen, rates, 0.0))))
    counts = np.concatenate(([0], np.cumsum(seen)))
    base = rates + SMOOTHING
    ahead = horizon_seconds / MINUTE_SECONDS
    linear = np.zeros((count, LINEAR_TERMS))
    with np.errstate(divide="ignore", invalid="ignore"):
        for lag in range(1, _LAGS):
            linear[lag:, lag - 1] = np.log(base[: count - lag] / base[lag:])
        for k, length in enumerate(_MEANS, start=_LAGS - 1):
            begin = np.maximum(np.arange(1, count + 1) - length, 0)
            mean = (sums[1:] - sums[begin]) / (counts[1:] - counts[begin])
            linear[:, k] = np.log((mean + SMOOTHING) / base)
        for k, length in enumerate(_PEAKS, start=_LAGS - 1 + len(_MEANS)):
            linear[:, k] = np.log((rolling_maximum(rates, length) + SMOOTHING) / base)
        target = targets(rates, horizon_seconds) + SMOOTHING
        step = np.log(target / base)
        for k, days in enumerate(_SEASONS, start=_RECENT_TERMS):
            linear[days * DAY_MINUTES :, k] = step[: max(count - days * DAY_MINUTES, 0)]
    linear[~np.isfinite(linear)] = 0.0
    middle = np.arange(1, count + 1, dtype=np.float64) + (series.first_minute + ahead + 0.5)
    linear[:, _CALENDAR_TERMS:] = _CALENDAR[(middle % DAY_MINUTES).astype(np.intp)]
    return Rows(linear=linear, base=base, target=target, target_minute=middle)


def targets(rates: NDArray[np.float64], horizon_seconds: float) -> NDArray[np.float64]:
    """Mean rate (m,) of the minute that starts one horizon after the end of each minute.

    A target between two minutes is their weighted mean; NaN where one of them is not yet seen.
    """
    whole = int(horizon_seconds // MINUTE_SECONDS)
    share = horizon_seconds / MINUTE_SECONDS - whole
    padded = np.concatenate((rates, np.full(whole + 2, np.nan)))
    first = padded[1 + whole : 1 + whole + len(rates)]
    if share == 0.0:
        return first
    return (1.0 - share) * first + share * padded[2 + whole : 2 + whole + len(rates)]


def rolling_maximum(rates: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Highest of the last ``length`` values that were seen, NaN where none was.

    Doubling: the maximum over 2k values is the greater of two maxima over k.
    """
    result = rates.copy()
    width = 1
    while width < length:
        shift = min(width, length - width)
        longer = result.copy()
        np.fmax(result[shift:], result[:-shift], out=longer[shift:])
        result = longer
        width += shift
    return result


def design_with_minutes(rows: Rows, chosen: NDArray[np.intp]) -> NDArray[np.float64]:
    """Intercept, linear terms and minute-of-hour terms (rows, 1 + p + 60) of some origins."""
    place = (rows.target_minute[chosen] - 0.5) % MINUTE_TERMS
    first = place.astype(np.intp)
    share = place - first
    minutes = np.zeros((len(chosen), MINUTE_TERMS))
    at = np.arange(len(chosen))
    minutes[at, first % MINUTE_TERMS] = 1.0 - share
    minutes[at, (first + 1) % MINUTE_TERMS] += share
    return np.column_stack((np.ones(len(chosen)), rows.linear[chosen], minutes))
