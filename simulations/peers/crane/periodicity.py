"""Crane's period test: is a series periodic by the day or by the week?

Frequencies that stand out of the spectra of random permutations are hints; a hint counts where the
autocorrelation peaks at its period, and the period of the highest such peak is the series'
(baselines section 6). The permutations are random in the original: here they come from a generator
that the caller seeds.
"""

import numpy as np
from numpy.typing import NDArray

DAY_SECONDS = 86_400.0
WEEK_SECONDS = 7.0 * DAY_SECONDS

_PERMUTATIONS = 100
#: A peak of the autocorrelation is looked for this far to both sides, and half a period at most.
_PEAK_SIDE_SECONDS = 4.0 * 3600.0


def period_seconds(
    series: NDArray[np.float64], step_seconds: float, random: np.random.Generator
) -> float | None:
    """A day or a week, or None where the series has neither period or less than two of them.

    It is looked for on the last whole weeks, and on the last whole days where that finds nothing.
    """
    for unit, accepted in (
        (WEEK_SECONDS, (DAY_SECONDS, WEEK_SECONDS)),
        (DAY_SECONDS, (DAY_SECONDS,)),
    ):
        steps = round(unit / step_seconds)
        units = len(series) // steps
        if units < 2:
            continue
        found = fundamental_steps(series[-units * steps :], step_seconds, random)
        if found is not None and found * step_seconds in accepted:
            return found * step_seconds
    return None


def fundamental_steps(
    series: NDArray[np.float64], step_seconds: float, random: np.random.Generator
) -> int | None:
    """Period of a series, in steps: of all hints the one with the highest autocorrelation."""
    if np.ptp(series) == 0.0:
        return None
    correlation = _autocorrelation(series)
    widest = int(_PEAK_SIDE_SECONDS / step_seconds)
    best, highest = None, 0.0
    for hint in _hints(series, random):
        if correlation[hint] > highest and _peaks(correlation, hint, min(widest, hint // 2)):
            best, highest = hint, float(correlation[hint])
    return best


def _hints(series: NDArray[np.float64], random: np.random.Generator) -> list[int]:
    """Periods in steps whose frequency is stronger than chance, longest first, each once."""
    half = len(series) // 2
    shuffled = np.array(series)
    peaks = np.empty(_PERMUTATIONS)
    for trial in range(_PERMUTATIONS):
        random.shuffle(shuffled)
        peaks[trial] = np.abs(np.fft.rfft(shuffled)[1:half]).max(initial=0.0)
    threshold = np.sort(peaks)[-2]
    power = np.abs(np.fft.rfft(series)[:half])
    strong = np.flatnonzero(power[2:] > threshold) + 2
    return list(dict.fromkeys(int(len(series) // k) for k in strong))


def _autocorrelation(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Circular autocorrelation, 1 at lag 0, shape (steps,)."""
    spectrum = np.fft.rfft((series - series.mean()) / series.std())
    return np.asarray(np.fft.irfft(np.abs(spectrum) ** 2, len(series)) / len(series))


def _peaks(values: NDArray[np.float64], at: int, side: int) -> bool:
    """Whether straight lines fitted to both sides of a place rise to it and fall from it."""
    left = values[max(0, at - side) : at + 1]
    right = values[at : at + side + 1]
    return bool(_slope(left) > 0.0 and _slope(right) < 0.0)


def _slope(values: NDArray[np.float64]) -> float:
    """Slope of a least-squares line; 0 of a single point."""
    places = np.arange(len(values)) - (len(values) - 1) / 2.0
    spread = float(places @ places)
    return float(places @ values) / spread if spread > 0.0 else 0.0
