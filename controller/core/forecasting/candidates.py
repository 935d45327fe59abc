"""The candidates of the forecast: what each says of the minute one horizon ahead."""

import math
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.forecasting.calibration import LEVELS
from controller.core.forecasting.features import SMOOTHING, rolling_maximum, row_of
from controller.core.forecasting.model import Model, quantiles_at
from controller.core.forecasting.series import DemandSeries


class Candidate(StrEnum):
    """A way to forecast; the order is that of every array over candidates."""

    PERSISTENCE = "persistence"
    PEAK_MEMORY = "peak-memory"
    REGRESSION = "regression"


CANDIDATES: Final = tuple(Candidate)
#: Persistence is the mean rate over this long: two ticks of 15 s.
LEVEL_SECONDS: Final = 30.0
#: A jump within the mean is seen over this long, and surely so by these standard deviations of a
#: Poisson count: three of arrivals that are twice as uneven.
JUMP_SECONDS: Final = 15.0
JUMP_SIGMAS: Final = 4.5
#: Share of the highest minute of the last so many that may come again within a cold start. Bursts
#: that return come back soon: .9 of ten minutes costs 2 % less on m-mid-recon than .7 of an hour.
PEAK_SHARE: Final = 0.9
PEAK_MINUTES: Final = 10


def level_of(series: DemandSeries) -> float:
    """The present rate in requests/s: a mean, or what a jump within it surely is by now.

    A jump that chance cannot explain is believed at once and not averaged with what was before it.
    """
    last = series.recent_rate(JUMP_SECONDS)
    count = max(last * JUMP_SECONDS, 0.0)
    surely = (count - JUMP_SIGMAS * math.sqrt(count)) / JUMP_SECONDS
    return max(series.recent_rate(LEVEL_SECONDS), surely)


def raw_quantiles(
    series: DemandSeries, model: Model | None, horizon_seconds: float
) -> NDArray[np.float64]:
    """Smoothed quantiles (C, L) before calibration, in requests/s; NaN: cannot speak yet.

    A candidate without a spread of its own says its base at every level: calibration spreads it.
    Rates are smoothed (see ``features``) so that ratios of them exist.
    """
    raw = np.empty((len(CANDIDATES), len(LEVELS)))
    level = level_of(series)
    raw[0] = level
    raw[1] = max(level, PEAK_SHARE * series.peak_of(PEAK_MINUTES))
    row = None if model is None else row_of(series, horizon_seconds)
    raw[2] = np.nan if model is None or row is None else quantiles_at(model, row)
    raw += SMOOTHING
    return raw


def bases_of(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """What persistence and the memory of peaks say at the end of every minute (2, m).

    ``rates`` (m,) are the minutes' own in requests/s, NaN unseen, where persistence says nothing.
    """
    return np.stack((rates, np.fmax(rates, PEAK_SHARE * rolling_maximum(rates, PEAK_MINUTES))))
