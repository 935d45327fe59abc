"""One horizon's candidates, calibration, back-test and refits, minute by minute.

The work that is not needed every minute (a piece of a fit, a replay of the past, a back-test) is
done one job per tick, so that no tick is long. The pieces of a first fit leave the last part
of the past out: what the regression then says of that part is on record for the back-test as if it
had been said live, and the model that is used is fitted on all of it.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.forecasting import calibration as conformal
from controller.core.forecasting import model as regression
from controller.core.forecasting.calibration import LEVELS, Calibration
from controller.core.forecasting.candidates import CANDIDATES, bases_of, raw_quantiles
from controller.core.forecasting.features import (
    SMOOTHING,
    TARGET_SECONDS,
    rows_of,
    targets,
)
from controller.core.forecasting.model import Model
from controller.core.forecasting.selection import MOST_MINUTES, Selection, selected, unselected
from controller.core.forecasting.series import DAY_MINUTES, MINUTE_SECONDS, DemandSeries

REFIT_SECONDS: Final = 12 * 3600.0
#: Between two back-tests, while the past is shorter than a day and once it is not.
SELECT_SECONDS: Final = (3600.0, 3 * 3600.0)
#: Part of the past that a first fit leaves out, within bounds in minutes.
_LEFT_OUT_SHARE: Final = 1 / 3
_LEFT_OUT_MINUTES: Final = (720, MOST_MINUTES)
#: No quantile exceeds this multiple of the week's highest minute, nor less than the other of now's.
_CAP_WEEK: Final = 1.2
_CAP_LEVEL: Final = 1.5
#: A horizon is its cold start and this: the age of an observation and a tick, 15 s each.
_BESIDES_COLD_START_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pending:
    """A forecast whose target is not yet seen: smoothed quantiles (C, L), raw and published.

    The target is the mean rate of the minute that starts at ``target_seconds``.
    """

    target_seconds: float
    raw: NDArray[np.float64]
    said: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draft:
    """A fit under way: ``step`` pieces are done. ``left_out``: it is the one for the back-test."""

    model: Model
    step: int
    left_out: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HorizonState:
    """What is known about forecasts at one horizon.

    ``record`` (n, L) float32: what the regression said (requests/s, uncalibrated) at the ends of
    the last n minutes, the last of them ``record_until``; NaN where nothing.
    """

    horizon_seconds: float
    calibration: Calibration
    pending: tuple[Pending, ...]
    model: Model | None
    draft: Draft | None
    record: NDArray[np.float32]
    record_until: int
    selection: Selection
    replay_due: bool
    next_fit_seconds: float
    next_selection_seconds: float


def begun(horizon_seconds: float, series: DemandSeries, delay_seconds: float) -> HorizonState:
    """Return a horizon with nothing done yet; its first fit waits ``delay_seconds``."""
    start = series.end_seconds if series.seen else -np.inf
    return HorizonState(
        horizon_seconds=horizon_seconds,
        calibration=conformal.fresh(),
        pending=(),
        model=None,
        draft=None,
        record=np.zeros((0, len(LEVELS)), dtype=np.float32),
        record_until=series.end_minute,
        selection=unselected(),
        replay_due=len(series.minutes) > 0,
        next_fit_seconds=start + delay_seconds,
        next_selection_seconds=start + delay_seconds,
    )


def published(
    raw: NDArray[np.float64], margin: NDArray[np.float64], series: DemandSeries
) -> NDArray[np.float64]:
    """Smoothed quantiles (C, L) after calibration and cap, ascending in the level."""
    said = np.maximum.accumulate(raw * np.exp(margin), axis=1)
    cap = max(_CAP_WEEK * (series.peak_week + SMOOTHING), _CAP_LEVEL * float(raw[0, 0]))
    return np.minimum(said, cap)


def with_minute(horizon: HorizonState, series: DemandSeries) -> HorizonState:
    """Score the targets seen by now and put this minute's own forecast on record."""
    end = series.end_seconds
    calibration, waiting = horizon.calibration, horizon.pending
    while waiting and waiting[0].target_seconds + TARGET_SECONDS <= end:
        due, waiting = waiting[0], waiting[1:]
        edges = np.array((due.target_seconds, due.target_seconds + TARGET_SECONDS))
        target = float(series.rates_between(edges)[0])
        if np.isfinite(target):
            calibration = conformal.scored(calibration, due.raw, due.said, target + SMOOTHING)
    raw = raw_quantiles(series, horizon.model, horizon.horizon_seconds)
    new = Pending(
        target_seconds=end + horizon.horizon_seconds,
        raw=raw,
        said=published(raw, calibration.margin, series),
    )
    missed = min(series.end_minute - horizon.record_until, MOST_MINUTES) - 1
    rows = np.full((missed + 1, len(LEVELS)), np.nan, dtype=np.float32)
    rows[-1] = raw[-1] - SMOOTHING
    return replace(
        horizon,
        calibration=calibration,
        pending=(*waiting, new),
        record=np.concatenate((horizon.record[missed + 1 - MOST_MINUTES :], rows)),
        record_until=series.end_minute,
    )


