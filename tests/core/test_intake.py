"""What an observation adds to the history."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.core.domain.observation import Observation, Traffic
from controller.core.domain.policy import Policy
from controller.core.history import History
from controller.core.intake import begun, observed

NOW = 1_743_465_600.0
TICK = 15.0
MakePolicy: TypeAlias = Callable[..., Policy]
MakeObservation: TypeAlias = Callable[..., Observation]
Seen: TypeAlias = Callable[[list[tuple[float, float, float]]], History]


@pytest.fixture
def seen(make_policy: MakePolicy, make_observation: MakeObservation) -> Seen:
    """History after windows of (requests that came, that ended, prompt tokens of each of these)."""
    policy = make_policy()

    def go(windows: list[tuple[float, float, float]]) -> History:
        history = begun(policy, None, regression=True)
        for tick, (came, ended, tokens) in enumerate(windows, start=1):
            now = NOW + tick * TICK
            observation = make_observation(now, (4,), came / TICK)
            traffic = observation.traffic
            assert isinstance(traffic, Traffic)
            traffic = replace(
                traffic,
                token_requests=ended,
                prompt_tokens=ended * tokens,
                output_tokens=ended * tokens / 5.0,
            )
            history = observed(policy, replace(observation, traffic=traffic), history, now)
        return history

    return go


def test_the_long_requests_left_when_traffic_stops_are_no_mean_of_all(seen: Seen) -> None:
    """Those that end when none come any more are the longest of all that came."""
    history = seen([(2000.0, 2000.0, 1000.0)] * 8 + [(0.0, 900.0, 3000.0)] * 2)
    assert history.tokens.prompt == pytest.approx(1000.0)


def test_the_short_requests_that_end_first_are_no_mean_of_all(seen: Seen) -> None:
    """Those that end in the first seconds of traffic are the shortest."""
    before = [(2000.0, 2000.0, 1000.0)] * 8 + [(0.0, 0.0, 0.0)] * 80
    history = seen([*before, (2000.0, 30.0, 100.0), (2000.0, 200.0, 200.0)])
    assert history.tokens.prompt == pytest.approx(1000.0, rel=0.05)
    assert history.forecast.series.prompt_tokens_mean == pytest.approx(1000.0, rel=0.3)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tokens=st.floats(10.0, 10_000.0))
def test_in_steady_traffic_the_mean_follows_what_ends(tokens: float, seen: Seen) -> None:
    """Whatever was before, a minute of as many that end as come tells the mean."""
    history = seen([(1500.0, 1500.0, 1000.0)] * 4 + [(1500.0, 1500.0, tokens)] * 8)
    assert history.tokens.prompt == pytest.approx(tokens, rel=0.05, abs=5.0)


@pytest.mark.parametrize(("came", "refused", "ended"), [(0.0, 5.0, 0.0), (3.0, 5.0, 2.0)])
def test_more_refused_than_came_is_no_traffic_to_learn_from(
    make_policy: MakePolicy,
    make_observation: MakeObservation,
    came: float,
    refused: float,
    ended: float,
) -> None:
    """Two counters read a moment apart may disagree, and teach no tokens then."""
    policy = make_policy()
    observation = make_observation(NOW, (4,), 10.0)
    traffic = observation.traffic
    assert isinstance(traffic, Traffic)
    odd = replace(traffic, requests=came, refused=refused, token_requests=ended)
    history = begun(policy, None, regression=True)
    history = observed(policy, replace(observation, traffic=odd), history, NOW)
    assert history.tokens.prompt is None
