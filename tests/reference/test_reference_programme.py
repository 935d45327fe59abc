"""The dynamic programme of the reference plan, against closed forms and brute force."""

from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulations.reference.misses import LEVELS, POINTS, STEP, MissLaw, rates_from_capacity
from simulations.reference.path import Billing, Path
from simulations.reference.programme import Stages, path_cost, position, solve

#: Positions of a table with one level, and the misses of a fluid there: what is above capacity.
AT = np.arange(POINTS) * STEP
FLUID = np.maximum(0.0, 1.0 - 1.0 / np.maximum(np.where(AT <= 1.0, AT, 2.0 ** (AT - 1.0)), 1e-9))
#: Misses from well below capacity on.
SMOOTH = np.minimum(1.0, 0.05 * np.exp(8.0 * (AT - 1.0)))


def billing(cold_start_buckets: float, most: int, price: float = 1.0, least: int = 0) -> Billing:
    """Buckets last one second and a replica-second costs ``price``."""
    return Billing(
        cost_per_replica_hour=3600.0 * price,
        cold_start_seconds=cold_start_buckets,
        min_replicas=least,
        max_replicas=most,
    )


def stages(
    requests: list[float], capacity: NDArray[np.float64], law: NDArray[np.float64]
) -> Stages:
    """One mix; ``capacity`` by allocation, the fallback's share by its replicas."""
    table = capacity.reshape(1, len(capacity), -1, 1)
    degraded = np.zeros(table.shape[:3])
    for f in range(1, table.shape[2]):
        degraded[0, :, f] = f / (np.arange(table.shape[1]) + f)
    return Stages(
        requests=np.array(requests, float),
        mix=np.zeros(len(requests), np.int64),
        rates=table,
        degraded=degraded,
        miss_share=law,
        miss_step=STEP,
    )


def level_cost(required: list[int], start: float) -> float:
    """Baselines section 0: per level, demand ticks, one start, and each gap or a new start."""
    total = 0.0
    for level in range(1, max(required) + 1):
        on = [t for t, r in enumerate(required) if r >= level]
        gaps = [later - earlier - 1 for earlier, later in pairwise(on)]
        total += len(on) + start + sum(min(gap, start) for gap in gaps)
    return total


@pytest.mark.parametrize(("start", "cost"), [(1.0, 15.0), (3.0, 23.0)])
def test_programme_gives_the_golden_costs_of_the_worked_example(start: float, cost: float) -> None:
    """Demand 1,3,1,1,3,1 costs 15 when a start costs one tick and 23 when it costs three."""
    found = solve(
        stages([1, 3, 1, 1, 3, 1], np.arange(5.0), FLUID),
        (billing(start, 4),),
        1.0,
        miss_price=1e6,
        warm=(0,),
    )
    assert found.cost == pytest.approx(cost)
    assert found.missed == 0.0


@given(
    required=st.lists(st.integers(1, 6), min_size=1, max_size=25),
    start=st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]),
)
@settings(deadline=None, max_examples=80)
def test_programme_equals_the_level_decomposition(required: list[int], start: float) -> None:
    """With every miss forbidden the cost is the sum of the levels' ski-rental costs."""
    found = solve(
        stages([float(r) for r in required], np.arange(8.0), FLUID),
        (billing(start, 7),),
        1.0,
        miss_price=1e6,
        warm=(0,),
    )
    assert found.cost == pytest.approx(level_cost(required, start))
    assert found.cost == pytest.approx(
        path_cost(found.replicas, (billing(start, 7),), 1.0, warm=(0,))
    )


def brute_force(
    given_stages: Stages,
    bills: tuple[Billing, ...],
    miss_price: float,
    degraded_price: float,
    warm: tuple[int, ...] | None,
) -> float:
    """Least priced cost over every path there is."""
    shape = given_stages.rates.shape[1:3]
    allocations = [
        a
        for a in product(range(shape[0]), range(shape[1]))
        if all(n >= b.min_replicas for n, b in zip(a, bills, strict=False))
    ]
    law = MissLaw(given_stages.miss_share)
    best = np.inf
    for path in product(allocations, repeat=len(given_stages.requests)):
        replicas = np.array(path)[:, : len(bills)]
        value = path_cost(replicas, bills, 1.0, warm)
        for t, (n, f) in enumerate(path):
            d = given_stages.requests[t]
            at = position(d, given_stages.rates[0, n, f])
            missed = d * float(law.at(np.array([at]))[0])
            value += miss_price * missed
            value += degraded_price * given_stages.degraded[0, n, f] * (d - missed)
        best = min(best, value)
    return float(best)


