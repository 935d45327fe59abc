"""The forecasting stage: arrival rate one cold start ahead, as calibrated quantiles.

Pure functions over one frozen state. A horizon runs from the end of the last observed window
(``state.series.end_seconds``), so it holds the age of the observation, the cold start and a tick.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.observation import PastTraffic, Traffic
from controller.core.forecasting import calibration as conformal
from controller.core.forecasting import series as demand
from controller.core.forecasting.calibration import LEVELS, Calibration
from controller.core.forecasting.candidates import CANDIDATES, Candidate, level_of, raw_quantiles
from controller.core.forecasting.series import DemandSeries

#: The target is the mean rate of the minute whose middle is one horizon ahead.
TARGET_SECONDS: Final = 60.0
#: Horizons tracked when the caller names none: cold starts of 45, 120 and 180 s.
DEFAULT_HORIZONS_SECONDS: Final = (75.0, 150.0, 210.0)
MAX_HORIZONS: Final = 3
#: No quantile exceeds this multiple of the highest minute of the last seven days.
CAP: Final = 1.2
#: Scored targets, and distance of coverage from its level, at which a forecast is trusted.
TRUST_TARGETS: Final = 500
TRUST_COVERAGE: Final = 0.02
_TRUST_LEVELS: Final = slice(1, 4)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pending:
    """A forecast whose target is not yet seen: quantiles (C, L) raw and as published."""

    target_seconds: float
    raw: NDArray[np.float64]
    said: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HorizonState:
    """What is known about forecasts at one horizon."""

    horizon_seconds: float
    calibration: Calibration
    pending: tuple[Pending, ...]
    chosen: Candidate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForecastState:
    """All that the forecast keeps between ticks."""

    series: DemandSeries
    horizons: tuple[HorizonState, ...]

    @property
    def seen(self) -> bool:
        """Whether any rate is known."""
        return self.series.seen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """Arrival rates (requests/s) around ``at_seconds`` = end of the last window + horizon.

    ``quantiles`` (L,) at ``levels`` are those of ``source``; ``persistence_quantiles`` (L,) what
    plain persistence says, which also decides wherever ``trusted`` is False; ``candidates`` (C, L) all,
    in the order of ``CANDIDATES``, NaN for one that cannot speak yet. ``level`` is the current
    rate. ``reason`` says why the forecast is or is not trusted. Token means are per request, NaN
    while unknown.
    """

    source: Candidate
    horizon_seconds: float
    at_seconds: float
    level: float
    levels: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    persistence_quantiles: NDArray[np.float64]
    candidates: NDArray[np.float64]
    trusted: bool
    reason: str
    prompt_tokens_mean: float
    output_tokens_mean: float


def initial(
    past: PastTraffic | None,
    *,
    horizons_seconds: tuple[float, ...] = DEFAULT_HORIZONS_SECONDS,
) -> ForecastState:
    """Return the state before the first tick; raises ``ValueError`` naming a wrong field."""
    if not 1 <= len(horizons_seconds) <= MAX_HORIZONS or min(horizons_seconds) <= 0:
        raise ValueError(
            f"horizons_seconds must be 1 to {MAX_HORIZONS} positive numbers, got {horizons_seconds}"
        )
    series = demand.empty() if past is None else demand.seeded(past)
    horizons = tuple(
        HorizonState(
            horizon_seconds=horizon,
            calibration=conformal.fresh(len(CANDIDATES)),
            pending=(),
            chosen=Candidate.PERSISTENCE,
        )
        for horizon in sorted(horizons_seconds)
    )
    return ForecastState(series=series, horizons=horizons)


def observe(state: ForecastState, traffic: Traffic | None, now: float) -> ForecastState:
    """Return the state after what was seen at ``now``; None (missing) teaches nothing."""
    if traffic is None:
        return state
    if traffic.to_seconds > now:
        raise ValueError(f"Traffic.to_seconds {traffic.to_seconds} lies after now {now}")
    series = demand.appended(state.series, traffic)
    if series.end_minute == state.series.end_minute:
        return replace(state, series=series)
    horizons = tuple(_with_minute(horizon, series) for horizon in state.horizons)
    return ForecastState(series=series, horizons=horizons)


def _with_minute(horizon: HorizonState, series: DemandSeries) -> HorizonState:
    """Score the targets seen by now and put this minute's own forecast on record."""
    end = series.end_seconds
    calibration = horizon.calibration
    waiting = horizon.pending
    half = TARGET_SECONDS / 2
    while waiting and waiting[0].target_seconds + half <= end:
        due, waiting = waiting[0], waiting[1:]
        edges = np.array((due.target_seconds - half, due.target_seconds + half))
        target = float(series.rates_between(edges)[0])
        if np.isfinite(target):
            calibration = conformal.scored(calibration, due.raw, due.said, target)
    raw = raw_quantiles(series, level_of(series))
    now = Pending(
        target_seconds=end + horizon.horizon_seconds,
        raw=raw,
        said=_calibrated(raw, calibration, series),
    )
    return replace(horizon, calibration=calibration, pending=(*waiting, now))


