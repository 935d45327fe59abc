"""After an operator's start its objects' forecasts are not fitted all at once."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from controller.core.domain.observation import Observation, PastTraffic
from controller.core.domain.policy import ObjectKey, Policy
from controller.core.forecasting.candidates import Candidate
from controller.core.history import History
from controller.core.intake import stagger_share
from controller.core.planner import SteelyardPlanner
from controller.core.settings import PlannerSettings

NOW = 1_743_465_600.0
TICK = 15.0
SPREAD = 600.0
MakePolicy: TypeAlias = Callable[..., Policy]
MakeObservation: TypeAlias = Callable[..., Observation]


def a_past() -> PastTraffic:
    """Two days of a wave, ending at ``NOW``."""
    minutes = np.arange(2880.0)
    return PastTraffic(
        from_seconds=NOW - 2880 * 60.0,
        step_seconds=60.0,
        requests=1200.0 + 600.0 * np.sin(minutes / 30.0),
        prompt_tokens_mean=np.full(2880, 500.0),
        output_tokens_mean=np.full(2880, 100.0),
    )


def fitted(history: History) -> bool:
    """Whether any horizon was fitted."""
    return any(horizon.model is not None for horizon in history.forecast.horizons)


def test_nothing_is_fitted_before_the_objects_own_time(
    make_policy: MakePolicy, make_observation: MakeObservation
) -> None:
    """Fitting waits for the object's share of the spread, and decisions are made meanwhile."""
    policy = make_policy()
    planner = SteelyardPlanner(PlannerSettings(prepare_at_once=False, spread_seconds=SPREAD))
    due = NOW + SPREAD * stagger_share(policy.key)
    assert fitted(SteelyardPlanner().initial(policy, a_past()))
    history = planner.initial(policy, a_past())
    assert not fitted(history)
    fitted_at = None
    for tick in range(1, int(SPREAD / TICK) + 20):
        now = NOW + tick * TICK
        decision, history = planner.plan(policy, make_observation(now, (8,), 20.0), history, now)
        assert decision.forecast is not None
        if fitted_at is None and not fitted(history):
            assert decision.forecast.source != Candidate.REGRESSION
        elif fitted_at is None:
            fitted_at = now
    assert fitted_at is not None
    assert due <= fitted_at <= due + 3 * 60.0


def test_objects_are_spread_evenly_and_the_same_way_in_every_process() -> None:
    """The share follows from the name alone, and no tenth of the time is crowded."""
    shares = [stagger_share(ObjectKey("serving", f"model-{i}")) for i in range(2000)]
    assert shares[:2] == [stagger_share(ObjectKey("serving", f"model-{i}")) for i in range(2)]
    counts, _ = np.histogram(shares, bins=10, range=(0.0, 1.0))
    assert counts.sum() == 2000
    assert 130 < counts.min() <= counts.max() < 270
