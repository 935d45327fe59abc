"""The quantile regression is a scikit-learn estimator that agrees with scikit-learn's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import QuantileRegressor
from sklearn.utils.estimator_checks import check_estimator

from controller.core.forecasting.regression import LogRatioQuantileRegressor

LEVELS = (0.5, 0.8, 0.95)
Sample = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def sample(rows: int = 1500, seed: int = 0) -> Sample:
    """Features, target and scale with heavy-tailed noise that grows with the first feature."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, 4))
    scale = np.exp(rng.normal(size=rows))
    noise = 0.2 * rng.standard_t(4, size=rows) * (1.2 + np.tanh(features[:, 0]))
    return features, scale * np.exp(features @ (0.3, -0.2, 0.1, 0.0) + noise), scale


def pinball(residual: NDArray[np.float64], level: float) -> float:
    """Mean pinball loss."""
    return float(np.mean(np.maximum(level * residual, (level - 1) * residual)))


def test_it_is_an_estimator() -> None:
    """Every check of scikit-learn passes that can run here."""
    results = check_estimator(LogRatioQuantileRegressor(), on_skip=None)
    assert len(results) > 40
    assert [r["check_name"] for r in results if r["status"] not in ("passed", "skipped")] == []


def test_it_agrees_with_the_linear_programme() -> None:
    """Loss and coefficients are those of scikit-learn's QuantileRegressor."""
    features, target, scale = sample()
    ours = LogRatioQuantileRegressor(quantiles=LEVELS, ridge=1e-9, iterations=300).fit(
        features, target, scale
    )
    log_ratio = np.log(target / scale)
    for k, level in enumerate(LEVELS):
        oracle = QuantileRegressor(quantile=level, alpha=0.0).fit(features, log_ratio)
        least = pinball(log_ratio - oracle.predict(features), level)
        said = features @ ours.coef_[k] + ours.intercept_[k]
        assert pinball(log_ratio - said, level) <= 1.001 * least
        np.testing.assert_allclose(ours.coef_[k], oracle.coef_, atol=0.01)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), factor=st.floats(0.01, 100.0))
def test_quantiles_scale_with_the_level_and_do_not_cross(seed: int, factor: float) -> None:
    """Target and scale times k give quantiles times k, ascending in the level."""
    features, target, scale = sample(200, seed)
    estimator = LogRatioQuantileRegressor(quantiles=LEVELS)
    plain = estimator.fit(features, target, scale).predict_quantiles(3 * features, scale)
    scaled = estimator.fit(features, factor * target, factor * scale)
    np.testing.assert_allclose(
        scaled.predict_quantiles(3 * features, factor * scale), factor * plain, rtol=1e-6
    )
    assert (np.diff(plain, axis=1) >= 0).all()


def test_share_below_a_quantile_is_its_level() -> None:
    """On the rows it was fitted on, each quantile covers its level."""
    features, target, scale = sample()
    fitted = LogRatioQuantileRegressor(quantiles=LEVELS, iterations=100).fit(
        features, target, scale
    )
    covered = (target[:, None] <= fitted.predict_quantiles(features, scale)).mean(axis=0)
    np.testing.assert_allclose(covered, LEVELS, atol=0.01)


def test_a_start_saves_iterations() -> None:
    """Two steps from the solution stay there; two steps from nothing do not arrive."""
    features, target, scale = sample()
    full = LogRatioQuantileRegressor(quantiles=LEVELS, iterations=300).fit(features, target, scale)
    start = np.column_stack((full.intercept_, full.coef_))
    short = LogRatioQuantileRegressor(quantiles=LEVELS, iterations=2)
    near = short.fit(features, target, scale, start=start).intercept_
    far = short.fit(features, target, scale).intercept_
    assert np.abs(near - full.intercept_).max() < 0.2 * np.abs(far - full.intercept_).max()


@pytest.mark.parametrize("quantiles", [(), (0.0,), (0.5, 1.0)])
def test_levels_outside_the_open_interval_are_refused(quantiles: tuple[float, ...]) -> None:
    """A level that is no level is named."""
    features, target, _ = sample(50)
    with pytest.raises(ValueError, match="quantiles must be levels"):
        LogRatioQuantileRegressor(quantiles=quantiles).fit(features, target)


def test_targets_must_be_positive() -> None:
    """A ratio of zero has no logarithm."""
    features, target, scale = sample(50)
    target[0] = 0.0
    with pytest.raises(ValueError, match="must be positive"):
        LogRatioQuantileRegressor().fit(features, target, scale)