def _calibrated(
    raw: NDArray[np.float64], calibration: Calibration, series: DemandSeries
) -> NDArray[np.float64]:
    """Quantiles (C, L) after calibration and cap, ascending in the level."""
    said = np.maximum.accumulate(raw * np.exp(calibration.margin), axis=1)
    week = series.minutes[-7 * demand.DAY_MINUTES :]
    cap = CAP * max(float(np.fmax.reduce(week, initial=0.0)), float(raw[0, 0]))
    return np.minimum(said, cap)


def forecast(state: ForecastState, horizon_seconds: float, now: float) -> Forecast | None:
    """Return the forecast ``horizon_seconds`` after the last window's end; None: nothing seen yet.

    A horizon that is not tracked is answered by the nearest tracked one. Blindness does not lower
    a forecast: it stands on the last seen rate, and the caller's horizon holds its age.
    """
    if not state.seen or now < state.series.end_seconds:
        return None
    raw = raw_quantiles(state.series, level_of(state.series))
    return _forecast(state, raw, horizon_seconds)


def recent_rate(state: ForecastState, window_seconds: float) -> float:
    """Mean arrival rate (requests/s) of what was seen of the last window, NaN before any."""
    return state.series.recent_rate(window_seconds)


def token_means(state: ForecastState) -> tuple[float, float]:
    """Mean prompt and output tokens of a request over the last 15 min known, NaN before any."""
    return state.series.prompt_tokens_mean, state.series.output_tokens_mean


def _forecast(state: ForecastState, raw: NDArray[np.float64], seconds: float) -> Forecast:
    horizon = min(state.horizons, key=lambda known: abs(known.horizon_seconds - seconds))
    series = state.series
    said = _calibrated(raw, horizon.calibration, series)
    chosen = CANDIDATES.index(horizon.chosen)
    trusted, reason = _trust(horizon.calibration, chosen)
    return Forecast(
        source=horizon.chosen,
        horizon_seconds=seconds,
        at_seconds=series.end_seconds + seconds,
        level=float(raw[0, 0]),
        levels=np.array(LEVELS),
        quantiles=said[chosen],
        persistence_quantiles=said[0],
        candidates=said,
        trusted=trusted,
        reason=reason,
        prompt_tokens_mean=series.prompt_tokens_mean,
        output_tokens_mean=series.output_tokens_mean,
    )


def _trust(calibration: Calibration, candidate: int) -> tuple[bool, str]:
    """Whether a candidate's quantiles may be relied on, and why."""
    count = int(calibration.scored[candidate])
    if count < TRUST_TARGETS:
        return False, f"{count} of {TRUST_TARGETS} targets scored"
    off = calibration.coverage[candidate, _TRUST_LEVELS] - np.array(LEVELS)[_TRUST_LEVELS]
    worst = int(np.argmax(np.abs(off)))
    if abs(off[worst]) > TRUST_COVERAGE:
        return False, f"coverage of {LEVELS[worst + 1]} is off by {off[worst]:+.3f}"
    return True, "coverage within 0.02 of its levels"
