"""How many requests per second the engine alone completes, on one core.

The pinned workload: tokens of the Azure conversation trace, H100 8B bf16 replicas at 80 % of the
capacity of 20, least outstanding, client time-outs, and a scrape of all counters, histograms and
gauges every 15 s of simulated time. Where the public traces are not beside the project, log-normal
tokens with the same means and spreads take their place: the figures say which.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.performance.catalog import profile
from simulations.engine.fleet import EngineConfig, Fleet, PoolSpec
from simulations.traces.readers.packed import read_requests

REQUESTS: Final = 6_000_000
SCRAPE_SECONDS: Final = 15.0
#: 80 % of what one of 20 replicas carries at 99 % good (engine-anchors.md section 2).
REQUESTS_PER_SECOND_AND_REPLICA: Final = 0.8 * 23.5

AZURE: Final = Path(__file__).parents[3] / "shared" / "traces" / "azure-2023-conv.csv.gz"
#: Mean and standard deviation of the logarithm, and maximum, of prompt and output tokens: the
#: means (1155, 211), standard deviations (1109, 163) and maxima are those of that trace.
_LOG_TOKENS: Final = ((6.725, 0.808, 14_050.0), (5.119, 0.683, 1_000.0))
#: Bucket edges of the engine's own histograms (vLLM 0.32), in seconds.
_TTFT_EDGES: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_TPOT_EDGES: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
_CONFIG: Final = EngineConfig(
    ttft_threshold_seconds=1.0,
    tpot_threshold_seconds=0.05,
    client_timeout_seconds=60.0,
    ttft_edges_seconds=_TTFT_EDGES,
    tpot_edges_seconds=_TPOT_EDGES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFigures:
    """One run. ``wall_seconds`` is the engine's; drawing the arrivals is told apart."""

    tokens: str
    replicas: int
    requests: int
    wall_seconds: float
    requests_per_second: float
    generate_seconds: float
    requests_per_second_with_generation: float
    simulated_seconds: float
    scrapes: int
    advance_call_microseconds: float
    scrape_microseconds: float
    good_share: float
    digest: str
    state_mebibytes: float
    records: int
    records_after_a_tenth: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFigures:
    """Seconds from starting Python to the first answer of an empty fleet."""

    cold_seconds: float
    cached_seconds: float


def engine(replicas: int, requests: int = REQUESTS) -> EngineFigures:
    """Run the pinned workload on ``replicas``."""
    _run(replicas, *_arrivals(replicas, 100_000)[1:])
    start = perf_counter()
    source, seconds, prompts, outputs = _arrivals(replicas, requests)
    generate_seconds = perf_counter() - start
    start = perf_counter()
    fleet, early = _run(replicas, seconds, prompts, outputs)
    wall_seconds = perf_counter() - start
    totals = fleet.totals()
    call_seconds, scrape_seconds = _overheads(fleet)
    return EngineFigures(
        tokens=source,
        replicas=replicas,
        requests=totals.ended,
        wall_seconds=wall_seconds,
        requests_per_second=totals.ended / wall_seconds,
        generate_seconds=generate_seconds,
        requests_per_second_with_generation=totals.ended / (wall_seconds + generate_seconds),
        simulated_seconds=float(seconds[-1]),
        scrapes=int(seconds[-1] / SCRAPE_SECONDS) + 1,
        advance_call_microseconds=call_seconds * 1e6,
        scrape_microseconds=scrape_seconds * 1e6,
        good_share=float(totals.good.sum()) / totals.ended,
        digest=totals.digest,
        state_mebibytes=fleet.memory_bytes / 1024.0**2,
        records=fleet.records,
        records_after_a_tenth=early,
    )


def start_up() -> StartFigures:
    """Compile everything into an empty cache, then start once more with it."""
    code = "import simulations.bench.engine as e; e._run(2, *e._arrivals(2, 100)[1:])"
    taken = []
    with tempfile.TemporaryDirectory() as cache:
        for _ in range(2):
            start = perf_counter()
            subprocess.run(  # noqa: S603 - this interpreter and a constant
                [sys.executable, "-c", code],
                check=True,
                env={**os.environ, "NUMBA_CACHE_DIR": cache},
            )
            taken.append(perf_counter() - start)
    return StartFigures(cold_seconds=taken[0], cached_seconds=taken[1])


def _run(
    replicas: int,
    seconds: NDArray[np.float64],
    prompts: NDArray[np.int64],
    outputs: NDArray[np.int64],
) -> tuple[Fleet, int]:
    """The fleet at the end, and the records it had after a tenth of the trace."""
    pool = PoolSpec(profile=profile("llama-8b-bf16-h100"))
    fleet = Fleet((pool,), _CONFIG, replicas)
    for _ in range(replicas):
        fleet.add_replica(0, 0.0)
    stops = np.arange(SCRAPE_SECONDS, seconds[-1] + SCRAPE_SECONDS, SCRAPE_SECONDS)
    low, early = 0, 0
    for stop, high in zip(stops, np.searchsorted(seconds, stops, side="right"), strict=True):
        fleet.advance(float(stop), seconds[low:high], prompts[low:high], outputs[low:high])
        fleet.totals()
        fleet.gauges()
        low = int(high)
        if low <= len(seconds) // 10:
            early = fleet.records
    fleet.finish()
    return fleet, early


def _overheads(fleet: Fleet, calls: int = 1000) -> tuple[float, float]:
    """Seconds of an ``advance`` with nothing to do, and of a scrape."""
    now = fleet.now_seconds
    start = perf_counter()
    for call in range(calls):
        fleet.advance(now + call)
    advanced = perf_counter()
    for _ in range(calls):
        fleet.totals()
        fleet.gauges()
    return (advanced - start) / calls, (perf_counter() - advanced) / calls


def _arrivals(
    replicas: int, requests: int
) -> tuple[str, NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Where the tokens are from; Poisson arrivals; prompt and output tokens, all (requests,)."""
    rng = np.random.default_rng(1)
    rate = REQUESTS_PER_SECOND_AND_REPLICA * replicas
    seconds = np.cumsum(rng.exponential(1.0 / rate, requests))
    if AZURE.exists():
        trace = read_requests(AZURE)
        drawn = rng.integers(len(trace.seconds), size=requests)
        source = "azure-2023-conv"
        prompts, outputs = trace.prompt_tokens[drawn], trace.output_tokens[drawn]
    else:
        source = "log-normal"
        prompts, outputs = (
            np.clip(rng.lognormal(mean, spread, requests), 1.0, longest)
            for mean, spread, longest in _LOG_TOKENS
        )
    return source, seconds, prompts.astype(np.int64), outputs.astype(np.int64)
