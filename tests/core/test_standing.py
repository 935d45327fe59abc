"""How an object does is told from what was seen, and what is not known is None."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from controller.core.domain.decision import Standing
from controller.core.domain.observation import Observation, Outcomes, PastTraffic
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Variant
from controller.core.planner import SteelyardPlanner
from controller.core.standing import _left

NOW = 1_743_465_600.0
PLANNER = SteelyardPlanner()


@pytest.fixture
def policy(
    make_policy: Callable[..., Policy],
    make_variant: Callable[..., Variant],
    make_fallback: Callable[..., Variant],
) -> Policy:
    """A Primary and a Fallback."""
    return make_policy(make_variant(max_replicas=24), make_fallback(max_replicas=12))


@pytest.fixture
def stands(
    policy: Policy, make_observation: Callable[..., Observation]
) -> Callable[..., Standing | None]:
    """The standing after some ticks at a rate, with outcomes (bad TTFT, bad TPOT, degraded)."""

    def build(
        rate: float | None,
        outcomes: tuple[float, float, float] | None = None,
        past: PastTraffic | None = None,
        of: Policy = policy,
    ) -> Standing | None:
        history, decision = PLANNER.initial(of, past), None
        for tick in range(1, 13):
            now = NOW + 15.0 * tick
            seen = make_observation(now, (8, 1)[: len(of.variants)], rate)
            if outcomes is not None:
                ended = Outcomes(
                    from_seconds=now - 30.0,
                    to_seconds=now - 15.0,
                    ended=1000.0,
                    failed=1.0,
                    bad_ttft=outcomes[0],
                    bad_tpot=outcomes[1],
                    degraded=outcomes[2],
                )
                seen = replace(seen, outcomes=ended)
            decision, history = PLANNER.plan(of, seen, history, now)
        assert decision is not None
        return decision.standing

    return build


def test_attainment_is_an_interval_and_the_budget_takes_its_lower_end(
    stands: Callable[..., Standing], policy: Policy
) -> None:
    """Which requests missed both objectives is not told: at most all, at least the larger count."""
    standing = stands(100.0, (3.0, 2.0, 30.0))
    assert standing.attainment == pytest.approx((0.994, 0.996))
    assert standing.errors_left == pytest.approx(1.0 - 0.006 / (1.0 - policy.slo.target))
    assert standing.quality_left == pytest.approx(1.0 - 0.03 / policy.quality.max_degraded_share)


def test_nothing_measured_is_none_and_not_zero(stands: Callable[..., Standing | None]) -> None:
    """Without outcomes there is no attainment, without traffic no standing at all."""
    standing = stands(100.0)
    assert standing is not None
    assert standing.attainment is None
    assert standing.errors_left is None
    assert standing.forecast_error is None
    assert stands(None) is None


def test_without_a_fallback_there_is_no_quality_budget(
    stands: Callable[..., Standing],
    make_policy: Callable[..., Policy],
    make_variant: Callable[..., Variant],
) -> None:
    """Nothing can be degraded, so nothing is left to be."""
    assert stands(100.0, (0.0, 0.0, 0.0), of=make_policy(make_variant())).quality_left is None


def test_static_peak_is_what_primaries_for_the_weeks_peak_cost(
    stands: Callable[..., Standing], policy: Policy
) -> None:
    """A peak of thrice the load now is paid for all day by who sizes for it."""
    rates = np.full(1440, 100.0)
    rates[600:660] = 300.0
    past = PastTraffic(
        from_seconds=NOW - 86_400.0,
        step_seconds=60.0,
        requests=60.0 * rates,
        prompt_tokens_mean=np.full(1440, 1155.0),
        output_tokens_mean=np.full(1440, 211.0),
    )
    now, then = stands(100.0), stands(100.0, past=past)
    assert now.static_peak_cost_per_hour is not None
    assert then.static_peak_cost_per_hour is not None
    price = policy.variants[0].cost_per_replica_hour
    assert then.static_peak_cost_per_hour % price == pytest.approx(0.0)
    assert then.static_peak_cost_per_hour > 2.0 * now.static_peak_cost_per_hour
    assert then.forecast_coverage is not None


def test_capacity_is_of_the_ready_replicas_of_each_variant_alone(
    stands: Callable[..., Standing],
) -> None:
    """Eight Primaries carry far more than one Fallback."""
    primary, fallback = stands(100.0).capacities
    assert primary > 5.0 * fallback > 0.0


def test_next_to_no_requests_have_no_budget_yet() -> None:
    """What has been forgotten down to almost nothing is as if nothing had ended."""
    assert _left(0.0, 5e-324, 0.01) is None
    assert _left(1.0, 1000.0, 0.01) == pytest.approx(0.9)
