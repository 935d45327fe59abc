"""The candidates of the forecast: what each takes the coming demand to be a multiple of."""

from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.forecasting.calibration import LEVELS
from controller.core.forecasting.series import DemandSeries


class Candidate(StrEnum):
    """A way to forecast; the order is that of every array over candidates."""

    PERSISTENCE = "persistence"
    PEAK_MEMORY = "peak-memory"


CANDIDATES: Final = tuple(Candidate)
#: Persistence is the mean rate over this long: two ticks of 15 s.
LEVEL_SECONDS: Final = 30.0
#: A rate below one request a minute is taken as that: ratios need a level above zero.
MIN_RATE: Final = 1.0 / 60.0
#: Share of the last hour's highest minute that may come again within a cold start (phi).
PEAK_SHARE: Final = 0.7


def level_of(series: DemandSeries) -> float:
    """Return the current arrival rate (requests/s), NaN when nothing was ever seen."""
    return max(series.recent_rate(LEVEL_SECONDS), MIN_RATE) if series.seen else np.nan


def raw_quantiles(series: DemandSeries, level: float) -> NDArray[np.float64]:
    """Quantiles (C, L) before calibration: a candidate without spread of its own says its base."""
    raw = np.empty((len(CANDIDATES), len(LEVELS)))
    raw[0] = level
    raw[1] = max(level, PEAK_SHARE * series.peak_hour)
    return raw
