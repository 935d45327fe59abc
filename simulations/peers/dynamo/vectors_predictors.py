"""Predictors, regression and the classic planner beside the answers of Dynamo's own code."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from simulations.peers.dynamo.kalman import KalmanSpec
from simulations.peers.dynamo.predictors import (
    PredictorKind,
    PredictorMemory,
    PredictorSpec,
    predict,
)
from simulations.peers.dynamo.traffic import TrafficMemory, TrafficWindow, predict_traffic
from simulations.peers.vectors import Compared, VectorSet

_KALMAN = ("dynamo-predictor-kalman", "dynamo-predictor-kalman-reactive")


def _predictor(document: dict[str, Any]) -> Iterator[Compared]:
    """Every series point by point; forecasts of 0 agree within the same share of a request."""
    config = document["config"]
    kind = PredictorKind(config["load_predictor"])
    spec = PredictorSpec()
    if kind is PredictorKind.KALMAN:
        spec = PredictorSpec(
            kalman=KalmanSpec(
                level_variance=config["kalman_q_level"],
                trend_variance=config["kalman_q_trend"],
                measurement_variance=config["kalman_r"],
                min_points=config["kalman_min_points"],
            )
        )
    for series, rows in groupby(document["ticks"], key=lambda row: row["series"]):
        memory: PredictorMemory | None = None
        for row in rows:
            found, memory = predict(
                kind,
                (float(row["value"]),),
                memory,
                log1p=config["load_predictor_log1p"],
                spec=spec,
            )
            yield Compared(
                at=f"{series}, t {row['t']}",
                expected=row["forecast"],
                found=found,
                relative=document["tolerance"],
                absolute=document["tolerance"],
            )


def _traffic(document: dict[str, Any]) -> Iterator[Compared]:
    for name, rows in groupby(document["ticks"], key=lambda row: row["predictor"]):
        memory: TrafficMemory | None = None
        for row in rows:
            window = TrafficWindow(
                requests=float(row["num_req"]),
                prompt_tokens=float(row["isl"]),
                output_tokens=float(row["osl"]),
            )
            found, memory = predict_traffic(PredictorKind(name), window, memory)
            answers = (found.requests, found.prompt_tokens, found.output_tokens)
            keys = ("pred_num_req", "pred_isl", "pred_osl")
            for key, answer in zip(keys, answers, strict=True):
                yield Compared(
                    at=f"{name}, t {row['t']}, {key}",
                    expected=row[key],
                    found=answer,
                    relative=document["tolerance"],
                    absolute=document["tolerance"],
                )


PREDICTOR_VECTORS: tuple[VectorSet, ...] = (
    VectorSet(
        law="Dynamo predictor constant", files=("dynamo-predictor-constant",), replay=_predictor
    ),
    VectorSet(law="Dynamo predictor Kalman", files=_KALMAN, replay=_predictor),
    VectorSet(
        law="Dynamo predictor ARIMA",
        files=("dynamo-predictor-arima", "dynamo-predictor-arima-log1p"),
        replay=_predictor,
    ),
    VectorSet(
        law="Dynamo predictor Prophet",
        files=("dynamo-predictor-prophet", "dynamo-predictor-prophet-log1p"),
        replay=_predictor,
    ),
    VectorSet(law="Dynamo traffic forecast", files=("dynamo-predict-traffic",), replay=_traffic),
)
