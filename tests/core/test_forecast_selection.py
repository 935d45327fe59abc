"""The back-test of cost at attainment picks what is cheaper, and persistence otherwise."""

import numpy as np
import pytest
from numpy.typing import NDArray

from controller.core.forecasting.calibration import LEVELS
from controller.core.forecasting.candidates import Candidate
from controller.core.forecasting.selection import Selection, selected, unselected

Rates = NDArray[np.float64]


def chosen(
    rates: Rates, target: Rates, record: Rates, before: Selection | None = None
) -> Selection:
    """Select with a hold of two minutes at 99 %."""
    return selected(rates, target, record, 2, 0.99, before or unselected())


def nothing(rates: Rates) -> Rates:
    """A record on which the regression said nothing."""
    return np.full((len(rates), len(LEVELS)), np.nan)


def ahead(rates: Rates, minutes: int = 3) -> Rates:
    """What comes some minutes later, NaN at the end."""
    return np.concatenate((rates[minutes:], np.full(minutes, np.nan)))


def scheduled(days: int = 2) -> Rates:
    """Ten minutes of threefold demand every two hours, and noise."""
    rng = np.random.default_rng(0)
    minute = np.arange(days * 1440)
    return np.asarray(np.where(minute % 120 < 10, 90.0, 30.0) * rng.normal(1, 0.02, days * 1440))


def test_a_forecast_that_sees_jumps_coming_is_chosen() -> None:
    """A record that knows the jumps costs a fraction of persistence at the same attainment."""
    rates = scheduled()
    target = ahead(rates)
    record = np.repeat(target[:, None], len(LEVELS), axis=1)
    selection = chosen(rates, target, record)
    assert selection.chosen is Candidate.REGRESSION
    assert selection.costs[2] < 0.6
    assert selection.margins[2] == pytest.approx(1.0, abs=0.05)


def test_a_forecast_no_better_than_persistence_is_not() -> None:
    """A record that says what persistence says ties, and persistence wins ties."""
    rates = scheduled()
    record = np.repeat(rates[:, None], len(LEVELS), axis=1)
    selection = chosen(rates, ahead(rates), record)
    assert selection.chosen is Candidate.PERSISTENCE
    assert selection.costs[2] == pytest.approx(1.0)


def test_a_worse_forecast_is_not_chosen() -> None:
    """A record of noise costs more, however well it may cover."""
    rates = scheduled()
    noise = np.exp(np.random.default_rng(1).normal(0, 0.5, len(rates)))
    record = np.repeat((rates * noise)[:, None], len(LEVELS), axis=1)
    selection = chosen(rates, ahead(rates), record)
    assert selection.chosen is not Candidate.REGRESSION
    assert selection.costs[2] > 1.0


def storm(minutes: int) -> Rates:
    """Bursts of three minutes, half as high again as the rest, every six to nine minutes."""
    rng = np.random.default_rng(2)
    rates = np.full(minutes, 30.0)
    for start in np.cumsum(rng.integers(6, 10, minutes // 6)):
        rates[start : start + 3] = 44.0
    return rates


@pytest.mark.parametrize("minutes", [70, 1440])
def test_bursts_that_return_within_ten_minutes_are_remembered(minutes: int) -> None:
    """Such bursts are cheaper to remember than to chase, and an hour of them is enough to tell."""
    rates = storm(minutes)
    selection = chosen(rates, ahead(rates), nothing(rates))
    assert selection.chosen is Candidate.PEAK_MEMORY
    assert np.isnan(selection.costs[2])


def test_a_short_past_decides_nothing() -> None:
    """Under an hour the selection stays as it was; a short record leaves the regression out."""
    rates = scheduled()
    before = unselected()
    assert chosen(rates[:60], ahead(rates[:60]), nothing(rates[:60]), before) is before
    record = np.repeat(ahead(rates)[:, None], len(LEVELS), axis=1)
    record[: len(rates) - 500] = np.nan
    assert chosen(rates, ahead(rates), record).chosen is not Candidate.REGRESSION


def test_the_margin_attains_the_target() -> None:
    """Persistence with the margin found misses just the share that the target allows."""
    rates = scheduled()
    target = ahead(rates)
    margin = chosen(rates, target, nothing(rates)).margins[0]
    known = np.isfinite(target)
    # By hand: hold the maximum of the last three origins, Ready if it lasts three more.
    paid = np.array([rates[max(i - 2, 0) : i + 1].max() for i in range(len(rates))])
    ready = np.array([paid[i : i + 3].min() for i in range(len(rates))])
    missed = np.maximum(target - margin * ready, 0.0)[known].sum() / target[known].sum()
    assert missed == pytest.approx(0.01, abs=1e-4)


def test_unseen_minutes_are_not_scored() -> None:
    """A gap in the past neither crashes nor counts as demand or as a miss."""
    rates = scheduled()
    holed = rates.copy()
    holed[500:620] = np.nan
    selection = chosen(holed, ahead(holed), nothing(rates))
    whole = chosen(rates, ahead(rates), nothing(rates))
    assert selection.margins[0] == pytest.approx(whole.margins[0], rel=0.05)


def test_silence_decides_nothing() -> None:
    """A past without requests has no attainment to compare at."""
    rates = np.zeros(1440)
    before = unselected()
    assert chosen(rates, ahead(rates), nothing(rates), before) is before
