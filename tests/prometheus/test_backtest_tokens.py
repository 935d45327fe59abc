"""Token lengths out of an engine's histograms: their shares, and the means that were counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.observation import TOKEN_EDGES
from simulations.backtest.reading import merged
from simulations.backtest.tokens import HistogramTokens

EDGES = (*TOKEN_EDGES, np.inf)


def cumulative(lengths: np.ndarray) -> dict[float, float]:
    """The histogram that an engine shows of lengths."""
    return {edge: float((lengths <= edge).sum()) for edge in EDGES}


def of_one_day(prompt: np.ndarray, mean: float = np.nan) -> HistogramTokens:
    """Tokens of one bucket, the output always 10."""
    output = np.full(len(prompt), 10)
    return HistogramTokens(
        [(cumulative(prompt), cumulative(output))],
        np.zeros(1, np.int64),
        np.array([mean]),
        np.array([10.0]),
    )


@settings(deadline=None, max_examples=25)
@given(st.floats(2.0, 8.0), st.floats(0.2, 1.4), st.integers(0, 2**31))
def test_shares_and_mean_are_those_that_were_counted(
    log_median: float, sigma: float, seed: int
) -> None:
    """The shares at every edge without a mean; with one, lengths are scaled to have it."""
    rng = np.random.default_rng(seed)
    lengths = np.maximum(np.rint(np.exp(rng.normal(log_median, sigma, 20_000))), 1.0)
    buckets = np.zeros(20_000, np.int64)
    drawn, _ = of_one_day(lengths).draw(np.random.default_rng(seed + 1), buckets)
    for edge in TOKEN_EDGES[4:]:  # shorter ones are rounded across an edge
        assert (drawn <= edge).mean() == pytest.approx((lengths <= edge).mean(), abs=0.025)
    scaled = of_one_day(lengths, float(lengths.mean()))
    drawn, _ = scaled.draw(np.random.default_rng(seed + 2), buckets)
    assert drawn.min() >= 1
    assert drawn.mean() == pytest.approx(lengths.mean(), rel=0.08)
    assert scaled.means(buckets[:1])[0] == pytest.approx(lengths.mean())


def test_each_day_has_its_own_law_and_an_empty_one_that_of_all() -> None:
    """A bucket draws by its day; a mean that is not known is the histogram's."""
    short, long = np.full(1000, 100.0), np.full(1000, 5000.0)
    days = [(cumulative(one), cumulative(one)) for one in (short, long, np.empty(0))]
    unknown = np.full(3, np.nan)
    tokens = HistogramTokens(days, np.arange(3), unknown, unknown)
    generator = np.random.default_rng(0)
    drawn = [tokens.draw(generator, np.full(4000, day))[0] for day in range(3)]
    assert drawn[0].max() <= 101
    assert drawn[1].min() >= 2000
    assert (drawn[2] <= 101).mean() == pytest.approx(0.5, abs=0.05)


def test_lengths_beyond_the_last_edge_are_drawn_beyond_it() -> None:
    """Counted above all finite edges, they are longer than these, and not without end."""
    tokens = HistogramTokens(
        [({1000.0: 0.0, np.inf: 500.0}, {10.0: 500.0, np.inf: 500.0})],
        np.zeros(1, np.int64),
        np.array([np.nan]),
        np.array([np.nan]),
    )
    drawn, _ = tokens.draw(np.random.default_rng(0), np.zeros(2000, np.int64))
    assert drawn.min() >= 1000
    assert drawn.max() <= 2001


def test_histograms_of_other_edges_are_added() -> None:
    """An edge that one engine lacks has what it had counted below."""
    one = {10.0: 4.0, 100.0: 10.0, np.inf: 12.0}
    other = {50.0: 1.0, np.inf: 2.0}
    assert merged([one, other]) == {10.0: 4.0, 50.0: 5.0, 100.0: 11.0, np.inf: 14.0}


def test_nothing_counted_is_no_law() -> None:
    """Histograms that are all empty are refused: a caller takes means in their place."""
    with pytest.raises(ValueError, match="counted"):
        of_one_day(np.empty(0))
