"""The pool's birth-death process and the stall tails against closed forms."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.variant import PerformanceProfile
from controller.core.performance.load_curve import LoadCurve, copies, overflow, split
from controller.core.performance.mix import QUANTILE_WEIGHTS, TokenMix
from controller.core.performance.pool import Pool, load_curves
from controller.core.performance.replica import replica_curve
from controller.core.performance.stalls import StallTail, WaitTail


def a_pool(servers: int, top: int, *, limited: bool) -> Pool:
    """An M/M/c queue of unit servers, on whole requests up to ``top``; bad once it waits."""
    held = np.arange(top + 1, dtype=np.float64)
    return Pool(
        outstanding=held,
        # A death leads from m + 1 to m; the pool counts it half a step on.
        finished=np.minimum(held + 0.5, float(servers)),
        share=np.ones((1, top + 1)),
        bad=(held >= servers).astype(np.float64),
        held=held,
        growing=np.ones(top + 1),
        spread=np.ones(top + 1),
        prefilling=np.zeros(top + 1),
        limited=limited,
    )


def chances(servers: int, top: int, load: float) -> np.ndarray:
    """Stationary probabilities of M/M/c/K."""
    logs = [0.0]
    for m in range(1, top + 1):
        logs.append(logs[-1] + math.log(load / min(m, servers)))
    weights = np.exp(np.array(logs) - max(logs))
    return np.asarray(weights / weights.sum())


@pytest.mark.parametrize("load", [0.8, 0.85, 0.93])
def test_one_processor_shared(load: float) -> None:
    """With one server: geometric, mean load / (1 - load), whatever is shared is one processor."""
    curve = load_curves([a_pool(1, 300, limited=False)])[0]
    assert curve.mean_outstanding(load) == pytest.approx(load / (1.0 - load), rel=0.08)


@pytest.mark.parametrize(("servers", "load"), [(5, 4.0), (20, 17.0), (64, 60.0)])
def test_many_servers_wait_as_erlang_says(servers: int, load: float) -> None:
    """P(an arrival waits) is Erlang's C formula."""
    expected = chances(servers, 400, load)[servers:].sum()
    curve = load_curves([a_pool(servers, 400, limited=False)])[0]
    assert curve.miss_share(load) == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("load", [40.0, 50.0, 70.0])
def test_a_full_pool_refuses_as_erlang_says(load: float) -> None:
    """P(an arrival finds all places taken) is Erlang's B formula."""
    expected = chances(50, 50, load)[-1]
    curve = load_curves([a_pool(50, 50, limited=True)])[0]
    refused = float(np.interp(load, curve.rates, curve.refused))
    assert refused == pytest.approx(expected, rel=0.12)


@pytest.mark.parametrize("load", [0.8, 0.9])
def test_a_replica_without_overhead_is_a_shared_processor(load: float) -> None:
    """Iterations in proportion to their tokens make M/G/1 processor sharing: S is 1."""
    profile = PerformanceProfile(
        t0_milliseconds=1e-3,
        delta_milliseconds=1.0,
        epsilon_milliseconds=0.0,
        kappa_milliseconds=0.0,
        kv_capacity_tokens=10**9,
    )
    lengths = 1 + np.random.default_rng(0).geometric(0.01, 10_000)
    curve = replica_curve(profile, TokenMix.from_samples(np.ones(len(lengths)), lengths))
    assert curve.spread == pytest.approx(1.0, abs=0.03)
    assert curve.throughput == pytest.approx(1.0 / (1.0 + (lengths - 1).mean()), rel=0.02)
    pool = Pool(
        outstanding=curve.outstanding,
        finished=curve.throughput * 1e3,
        share=np.ones((1, len(curve.outstanding))),
        bad=np.linspace(0.0, 1.0, len(curve.outstanding)),
        held=curve.outstanding,
        growing=np.ones(len(curve.outstanding)),
        spread=curve.spread,
        prefilling=np.zeros(len(curve.outstanding)),
        limited=False,
    )
    rate = load * float(curve.throughput[0]) * 1e3
    found = load_curves([pool])[0].mean_outstanding(rate)
    assert found == pytest.approx(load / (1.0 - load), rel=0.1)


