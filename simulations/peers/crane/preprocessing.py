"""From samples as a metrics store returns them to an even series without outliers."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Everything before a gap longer than this is dropped; shorter ones are interpolated.
_LONGEST_GAP_SECONDS = 3600.0
#: Series are cut, at their beginning, to whole multiples of this.
_UNIT_SECONDS = 3600.0
#: Percentiles outside which a sample is an outlier.
_LOW_PERCENT, _HIGH_PERCENT = 0.1, 99.9


def preprocessed(
    at_seconds: Sequence[float] | NDArray[np.float64],
    values: Sequence[float] | NDArray[np.float64],
    step_seconds: float,
) -> NDArray[np.float64]:
    """Even series of ``step_seconds`` that ends at the last sample; empty where less than an hour.

    ``at_seconds`` and ``values`` have shape (samples,). Raises ``ValueError`` where two samples are
    not a positive multiple of the step apart: such a series is invalid to Crane.
    """
    at = np.asarray(at_seconds, dtype=np.float64)
    known = np.asarray(values, dtype=np.float64)
    if at.shape != known.shape or at.ndim != 1:
        raise ValueError(
            f"values: shape {known.shape} for times of shape {at.shape}; give one each"
        )
    apart = np.diff(at)
    gaps = np.flatnonzero(apart > _LONGEST_GAP_SECONDS)
    since = int(gaps[-1]) + 1 if len(gaps) else 0
    at, known, apart = at[since:], known[since:], apart[since:]
    if not len(at):
        return known
    if (apart <= 0.0).any() or (apart % step_seconds != 0.0).any():
        raise ValueError(
            f"at_seconds: samples must be a positive multiple of {step_seconds:g} s apart"
        )
    even = np.arange(round((at[-1] - at[0]) / step_seconds) + 1) * step_seconds + at[0]
    series = np.interp(even, at, known)
    return without_outliers(series[len(series) % round(_UNIT_SECONDS / step_seconds) :])


def without_outliers(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace samples outside the percentiles by the sample before, itself replaced or not.

    Below 1,000 samples the lower percentile has no rank and nothing is replaced, as in Crane. The
    first sample stays.
    """
    low, high = _percentile(series, _LOW_PERCENT), _percentile(series, _HIGH_PERCENT)
    if low is None or high is None:
        return series
    inside = (series >= low) & (series <= high)
    if len(inside):
        inside[0] = True
    kept = np.maximum.accumulate(np.where(inside, np.arange(len(series)), 0))
    return np.asarray(series[kept])


def _percentile(series: NDArray[np.float64], percent: float) -> float | None:
    """Percentile as the stats library of Crane has it: None where the rank is below 1.

    The mean of the two neighbours of a rank that is no whole number.
    """
    rank = percent / 100.0 * len(series)
    whole = math.floor(rank)
    if whole < 1:
        return None
    lower = np.partition(series, whole - 1)[whole - 1]
    if rank == whole:
        return float(lower)
    return float((lower + np.partition(series, whole)[whole]) / 2.0)