@given(
    requests=st.lists(st.floats(0.0, 5.0), min_size=1, max_size=4),
    steps=st.lists(st.floats(0.1, 2.0), min_size=2, max_size=2),
    fallback_gain=st.floats(0.1, 2.0),
    start=st.floats(0.0, 3.0),
    fallback_price=st.floats(0.2, 2.0),
    least=st.integers(0, 1),
    prices=st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 2.0)),
    warm=st.sampled_from([None, (0, 0), (2, 1)]),
)
@settings(deadline=None, max_examples=40)
def test_programme_equals_brute_force_for_two_variants(
    *,
    requests: list[float],
    steps: list[float],
    fallback_gain: float,
    start: float,
    fallback_price: float,
    least: int,
    prices: tuple[float, float],
    warm: tuple[int, int] | None,
) -> None:
    """No path of two variants is cheaper than the programme's, at any prices."""
    primary = np.concatenate(([0.0], np.cumsum(steps)))
    table = primary[:, None] + fallback_gain * np.arange(2.0)[None, :]
    given_stages = stages(requests, table, SMOOTH)
    bills = (billing(start, 2, least=least), billing(0.5 * start, 1, fallback_price))
    found = solve(
        given_stages, bills, 1.0, miss_price=prices[0], degraded_price=prices[1], warm=warm
    )
    expected = brute_force(given_stages, bills, *prices, warm)
    assert found.value == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert found.cost == pytest.approx(path_cost(found.replicas, bills, 1.0, warm), abs=1e-9)


def test_a_dearer_miss_never_misses_more() -> None:
    """Along rising prices of a miss the predicted misses fall and the cost rises."""
    rng = np.random.default_rng(3)
    given_stages = stages(list(rng.uniform(0.0, 9.0, 60)), np.arange(12.0), FLUID)
    found = [
        solve(given_stages, (billing(2.0, 11),), 1.0, miss_price=p)
        for p in (0.1, 0.5, 1.0, 2.0, 9.0)
    ]
    missed = [f.missed for f in found]
    cost = [f.cost for f in found]
    assert missed == sorted(missed, reverse=True)
    assert cost == pytest.approx(sorted(cost), abs=1e-9)
    assert missed[0] > missed[-1]


def test_a_fortnight_of_minutes_with_two_variants_fits_the_programme() -> None:
    """20,160 buckets by 31 x 31 allocations give a path of that length within the bounds."""
    rng = np.random.default_rng(5)
    load = 12.0 + 8.0 * np.sin(np.arange(20_160) / 1440.0 * 2.0 * np.pi) + rng.normal(0, 1, 20_160)
    table = np.arange(31.0)[:, None] + 1.2 * np.arange(31.0)[None, :]
    found = solve(
        stages(list(np.maximum(load, 0.0)), table, FLUID),
        (billing(2.0, 30, least=1), billing(2.0, 30)),
        1.0,
        miss_price=10.0,
        degraded_price=1.0,
    )
    assert found.replicas.shape == (20_160, 2)
    assert found.replicas[:, 0].min() >= 1
    assert found.missed < 0.01 * load.sum()


def test_paths_and_billing_reject_what_cannot_be() -> None:
    """Negative replicas, zero-length buckets and min above max are named in the error."""
    with pytest.raises(ValueError, match="negative"):
        Path(bucket_seconds=60.0, replicas=np.array([[-1]]))
    with pytest.raises(ValueError, match="bucket_seconds"):
        Path(bucket_seconds=0.0, replicas=np.array([[1]]))
    with pytest.raises(ValueError, match="min_replicas"):
        billing(1.0, 1, least=2)


def test_the_miss_law_learns_what_replays_show() -> None:
    """A law mixed with many replayed requests follows them and never falls."""
    law = MissLaw.prior()
    assert law.at(np.arange(len(LEVELS)) + 1.0) == pytest.approx(LEVELS)
    at = np.array([2.0, 4.0, 5.0, 8.0])
    requests = np.full(4, 1e6)
    learned = law.learned_from([at], [requests * np.array([0.0, 0.001, 0.03, 0.2])], [requests])
    assert learned.at(at) == pytest.approx([0.0, 0.001, 0.03, 0.2], abs=2e-3)
    assert np.all(np.diff(learned.share) >= 0.0)


def test_positions_rise_with_load_through_the_levels() -> None:
    """No load is at 0, each level's rate at the level, and twice the last rate one beyond."""
    rates = 100.0 * rates_from_capacity(0.99)
    assert np.all(np.diff(rates) > 0.0)
    assert rates[LEVELS.index(0.01)] == pytest.approx(100.0)
    assert position(0.0, rates) == 0.0
    assert [position(r, rates) for r in rates] == pytest.approx(np.arange(len(rates)) + 1.0)
    assert position(2.0 * rates[-1], rates) == pytest.approx(len(rates) + 1.0)
    assert position(1.0, np.zeros(3)) == np.inf
    floor = np.array([0.0, 0.0, 10.0, 20.0])
    assert 2.0 <= position(1e-6, floor) < 2.001
