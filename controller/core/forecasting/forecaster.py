"""The forecasting stage: arrival rate one cold start ahead, as calibrated quantiles.

Pure functions over one frozen state. A horizon runs from the end of the last observed window
(``state.series.end_seconds``), so it holds the age of the observation, the cold start and a tick.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.observation import PastTraffic, Traffic
from controller.core.forecasting import horizon as horizons_module
from controller.core.forecasting import series as demand
from controller.core.forecasting.calibration import LEVELS
from controller.core.forecasting.candidates import CANDIDATES, Candidate, raw_quantiles
from controller.core.forecasting.features import SMOOTHING
from controller.core.forecasting.horizon import HorizonState, published, with_minute, worked
from controller.core.forecasting.selection import Selection
from controller.core.forecasting.series import DemandSeries
from controller.core.forecasting.trust import Trust, judged

#: Horizons tracked until the caller names some: cold starts of 45, 120 and 180 s.
DEFAULT_HORIZONS_SECONDS: Final = (75.0, 150.0, 210.0)
MAX_HORIZONS: Final = 3
#: A horizon this near a tracked one, in seconds or as a share, is answered by it: a new one learns
#: afresh, and a P90 of a few cold starts wanders by more than its effect on a forecast.
_NEAR_SECONDS: Final = 30.0
_NEAR_SHARE: Final = 0.25
_LEVELS: Final = np.array(LEVELS)
_LEVELS.flags.writeable = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForecastState:
    """All that the forecast keeps between ticks.

    ``target_attainment`` is the share of requests at which candidates are compared by cost.
    ``regression`` False leaves plain persistence.
    """

    series: DemandSeries
    horizons: tuple[HorizonState, ...]
    target_attainment: float
    regression: bool

    @property
    def seen(self) -> bool:
        """Whether any rate is known."""
        return self.series.seen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecast:
    """Mean arrival rate (requests/s) of the minute from ``at_seconds`` on.

    ``quantiles`` (L,) at ``levels`` are those of ``source``: the candidate chosen by cost at
    attainment, but persistence where that is the regression and is not trusted.
    ``persistence_quantiles`` (L,) and ``candidates`` (C, L), in the order of ``CANDIDATES``, are
    what the others say; NaN for one that cannot speak yet. ``chosen`` is the candidate the
    back-test prefers, ``attaining_rate`` the rate to provide for with which ``source`` attains the
    target in the back-test (before one: a margin that mostly does). ``trust`` is in ``source``.
    Token means are per request, NaN while unknown.
    """

    source: Candidate
    chosen: Candidate
    horizon_seconds: float
    at_seconds: float
    level: float
    levels: NDArray[np.float64]
    quantiles: NDArray[np.float64]
    persistence_quantiles: NDArray[np.float64]
    candidates: NDArray[np.float64]
    attaining_rate: float
    trust: Trust
    prompt_tokens_mean: float
    output_tokens_mean: float


def initial(
    past: PastTraffic | None,
    *,
    horizons_seconds: tuple[float, ...] = DEFAULT_HORIZONS_SECONDS,
    target_attainment: float = 0.99,
    regression: bool = True,
    prepare: bool = True,
    delay_seconds: float = 0.0,
) -> ForecastState:
    """Return the state before the first tick; raises ``ValueError`` naming a wrong field.

    ``prepare`` fits and back-tests on ``past`` at once, some tenths of a second per horizon;
    otherwise that is done job by job in the ticks that follow, ``delay_seconds`` after the past
    ends, which a controller of many objects uses to stagger them.
    """
    if not 0.5 <= target_attainment < 1.0:
        raise ValueError(f"target_attainment must lie in [0.5, 1), got {target_attainment}")
    series = demand.empty() if past is None else demand.seeded(past)
    state = ForecastState(
        series=series,
        horizons=_tracked((), horizons_seconds, series, delay_seconds),
        target_attainment=target_attainment,
        regression=regression,
    )
    while prepare and (further := _with_work(state)) is not None:
        state = further
    return state


def _tracked(
    known: tuple[HorizonState, ...],
    horizons_seconds: tuple[float, ...],
    series: DemandSeries,
    delay_seconds: float,
) -> tuple[HorizonState, ...]:
    """The states for ``horizons_seconds``: the known one near each, else a new one."""
    if not 1 <= len(horizons_seconds) <= MAX_HORIZONS or not min(horizons_seconds) > 0.0:
        raise ValueError(
            f"horizons_seconds must be 1 to {MAX_HORIZONS} positive numbers, got {horizons_seconds}"
        )
    states: list[HorizonState] = []
    for seconds in horizons_seconds:
        near = _nearest(known, seconds)
        if near is None or abs(near.horizon_seconds - seconds) > max(
            _NEAR_SECONDS, _NEAR_SHARE * seconds
        ):
            near = horizons_module.begun(seconds, series, delay_seconds)
        if near not in states:
            states.append(near)
    return tuple(states)


def _nearest(known: tuple[HorizonState, ...], seconds: float) -> HorizonState | None:
    return min(known, key=lambda state: abs(state.horizon_seconds - seconds), default=None)


def _with_work(state: ForecastState) -> ForecastState | None:
    """The state after one job of one horizon, or None when none is due."""
    for at, horizon in enumerate(state.horizons):
        further = worked(horizon, state.series, state.target_attainment, regress=state.regression)
        if further is not None:
            horizons = (*state.horizons[:at], further, *state.horizons[at + 1 :])
            return replace(state, horizons=horizons)
    return None


def observe(
    state: ForecastState,
    traffic: Traffic | None,
    now: float,
    *,
    horizons_seconds: tuple[float, ...] | None = None,
) -> ForecastState:
    """Return the state after what was seen at ``now``; None (missing) teaches nothing.

    ``horizons_seconds`` are those that will be asked for from now on; None keeps what is tracked.
    """
    if traffic is None:
        return state
    if traffic.to_seconds > now:
        raise ValueError(f"Traffic.to_seconds {traffic.to_seconds} lies after now {now}")
    series = demand.appended(state.series, traffic)
    horizons = state.horizons
    if series.end_minute > state.series.end_minute:
        horizons = tuple(with_minute(horizon, series) for horizon in horizons)
    # A horizon that begins now has this minute in its series already, so it comes last.
    if horizons_seconds is not None:
        horizons = _tracked(horizons, horizons_seconds, series, 0.0)
    state = replace(state, series=series, horizons=horizons)
    return _with_work(state) or state


def forecast(
    state: ForecastState, horizon_seconds: float, now: float, *, calibrated: bool = True
) -> Forecast | None:
    """Return the forecast ``horizon_seconds`` after the last window's end; None: nothing seen yet.

    A horizon that is not tracked is answered by the nearest tracked one. Blindness does not lower
    a forecast: it stands on the last seen rate, and the caller's horizon holds its age. One that is
    not ``calibrated`` is what the candidates say without the margins of their past errors.
    """
    series = state.series
    horizon = _nearest(state.horizons, horizon_seconds)
    if not state.seen or now < series.end_seconds or horizon is None:
        return None
    raw = _raw(series, horizon, horizon_seconds)
    margin = horizon.calibration.margin if calibrated else np.zeros_like(horizon.calibration.margin)
    said = np.maximum(published(raw, margin, series) - SMOOTHING, 0.0)
    chosen = CANDIDATES.index(horizon.selection.chosen)
    source, trust = chosen, judged(horizon.calibration, chosen)
    # The memory of peaks is persistence on a higher base: it needs no proof of calibration.
    if CANDIDATES[chosen] is Candidate.REGRESSION and not (trust.trusted and said[chosen, 0] >= 0):
        reason = f"{CANDIDATES[chosen]}: {trust.reason}"
        source, trust = 0, replace(judged(horizon.calibration, 0), reason=reason)
    return Forecast(
        source=CANDIDATES[source],
        chosen=CANDIDATES[chosen],
        horizon_seconds=horizon_seconds,
        at_seconds=series.end_seconds + horizon_seconds,
        level=float(raw[0, 0]) - SMOOTHING,
        levels=_LEVELS,
        quantiles=said[source],
        persistence_quantiles=said[0],
        candidates=said,
        attaining_rate=_attaining_rate(horizon.selection, raw, source),
        trust=trust,
        prompt_tokens_mean=series.prompt_tokens_mean,
        output_tokens_mean=series.output_tokens_mean,
    )


def _raw(series: DemandSeries, horizon: HorizonState, seconds: float) -> NDArray[np.float64]:
    """What the candidates say now, taken from this tick's record where it was put on it."""
    if horizon.pending and seconds == horizon.horizon_seconds:
        last = horizon.pending[-1]
        if last.target_seconds == series.end_seconds + seconds:
            return last.raw
    return raw_quantiles(series, horizon.model, seconds)


def _attaining_rate(selection: Selection, raw: NDArray[np.float64], source: int) -> float:
    """The back-test's margin on what ``source`` says now."""
    at = selection.level_index if CANDIDATES[source] is Candidate.REGRESSION else 0
    return float(selection.margins[source] * (raw[source, at] - SMOOTHING))


def recent_rate(state: ForecastState, window_seconds: float) -> float:
    """Mean arrival rate (requests/s) of what was seen of the last window, NaN before any."""
    return state.series.recent_rate(window_seconds)


def token_means(state: ForecastState) -> tuple[float, float]:
    """Mean prompt and output tokens of a request over the last 15 min known, NaN before any."""
    return state.series.prompt_tokens_mean, state.series.output_tokens_mean
