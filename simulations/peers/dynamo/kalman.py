"""A local linear trend followed by a Kalman filter, one step per point.

State x = (level, trend) with F = [[1, 1], [0, 1]] and H = [1, 0] (Harvey 1989, section 2.3).
"""

from dataclasses import dataclass

#: Variance of level and of trend before the first point.
_START_VARIANCE = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KalmanSpec:
    """Variances of the noise, in squared units of the series; defaults are Dynamo's.

    With fewer than ``min_points`` the last point is the forecast (before 1.5: never).
    """

    level_variance: float = 1.0
    trend_variance: float = 0.1
    measurement_variance: float = 10.0
    min_points: int = 5


@dataclass(frozen=True, slots=True)
class KalmanState:
    """Estimate after a point: level, trend, and the covariance of both."""

    level: float
    trend: float
    level_variance: float = _START_VARIANCE
    covariance: float = 0.0
    trend_variance: float = _START_VARIANCE

    @property
    def forecast(self) -> float:
        """Level of the next step."""
        return self.level + self.trend


def followed(spec: KalmanSpec, state: KalmanState | None, point: float) -> KalmanState:
    """Predict one step and correct by ``point``; the first point is taken as the level."""
    if state is None:
        return KalmanState(point, 0.0)
    level_variance = (
        state.level_variance + 2.0 * state.covariance + state.trend_variance + spec.level_variance
    )
    covariance = state.covariance + state.trend_variance
    trend_variance = state.trend_variance + spec.trend_variance
    innovation = point - state.forecast
    total = level_variance + spec.measurement_variance
    return KalmanState(
        level=state.forecast + level_variance / total * innovation,
        trend=state.trend + covariance / total * innovation,
        level_variance=level_variance * spec.measurement_variance / total,
        covariance=covariance * spec.measurement_variance / total,
        trend_variance=trend_variance - covariance * covariance / total,
    )
