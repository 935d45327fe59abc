"""The token mix: from samples, from means, and on a grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.performance.mix import (
    DEFAULT_SHAPE,
    QUANTILE_EDGES,
    QUANTILE_WEIGHTS,
    TokenMix,
)


def test_bins_cover_all_requests_once() -> None:
    """The quantile bins rise from 0 to 1."""
    assert QUANTILE_EDGES[0] == 0.0
    assert QUANTILE_EDGES[-1] == 1.0
    assert (QUANTILE_WEIGHTS > 0.0).all()


@given(st.lists(st.tuples(st.integers(1, 90_000), st.integers(1, 4_000)), min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
def test_samples_keep_their_means_and_moments(pairs: list[tuple[int, int]]) -> None:
    """Bins average to the sample's means and joint moments are the sample's own."""
    prompt, output = np.array(pairs, dtype=np.float64).T
    mix = TokenMix.from_samples(prompt, output)
    assert float(QUANTILE_WEIGHTS @ np.array(mix.shape.prompt)) == pytest.approx(1.0)
    assert mix.moment(1, 0) == pytest.approx(prompt.mean())
    assert mix.moment(2, 1) == pytest.approx((prompt**2 * (output - 1)).mean())
    assert mix.moment(0, 3) == pytest.approx(((output - 1) ** 3).mean(), rel=1e-9, abs=1e-6)


def test_bins_are_the_means_between_quantiles() -> None:
    """On many samples a bin is the mean of the values between its quantiles."""
    values = np.random.default_rng(5).lognormal(6.0, 1.0, 200_000)
    mix = TokenMix.from_samples(values, np.full(len(values), 2.0))
    last = round(QUANTILE_WEIGHTS[-1] * len(values))
    top = np.sort(values)[-last:].mean() / values.mean()
    assert mix.shape.prompt[-1] == pytest.approx(top, rel=1e-6)


def test_the_default_shape_is_lognormal() -> None:
    """Bins and moments of the default shape are those of draws from the same distribution."""
    variance = np.log(2.0)
    draws = np.random.default_rng(1).lognormal(-0.5 * variance, np.sqrt(variance), 1_000_000)
    drawn = TokenMix.from_samples(1e3 * draws + 1.0, np.full(len(draws), 2.0)).shape
    assert np.array(drawn.prompt) == pytest.approx(np.array(DEFAULT_SHAPE.prompt), rel=0.05)
    assert DEFAULT_SHAPE.moments[2][0] == pytest.approx(2.0)
    assert DEFAULT_SHAPE.moments[1][1] == pytest.approx(1.0)


@given(st.floats(1.0, 1e5), st.floats(1.0, 1e4))
def test_rounding_moves_a_mean_by_at_most_one_percent(prompt: float, output: float) -> None:
    """Means land on a grid of 2 % steps, and on the same point when rounded again."""
    rounded = TokenMix.from_means(prompt, output).rounded()
    assert rounded.prompt_mean == pytest.approx(prompt, rel=0.0101)
    assert rounded.output_mean == pytest.approx(output, rel=0.0101)
    assert rounded.rounded() == rounded


@pytest.mark.parametrize("means", [(0.5, 10.0), (float("nan"), 10.0), (10.0, float("inf"))])
def test_means_no_request_can_have_are_refused(means: tuple[float, float]) -> None:
    """A mean below one token, or none at all, is named."""
    with pytest.raises(ValueError, match="_mean must be a finite number of tokens"):
        TokenMix.from_means(*means)


def test_unequal_samples_are_refused() -> None:
    """Prompts and outputs come in pairs."""
    with pytest.raises(ValueError, match="equal length"):
        TokenMix.from_samples([1, 2], [1])
