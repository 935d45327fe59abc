"""Arrivals drawn from rates: their number, their place in time and their tokens."""

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from simulations.traces.demand import chunk_count
from simulations.traces.errors import InvalidTrace
from simulations.traces.level import level_of
from simulations.traces.rate_trace import RateTrace, scale_rate
from simulations.traces.tokens import LognormalTokens, TokenPairs, conversation_tokens

ONE_PAIR = TokenPairs(np.array([10]), np.array([5]))
COUNTS = arrays.arrays(
    np.float64, st.integers(1, 20), elements=st.floats(0, 1e4, allow_subnormal=False)
)


def rates(counts: NDArray[np.float64] | list[float], bucket: float, **more: object) -> RateTrace:
    """Build a trace of one-size requests."""
    return RateTrace(
        name="rates",
        bucket_seconds=bucket,
        requests=np.asarray(counts, np.float64),
        tokens=ONE_PAIR,
        imputed=np.zeros(len(counts), np.bool_),
        **more,  # type: ignore[arg-type]
    )


@settings(deadline=None)
@given(counts=COUNTS, bucket=st.sampled_from([1.0, 60.0, 600.0]))
def test_a_level_keeps_totals_never_goes_below_zero_and_never_passes_a_neighbours_mean(
    counts: NDArray[np.float64], bucket: float
) -> None:
    """The line through each bucket is conservative, positive and monotone."""
    level = level_of(counts, bucket)
    every = np.arange(len(counts))
    whole = level.before(np.ones(len(counts)), every) * bucket
    np.testing.assert_allclose(whole, counts, rtol=1e-12, atol=1e-12)
    around = np.pad(level.mean, 1, mode="edge")
    low = np.minimum(np.minimum(around[:-2], around[2:]), level.mean)
    high = np.maximum(np.maximum(around[:-2], around[2:]), level.mean)
    for end in (level.mean - 0.5 * level.rise, level.mean + 0.5 * level.rise):
        assert np.all(end >= low - 1e-9)
        assert np.all(end <= high + 1e-9)


def test_a_ramp_is_followed_and_a_step_stays_a_step() -> None:
    """Straight growth gives a continuous line; a jump between plateaus is not smeared."""
    ramp = level_of(np.array([0.0, 600.0, 1_200.0, 1_800.0]), 600.0)
    np.testing.assert_allclose(ramp.rise[1:-1], 1.0)
    step = level_of(np.array([600.0, 600.0, 6_000.0, 6_000.0]), 600.0)
    np.testing.assert_array_equal(step.rise, 0.0)
    fine = level_of(np.array([0.0, 60.0, 120.0]), 60.0)
    np.testing.assert_array_equal(fine.rise, 0.0)


@settings(deadline=None, max_examples=40)
@given(
    counts=COUNTS,
    bucket=st.sampled_from([1.0, 10.0, 600.0]),
    asked=st.floats(0.7, 5_000.0),
)
def test_demand_in_any_buckets_adds_up_to_the_given_counts(
    counts: NDArray[np.float64], bucket: float, asked: float
) -> None:
    """However demand is asked for, nothing is lost or made."""
    demand = rates(counts, bucket).demand(asked)
    assert demand.requests.sum() == pytest.approx(counts.sum(), rel=1e-9, abs=1e-9)
    assert np.all(demand.requests >= 0.0)


@settings(deadline=None, max_examples=40)
@given(
    counts=COUNTS,
    bucket=st.sampled_from([1.0, 45.0, 600.0]),
    chunk=st.floats(0.5, 4_000.0),
    dispersion=st.sampled_from([1.0, 3.0]),
)
def test_arrivals_of_every_chunk_are_in_order_and_inside_it(
    counts: NDArray[np.float64], bucket: float, chunk: float, dispersion: float
) -> None:
    """A chunk's arrivals ascend within its bounds, also where edges do not meet buckets."""
    counts = np.minimum(counts, 300.0)
    trace = rates(counts, bucket, chunk_seconds=chunk, local_dispersion=dispersion)
    for index in range(min(chunk_count(trace), 30)):
        arrivals = trace.chunk(index)
        assert np.all(np.diff(arrivals.seconds) >= 0.0)
        if len(arrivals):
            assert arrivals.seconds[0] >= index * chunk
            assert arrivals.seconds[-1] < min((index + 1) * chunk, trace.duration_seconds)
        assert len(arrivals.prompt_tokens) == len(arrivals.output_tokens) == len(arrivals)


