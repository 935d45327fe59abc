"""The shape of token lengths is learned from histograms, and changes only when it has changed."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.observation import TOKEN_EDGES, Traffic
from controller.core.performance.lengths import STANDS_SECONDS, TokenLengths, shape_of
from controller.core.performance.mix import QUANTILE_EDGES, QUANTILE_WEIGHTS, TokenMix

Window = Callable[..., Traffic]


@pytest.fixture
def window() -> Window:
    """A window of lognormal lengths, as the engines' histograms show it."""

    def build(
        at: float, requests: int = 5_000, spread: float = 1.0, seed: int = 0, *, blind: bool = False
    ) -> Traffic:
        rng = np.random.default_rng(seed)
        edges = (0.0, *TOKEN_EDGES, np.inf)
        counts = [
            tuple(np.histogram(rng.lognormal(mean, spread, requests), edges)[0].astype(float))
            for mean in (6.0, 4.5)
        ]
        return Traffic(
            from_seconds=at - 15.0,
            to_seconds=at,
            requests=float(requests),
            refused=0.0,
            token_requests=float(requests),
            prompt_tokens=1.0,
            output_tokens=1.0,
            prompt_histogram=() if blind else counts[0],
            output_histogram=() if blind else counts[1],
        )

    return build


def test_no_shape_is_known_before_enough_requests_were_seen(window: Window) -> None:
    """A few requests say nothing about a tail."""
    few = TokenLengths().after(window(15.0, requests=500))
    assert few.shape is None
    assert few.after(window(30.0, requests=600)).shape is not None


def test_a_window_without_histograms_teaches_nothing(window: Window) -> None:
    """An engine that exports none leaves what is known."""
    known = TokenLengths().after(window(15.0))
    assert known.after(window(30.0, blind=True)) is known


def test_a_shape_stands_while_lengths_are_spread_as_before(window: Window) -> None:
    """Noise does not ask for new capacity tables: the very same shape stays for hours."""
    lengths = TokenLengths().after(window(15.0))
    first = lengths.shape
    for hour in range(1, 6):
        lengths = lengths.after(window(15.0 + hour * STANDS_SECONDS, seed=hour))
    assert lengths.shape is first


def test_a_new_spread_is_followed_once_the_old_shape_has_stood(window: Window) -> None:
    """Lengths that spread further make another shape, not before its time."""
    lengths = TokenLengths().after(window(15.0, spread=0.5))
    first = lengths.shape
    lengths = lengths.after(window(60.0, requests=500_000, spread=1.2))
    assert lengths.shape is first
    lengths = lengths.after(window(15.0 + STANDS_SECONDS, requests=500_000, spread=1.2))
    assert first is not None
    assert lengths.shape is not None
    assert max(lengths.shape.prompt) > 1.3 * max(first.prompt)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.integers(0, 10_000), min_size=len(TOKEN_EDGES) + 1, max_size=len(TOKEN_EDGES) + 1
    ).filter(any)
)
def test_a_shape_has_mean_one_and_rises_over_its_bins(counts: list[int]) -> None:
    """Whatever was counted, bins rise and their weighted mean is 1: a shape holds no scale."""
    shape = shape_of(tuple(map(float, counts)), tuple(map(float, counts)))
    assert np.all(np.diff(shape.prompt) >= -1e-9)
    assert float(QUANTILE_WEIGHTS @ np.array(shape.prompt)) == pytest.approx(1.0)


def _histogram(tokens: np.ndarray) -> tuple[float, ...]:
    counts = np.bincount(np.searchsorted(TOKEN_EDGES, tokens), minlength=len(TOKEN_EDGES) + 1)
    return tuple(counts.astype(float).tolist())


@pytest.mark.parametrize("window", [8_192, 32_768, 131_072])
def test_the_longest_prompts_end_at_the_context_window(window: int) -> None:
    """A histogram does not say where its last bucket ends; the power of two in it does."""
    draws = np.random.default_rng(2).lognormal(np.log(0.2 * window), 1.2, 50_000)
    tokens = np.clip(draws, 1.0, window)
    shape = shape_of(_histogram(tokens), _histogram(tokens))
    true = TokenMix.from_samples(tokens, tokens).shape
    assert shape.prompt[-1] == pytest.approx(true.prompt[-1], rel=0.06)
    assert shape.moments[2][0] == pytest.approx(true.moments[2][0], rel=0.15)


def test_short_prompts_may_fill_their_last_bucket() -> None:
    """Below any context window a bucket is taken to be full up to its edge."""
    tokens = np.random.default_rng(2).uniform(1.0, 1_000.0, 50_000)
    shape = shape_of(_histogram(tokens), _histogram(tokens))
    assert shape.prompt[-1] * tokens.mean() == pytest.approx(1_000.0, rel=0.2)


def test_the_rarest_prompts_are_told_apart() -> None:
    """One prompt in a thousand of ten times the length of the others is in the shape."""
    tokens = np.full(100_000, 800.0)
    tokens[:100] = 15_000.0
    shape = shape_of(_histogram(tokens), _histogram(tokens))
    top = np.array(shape.prompt)[np.array(QUANTILE_EDGES[:-1]) >= 0.999]
    assert top.min() > 5.0 * shape.prompt[len(shape.prompt) // 2]
