"""Peers that forecast, on hand-made days: when they act, what they hold, and what they keep."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import (
    Measured,
    Missing,
    MissingReason,
    Observation,
    PastTraffic,
    Traffic,
    VariantObservation,
)
from controller.core.domain.policy import (
    Policy,
    RoutingLaw,
)
from controller.core.domain.variant import Role, Variant
from controller.ports import Planner
from peers.building import facts_of, policy_of, variant_of
from simulations.peers.load_test import carried_per_replica
from simulations.peers.peer import PeerFacts
from simulations.peers.rate_history import RateHistory
from simulations.peers.registry import peer
from simulations.peers.seasonal.naive import DAY_SECONDS, seasonal_naive

GONE = Missing(MissingReason.QUERY_FAILED)
TICK = 15.0
COLD_START = 120.0
MIDNIGHT = 20_000 * DAY_SECONDS
FORECASTING = (
    "crane-dsp",
    "phpa-linear",
    "phpa-holt-winters",
    "hpa-seasonal-naive",
    "persistence-hold",
)
WEEK_MINUTES = 7 * 1440


def variant(name: str, role: Role, low: int) -> Variant:
    """One variant with room for 24 replicas."""
    return variant_of(role, name=name, min_replicas=low, cold_start_seconds=COLD_START)


def policy(*, fallback: bool = True, low: int = 1) -> Policy:
    """One Primary, and where asked a fallback at zero."""
    variants = [variant("primary", Role.PRIMARY, low)]
    if fallback:
        variants.append(variant("fallback", Role.FALLBACK, 0))
    return policy_of(*variants, law=RoutingLaw.SEPARATE)


def facts(of: Policy) -> PeerFacts:
    """What a load test shows of it."""
    return facts_of(of, (50.0, 40.0)[: len(of.variants)], peak_replicas=10, p95_replicas=8)


POLICY = policy()
FACTS = facts(POLICY)
#: Requests/s that one replica carries.
CARRIED = carried_per_replica(FACTS, 0)


def office_day(minutes: int) -> np.ndarray:
    """Requests/s by the minute from midnight on: 2 replicas' worth at night, 8 from 9 to 17."""
    minute = np.arange(minutes) % 1440
    return CARRIED * np.where((minute >= 540) & (minute < 1020), 6.4, 1.6)


def past(rates: np.ndarray, until: float) -> PastTraffic:
    """What a metrics store keeps of these rates by the minute."""
    unknown = np.full(len(rates), np.nan)
    return PastTraffic(
        from_seconds=until - 60.0 * len(rates),
        step_seconds=60.0,
        requests=60.0 * rates,
        prompt_tokens_mean=unknown,
        output_tokens_mean=unknown,
    )


def seen(replicas: Sequence[int], per_second: float | None, now: float) -> Observation:
    """All desired replicas Ready, as busy as the load makes them; None: Prometheus is away."""
    variants = []
    for place, desired in enumerate(replicas):
        busy = None
        if per_second is not None:
            busy = 40.0 * per_second / CARRIED if place == 0 and desired else 0.0
        gauge = GONE if busy is None else Measured(busy, now)
        variants.append(
            VariantObservation(
                desired=desired,
                ready=desired,
                running=gauge,
                waiting=gauge if busy is None else Measured(0.0, now),
            )
        )
    traffic = Traffic(
        from_seconds=now - TICK,
        to_seconds=now,
        requests=TICK * (per_second or 0.0),
        refused=0.0,
        token_requests=0.0,
        prompt_tokens=0.0,
        output_tokens=0.0,
    )
    return Observation(
        workloads_at_seconds=now,
        variants=tuple(variants),
        traffic=GONE if per_second is None else traffic,
        outcomes=GONE,
    )


def closed_loop(
    planner: Planner,
    loads: Sequence[float | None],
    *,
    start: tuple[int, ...] = (2, 0),
    since: float = MIDNIGHT,
    known: PastTraffic | None = None,
    of: Policy = POLICY,
) -> Iterator[Decision]:
    """Feed requests/s by the tick; replicas are Ready as soon as decided."""
    history = planner.initial(of, known)
    replicas = start
    for tick, load in enumerate(loads):
        now = since + TICK * tick
        decision, history = planner.plan(of, seen(replicas, load, now), history, now)
        replicas = decision.allocation
        yield decision


def primaries(decisions: Iterator[Decision]) -> list[int]:
    """Primary replicas by the tick."""
    return [decision.allocation[0] for decision in decisions]


@pytest.mark.parametrize(
    ("name", "before_seconds"),
    [("crane-dsp", 3600.0), ("hpa-seasonal-naive", COLD_START + TICK)],
)
def test_a_daily_rise_is_met_ahead_of_it(name: str, before_seconds: float) -> None:
    """With a week of the same days known, replicas rise by one look-ahead before the load does."""
    nine = MIDNIGHT + 9 * 3600.0
    since = nine - 2 * 3600.0
    known = past(np.roll(office_day(WEEK_MINUTES), -420), since)
    planner = peer(name).planner(FACTS)
    path = primaries(closed_loop(planner, [1.6 * CARRIED] * 480, since=since, known=known))
    rise = TICK * next(tick for tick, count in enumerate(path) if count >= 6)
    # The filter takes the edge off Crane's step, and a rate is known at the end of its minute.
    assert 2 * 3600.0 - before_seconds - rise == pytest.approx(0.0, abs=240.0)
    assert max(path) >= 8
    assert max(path[: int(1800.0 / TICK)]) <= 3


