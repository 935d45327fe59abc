"""How long prompts of others hold a request up: tails of compound Poisson sums and of waiting.

Everything is in units of the mean prefill time: ``works`` are the prefill times of the prompt
bins, mean 1. Sums are inverted with the FFT on a grid, once per mix, for a ladder of arrival counts
or utilisations; look-ups interpolate.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.performance.mix import QUANTILE_WEIGHTS

Array = NDArray[np.float64]

_BINS: Final = 512
_LEAST_PROBABILITY: Final = 1e-9
#: Expected arrivals of the ladder; beyond its end sums are standardised.
_COUNTS: Final[Array] = np.concatenate([[1e-3], np.geomspace(0.02, 400.0, 28)])
_LOG_COUNTS: Final[Array] = np.log(_COUNTS)
#: Below this many expected arrivals a sum is looked up as it is, above standardised.
_FEW: Final = 5.0
_UTILISATIONS: Final[Array] = np.linspace(0.04, 0.96, 13)
#: Contour of the inversion: wrapped mass is damped by exp(-2 x this).
_DAMPING: Final = 4.0


def _masses(works: Array, width: Array) -> Array:
    """Works as probability masses on grids of these bin widths, shape (grids, 2 bins)."""
    position = np.minimum(works[None, :] / width[:, None], _BINS - 2.0)
    below = position.astype(np.int64)
    above_share = position - below
    cells = below + 2 * _BINS * np.arange(len(width))[:, None]
    masses = np.bincount(
        np.concatenate([cells.ravel(), cells.ravel() + 1]),
        np.concatenate(
            [
                (QUANTILE_WEIGHTS * (1.0 - above_share)).ravel(),
                (QUANTILE_WEIGHTS * above_share).ravel(),
            ]
        ),
        minlength=2 * _BINS * len(width),
    )
    return np.asarray(masses.reshape(len(width), 2 * _BINS), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class StallTail:
    """P(sum of Poisson-many works > y): log ``tails`` (counts, bins), bin ``widths`` (counts,)."""

    second_moment: float
    tails: Array
    widths: Array

    @classmethod
    def of(cls, works: Array) -> "StallTail":
        """Tabulate for these normalised works, shape (bins,)."""
        second = float(QUANTILE_WEIGHTS @ works**2)
        widths = (_COUNTS + 7.0 * np.sqrt(_COUNTS * second) + 3.0) / _BINS
        masses = _masses(works, widths)
        transform = np.exp(_COUNTS[:, None] * (np.fft.rfft(masses, axis=1) - 1.0))
        sums = np.fft.irfft(transform, 2 * _BINS, axis=1)
        tails = np.clip(1.0 - np.cumsum(sums, axis=1), _LEAST_PROBABILITY, 1.0)[:, :_BINS]
        return cls(second, np.log(tails), widths)

    def _log_tail(self, rung: NDArray[np.int64], amount: Array) -> Array:
        position = np.minimum(np.maximum(amount, 0.0) / self.widths[rung], _BINS - 1.001)
        below = position.astype(np.int64)
        share = position - below
        return np.asarray(
            self.tails[rung, below] * (1.0 - share) + self.tails[rung, below + 1] * share
        )

    def above(self, count: Array, amount: Array) -> Array:
        """P(sum > ``amount``) when ``count`` works are expected; arrays of one shape."""
        found = np.ones(count.shape)
        positive = amount > 0.0
        found[positive] = np.exp(self._log_above(count[positive], amount[positive]))
        return found

    def _log_above(self, count: Array, amount: Array) -> Array:
        held = np.clip(count, _COUNTS[0], _COUNTS[-1])
        rung = np.clip(np.searchsorted(_COUNTS, held) - 1, 0, len(_COUNTS) - 2)
        share = (np.log(held) - _LOG_COUNTS[rung]) / np.diff(_LOG_COUNTS)[rung]
        few = count < _FEW
        score = (amount - count) / np.sqrt(np.maximum(count, _COUNTS[0]) * self.second_moment)
        result = np.zeros(held.shape)
        for step, weight in ((rung, 1.0 - share), (rung + 1, share)):
            deviations = np.sqrt(_COUNTS * self.second_moment)[step]
            scaled = _COUNTS[step] + score * deviations
            result += weight * self._log_tail(step, np.where(few, amount, scaled))
        return result


@dataclass(frozen=True, slots=True, eq=False)
class WaitTail:
    """P(wait > y) of M/G/1 in order of arrival (Pollaczek, Khinchine); (utilisations, bins)."""

    tails: Array
    width: float

    @classmethod
    def of(cls, works: Array, longest: float, *, whole: bool) -> "WaitTail":
        """Tabulate for these normalised works up to a wait of ``longest`` mean works.

        ``whole``: what is left of a work counts even beyond that; else it is left out, as if
        nobody came while so much is left.
        """
        width = max(longest, 1.0) / _BINS
        grid = np.arange(2 * _BINS) * width
        residual = (works[None, :] > grid[:, None]) @ QUANTILE_WEIGHTS
        # A bin's mass lies in its middle: half of it at either edge.
        residual[1:] = 0.5 * (residual[1:] + residual[:-1])
        residual[0] *= 0.5
        residual[_BINS:] = 0.0
        if whole:
            residual[_BINS] = QUANTILE_WEIGHTS @ np.maximum(works / width - _BINS, 0.0)
        residual /= residual.sum()
        damping = np.exp(-_DAMPING * np.arange(2 * _BINS) / _BINS)
        transform = np.fft.rfft(residual * damping)
        idle = 1.0 - _UTILISATIONS[:, None]
        waits = np.fft.irfft(idle / (1.0 - _UTILISATIONS[:, None] * transform), 2 * _BINS, axis=1)
        tails = np.clip(1.0 - np.cumsum(waits / damping, axis=1), 0.0, 1.0)[:, :_BINS]
        return cls(tails, width)

    def above(self, utilisation: Array, amount: Array) -> Array:
        """P(wait > ``amount``) at this utilisation; below the ladder the tail shrinks with it."""
        held = np.clip(utilisation, _UTILISATIONS[0], _UTILISATIONS[-1])
        position = (held - _UTILISATIONS[0]) / (_UTILISATIONS[1] - _UTILISATIONS[0])
        rung = np.minimum(position.astype(np.int64), len(_UTILISATIONS) - 2)
        place = np.minimum(np.maximum(amount, 0.0) / self.width, _BINS - 1.001)
        below = place.astype(np.int64)
        across, along = position - rung, place - below
        low = self.tails[rung, below] * (1 - along) + self.tails[rung, below + 1] * along
        high = self.tails[rung + 1, below] * (1 - along) + self.tails[rung + 1, below + 1] * along
        thin = np.minimum(utilisation / _UTILISATIONS[0], 1.0)
        tail = thin * ((1.0 - across) * low + across * high)
        return np.asarray(np.where(amount < 0.0, 1.0, tail))
