"""Our law beside the answers of Dynamo's own code.

Of the throughput decisions the 29 on pools of prefill and decode engines are left out: how a GPU
band cuts a pair of pools is written nowhere that their answers follow from, and every peer here has
one pool.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from simulations.peers.dynamo.capacity import (
    EngineCapacity,
    EngineLimits,
    LatencyTargets,
    PassTime,
    RequestShape,
    capacity,
)
from simulations.peers.dynamo.load import EngineLoad, Estimator, RecentPasses, SlaSpec
from simulations.peers.dynamo.pipeline import Inventory, PipelineState, carried_out, load_target
from simulations.peers.dynamo.predictors import PredictorKind
from simulations.peers.dynamo.regression import ForwardPass, PassKind
from simulations.peers.dynamo.thresholds import (
    LATENCY,
    THROUGHPUT,
    StaticTarget,
    Thresholds,
    engines_wanted,
    kv_ratios,
    queue_ratios,
)
from simulations.peers.dynamo.throughput import GpuBand, ThroughputSpec, engines_for
from simulations.peers.dynamo.traffic import TrafficMemory, TrafficWindow, predict_traffic
from simulations.peers.dynamo.vectors_predictors import PREDICTOR_VECTORS
from simulations.peers.vectors import Compared, VectorSet

_Row = dict[str, Any]

_ROLES = {"prefill": PassKind.PREFILL, "decode": PassKind.DECODE, "agg": PassKind.MIXED}
#: Names of the roles in tables of pass times.
_TIMED = {"prefill": "prefill", "decode": "decode", "agg": "aggregated"}
_LOADS = {
    "sp": "prefill_tokens",
    "np_": "prefill_requests",
    "sd": "kv_tokens",
    "nd": "decode_requests",
    "qp": "queued_prefill_tokens",
    "nqp": "queued_prefill_requests",
    "qd": "queued_kv_tokens",
    "nqd": "queued_decode_requests",
}
#: The same in the order of the columns of a series.
_COLUMNS = ("sp", "np_", "sd", "nd", "qp", "nqp")


def _time(slopes: dict[str, float]) -> PassTime:
    """The linear function that stands in for the estimator."""

    def time(one: ForwardPass) -> float:
        return (
            slopes["a"]
            + slopes.get("bp", 0.0) * one.prefill_tokens
            + slopes.get("bn", 0.0) * one.decode_requests
            + slopes.get("bk", 0.0) * one.kv_tokens
        )

    return time


def _limits(config: _Row) -> EngineLimits:
    return EngineLimits(
        max_running=config["max_num_seqs"],
        kv_capacity_tokens=config["max_kv_tokens"],
        max_batched_tokens=config["max_num_batched_tokens"],
    )


def _targets(config: _Row) -> LatencyTargets:
    return LatencyTargets(ttft_milliseconds=config["ttft_ms"], itl_milliseconds=config["itl_ms"])


def _capacities(document: _Row) -> Iterator[Compared]:
    for number, row in enumerate(document["ticks"]):
        found = capacity(
            _ROLES[row["mode"]],
            _time(row["forward_pass_ms"]),
            _limits(row),
            _targets(row),
            RequestShape(
                prompt_tokens=row["isl"],
                output_tokens=row["osl"],
                hit_rate=row["kv_hit_rate"] or 0.0,
            ),
        )
        for key, answer in _told(found).items():
            yield Compared(
                at=f"row {number}, {key}",
                expected=row.get(key),
                found=answer,
                relative=document["tolerance"],
            )


def _told(found: EngineCapacity | None) -> dict[str, float | None]:
    if found is None:
        return {"rps": None}
    return {
        "rps": found.requests_per_second,
        "eligible": found.eligible,
        "ttft_est_ms": found.ttft_milliseconds,
        "itl_est_ms": found.itl_milliseconds,
        "e2e_est_ms": found.end_to_end_milliseconds,
    }


def _band(row: _Row, pool: str) -> GpuBand:
    """Negative bounds are none."""
    least, most = row["min_gpu_budget"], row["max_gpu_budget"]
    return GpuBand(
        gpus_per_engine=row[f"gpus_{pool}"],
        min_endpoint=row["min_endpoint"],
        min_gpus=least if least >= 0 else None,
        max_gpus=most if most >= 0 else None,
    )


def _throughputs(document: _Row) -> Iterator[Compared]:
    config = document["config"]
    for number, row in enumerate(document["ticks"]):
        if row["mode"] == "disagg":
            continue
        pool = "prefill" if row["mode"] == "prefill" else "decode"
        found = capacity(
            _ROLES[row["mode"]],
            _time(config["forward_pass_ms"][_TIMED[row["mode"]]]),
            _limits(config),
            _targets(config),
            RequestShape(prompt_tokens=row["pred_isl"], output_tokens=row["pred_osl"]),
        )
        current = row[f"ready_{pool}"]
        carried = None if found is None else found.requests_per_second
        yield Compared(
            at=f"row {number}, rps",
            expected=row[f"rps_{pool}"],
            found=carried,
            relative=document["tolerance"],
        )
        asked: int | None = None
        if carried is not None:
            spec = ThroughputSpec(
                band=_band(row, pool), most_moved=config["max_throughput_scaling_replicas"]
            )
            rate = row["pred_num_req"] / config["interval_s"]
            asked = spec.band.guarded(current, engines_for(spec, current, rate, carried))
        yield Compared(
            at=f"row {number}, desired",
            expected=row[f"desired_{pool}"],
            found=None if asked == current else asked,
        )


def _load(worker: _Row) -> EngineLoad:
    return EngineLoad(**{_LOADS[key]: float(value) for key, value in worker.items()})


def _sla(document: _Row) -> Iterator[Compared]:
    config = document["config"]
    for number, row in enumerate(document["ticks"]):
        role = _ROLES[row["mode"]]
        estimator = Estimator(
            SlaSpec(
                role=role,
                limits=_limits(config),
                targets=_targets(row),
                sensitivity=config["load_scaling_down_sensitivity"] / 100.0,
            ),
            _time(config["forward_pass_ms"][_TIMED[row["mode"]]]),
            prompt=row["averages"]["avg_isl"],
            decode=row["averages"]["avg_decode_length"],
            prefill=row["averages"]["avg_isl"],
        )
        loads = [_load(worker) for worker in row["workers"]]
        asked = load_target(GpuBand(), row["ready"], estimator.wish(loads), floor=1)
        yield Compared(at=f"row {number}, desired", expected=row["desired"], found=asked)
        yield from _estimates(f"row {number}", document, row, estimator, loads)


def _estimates(
    at: str, document: _Row, row: _Row, estimator: Estimator, loads: list[EngineLoad]
) -> Iterator[Compared]:
    """The longest latencies of all engines, of which a row has those of its role."""
    for key, estimates in (
        ("est_ttft_ms", estimator.ttfts(loads)),
        ("est_itl_ms", estimator.itls(loads)),
    ):
        if row[key] is None:
            continue
        yield Compared(
            at=f"{at}, {key}",
            expected=row[key],
            found=max(one for one in estimates if one is not None),
            relative=document["tolerance"],
        )


def _static(document: _Row) -> Iterator[Compared]:
    config = document["config"]
    own = config["load"]
    context = config["context_length"]
    targets = {
        "throughput": THROUGHPUT,
        "latency": LATENCY,
        "load": StaticTarget(
            prefill=Thresholds(
                up=own["prefill_scale_up_queue_tokens"] / context,
                down=own["prefill_scale_down_queue_tokens"] / context,
            ),
            kv=Thresholds(
                up=own["decode_scale_up_kv_rate"] / 100.0,
                down=own["decode_scale_down_kv_rate"] / 100.0,
            ),
        ),
    }
    for number, row in enumerate(document["ticks"]):
        role, target = _ROLES[row["mode"]], targets[row["target"]]
        loads = [_load(worker) for worker in row["workers"]]
        if role is PassKind.PREFILL:
            found = engines_wanted(queue_ratios(loads, context), target.prefill, role=role)
        else:
            ratios = kv_ratios(loads, config["max_kv_tokens"], role)
            found = engines_wanted(ratios, target.kv, role=role)
        yield Compared(at=f"row {number}, desired", expected=row["desired"], found=found)


def _series(document: _Row) -> Iterator[Compared]:
    """Ticks of the pipeline: the loops that are due, then what becomes of what they ask for."""
    config = document["config"]
    time, limits, targets = _time(config["forward_pass_ms"]), _limits(config), _targets(config)
    static = "static" in document["law"]
    pipeline, recent = PipelineState(), RecentPasses()
    traffic: TrafficMemory | None = None
    for row in document["ticks"]:
        at, ready = f"{row['t']:g} s", row["ready"]
        asked: int | None = None
        if row["thr"]:
            carried, asked, traffic = _forecast(config, row, traffic)
            pipeline = replace(pipeline, floor=asked) if config["load"] else pipeline
            yield Compared(
                at=f"{at}, engine_rps",
                expected=row["engine_rps"],
                found=carried,
                relative=document["tolerance"],
            )
        if config["load"]:
            loads = [_load(dict(zip(_COLUMNS, worker, strict=True))) for worker in row["workers"]]
            if static:
                ratios = kv_ratios(loads, limits.kv_capacity_tokens, PassKind.MIXED)
                asked = engines_wanted(ratios, THROUGHPUT.kv, role=PassKind.MIXED)
            else:
                recent = recent.seen(loads)
                spec = SlaSpec(role=PassKind.MIXED, limits=limits, targets=targets)
                estimator = Estimator.of(spec, time, recent)
                yield from _estimates(at, document, row, estimator, loads)
                asked = load_target(GpuBand(), ready, estimator.wish(loads), pipeline.floor)
        found, pipeline = carried_out(
            pipeline,
            Inventory(ready=ready, pending=row["pending"], expected=row["expected"]),
            asked,
            now=row["t"],
            load_interval_seconds=config["load_interval_s"],
        )
        yield Compared(at=f"{at}, desired", expected=row["desired"], found=found)
        yield Compared(at=f"{at}, floor", expected=row["floor"], found=pipeline.floor)


def _forecast(
    config: _Row, row: _Row, traffic: TrafficMemory | None
) -> tuple[float, int, TrafficMemory]:
    """Requests/s of one engine, the engines asked for, and the predictors' memory."""
    seconds, requests, prompt, output = row["traffic"]
    forecast, traffic = predict_traffic(
        PredictorKind(config["predictor"]),
        TrafficWindow(requests=requests, prompt_tokens=prompt, output_tokens=output),
        traffic,
    )
    found = capacity(
        PassKind.MIXED,
        _time(config["forward_pass_ms"]),
        _limits(config),
        _targets(config),
        RequestShape(prompt_tokens=forecast.prompt_tokens, output_tokens=forecast.output_tokens),
    )
    if found is None:
        raise ValueError(f"{row['t']:g} s: no batch fits the engine of config; check its limits")
    spec = ThroughputSpec(
        band=GpuBand(min_endpoint=config["min_endpoint"]),
        most_moved=config["max_throughput_scaling_replicas"],
    )
    carried = found.requests_per_second
    asked = engines_for(spec, row["ready"], forecast.requests / seconds, carried)
    return carried, spec.band.guarded(row["ready"], asked), traffic


VECTORS: tuple[VectorSet, ...] = (
    VectorSet(
        law="Dynamo capacity of an engine", files=("dynamo-capacity-table",), replay=_capacities
    ),
    VectorSet(
        law="Dynamo throughput loop", files=("dynamo-throughput-table",), replay=_throughputs
    ),
    VectorSet(law="Dynamo load loop, sla", files=("dynamo-load-sla-table",), replay=_sla),
    VectorSet(
        law="Dynamo load loop, static targets", files=("dynamo-load-static-table",), replay=_static
    ),
    VectorSet(
        law="Dynamo pipeline",
        files=(
            "dynamo-series-agg-load",
            "dynamo-series-agg-load-throughput",
            "dynamo-series-agg-static-throughput",
            "dynamo-series-agg-throughput",
        ),
        replay=_series,
    ),
    *PREDICTOR_VECTORS,
)
