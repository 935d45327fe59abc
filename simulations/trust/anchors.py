"""The engine beside times of real GPUs: inter-token times of servers, single passes of kernels.

The points are rows of ``perf-anchors.csv`` beside the project; what its columns mean, how far each
source is to be trusted and how a row is replayed stands in ``perf-anchors.md`` there.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from controller.core.domain.variant import PerformanceProfile
from simulations.engine.fleet import EngineConfig, Fleet, PoolSpec

#: What lies beside a checkout: measurements, traces and vectors that the project does not ship.
SHARED: Final = Path(__file__).parents[3] / "shared"
POINTS: Final = SHARED / "reference" / "perf-anchors.csv"

#: Parameters by model, precision, GPU, tensor parallelism and engine (performance-models.md 1.1):
#: T0, delta, epsilon, kappa, beta and, from engine-anchors.md 1, room for KV tokens in thousands.
PARAMETERS: Final = {
    ("Llama-3.1-8B", "bf16", "H100", "1", "vllm"): (6.68, 0.02003, 5.1e-7, 4.40e-5, 0, 412),
    ("Llama-3.1-8B", "bf16", "H100", "1", "trtllm"): (6.84, 0.02148, 4.3e-7, 4.25e-5, 0, 412),
    ("Llama-3.1-8B", "fp8", "H100", "1", "vllm"): (4.66, 0.01648, 1.3e-7, 4.37e-5, 0, 470),
    ("Llama-3.1-8B", "fp8", "H100", "1", "trtllm"): (5.69, 0.01711, 6.5e-8, 4.31e-5, 0, 470),
    ("Llama-3.1-8B", "bf16", "A100", "1", "vllm"): (11.9, 0.06402, 2.2e-7, 8.58e-5, 0, 412),
    ("Llama-3.1-8B", "bf16", "A100", "1", "trtllm"): (11.8, 0.06537, 5.6e-7, 6.18e-5, 0, 412),
    ("Llama-3.1-8B", "bf16", "L40S", "1", "vllm"): (23.0, 0.06314, 2.8e-6, 2.10e-4, 0, 196),
    ("Llama-3.1-8B", "fp8", "L40S", "1", "vllm"): (13.8, 0.04723, 1.6e-6, 2.01e-4, 0, 253),
    ("Llama-3.1-70B", "bf16", "H100", "4", "vllm"): (16.1, 0.06459, 4.6e-7, 2.92e-5, 0, 448),
    ("Llama-3.1-70B", "fp8", "H100", "2", "vllm"): (17.6, 0.07954, 0, 5.27e-5, 0.03, 225),
    ("Llama-3.1-70B", "fp8", "H100", "2", "trtllm"): (19.9, 0.08035, 0, 5.95e-5, 0, 225),
    ("Llama-3.1-70B", "fp8", "H100", "4", "vllm"): (11.6, 0.05417, 0, 2.96e-5, 0.03, 600),
}
#: NVIDIA's packaged servers run this engine, so that its parameters are theirs.
_ENGINES: Final = {"NIM (trtllm)": "trtllm"}
_NO_SLO: Final = EngineConfig(ttft_threshold_seconds=1.0, tpot_threshold_seconds=1.0)


class Kind(StrEnum):
    """What a point times: a closed loop of clients, one decode pass or one prefill pass."""

    SERVE = "serve"
    DECODE = "decode"
    PREFILL = "prefill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One row that is scored: what was timed, on which replica, and how far to trust it.

    ``context_tokens`` is of decode passes alone, ``output_tokens`` of served requests, and
    ``prompt_tokens`` of both but decode passes; ``published_milliseconds`` is what the source of
    the parameters says that the model gives.
    """

    name: str
    replica: str
    kind: Kind
    trust: str
    concurrency: int
    prompt_tokens: int | None
    output_tokens: int | None
    context_tokens: int | None
    measured_milliseconds: float
    published_milliseconds: float
    profile: PerformanceProfile


def points(path: Path = POINTS) -> Iterator[Point]:
    """Every scored row of a replica whose parameters are known.

    Raises:
        FileNotFoundError: the measurements are not beside the project.
    """
    with path.open() as lines:
        for row in csv.DictReader(lines):
            key = _key(row)
            # Without an error of the source's own, the row is one that it says not to score.
            if key in PARAMETERS and row["proposed_err_pct"]:
                yield _point(row, key)


