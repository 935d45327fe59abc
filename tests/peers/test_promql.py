"""PromQL's functions on hand-made series."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.peers.promql import histogram_quantile, rate


def test_a_rate_is_extrapolated_to_the_window() -> None:
    """Four scrapes 15 s apart of a counter that grows 2 per second show 2 per second."""
    samples = tuple((at, 2.0 * at) for at in (15.0, 30.0, 45.0, 60.0))
    assert rate(samples, 60.0, 60.0) == pytest.approx(2.0)
    assert rate(samples, 60.0, 65.0) == pytest.approx(2.0)


def test_a_sample_on_the_windows_edge_is_outside() -> None:
    """The window is open on the left: what was counted until its edge does not count."""
    samples = ((0.0, 0.0), (30.0, 900.0), (60.0, 930.0))
    assert rate(samples, 60.0, 60.0) == pytest.approx(1.0)


def test_a_series_that_ends_is_extrapolated_by_half_a_distance_only() -> None:
    """Thirty seconds after the last scrape the rate is that of the seen part, diluted."""
    samples = ((30.0, 0.0), (45.0, 60.0))
    covered = 15.0 + 7.5 + 7.5
    assert rate(samples, 60.0, 70.0) == pytest.approx(60.0 * (covered / 15.0) / 60.0)


def test_a_rate_has_two_ends() -> None:
    """One sample in the window gives no rate."""
    assert rate(((59.0, 5.0),), 60.0, 60.0) is None
    assert rate((), 60.0, 60.0) is None


def test_a_quantile_is_linear_within_its_bucket() -> None:
    """Of ten between 1 and 2 s the P90 is 1.9 s; the first bucket begins at 0."""
    assert histogram_quantile(0.9, (1.0, 2.0), (0, 10, 0)) == pytest.approx(1.9)
    assert histogram_quantile(0.5, (1.0, 2.0), (10, 0, 0)) == pytest.approx(0.5)


def test_beyond_the_last_edge_a_quantile_is_that_edge() -> None:
    """A histogram cannot tell how far beyond its edges requests were."""
    assert histogram_quantile(0.9, (1.0, 2.0), (1, 0, 9)) == 2.0


def test_an_empty_histogram_has_no_quantile() -> None:
    """Without traffic the answer is NaN, as Prometheus says it."""
    assert math.isnan(histogram_quantile(0.9, (1.0, 2.0), (0, 0, 0)))
    with pytest.raises(ValueError, match="counts"):
        histogram_quantile(0.9, (1.0, 2.0), (1, 2))


@given(
    counts=st.lists(st.integers(0, 1000), min_size=4, max_size=4),
    quantiles=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
)
@settings(deadline=None)
def test_a_higher_quantile_is_no_lower(counts: list[int], quantiles: tuple[float, float]) -> None:
    """Quantiles are ordered, and lie between 0 and the last edge."""
    edges = (0.1, 0.5, 2.0)
    low, high = (histogram_quantile(quantile, edges, counts) for quantile in sorted(quantiles))
    assert math.isnan(low) == (sum(counts) == 0)
    if not math.isnan(low):
        assert 0.0 <= low <= high + 1e-12
        assert high <= edges[-1] + 1e-12