def test_without_a_past_crane_is_the_plain_hpa() -> None:
    """Until two days are known DSP forecasts nothing, and decides as its HPA does."""
    loads = CARRIED * np.random.default_rng(3).uniform(0.5, 9.0, 300).round(2)
    crane, plain = (
        primaries(closed_loop(peer(name).planner(FACTS), loads.tolist()))
        for name in ("crane-dsp", "hpa-rps")
    )
    assert crane == plain


def test_crane_refits_every_twelve_hours() -> None:
    """A forecast is as old as the last refit, which comes when 12 h have passed."""
    planner = peer("crane-dsp").planner(FACTS)
    history = planner.initial(POLICY, past(office_day(WEEK_MINUTES), MIDNIGHT))
    starts = []
    rates = office_day(1440)
    for tick in range(5760):
        now = MIDNIGHT + TICK * tick
        now_seen = seen((4, 0), float(rates[tick // 4]), now)
        _, history = planner.plan(POLICY, now_seen, history, now)
        starts.append(history.forecast.from_seconds - now)
    refits = [tick for tick in range(5760) if starts[tick] == 60.0]
    assert refits == [0, 2880]


def test_a_line_through_rising_proposals_asks_for_more() -> None:
    """While load climbs the linear model is ahead of the HPA it runs on; flat, it adds nothing."""
    climb = (CARRIED * np.linspace(2.0, 12.0, 80)).tolist()
    linear, plain = (
        primaries(closed_loop(peer(name).planner(FACTS), climb))
        for name in ("phpa-linear", "hpa-queue")
    )
    assert all(ahead >= behind for ahead, behind in zip(linear, plain, strict=True))
    assert sum(linear) > sum(plain) + 40
    flat = [3.0 * CARRIED] * 40
    linear, plain = (
        primaries(closed_loop(peer(name).planner(FACTS), flat, start=(5, 0)))
        for name in ("phpa-linear", "hpa-queue")
    )
    assert linear == plain


def test_holt_winters_keeps_a_bounded_history() -> None:
    """A month of traffic leaves four whole days of proposals and what has begun of a fifth."""
    planner = peer("phpa-holt-winters").planner(FACTS)
    known = past(office_day(30 * 1440 + 700), MIDNIGHT)
    history = planner.initial(POLICY, known)
    assert len(history.model.points) == 4 * 5760 + 700 * 4
    for tick in range(5):
        now = MIDNIGHT + TICK * tick
        _, history = planner.plan(POLICY, seen((3, 0), CARRIED, now), history, now)
    assert len(history.model.points) == 4 * 5760 + 700 * 4 + 5


def test_holt_winters_raises_a_known_step_by_one_sync() -> None:
    """The season of the days before lets it act one sync before the load does, and no earlier."""
    since = MIDNIGHT + 9 * 3600.0 - 40 * TICK
    known = past(np.roll(office_day(4 * 1440), -530), since)
    loads = [1.6 * CARRIED] * 40
    smooth = {"alpha": 0.1, "beta": 0.0, "gamma": 0.2}
    holt_winters = primaries(
        closed_loop(
            peer("phpa-holt-winters").planner(FACTS, smooth), loads, since=since, known=known
        )
    )
    plain = primaries(closed_loop(peer("hpa-rps").planner(FACTS), loads, since=since))
    assert plain[-1] == 2
    assert holt_winters[-1] >= 5
    assert max(holt_winters[:38]) <= 3


def test_the_present_level_moves_yesterday() -> None:
    """Twice yesterday's last half hour makes twice yesterday's coming minutes."""
    yesterday = office_day(1440 + 535)
    doubled = yesterday * np.where(np.arange(len(yesterday)) >= 1440, 2.0, 1.0)
    now = MIDNIGHT + 535 * 60.0
    rates = RateHistory.of(past(doubled, now), 8 * DAY_SECONDS)
    assert seasonal_naive(rates, [DAY_SECONDS], 120.0, now) == pytest.approx(3.2 * CARRIED)
    assert seasonal_naive(rates, [DAY_SECONDS], 600.0, now) == pytest.approx(12.8 * CARRIED)
    week_first = [7 * DAY_SECONDS, DAY_SECONDS]
    assert seasonal_naive(rates, week_first, 600.0, now) == pytest.approx(12.8 * CARRIED)


def test_without_a_season_the_last_value_stands() -> None:
    """No season known is the last rate; nothing recent seen is no forecast at all."""
    rates = RateHistory.of(past(np.array([1.0, 2.0, 5.0]), MIDNIGHT), 8 * DAY_SECONDS)
    assert seasonal_naive(rates, [DAY_SECONDS], 120.0, MIDNIGHT) == 5.0
    assert seasonal_naive(rates, [DAY_SECONDS], 120.0, MIDNIGHT + 3600.0) is None


def test_persistence_holds_for_one_lead() -> None:
    """What was wanted is kept until a cold start and a tick have passed, then released at once."""
    loads = [8.0 * CARRIED] * 8 + [1.0 * CARRIED] * 40
    decisions = list(closed_loop(peer("persistence-hold").planner(FACTS), loads, start=(1, 0)))
    path = primaries(iter(decisions))
    high = max(path)
    last_high = max(tick for tick, count in enumerate(path) if count == high)
    assert high == FACTS.capacity.required_replicas(0, 1.1 * 8.0 * CARRIED)
    assert (last_high + 1 - 7) * TICK == COLD_START + TICK
    assert path[-1] == FACTS.capacity.required_replicas(0, 1.1 * CARRIED)
    assert decisions[last_high].binding is Reason.HOLD_NOT_EXPIRED


def test_a_greater_margin_asks_for_more() -> None:
    """What is asked for the margin reaches the law."""
    counts = [
        primaries(
            closed_loop(
                peer("persistence-hold").planner(FACTS, {"margin": margin}), [6.0 * CARRIED] * 6
            )
        )[-1]
        for margin in (1.0, 1.3)
    ]
    assert counts[0] < counts[1]


@pytest.mark.parametrize("name", FORECASTING)
def test_blind_they_release_nothing(name: str) -> None:
    """While Prometheus is away no replica goes, even with a forecast at hand, nor just after."""
    known = past(office_day(WEEK_MINUTES), MIDNIGHT)
    loads: list[float | None] = [6.0 * CARRIED] * 8
    loads += [None] * 200
    path = primaries(closed_loop(peer(name).planner(FACTS), loads, start=(9, 0), known=known))
    assert all(later >= before for before, later in pairwise(path[7:]))


def test_after_an_outage_persistence_holds_anew() -> None:
    """The first look at a low load does not release at once what was kept blind."""
    loads: list[float | None] = [8.0 * CARRIED] * 8
    loads += [None] * 60
    loads += [CARRIED] * 20
    path = primaries(closed_loop(peer("persistence-hold").planner(FACTS), loads, start=(10, 0)))
    assert path[75] == path[60] == max(path)
    assert path[-1] < path[60]


@pytest.mark.parametrize("name", FORECASTING)
def test_one_variant_at_zero_comes_up(name: str) -> None:
    """A single variant found at zero gets at least its minimum, and then what the load needs."""
    alone = policy(fallback=False)
    planner = peer(name).planner(facts(alone))
    path = primaries(closed_loop(planner, [3.0 * CARRIED] * 30, start=(0,), of=alone))
    assert path[0] >= 1
    assert 3 <= path[-1] <= 7


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(FORECASTING),
    st.lists(st.one_of(st.none(), st.floats(0.0, 60.0)), min_size=1, max_size=60),
    st.integers(0, 24),
    st.booleans(),
)
def test_every_decision_is_within_the_range(
    name: str,
    loads: list[float | None],
    start: int,
    remembered: bool,  # noqa: FBT001 - drawn
) -> None:
    """Whatever is seen, each variant stays between its minimum and maximum."""
    known = past(office_day(2 * 1440), MIDNIGHT) if remembered else None
    scaled = [None if load is None else load * CARRIED for load in loads]
    planner = peer(name).planner(FACTS)
    for decision in closed_loop(planner, scaled, start=(start, 0), known=known):
        assert 1 <= decision.allocation[0] <= 24
        assert decision.allocation[1] == 0


def test_a_rate_history_forgets_and_finds() -> None:
    """Samples come at whole minutes, once each, and older ones than is kept are gone."""
    rates = RateHistory.of(past(np.arange(10.0), 600.0), 300.0)
    assert rates.at_seconds.tolist() == [360.0, 420.0, 480.0, 540.0, 600.0]
    for tick in range(1, 4 * 200):
        now = 600.0 + TICK * tick
        missing = 900.0 < now < 1200.0
        rates = rates.scraped(GONE if missing else Measured(now, now), now)
    folded = rates.folded()
    assert folded.at_seconds.tolist() == [12240.0 + 60.0 * step for step in range(6)][1:]
    assert rates.until_seconds == folded.until_seconds == 12_540.0
    assert rates.between(12_300.0, 12_420.0).tolist() == [12_360.0, 12_420.0]


def test_a_past_of_other_steps_is_brought_to_minutes() -> None:
    """Steps within a minute share its mean, unseen ones leave a gap."""
    unknown = np.full(6, np.nan)
    quarter = PastTraffic(
        from_seconds=0.0,
        step_seconds=20.0,
        requests=np.array([20.0, 40.0, 60.0, np.nan, np.nan, np.nan]),
        prompt_tokens_mean=unknown,
        output_tokens_mean=unknown,
    )
    rates = RateHistory.of(quarter, 3600.0)
    assert rates.at_seconds.tolist() == [60.0]
    assert rates.per_second.tolist() == [2.0]
    assert len(RateHistory.of(None, 3600.0).per_second) == 0