def _key(row: dict[str, str]) -> tuple[str, str, str, str, str]:
    engine = _ENGINES.get(row["engine"], row["engine"])
    return row["model"], row["precision"], row["gpu"], row["tp"], engine


def _point(row: dict[str, str], key: tuple[str, str, str, str, str]) -> Point:
    model, precision, gpu, parallel, engine = key
    kind = Kind(row["kind"])
    return Point(
        name=row["id"],
        replica=f"{model} {precision}, {parallel} x {gpu}, {engine}",
        kind=kind,
        trust=row["trust"],
        concurrency=int(row["concurrency"] or 1),
        prompt_tokens=_count(row["prompt_tokens"]),
        output_tokens=_count(row["output_tokens"]),
        context_tokens=_count(row["context_tokens"]),
        measured_milliseconds=float(row["ttft_ms" if kind is Kind.PREFILL else "itl_ms"]),
        published_milliseconds=float(row["proposed_ms"]),
        profile=_profile(key, kind, measured=row["trust"] == "measured"),
    )


def _count(text: str) -> int | None:
    return int(text) if text else None


def _profile(
    key: tuple[str, str, str, str, str], kind: Kind, *, measured: bool
) -> PerformanceProfile:
    """The replica of a row: beta is host time, which only measured servers hold.

    A single pass is no matter of a scheduler, so that its limits are lifted.
    """
    t0, delta, epsilon, kappa, beta, kv_thousands = PARAMETERS[key]
    served = kind is Kind.SERVE
    return PerformanceProfile(
        t0_milliseconds=t0,
        delta_milliseconds=delta,
        epsilon_milliseconds=epsilon,
        kappa_milliseconds=kappa,
        beta_milliseconds=beta if measured else 0.0,
        kv_capacity_tokens=1000 * kv_thousands if served else 1 << 40,
        max_running=1024,
        max_batched_tokens=8192 if served else 1 << 28,
    )


def simulated_milliseconds(point: Point) -> float:
    """The same time in the engine: mean inter-token time, or the pass itself."""
    if point.kind is Kind.SERVE:
        return _served(point)
    return _decoded(point) if point.kind is Kind.DECODE else _prefilled(point)


def _told(point: Point, field: str) -> int:
    value: int | None = getattr(point, field)
    if value is None:
        raise ValueError(f"{point.name}.{field}: empty, but a {point.kind} row needs it")
    return value


def _one_replica(point: Point) -> Fleet:
    fleet = Fleet((PoolSpec(profile=point.profile),), _NO_SLO, 1)
    fleet.add_replica(0, 0.0)
    return fleet


def _served(point: Point) -> float:
    """Mean inter-token time of a closed loop whose clients start spread over one turn."""
    prompt, output = _told(point, "prompt_tokens"), _told(point, "output_tokens")
    fleet = _one_replica(point)
    warm_up = 10 * point.concurrency
    fleet.watch(4 * warm_up)
    turn_seconds = output * point.profile.t0_milliseconds / 1e3
    for client in range(point.concurrency):
        at = turn_seconds * client / point.concurrency
        fleet.add_clients(1, prompt, output, at_seconds=at)
    while len(fleet.endings()) < 4 * warm_up:
        fleet.advance(fleet.now_seconds + 20.0 * turn_seconds)
    endings = fleet.endings()
    endings = endings[endings["uid"] >= warm_up]
    return float(np.mean((endings["end"] - endings["first"]) / (output - 1))) * 1e3


def _decoded(point: Point) -> float:
    """One iteration takes all prompts; the next decodes each at prompt + 1 tokens of context."""
    count, context = point.concurrency, _told(point, "context_tokens")
    fleet = _one_replica(point)
    fleet.watch(count)
    fleet.advance(0.0, np.zeros(count), np.full(count, context - 1), np.full(count, 2))
    fleet.finish()
    endings = fleet.endings()
    return float(np.mean(endings["end"] - endings["first"])) * 1e3


def _prefilled(point: Point) -> float:
    """A prompt alone, which is done when its only token is."""
    prompt = np.array([_told(point, "prompt_tokens")])
    fleet = _one_replica(point)
    fleet.watch(1)
    fleet.advance(0.0, np.zeros(1), prompt, np.ones(1, int))
    return fleet.finish() * 1e3