@pytest.mark.parametrize("count", [0.3, 2.0, 12.0, 60.0])
def test_stalls_are_compound_poisson(count: float) -> None:
    """Tails of the sum agree with draws of it."""
    generator = np.random.default_rng(3)
    works = np.sort(generator.lognormal(0.0, 0.8, len(QUANTILE_WEIGHTS)))
    works /= QUANTILE_WEIGHTS @ works
    numbers = generator.poisson(count, 40_000)
    drawn = generator.choice(works, numbers.sum(), p=QUANTILE_WEIGHTS)
    sums = np.bincount(np.repeat(np.arange(len(numbers)), numbers), drawn, len(numbers))
    tail = StallTail.of(works)
    for share in (0.5, 0.9, 0.99):
        amount = float(np.quantile(sums, share)) + 0.05
        expected = float((sums > amount).mean())
        found = float(tail.above(np.array([count]), np.array([amount]))[0])
        assert found == pytest.approx(expected, rel=0.15, abs=0.003)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_equal_works_wait_as_in_md1(load: float) -> None:
    """The mean wait of M/D/1 is load / (2 (1 - load)) works."""
    tail = WaitTail.of(np.ones(len(QUANTILE_WEIGHTS)), 40.0, whole=True)
    grid = np.linspace(0.0, 39.0, 4_000)
    mean = float(tail.above(np.full(len(grid), load), grid).sum() * (grid[1] - grid[0]))
    assert mean == pytest.approx(load / (2.0 * (1.0 - load)), rel=0.08)


def test_a_wait_behind_long_works_is_pollaczek_and_khinchines() -> None:
    """Works longer than the table still count: P(wait > y) of M/G/1 by simulation."""
    generator = np.random.default_rng(4)
    works = np.full(len(QUANTILE_WEIGHTS), 0.5)
    works[-12:] = 60.0
    works /= QUANTILE_WEIGHTS @ works
    longest, load = 0.5 * float(works[-1]), 0.4
    served = generator.choice(works, 400_000, p=QUANTILE_WEIGHTS)
    gaps = generator.exponential(1.0 / load, len(served))
    steps = np.concatenate([[0.0], np.cumsum(served[:-1] - gaps[1:])])
    waits = steps - np.minimum.accumulate(steps)
    tail = WaitTail.of(works, longest, whole=True)
    for amount in (0.1 * longest, 0.5 * longest, 0.95 * longest):
        found = float(tail.above(np.array([load]), np.array([amount]))[0])
        assert found == pytest.approx(float((waits > amount).mean()), rel=0.1)


def a_curve() -> LoadCurve:
    """A fleet that carries about 20 servers' load and refuses beyond 30 requests."""
    return load_curves([a_pool(20, 30, limited=True)])[0]


@given(st.floats(1.0, 60.0))
@settings(max_examples=40, deadline=None)
def test_equal_halves_are_two_copies(rate: float) -> None:
    """Two equal fleets given half each are one fleet copied."""
    whole = split([(0.5, a_curve()), (0.5, a_curve())])
    twice = copies(a_curve(), 2)
    assert whole.miss_share(rate) == pytest.approx(twice.miss_share(rate), rel=1e-6)
    assert whole.mean_outstanding(rate) == pytest.approx(twice.mean_outstanding(rate), rel=1e-6)


@given(st.floats(0.1, 200.0))
@settings(max_examples=60, deadline=None)
def test_overflow_never_misses_more_than_the_first_alone(rate: float) -> None:
    """What the second fleet takes over can only help, and shares still sum to what is served."""
    first = a_curve()
    both = overflow(first, a_curve())
    if rate <= first.rates[-1]:
        assert both.miss_share(rate) <= first.miss_share(rate) * 1.02 + 1e-9
    assert 0.0 <= both.served_share([0], rate) <= 1.0 + 1e-9
