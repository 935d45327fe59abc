"""Predictors, regression and the classic planner beside the answers of Dynamo's own code."""

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import numpy as np

from simulations.peers.dynamo.classic import (
    ClassicProfile,
    ClassicSpec,
    ClassicState,
    DecodeProfile,
    PrefillProfile,
    Release,
    Seen,
    shares,
    whole,
    within_budget,
)
from simulations.peers.dynamo.kalman import KalmanSpec
from simulations.peers.dynamo.predictors import (
    PredictorKind,
    PredictorMemory,
    PredictorSpec,
    predict,
)
from simulations.peers.dynamo.regression import (
    ForwardPass,
    PassKind,
    PassModel,
    regression_until_1_2,
)
from simulations.peers.dynamo.traffic import TrafficMemory, TrafficWindow, predict_traffic
from simulations.peers.vectors import Compared, VectorSet

_KALMAN = ("dynamo-predictor-kalman", "dynamo-predictor-kalman-reactive")


#: ARIMA's updates stop the optimiser early, which on a series that has fallen to 0 makes the last
#: digits of the machine's arithmetic visible: of 538 forecasts 7, all below .2 requests, are off by
#: up to .033, with the very versions of the libraries that the file names.
_NEAR_ZERO_REQUESTS = 0.05
#: Every fit of Prophet takes .15 s, and none depends on another: each of so many is compared.
_PROPHET_EVERY = 4


def _predictor(document: dict[str, Any]) -> Iterator[Compared]:
    """Every series point by point; forecasts below a request need not agree in proportion."""
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
    near_zero = _NEAR_ZERO_REQUESTS if kind is PredictorKind.ARIMA else document["tolerance"]
    every = _PROPHET_EVERY if kind is PredictorKind.PROPHET else 1
    for series, rows in groupby(document["ticks"], key=lambda row: row["series"]):
        memory: PredictorMemory | None = None
        points = list(rows)
        for at in range(every - 1, len(points), every):
            row = points[at]
            found, memory = predict(
                kind,
                [float(new["value"]) for new in points[at + 1 - every : at + 1]],
                memory,
                log1p=config["load_predictor_log1p"],
                spec=spec,
            )
            yield Compared(
                at=f"{series}, t {row['t']}",
                expected=row["forecast"],
                found=found,
                relative=document["tolerance"],
                absolute=near_zero if row["forecast"] < 1.0 else 0.0,
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
                )


_ROLES = {
    "prefill": PassKind.PREFILL,
    "decode": PassKind.DECODE,
    "aggregated": PassKind.MIXED,
}


def _until_1_2(document: dict[str, Any]) -> Iterator[Compared]:
    for kind, rows in groupby(document["ticks"], key=lambda row: row["kind"]):
        model = regression_until_1_2(_ROLES[kind])
        for row in rows:
            tokens, _, requests, kv, seconds = row["obs"]
            if seconds > 0.0:
                seen = ForwardPass(prefill_tokens=tokens, decode_requests=requests, kv_tokens=kv)
                model = model.observed(seen, 1000.0 * seconds)
            yield from _estimates(document, row, len(model.store), model.milliseconds)


def _from_1_5(document: dict[str, Any]) -> Iterator[Compared]:
    for _, rows in groupby(document["ticks"], key=lambda row: row["kind"]):
        model = PassModel()
        for row in rows:
            tokens, _, requests, kv, seconds = row["obs"]
            seen = ForwardPass(prefill_tokens=tokens, decode_requests=requests, kv_tokens=kv)
            model = model.observed(seen, 1000.0 * seconds)
            yield from _estimates(document, row, len(model), model.milliseconds)


def _estimates(
    document: dict[str, Any],
    row: dict[str, Any],
    kept: int,
    milliseconds: Callable[[ForwardPass], float | None],
) -> Iterator[Compared]:
    at = f"{row['kind']}, pass {row['t']}"
    yield Compared(at=f"{at}, retained", expected=row["retained"], found=kept)
    probes = document["probes"][row["kind"]]
    for probe, expected in zip(probes, row["est_ms"], strict=True):
        tokens, requests, kv = probe
        asked = ForwardPass(prefill_tokens=tokens, decode_requests=requests, kv_tokens=kv)
        yield Compared(
            at=f"{at}, {probe}",
            expected=expected,
            found=milliseconds(asked),
            relative=document["tolerance"],
        )


def _profile(tables: dict[str, Any]) -> ClassicProfile:
    prefill, decode = tables["prefill"], tables["decode"]
    return ClassicProfile(
        prefill=PrefillProfile(
            prompt_tokens=np.array(prefill["prefill_isl"]),
            ttft_milliseconds=np.array(prefill["prefill_ttft"]),
            tokens_per_second=np.array(prefill["prefill_thpt_per_gpu"]),
        ),
        decode=DecodeProfile(
            kv_use=np.array(decode["x_kv_usage"]),
            context_tokens=np.array(decode["y_context_length"]),
            itl_milliseconds=np.array(decode["z_itl"]),
            tokens_per_second=np.array(decode["z_thpt_per_gpu"]),
            kv_capacity_tokens=decode["max_kv_tokens"][0],
        ),
    )


def _classic(document: dict[str, Any]) -> Iterator[Compared]:
    config = document["config"]
    budget = config["max_gpu_budget"]
    spec = ClassicSpec(
        itl_milliseconds=config["itl_ms"],
        predictor=PredictorKind(config["load_predictor"]),
        correction=not config["no_correction"],
        prefill_gpus=config["gpus_prefill"],
        decode_gpus=config["gpus_decode"],
        min_endpoint=config["min_endpoint"],
        max_gpu_budget=budget if budget >= 0 else None,
        release=Release(document["version"].rpartition(".")[0]),
    )
    profile, state = _profile(config["profile"]), ClassicState()
    for row in document["ticks"]:
        seen = Seen(
            window=TrafficWindow(
                requests=float(row["num_req"]),
                prompt_tokens=float(row["isl"]),
                output_tokens=float(row["osl"]),
            ),
            ttft_milliseconds=float(row["ttft_ms"]),
            itl_milliseconds=float(row["itl_ms"]),
            duration_seconds=float(row["request_duration_s"]),
        )
        asked, state = shares(spec, profile, state, seen, row["ready_decode"])
        raw = None if asked is None else whole(spec, asked)
        cut = None if raw is None else within_budget(spec, raw)
        found = {
            "p_correction": state.prefill_correction,
            "d_correction": state.decode_correction,
            "raw_prefill": None if raw is None else raw.prefill,
            "raw_decode": None if raw is None else raw.decode,
            "desired_prefill": None if cut is None else cut.prefill,
            "desired_decode": None if cut is None else cut.decode,
        }
        for key in found.keys() & row.keys():
            yield Compared(
                at=f"t {row['t']}, {key}",
                expected=row[key],
                found=found[key],
                relative=document["tolerance"],
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
    VectorSet(
        law="Dynamo regression until 1.2", files=("dynamo-regression-python",), replay=_until_1_2
    ),
    VectorSet(
        law="Dynamo regression from 1.5", files=("dynamo-regression-rust",), replay=_from_1_5
    ),
    VectorSet(
        law="Dynamo classic SLA planner",
        files=tuple(
            f"dynamo-classic-{release}-{case}"
            for release in ("091", "102")
            for case in ("constant", "constant-budget8-tp2x1", "kalman-nocorrection-budget5")
        ),
        replay=_classic,
    ),
)
