"""The record of a replay: percentiles, the score of forecasts, the timeline, by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from controller.core.domain.decision import (
    Decision,
    DecisionStep,
    ForecastSummary,
    Reason,
    Stage,
)
from controller.core.domain.policy import Policy
from controller.core.performance.work import REFERENCE_TOKENS
from simulations.engine.fleet import EngineConfig, Fleet, PoolSpec
from simulations.setup import Prepared
from simulations.world.recorder import Recorder, explain, percentile, percentiles
from simulations.world.world import Arrived

TICK_SECONDS = 60.0


@pytest.fixture
def policy(prepared: Callable[..., Prepared]) -> Policy:
    """Return the small scenario's policy."""
    return prepared().setup.policy


def decision(
    allocation: tuple[int, ...], forecast: ForecastSummary | None, *steps: DecisionStep
) -> Decision:
    """Build a decision that carries a forecast."""
    return Decision(
        allocation=allocation,
        weights=None,
        steps=steps,
        binding=Reason.CHEAPEST_WITHIN_BUDGETS,
        forecast=forecast,
    )


def forecast(median: float, high: float, level: float, *, trusted: bool = True) -> ForecastSummary:
    """Forecast the minute one tick ahead, in requests of the reference tokens."""
    return ForecastSummary(
        source="persistence",
        horizon_seconds=TICK_SECONDS,
        level_requests_per_second=level,
        quantiles=((0.5, median), (0.9, high)),
        requests_per_reference=1.0,
        trusted=trusted,
        changed_decision=not trusted,
    )


def recorded(
    policy: Policy, rates: list[float], forecasts: list[ForecastSummary | None]
) -> Recorder:
    """Record ticks of these true rates at which these forecasts were made."""
    fleet = Fleet(
        tuple(PoolSpec(profile=v.profile) for v in policy.variants),
        EngineConfig(ttft_threshold_seconds=1.0, tpot_threshold_seconds=0.05),
        4,
    )
    nothing = fleet.totals()
    recorder = Recorder(policy, len(rates), TICK_SECONDS, fleet.fine_edges_seconds)
    prompt, output = REFERENCE_TOKENS
    for tick, (rate, made) in enumerate(zip(rates, forecasts, strict=True)):
        recorder.decision(tick, decision((1 + tick // 2, 0), made), [1, 0], [1, 0])
        requests = round(rate * TICK_SECONDS)
        arrived = Arrived(requests, round(requests * prompt), round(requests * output))
        recorder.traffic(tick, arrived, nothing, nothing, cost=float(tick + 1))
    return recorder


def test_percentiles_are_upper_edges_of_the_buckets_that_hold_them() -> None:
    """90 fast, 9 slow, 1 stuck: the median is fast, the 95th slow, the 99th still slow."""
    edges, counts = np.array([0.1, 1.0, 10.0]), np.array([90, 9, 1])
    found = percentiles(edges, counts)
    assert (found.p50, found.p95, found.p99) == (0.1, 1.0, 1.0)
    assert percentile(edges, counts, 0.995) == 10.0
    assert percentile(edges, counts, 0.90) == 0.1


def test_a_percentile_of_nothing_is_not_a_number() -> None:
    """No answered request has no latency, which is not zero."""
    assert np.isnan(percentiles(np.array([0.1, 1.0]), np.array([0, 0])).p50)


def test_forecasts_are_scored_against_the_minute_they_are_for(policy: Policy) -> None:
    """WAPE, coverage and shares by hand: rates 10, 20, 10, 40; the last target is never seen."""
    made = [
        forecast(18.0, 21.0, 10.0),  # for 20: off by 2, persistence by 10, covered by the upper
        forecast(16.0, 22.0, 20.0),  # for 10: off by 6, persistence by 10, covered by both
        forecast(12.0, 30.0, 10.0, trusted=False),  # for 40: off by 28, by 30, by neither
        forecast(1.0, 2.0, 3.0),  # for a minute beyond the record
    ]
    score = recorded(policy, [10.0, 20.0, 10.0, 40.0], made).score(0)
    assert score is not None
    assert score.wape == pytest.approx((2.0 + 6.0 + 28.0) / 70.0, rel=1e-3)
    assert score.persistence_wape == pytest.approx((10.0 + 10.0 + 30.0) / 70.0, rel=1e-3)
    assert score.coverage == {"0.5": pytest.approx(1 / 3), "0.9": pytest.approx(2 / 3)}
    assert score.trusted_share == pytest.approx(3 / 4)
    assert score.changed_decision_share == pytest.approx(1 / 4)


def test_forecasts_of_the_warm_up_are_not_scored(policy: Policy) -> None:
    """Only decisions of the scored part count."""
    made = [forecast(999.0, 999.0, 999.0), forecast(10.0, 12.0, 10.0), None, None]
    score = recorded(policy, [10.0, 10.0, 10.0, 10.0], made).score(1)
    assert score is not None
    assert score.wape == pytest.approx(0.0, abs=1e-3)
    assert score.coverage["0.9"] == 1.0


def test_a_policy_that_never_forecasts_has_no_score(policy: Policy) -> None:
    """Nothing known is None."""
    assert recorded(policy, [10.0, 10.0], [None, None]).score(0) is None


def test_a_timeline_starts_at_the_scored_part_and_counts_its_cost_from_there(
    policy: Policy,
) -> None:
    """Times, costs and reasons of the warm-up are gone; what was spent in it is not counted."""
    made = [None, None, forecast(5.0, 6.0, 4.0), None]
    timeline = recorded(policy, [1.0, 2.0, 3.0, 4.0], made).timeline(1)
    assert timeline.at_seconds.tolist() == [0.0, 60.0, 120.0]
    assert timeline.arrivals_per_second.tolist() == [2.0, 3.0, 4.0]
    assert timeline.cumulative_cost.tolist() == [1.0, 2.0, 3.0]
    assert [tick for tick, _ in timeline.reasons] == [1]
    assert timeline.quantile_levels == (0.5, 0.9)
    assert timeline.forecast[1].tolist() == [5.0, 6.0]
    assert timeline.forecast_for_seconds[1] == 120.0
    assert np.isnan(timeline.forecast[[0, 2]]).all()


def test_an_explanation_names_stages_reasons_and_replicas(policy: Policy) -> None:
    """One line, in the order of the steps, with replicas only where they changed."""
    steps = (
        DecisionStep(Stage.OPTIMISE, Reason.CHEAPEST_WITHIN_BUDGETS, (1, 0), (3, 1)),
        DecisionStep(Stage.GUARD, Reason.HOLD_NOT_EXPIRED, (3, 1), (3, 1)),
    )
    assert explain(policy, steps) == (
        "Optimise CheapestWithinBudgets: bf16=1 fp8=0 -> bf16=3 fp8=1; Guard HoldNotExpired"
    )