def all_seconds(trace: RateTrace) -> NDArray[np.float64]:
    """Arrival times of all chunks."""
    chunks = [trace.chunk(index).seconds for index in range(chunk_count(trace))]
    return np.concatenate(chunks)


@pytest.mark.parametrize("chunk", [600.0, 250.0])
def test_arrivals_follow_the_expected_demand(chunk: float) -> None:
    """Counts per minute are Poisson around the demand: their normalised squares average 1."""
    counts = 600.0 * np.array([10.0, 30.0, 80.0, 120.0, 60.0, 55.0, 5.0, 90.0])
    trace = rates(counts, 600.0, chunk_seconds=chunk)
    expected = trace.demand(20.0).requests
    found = np.histogram(all_seconds(trace), np.arange(0.0, 4_801.0, 20.0))[0]
    chi_square = float(((found - expected) ** 2 / expected).sum())
    # Chi-square with 240 degrees of freedom: mean 240, standard deviation 22.
    assert abs(chi_square - 240.0) < 4.5 * 22.0
    flat = np.histogram(all_seconds(trace), np.arange(0.0, 4_801.0, 20.0))[0]
    staircase = np.repeat(counts / 30.0, 30)
    assert float(((flat - staircase) ** 2 / staircase).sum()) > 2.0 * chi_square


def test_gaps_of_a_steady_rate_are_exponential() -> None:
    """Mean and spread of the gaps are those of a Poisson process."""
    gaps = np.diff(all_seconds(rates([60_000.0, 60_000.0], 60.0)))
    assert gaps.mean() == pytest.approx(1e-3, rel=0.02)
    assert gaps.std() == pytest.approx(1e-3, rel=0.02)
    share_long = float((gaps > 2e-3).mean())
    assert share_long == pytest.approx(np.exp(-2.0), rel=0.03)


@pytest.mark.parametrize("dispersion", [1.0, 4.0])
def test_counts_have_the_asked_dispersion_at_every_level_and_window(dispersion: float) -> None:
    """Variance over mean of 1 s and of 60 s counts is as asked, at any rate."""
    for rate in (3.0, 50.0):
        trace = rates(np.full(40, rate * 600.0), 600.0, local_dispersion=dispersion, seed=3)
        seconds = all_seconds(trace)
        for window, spread in ((1.0, 0.06), (60.0, 0.45)):
            found = np.histogram(seconds, np.arange(0.0, 24_001.0, window))[0]
            assert found.var() / found.mean() == pytest.approx(dispersion, rel=spread)
        edges = np.arange(0.0, 24_001.0, 10.0)
        drawn = trace.demand_sums(edges, np.random.default_rng(0)).requests
        assert drawn.var() / drawn.mean() == pytest.approx(dispersion, rel=0.15)


def test_the_same_seed_gives_the_same_arrivals_in_any_order_and_another_others() -> None:
    """Chunks depend on seed and index alone."""
    first, again = rates([5_000.0] * 3, 600.0, seed=7), rates([5_000.0] * 3, 600.0, seed=7)
    backwards = [again.chunk(index).seconds for index in (2, 1, 0)][::-1]
    for index, seconds in enumerate(backwards):
        np.testing.assert_array_equal(first.chunk(index).seconds, seconds)
    other = rates([5_000.0] * 3, 600.0, seed=8).chunk(0).seconds
    assert not np.array_equal(other[:100], first.chunk(0).seconds[:100])
    assert not np.array_equal(first.chunk(0).seconds[:9], first.chunk(1).seconds[:9] - 600.0)


