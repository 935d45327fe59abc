"""Linear quantile regression of log(y / scale), as a scikit-learn estimator.

The pinball loss is minimised by iteratively reweighted least squares: a residual r at level tau
weighs (tau if r >= 0 else 1 - tau) / max(|r|, resolution), the majorising parabola of the loss
(Hunter and Lange 2000, quantile regression via an MM algorithm). One weighted solve costs n p²;
scikit-learn's own QuantileRegressor solves a linear programme and takes some 50 times as long.
"""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data


class LogRatioQuantileRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc] # untyped
    """Quantiles of a positive target as ``scale * exp(linear in X)``.

    Args:
        quantiles: levels to fit, ascending, each in (0, 1).
        ridge: penalty per row on every coefficient but the intercept.
        iterations: most reweighted solves per level; it stops when coefficients stand still.
        resolution: residual of the log below which the loss is a parabola.

    Attributes:
        coef_: (levels, features).
        intercept_: (levels,).
        n_features_in_: number of features.
    """

    def __init__(
        self,
        quantiles: tuple[float, ...] = (0.5,),
        ridge: float = 1e-3,
        iterations: int = 50,
        resolution: float = 1e-3,
    ) -> None:
        self.quantiles = quantiles
        self.ridge = ridge
        self.iterations = iterations
        self.resolution = resolution

    def fit(
        self,
        X: ArrayLike,  # noqa: N803 - scikit-learn's name
        y: ArrayLike,
        scale: ArrayLike | None = None,
        start: NDArray[np.float64] | None = None,
    ) -> Self:
        """Fit all levels.

        Args:
            X: (rows, features).
            y: (rows,) positive target.
            scale: (rows,) positive current level that y is measured against; None is 1.
            start: (levels, 1 + features) intercepts and coefficients to start from.
        """
        levels = np.asarray(self.quantiles, dtype=np.float64)
        if not (levels.ndim == 1 and len(levels) and (levels > 0).all() and (levels < 1).all()):
            raise ValueError(f"quantiles must be levels in (0, 1), got {self.quantiles}")
        rows, target = validate_data(self, X, y, y_numeric=True, dtype=np.float64)
        ratio = target if scale is None else target / np.asarray(scale, dtype=np.float64)
        if not (ratio > 0).all():
            raise ValueError("y and scale must be positive: the regression is on log(y / scale)")
        design = np.column_stack((np.ones(len(rows)), rows))
        coefficients = self._solve(design, np.log(ratio), levels, start)
        self.intercept_ = coefficients[:, 0]
        self.coef_ = coefficients[:, 1:]
        return self

    def predict(self, X: ArrayLike, scale: ArrayLike | None = None) -> NDArray[np.float64]:  # noqa: N803 - scikit-learn's name
        """Return the level nearest the median (rows,)."""
        quantiles = self.predict_quantiles(X, scale)
        middle = int(np.argmin(np.abs(np.asarray(self.quantiles) - 0.5)))
        return np.asarray(quantiles[:, middle])

    def predict_quantiles(
        self,
        X: ArrayLike,  # noqa: N803 - scikit-learn's name
        scale: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Return all levels (rows, levels), sorted so that none crosses another."""
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        ratio = np.exp(np.sort(rows @ self.coef_.T + self.intercept_, axis=1))
        if scale is None:
            return np.asarray(ratio)
        return np.asarray(ratio * np.asarray(scale, dtype=np.float64)[:, None])

    def _solve(
        self,
        design: NDArray[np.float64],
        target: NDArray[np.float64],
        levels: NDArray[np.float64],
        start: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        """Coefficients (levels, 1 + features); each level starts from its neighbour's."""
        penalty = np.full(design.shape[1], self.ridge * len(design))
        penalty[0] = 1e-9 * len(design)
        current = _weighted(design, target, np.ones(len(target)), penalty)
        solved = np.empty((len(levels), design.shape[1]))
        for k, level in enumerate(levels):
            if start is not None:
                current = start[k]
            for _ in range(self.iterations):
                residual = target - design @ current
                weight = np.where(residual >= 0, level, 1.0 - level)
                weight /= np.maximum(np.abs(residual), self.resolution)
                before, current = current, _weighted(design, target, weight, penalty)
                if np.abs(current - before).max() < 0.1 * self.resolution:
                    break
            solved[k] = current
        return solved

    def __sklearn_tags__(self) -> Any:
        """Say that targets must be positive."""
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = True
        return tags


def _weighted(
    design: NDArray[np.float64],
    target: NDArray[np.float64],
    weight: NDArray[np.float64],
    penalty: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Weighted ridge solution (features,)."""
    weighted = design * weight[:, None]
    normal = weighted.T @ design
    normal[np.diag_indices_from(normal)] += penalty
    return np.asarray(np.linalg.solve(normal, weighted.T @ target), dtype=np.float64)
