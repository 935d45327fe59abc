"""One more period of a periodic series: Crane's two kinds of estimator."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Of an estimate that is not above zero: it would be read as no metric.
_LEAST_ESTIMATE = 0.01


class Estimator(Protocol):
    """Estimates the period that follows a series of whole periods."""

    def estimate(
        self, series: NDArray[np.float64], steps: int, step_seconds: float
    ) -> NDArray[np.float64]:
        """Return the estimate, shape (steps,), of a series of shape (periods * steps,)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxValueEstimator:
    """The highest value of every phase, and ``margin`` (a share) on top."""

    margin: float = 0.0

    def estimate(
        self, series: NDArray[np.float64], steps: int, step_seconds: float
    ) -> NDArray[np.float64]:
        """Return the highest value of every phase with its margin."""
        del step_seconds
        return np.asarray(series.reshape(-1, steps).max(axis=0) * (1.0 + self.margin))


@dataclass(frozen=True, slots=True, kw_only=True)
class FftEstimator:
    """The series without noise (what is both of high frequency and weak), and a margin on top.

    A frequency is kept when its amplitude reaches that of the ``most_items`` strongest and
    ``low_amplitude``; the ``least_items`` strongest are always kept. ``high_frequency_hertz`` is
    where noise begins: bins count by their own number, so that the mirror image of a slow
    component is fast, and goes where it is weak. Such a component keeps half its amplitude.
    """

    least_items: int
    low_amplitude: float
    margin: float
    most_items: int = 100
    high_frequency_hertz: float = 1.0 / 3600.0

    def estimate(
        self, series: NDArray[np.float64], steps: int, step_seconds: float
    ) -> NDArray[np.float64]:
        """Return the last period of the series without noise, with its margin."""
        spectrum = np.fft.fft(series)
        amplitude = np.abs(spectrum) / len(series)
        frequency = np.arange(len(series)) / (len(series) * step_seconds)
        noise = (amplitude < self._threshold(amplitude)) & (frequency > self.high_frequency_hertz)
        clean = np.fft.ifft(np.where(noise, 0.0, spectrum)).real[-steps:]
        return np.asarray(np.where(clean > 0.0, clean, _LEAST_ESTIMATE) * (1.0 + self.margin))

    def _threshold(self, amplitude: NDArray[np.float64]) -> float:
        """Amplitude below which a component is weak."""
        strongest = np.sort(amplitude[1 : len(amplitude) // 2])[::-1]
        last = min(self.most_items, len(strongest)) - 1
        threshold = max(float(strongest[last]), self.low_amplitude)
        if len(strongest) >= self.least_items:
            threshold = min(threshold, float(strongest[self.least_items - 1]))
        return threshold


#: What DSP tries where its configuration names no estimator.
DEFAULT_ESTIMATORS: tuple[FftEstimator, ...] = tuple(
    FftEstimator(least_items=least, low_amplitude=low, margin=margin)
    for least, low in ((3, 1.0), (50, 0.05))
    for margin in (0.01, 0.10, 0.15, 0.20)
)
