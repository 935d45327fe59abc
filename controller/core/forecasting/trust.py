"""Whether a candidate's quantiles may be relied on, and how well it did lately."""

from dataclasses import dataclass
from math import nan
from typing import Final

from controller.core.forecasting.calibration import LEVELS, Calibration

#: Scored targets, and distance of coverage from its level, at which quantiles are trusted.
LEAST_TARGETS: Final = 500
FARTHEST_COVERAGE: Final = 0.02
#: Positions in LEVELS whose coverage counts: .8, .9 and .95.
_JUDGED: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The verdict and its reason. ``wape`` is sum |error| / sum |actual| of the median lately."""

    trusted: bool
    reason: str
    scored: int
    wape: float
    coverage: tuple[float, ...]


def judged(calibration: Calibration, candidate: int) -> Trust:
    """Judge one candidate by the targets scored so far, lately the last day's."""
    count = int(calibration.scored[candidate])
    coverage = tuple(calibration.coverage[candidate].tolist())
    actual = float(calibration.actual[candidate])
    off = [abs(coverage[at] - LEVELS[at]) for at in _JUDGED]
    if count < LEAST_TARGETS:
        trusted, reason = False, f"{count} of {LEAST_TARGETS} targets scored"
    elif max(off) > FARTHEST_COVERAGE:
        at = _JUDGED[off.index(max(off))]
        trusted, reason = False, f"coverage at {LEVELS[at]} is {coverage[at]:.3f}"
    else:
        trusted, reason = True, f"coverage within {FARTHEST_COVERAGE} of its levels"
    return Trust(
        trusted=trusted,
        reason=reason,
        scored=count,
        wape=float(calibration.error[candidate]) / actual if actual > 0.0 else nan,
        coverage=coverage,
    )
