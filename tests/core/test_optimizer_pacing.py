"""Prices of a miss and of a degraded request follow what was burnt of the budgets."""

from collections.abc import Callable
from typing import TypeAlias

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.core.domain.observation import Missing, MissingReason, Outcomes
from controller.core.domain.policy import OnExhausted, Policy, QualityBudget
from controller.core.domain.variant import Variant
from controller.core.optimizer.pacing import PRICE_RANGE, Ledger, prices

DAY = 86_400.0
LAW = settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MakePolicy: TypeAlias = Callable[..., Policy]
MakeVariant: TypeAlias = Callable[..., Variant]
shares = st.floats(0.0, 1.0)


def ended(at: float, requests: float, missed: float = 0.0, degraded: float = 0.0) -> Outcomes:
    """A window of 15 s in which ``requests`` ended."""
    return Outcomes(
        from_seconds=at - 15.0,
        to_seconds=at,
        ended=requests,
        failed=missed,
        bad_ttft=0.0,
        bad_tpot=0.0,
        degraded=degraded,
    )


def test_missing_outcomes_book_nothing() -> None:
    """What was not seen is neither good nor bad."""
    ledger = Ledger().record(ended(100.0, 10.0, 1.0), DAY)
    assert ledger.record(Missing(MissingReason.STALE), DAY) == ledger


@LAW
@given(requests=st.floats(1.0, 1e6), missed=shares, seconds=st.floats(15.0, 1e6))
def test_the_ledger_forgets_both_sides_alike(
    requests: float, missed: float, seconds: float
) -> None:
    """Time alone changes amounts, never the share that was missed, and never below zero."""
    first = Ledger().record(ended(100.0, requests, missed * requests), DAY)
    later = first.record(ended(100.0 + seconds, 0.0), DAY)
    assert 0.0 <= later.missed <= later.ended <= first.ended
    assert abs(later.missed * first.ended - first.missed * later.ended) <= 1e-9 * requests**2


@LAW
@given(bad=st.tuples(shares, shares, shares))
def test_no_more_is_missed_than_ended(bad: tuple[float, float, float]) -> None:
    """A request that misses both objectives is missed once."""
    outcomes = Outcomes(
        from_seconds=0.0,
        to_seconds=15.0,
        ended=100.0,
        failed=100.0 * bad[0],
        bad_ttft=100.0 * bad[1],
        bad_tpot=100.0 * bad[2],
        degraded=0.0,
    )
    assert Ledger().record(outcomes, DAY).missed <= 100.0


@LAW
@given(missed=shares, more=shares, degraded=shares, rate=st.floats(0.0, 1e4))
def test_prices_rise_with_what_was_burnt_and_stay_in_their_range(
    make_policy: MakePolicy,
    make_variant: MakeVariant,
    make_fallback: MakeVariant,
    missed: float,
    more: float,
    degraded: float,
    rate: float,
) -> None:
    """More missed, never a lower price; a degraded request never costs more than a missed one."""
    policy = make_policy(make_variant(), make_fallback())
    base = prices(policy, Ledger(), 1e-4, rate)
    ledgers = [
        Ledger(at_seconds=0.0, ended=1e5, missed=1e5 * share, degraded=1e5 * degraded)
        for share in sorted((missed, more))
    ]
    low, high = (prices(policy, ledger, 1e-4, rate) for ledger in ledgers)
    assert base.miss / PRICE_RANGE * (1 - 1e-9) <= low.miss <= high.miss
    assert high.miss <= base.miss * PRICE_RANGE * (1 + 1e-9)
    for found in (low, high):
        assert 0.0 <= found.degraded <= found.miss
        assert 0.0 <= found.degraded_share_allowed <= 1.0


def test_without_a_quality_budget_nothing_may_be_degraded(
    make_policy: MakePolicy, make_variant: MakeVariant, make_fallback: MakeVariant
) -> None:
    """A budget of zero, or no fallback at all, allows no degraded share."""
    none = QualityBudget(max_degraded_share=0.0, on_exhausted=OnExhausted.HOLD)
    strict = make_policy(make_variant(), make_fallback(), quality=none)
    alone = make_policy(make_variant())
    for policy in (strict, alone):
        assert prices(policy, Ledger(), 1e-4, 10.0).degraded_share_allowed == 0.0
