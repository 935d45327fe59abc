"""One-step forecasts of a series as Dynamo's planner makes them, one point per interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING

from simulations.peers.dynamo.kalman import KalmanSpec, KalmanState, followed
from simulations.peers.peer import NotApplicable

if TYPE_CHECKING:
    from simulations.peers.dynamo.arima import ArimaFit

#: Points from which ARIMA and Prophet are fitted.
_MIN_POINTS = 5


class PredictorKind(StrEnum):
    """Dynamo's ``load_predictor``."""

    CONSTANT = "constant"
    ARIMA = "arima"
    KALMAN = "kalman"
    PROPHET = "prophet"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorSpec:
    """Settings of the predictors, and what their releases differ in; defaults are those of 1.6.

    ``below_zero`` lets Kalman and Prophet forecast less than 0. ``steps_as_seconds`` asks Prophet
    for the value as many *seconds* after the series began as it has points: a forecast of its
    beginning.
    """

    interval_seconds: float = 180.0
    kalman: KalmanSpec = KalmanSpec()  # noqa: RUF009 - frozen, without state
    prophet_points: int = 50
    below_zero: bool = False
    steps_as_seconds: bool = False


PRESENT = PredictorSpec()
#: Releases up to 1.0, as written.
CLASSIC = PredictorSpec(kalman=KalmanSpec(min_points=0), below_zero=True, steps_as_seconds=True)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PredictorMemory:
    """What a predictor knows of one series.

    ``count`` points since the first that is not 0; ``points`` are the last of them, as many as the
    predictor needs; ``fit`` is its model, None before there is one.
    """

    count: int = 0
    points: tuple[float, ...] = ()
    fit: "KalmanState | ArimaFit | None" = None

    @property
    def last(self) -> float:
        """Last point; 0 before any."""
        return self.points[-1] if self.points else 0.0


def require(kind: PredictorKind) -> None:
    """Check that the predictor's library is there; raises ``NotApplicable``."""
    library = {PredictorKind.ARIMA: "pmdarima", PredictorKind.PROPHET: "prophet"}.get(kind)
    if library is None:
        return
    try:
        import_module(library)
    except ImportError as error:
        raise NotApplicable(
            f"the predictor {kind} needs the library {library}, which is not installed; "
            "install steelyard[peers]"
        ) from error


def predict(
    kind: PredictorKind,
    values: Sequence[float],
    memory: PredictorMemory | None,
    *,
    log1p: bool = False,
    spec: PredictorSpec = PRESENT,
) -> tuple[float, PredictorMemory]:
    """Add the points ``values`` that are new since ``memory`` was made, and forecast the next one.

    ``memory`` None: the series starts here. Usually ``values`` is a single point; none forecasts
    again. A value that is no number counts as 0, and zeros before the first other point are
    dropped. The forecast is 0 while nothing but zeros was seen. Raises ``ImportError`` where the
    predictor's library is absent (``require`` says so beforehand).
    """
    memory = memory or PredictorMemory()
    fresh = _counted(values, memory.count)
    memory = replace(memory, count=memory.count + len(fresh), points=(*memory.points, *fresh))
    if kind is PredictorKind.KALMAN:
        return _kalman(memory, fresh, spec, log1p=log1p)
    if kind is PredictorKind.ARIMA:
        return _arima(memory, fresh, log1p=log1p)
    if kind is PredictorKind.PROPHET:
        return _prophet(memory, spec, log1p=log1p)
    return memory.last, replace(memory, points=memory.points[-1:])


def _counted(values: Sequence[float], count: int) -> tuple[float, ...]:
    """Values as points of a series that has ``count`` already."""
    finite = [float(value) if math.isfinite(value) else 0.0 for value in values]
    if count == 0:
        while finite and finite[0] == 0.0:
            finite.pop(0)
    return tuple(finite)


def _kalman(
    memory: PredictorMemory, fresh: Sequence[float], spec: PredictorSpec, *, log1p: bool
) -> tuple[float, PredictorMemory]:
    state = memory.fit if isinstance(memory.fit, KalmanState) else None
    for point in fresh:
        state = followed(spec.kalman, state, math.log1p(max(0.0, point)) if log1p else point)
    memory = replace(memory, points=memory.points[-1:], fit=state)
    if state is None or memory.count < spec.kalman.min_points:
        return memory.last, memory
    return _answer(state.forecast, spec, log1p=log1p), memory


def _arima(
    memory: PredictorMemory, fresh: Sequence[float], *, log1p: bool
) -> tuple[float, PredictorMemory]:
    from simulations.peers.dynamo import arima  # noqa: PLC0415 - heavy, of an optional extra

    points = tuple(max(0.0, point) for point in memory.points)
    if memory.fit is None and (len(points) < _MIN_POINTS or len(set(points)) == 1):
        return (points[-1] if points else 0.0), replace(memory, points=points)
    fit = memory.fit
    try:
        if not isinstance(fit, arima.ArimaFit):
            fit = arima.fitted(points, log1p=log1p)
        elif fresh:
            fit = arima.updated(fit, points[-len(fresh) :])
        forecast = arima.forecast(fit)
    except Exception:  # noqa: BLE001 - Dynamo's rule: whatever fails, the last point is forecast
        forecast = points[-1]
    # A model holds its history itself; without one all points are needed for the next try.
    return forecast, replace(memory, points=points if fit is None else points[-1:], fit=fit)


def _prophet(
    memory: PredictorMemory, spec: PredictorSpec, *, log1p: bool
) -> tuple[float, PredictorMemory]:
    memory = replace(memory, points=memory.points[-spec.prophet_points :])
    if len(memory.points) < _MIN_POINTS:
        return memory.last, memory
    from simulations.peers.dynamo import prophet  # noqa: PLC0415 - heavy, of an optional extra

    points = memory.points
    if log1p:
        points = tuple(math.log1p(max(0.0, point)) for point in points)
    step = spec.interval_seconds
    forecast = prophet.forecast(
        points,
        first_seconds=(memory.count - len(points)) * step,
        step_seconds=step,
        at_seconds=memory.count * (1.0 if spec.steps_as_seconds else step),
    )
    return _answer(forecast, spec, log1p=log1p), memory


def _answer(value: float, spec: PredictorSpec, *, log1p: bool) -> float:
    """A forecast out of the space of the fit."""
    if log1p:
        return max(0.0, math.expm1(value))
    return value if spec.below_zero else max(0.0, value)
