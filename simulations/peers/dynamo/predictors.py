"""One-step forecasts of a series, one point per adjustment interval, as Dynamo's planner makes them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class PredictorKind(StrEnum):
    """Dynamo's ``load_predictor``."""

    CONSTANT = "constant"
    ARIMA = "arima"
    KALMAN = "kalman"
    PROPHET = "prophet"


@dataclass(frozen=True, slots=True, eq=False)
class PredictorMemory:
    """What a predictor knows of one series: its points since the first that is not 0, and its fit."""

    points: tuple[float, ...] = ()
    fit: Any = None


def predict(
    kind: PredictorKind,
    values: Sequence[float],
    memory: PredictorMemory | None,
    *,
    log1p: bool = False,
) -> tuple[float, PredictorMemory]:
    """Add the points ``values`` that are new since ``memory`` was made, and forecast the next one.

    ``memory`` None: the series starts here. Usually ``values`` is a single point; none forecasts
    again. 0 while nothing but zeros was seen.
    """
    del kind, log1p
    points = (memory or PredictorMemory()).points
    for value in values:
        finite = value if math.isfinite(value) else 0.0
        if points or finite != 0.0:
            points = (*points, finite)
    return (points[-1] if points else 0.0), PredictorMemory(points)
