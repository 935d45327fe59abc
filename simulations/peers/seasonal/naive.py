"""Seasonal-naive forecast: the season before, at its present level.

The highest rate of the coming window one season ago, times what the last half hour was against the
same half hour then. Without that season a shorter one is taken, and without any the last value.
"""

from collections.abc import Sequence

from simulations.peers.rate_history import MINUTE_SECONDS, RateHistory

DAY_SECONDS = 86_400.0
#: What the level is compared over: short enough to follow a day unlike the one before, and long
#: enough that a minute's noise is not taken for a level.
LEVEL_SECONDS = 1800.0


def seasonal_naive(
    rates: RateHistory, seasons_seconds: Sequence[float], window_seconds: float, now: float
) -> float | None:
    """Highest requests/s expected in (now, now + window]; None where nothing recent was seen."""
    recent = rates.between(now - LEVEL_SECONDS, now)
    if not len(recent):
        return None
    window = max(window_seconds, MINUTE_SECONDS)
    for season in seasons_seconds:
        then = now - season
        before = rates.between(then - LEVEL_SECONDS, then)
        ahead = rates.between(then, then + window)
        if len(before) and len(ahead) and before.mean() > 0.0:
            return float(ahead.max() * recent.mean() / before.mean())
    return float(recent[-1])