def worked(
    horizon: HorizonState, series: DemandSeries, attainment: float, *, regress: bool
) -> HorizonState | None:
    """Return the horizon after the one job most due, or None when none is.

    Without ``regress`` nothing is fitted or compared: persistence stays, and is calibrated.
    """
    if horizon.draft is not None:
        return _with_piece(horizon, horizon.draft, series)
    if horizon.replay_due:
        return replace(horizon, calibration=_replayed(horizon, series), replay_due=False)
    if not regress:
        return None
    end = series.end_seconds
    learnable = series.end_minute - max(series.learnable_from, series.first_minute)
    if learnable >= regression.MIN_MINUTES and end >= horizon.next_fit_seconds:
        return replace(
            horizon,
            draft=_draft(horizon, series, learnable),
            next_fit_seconds=end + REFIT_SECONDS,
        )
    if end >= horizon.next_selection_seconds and len(series.minutes):
        return replace(
            horizon,
            selection=_selection(horizon, series, attainment),
            next_selection_seconds=end + SELECT_SECONDS[learnable >= DAY_MINUTES],
        )
    return None


def _draft(horizon: HorizonState, series: DemandSeries, learnable: int) -> Draft:
    """The fit to begin: without the last part of the past, unless that is on record already."""
    left_out = 0
    if horizon.model is None:
        left_out = int(np.clip(_LEFT_OUT_SHARE * learnable, *_LEFT_OUT_MINUTES))
    begun_model = regression.begun(series.end_minute - left_out)
    return Draft(model=begun_model, step=0, left_out=left_out > 0)


def _with_piece(horizon: HorizonState, draft: Draft, series: DemandSeries) -> HorizonState:
    """Do the next piece of a fit, and put a finished one to its use."""
    if draft.step < regression.FIT_STEPS:
        grown = regression.advanced(
            draft.model, draft.step, series, horizon.horizon_seconds, horizon.model
        )
        return replace(horizon, draft=replace(draft, model=grown, step=draft.step + 1))
    if not draft.left_out:
        return replace(horizon, model=draft.model, draft=None)
    return replace(
        horizon,
        model=draft.model,
        draft=Draft(model=regression.begun(series.end_minute), step=0, left_out=False),
        record=_said_of_left_out(draft.model, series, horizon.horizon_seconds),
        record_until=series.end_minute,
        replay_due=True,
        next_selection_seconds=series.end_seconds,
    )


def _said_of_left_out(
    model: Model, series: DemandSeries, horizon_seconds: float
) -> NDArray[np.float32]:
    """What ``model`` says at the end of every minute it has not seen (n, L)."""
    rows = rows_of(series, horizon_seconds)
    first = max(model.until_minute - series.first_minute, 0)
    said = regression.quantiles_of(model, rows, np.arange(first, len(rows.base)))
    return said.astype(np.float32)[-MOST_MINUTES:]


def _aligned_record(horizon: HorizonState, minutes: int) -> NDArray[np.float64]:
    """The record as (minutes, L), NaN where nothing was said."""
    record = np.full((minutes, len(LEVELS)), np.nan)
    count = min(len(horizon.record), minutes)
    if count:
        record[-count:] = horizon.record[-count:]
    return record


def _past(series: DemandSeries, most: int) -> NDArray[np.float64]:
    """The last learnable minutes' rates, at most ``most``."""
    first = max(series.learnable_from - series.first_minute, len(series.minutes) - most, 0)
    return series.minutes[first:].astype(np.float64)


def _selection(horizon: HorizonState, series: DemandSeries, attainment: float) -> Selection:
    rates = _past(series, MOST_MINUTES + 60)
    hold = (horizon.horizon_seconds - _BESIDES_COLD_START_SECONDS) / MINUTE_SECONDS
    return selected(
        rates,
        targets(rates, horizon.horizon_seconds),
        _aligned_record(horizon, len(rates)),
        max(round(hold), 1),
        attainment,
        horizon.selection,
    )


def _replayed(horizon: HorizonState, series: DemandSeries) -> Calibration:
    """The calibration as it would be had the recorded past been lived through."""
    rates = _past(series, conformal.WINDOW + 60)
    actual = targets(rates, horizon.horizon_seconds) + SMOOTHING
    raw = np.empty((len(rates), len(CANDIDATES), len(LEVELS)))
    raw[:, :2] = bases_of(rates).T[:, :, None]
    raw[:, 2] = _aligned_record(horizon, len(rates))
    raw += SMOOTHING
    delay = int(np.ceil((horizon.horizon_seconds + TARGET_SECONDS) / MINUTE_SECONDS))
    result = conformal.fresh()
    said = np.empty_like(raw)
    for now in range(len(rates)):
        then = now - delay
        if then >= 0 and np.isfinite(actual[then]) and np.isfinite(rates[then]):
            result = conformal.scored(result, raw[then], said[then], float(actual[then]))
        said[now] = published(raw[now], result.margin, series)
    return result
