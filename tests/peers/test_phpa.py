"""The predictive HPA's models on hand-made cases; its own answers are in test_vectors.py."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.peers.phpa.holt_winters import HoltWintersModel, Seasonal
from simulations.peers.phpa.law import DecisionType, decided
from simulations.peers.phpa.linear import LinearModel, Proposals


def at_minutes(*replicas: int) -> Proposals:
    """Proposals a minute apart, the last one a minute ago."""
    return tuple((60.0 * (place - len(replicas)), count) for place, count in enumerate(replicas))


@pytest.mark.parametrize(
    ("kind", "replicas", "expected"),
    [
        (DecisionType.MAXIMUM, (3, 9, -4), 9),
        (DecisionType.MINIMUM, (3, 9, -4), -4),
        (DecisionType.MEAN, (3, 4), 4),
        (DecisionType.MEAN, (3, -9), 0),
        (DecisionType.MEDIAN, (1, 10, 8, 15, 0), 8),
        (DecisionType.MEDIAN, (1, 10, 8, 15, 0, 7), 7),
        (DecisionType.MEDIAN, (2, -5), -1),
    ],
)
def test_one_number_is_made_of_all(
    kind: DecisionType, replicas: tuple[int, ...], expected: int
) -> None:
    """Means round half up and stop at 0, even medians lose their fraction."""
    assert decided(kind, replicas) == expected


def test_a_line_is_followed_for_the_look_ahead() -> None:
    """Two replicas more each minute are six more three minutes ahead."""
    model = LinearModel(look_ahead_seconds=180.0)
    assert model.predicted(at_minutes(2, 4, 6), 0.0, 8) == 14
    assert model.predicted(at_minutes(8, 6, 4), 0.0, 2) == -4
    assert model.predicted((), 0.0, 5) == 5


@given(st.integers(1, 40), st.integers(1, 30), st.floats(1.0, 600.0))
@settings(deadline=None)
def test_a_flat_history_stays_flat(replicas: int, points: int, ahead: float) -> None:
    """Rounding in the fit does not add a replica, as it does in the original."""
    model = LinearModel(look_ahead_seconds=ahead, history_size=30)
    assert model.predicted(at_minutes(*[replicas] * points), 0.0, replicas) == replicas


def test_the_last_proposals_are_kept() -> None:
    """A linear model forgets what is older than its history."""
    model = LinearModel(look_ahead_seconds=60.0, history_size=3)
    stored: Proposals = model.begun(at_minutes(1, 2, 3, 4))
    assert [count for _, count in stored] == [2, 3, 4]
    _, stored = model.synced(stored, 0.0, 5)
    assert [count for _, count in stored] == [3, 4, 5]


def season_of(*replicas: int, times: int) -> Proposals:
    """A season again and again."""
    return at_minutes(*replicas * times)


@pytest.mark.parametrize("seasonal", list(Seasonal))
def test_a_clean_season_is_continued(seasonal: Seasonal) -> None:
    """What comes at the same place of every season is what is predicted one sync before it."""
    model = HoltWintersModel(length=4, alpha=0.3, beta=0.1, gamma=0.2, seasonal=seasonal)
    season = (2, 4, 9, 5)
    memory = model.begun(season_of(*season, times=4))
    for place in range(12):
        prediction, memory = model.synced(memory, 60.0 * place, season[place % 4])
        assert prediction in (season[(place + 1) % 4], season[(place + 1) % 4] + 1)


def test_too_few_points_predict_none() -> None:
    """Two seasons, and what the first averages need, come before any prediction."""
    model = HoltWintersModel(length=6)
    memory = model.begun(())
    predictions = []
    for sync in range(17):
        prediction, memory = model.synced(memory, 15.0 * sync, 7)
        predictions.append(prediction)
    assert predictions[:15] == [0] * 15
    assert all(prediction in (7, 8) for prediction in predictions[15:])
    assert HoltWintersModel(length=60).least_points == 120


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 30), min_size=20, max_size=90),
    st.integers(2, 9),
    st.integers(1, 7),
    st.sampled_from(Seasonal),
)
def test_going_on_is_fitting_anew(
    replicas: list[int], length: int, stored: int, seasonal: Seasonal
) -> None:
    """A fit that goes on predicts what one made anew on all that is kept predicts."""
    model = HoltWintersModel(
        length=length, stored_seasons=stored, alpha=0.4, beta=0.2, gamma=0.3, seasonal=seasonal
    )
    memory = model.begun(())
    for sync, count in enumerate(replicas):
        before = tuple((0.0, int(point)) for point in memory.points)
        anew, _ = model.synced(model.begun(before), 0.0, count)
        prediction, memory = model.synced(memory, 15.0 * sync, count)
        assert abs(prediction - anew) <= 1e-6 * abs(anew) + 1e-9
        assert len(memory.points) < (stored + 1) * length


def test_what_has_no_season_is_rejected() -> None:
    """Sizes that mean nothing are named."""
    with pytest.raises(ValueError, match="length"):
        HoltWintersModel(length=1)
    with pytest.raises(ValueError, match="stored_seasons"):
        HoltWintersModel(length=4, stored_seasons=0)
    with pytest.raises(ValueError, match="history_size"):
        LinearModel(look_ahead_seconds=60.0, history_size=0)