def test_scaling_the_rate_scales_the_demand_and_nothing_else() -> None:
    """Twice the rate is twice every bucket, over the same time."""
    trace = rates([600.0, 1_200.0, 0.0], 600.0)
    twice = scale_rate(trace, 2.0)
    assert twice.duration_seconds == trace.duration_seconds
    np.testing.assert_allclose(
        twice.demand(37.0).requests, 2.0 * trace.demand(37.0).requests, rtol=1e-12
    )
    with pytest.raises(InvalidTrace, match=r"factor is 0\.0: give a positive one"):
        scale_rate(trace, 0.0)


@pytest.mark.parametrize(("prompt", "output"), [(1.37, 1.0), (18.8, 50.7), (1_613.0, 211.0)])
def test_lognormal_lengths_keep_the_means_however_short(prompt: float, output: float) -> None:
    """No bias from rounding, from the floor of one token, or from the clipped tail."""
    tokens = LognormalTokens(
        requests=np.ones(1),
        prompt_tokens_mean=np.array([prompt]),
        output_tokens_mean=np.array([output]),
    )
    drawn = tokens.draw(np.random.default_rng(5), np.zeros(400_000, np.int64))
    for lengths, mean in zip(drawn, (prompt, output), strict=True):
        assert lengths.min() >= 1
        error = max(float(lengths.std()), 1e-12) / np.sqrt(len(lengths))
        assert abs(float(lengths.mean()) - mean) < 4.5 * error + 1e-12
    assert drawn[0].max() <= prompt * 50


def test_each_bucket_draws_lengths_around_its_own_means() -> None:
    """A shift of the token mix in the file is a shift of the drawn lengths."""
    counts = np.array([60_000.0, 60_000.0])
    tokens = LognormalTokens(
        requests=counts,
        prompt_tokens_mean=np.array([100.0, 1_000.0]),
        output_tokens_mean=np.array([50.0, np.nan]),
    )
    trace = RateTrace(
        name="mix",
        bucket_seconds=600.0,
        requests=counts,
        tokens=tokens,
        imputed=np.zeros(2, np.bool_),
    )
    first, second = trace.chunk(0), trace.chunk(1)
    assert first.prompt_tokens.mean() == pytest.approx(100.0, rel=0.05)
    assert second.prompt_tokens.mean() == pytest.approx(1_000.0, rel=0.05)
    assert second.output_tokens.mean() == pytest.approx(50.0, rel=0.05)
    np.testing.assert_allclose(trace.demand(600.0).prompt_tokens_mean, [100.0, 1_000.0])
    prompt, output = trace.token_sample(100_000, seed=1)
    assert prompt.mean() == pytest.approx(550.0, rel=0.05)
    assert output.mean() == pytest.approx(50.0, rel=0.05)


def test_built_in_chat_lengths_have_the_published_mean_and_percentiles() -> None:
    """Mean, median and p99 are within 4 % of the Azure conversation trace's."""
    prompt, output = conversation_tokens().draw(
        np.random.default_rng(0), np.zeros(1 << 19, np.int64)
    )
    for lengths, mean, p50, p99 in ((prompt, 1_155, 1_020, 4_142), (output, 211, 129, 601)):
        assert lengths.mean() == pytest.approx(mean, rel=0.04)
        assert np.percentile(lengths, 50) == pytest.approx(p50, rel=0.04)
        assert np.percentile(lengths, 99) == pytest.approx(p99, rel=0.04)


@pytest.mark.parametrize(
    ("counts", "more", "message"),
    [
        ([1.0, -1.0], {}, "finite and not negative"),
        ([1.0, float("nan")], {}, "finite and not negative"),
        ([], {}, "at least one bucket"),
        ([1.0], {"local_dispersion": 0.5}, "local_dispersion must be at least 1"),
    ],
)
def test_rates_that_cannot_be_are_refused(
    counts: list[float], more: dict[str, object], message: str
) -> None:
    """The error says which value is wrong."""
    with pytest.raises(InvalidTrace, match=message):
        rates(counts, 60.0, **more)


def test_a_chunk_outside_the_trace_is_an_index_error() -> None:
    """Neither end wraps around."""
    trace = rates([1.0], 60.0)
    for index in (-1, 1):
        with pytest.raises(IndexError, match="no chunk"):
            trace.chunk(index)
