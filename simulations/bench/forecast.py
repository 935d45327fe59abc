"""How good the forecast is, on real traces: error, coverage, and what it would cost.

``python -m simulations.bench.forecast [CELL ...]`` prints one JSON document. A cell is a trace, the
part of it that is replayed (what lies before is the history), and a cold start. The forecaster runs
tick by tick over counts of 15 s, as the controller would run it, and every forecast is kept.

Cost at attainment is that of a fluid fleet: at every tick as much capacity as margin times a
quantile, held for one cold start, Ready one cold start after it was wanted, paid for from when it
was wanted. Demand above what is Ready is missed, nothing queues. It is divided by the cost of the
fleet that knows the demand (its 60 s mean) and misses as much. Margins are swept in hindsight,
except for the ``attainingLaw``: the margin the running back-test had found by then.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.observation import PastTraffic, Traffic
from controller.core.forecasting import forecaster
from controller.core.forecasting.calibration import LEVELS
from controller.core.forecasting.candidates import CANDIDATES, Candidate
from controller.core.forecasting.forecaster import Forecast
from simulations.setup import TRACE_EPOCH_SECONDS
from simulations.traces.opening import open_trace
from simulations.traces.request_trace import RequestTrace
from simulations.traces.slicing import past_traffic
from simulations.traces.superposition import superpose
from simulations.traces.trace import Trace

TRACES: Final = Path(__file__).parents[3] / "shared" / "traces"
TICK_SECONDS: Final = 15.0
DAY_SECONDS: Final = 86_400.0
#: Without history, what comes first is not scored.
WARM_UP_SECONDS: Final = 900.0
ATTAINMENTS: Final = (0.98, 0.99)
MARGINS: Final = np.geomspace(0.5, 6.0, 120)
#: Levels whose coverage is held to the target, and the target.
JUDGED: Final = (0.8, 0.9, 0.95)
COVERAGE_TARGET: Final = 0.005
BLOCK_SECONDS: Final = 7200.0
#: Blocks at least, however short the cell.
LEAST_BLOCKS: Final = 12
RESAMPLES: Final = 400

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is measured: a trace file, how it is scaled, which part, and the cold starts."""

    trace: str
    mean_requests_per_second: float
    jitter_seconds: float = 60.0
    from_seconds: float = 0.0
    to_seconds: float = np.inf
    cold_starts: tuple[float, ...] = (45.0, 120.0, 180.0)


CELLS: Final = {
    "twitter": Cell(
        trace="twitter-2021-08-rate",
        mean_requests_per_second=110.0,
        from_seconds=7 * DAY_SECONDS,
        to_seconds=9 * DAY_SECONDS,
    ),
    "twitter-short-history": Cell(
        trace="twitter-2021-08-rate",
        mean_requests_per_second=110.0,
        from_seconds=2 * DAY_SECONDS,
        to_seconds=11 * DAY_SECONDS,
        cold_starts=(120.0,),
    ),
    "m-mid-rate": Cell(
        trace="servegen-m-mid-rate",
        mean_requests_per_second=400.0,
        from_seconds=2 * DAY_SECONDS,
        cold_starts=(120.0,),
    ),
    "m-small-rate": Cell(
        trace="servegen-m-small-rate",
        mean_requests_per_second=400.0,
        from_seconds=2 * DAY_SECONDS,
        cold_starts=(120.0,),
    ),
    "m-mid-recon": Cell(
        trace="servegen-m-mid-recon", mean_requests_per_second=400.0, jitter_seconds=90.0
    ),
    "azure-conv": Cell(trace="azure-2023-conv", mean_requests_per_second=400.0),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replay:
    """One cell at one cold start. T ticks, C candidates, L levels.

    ``demand`` (T,) requests/s in each tick and ``seen`` (T,) whether it counts; ``target`` (T,) the
    mean rate of the minute forecast after each tick, NaN where not all was seen; ``candidates``
    (T, C, L), ``published`` (T, L), ``level`` and ``attaining`` (T,) what was said;
    ``microseconds`` (T,) what a tick took.
    """

    cold_start_ticks: int
    demand: Floats
    seen: NDArray[np.bool_]
    target: Floats
    candidates: Floats
    published: Floats
    level: Floats
    attaining: Floats
    sources: NDArray[np.str_]
    trusted: NDArray[np.bool_]
    microseconds: Floats
    start_seconds: float


def counted(cell: Cell) -> tuple[Floats, NDArray[np.bool_], PastTraffic | None]:
    """Requests per tick of the replayed part, which ticks were seen, and the history before it."""
    trace: Trace = open_trace(TRACES / f"{cell.trace}.csv.gz")
    total = float(trace.demand(trace.duration_seconds).requests.sum())
    factor = cell.mean_requests_per_second * trace.duration_seconds / total
    if isinstance(trace, RequestTrace):
        trace = superpose(trace, factor, cell.jitter_seconds)
    else:
        trace = trace.scaled(factor)  # type: ignore[attr-defined] # every other one is a rate trace
    end = min(cell.to_seconds, trace.duration_seconds)
    edges = np.arange(cell.from_seconds, end + 1e-6, TICK_SECONDS)
    sums = trace.demand_sums(edges, np.random.default_rng(1))
    past = None
    if cell.from_seconds > 0:
        past = past_traffic(trace, cell.from_seconds, TRACE_EPOCH_SECONDS)
    return sums.requests, ~sums.imputed, past


def replayed(cell: Cell, cold_start: float) -> Replay:
    """Run the forecaster over a cell."""
    requests, seen, past = counted(cell)
    horizon = cold_start + 2 * TICK_SECONDS
    begin = perf_counter()
    state = forecaster.initial(past, horizons_seconds=(horizon,))
    start_seconds = perf_counter() - begin
    first = TRACE_EPOCH_SECONDS + cell.from_seconds
    said: list[Forecast] = []
    microseconds = np.empty(len(requests))
    for tick, count in enumerate(requests.tolist()):
        now = first + TICK_SECONDS * (tick + 1)
        traffic = None if not seen[tick] else _traffic(now, count)
        begin = perf_counter()
        state = forecaster.observe(state, traffic, now, horizons_seconds=(horizon,))
        forecast = forecaster.forecast(state, horizon, now)
        microseconds[tick] = 1e6 * (perf_counter() - begin)
        if forecast is None:
            raise ValueError(f"{cell.trace}: nothing was seen by the first tick; start later")
        said.append(forecast)
    scored = seen.copy()
    if past is None:
        scored[: int(WARM_UP_SECONDS / TICK_SECONDS)] = False
    return Replay(
        cold_start_ticks=round(cold_start / TICK_SECONDS),
        demand=requests / TICK_SECONDS,
        seen=scored,
        target=_targets(requests / TICK_SECONDS, seen, round(horizon / TICK_SECONDS)),
        candidates=np.stack([forecast.candidates for forecast in said]),
        published=np.stack([forecast.quantiles for forecast in said]),
        level=np.array([forecast.level for forecast in said]),
        attaining=np.array([forecast.attaining_rate for forecast in said]),
        sources=np.array([str(forecast.source) for forecast in said]),
        trusted=np.array([forecast.trust.trusted for forecast in said]),
        microseconds=microseconds,
        start_seconds=start_seconds,
    )


def _traffic(now: float, count: float) -> Traffic:
    return Traffic(
        from_seconds=now - TICK_SECONDS,
        to_seconds=now,
        requests=count,
        refused=0.0,
        token_requests=count,
        prompt_tokens=100.0 * count,
        output_tokens=100.0 * count,
    )


def _targets(demand: Floats, seen: NDArray[np.bool_], ahead: int) -> Floats:
    """Mean rate (T,) of the minute that begins ``ahead`` ticks after each tick's end."""
    known = np.where(seen, demand, np.nan)
    four = np.convolve(known, np.full(4, 0.25), "valid")
    target = np.full(len(demand), np.nan)
    target[: max(len(four) - ahead - 1, 0)] = four[ahead + 1 :]
    return np.where(seen, target, np.nan)


def skill(replay: Replay, quantiles: Floats) -> dict[str, Any]:
    """WAPE of the median; per level pinball loss in % of the mean, coverage and its error."""
    known = np.isfinite(replay.target) & replay.seen & np.isfinite(quantiles[:, 0])
    if not known.any():
        return {}
    actual, said = replay.target[known], quantiles[known]
    off = actual[:, None] - said
    levels = np.array(LEVELS)
    loss = np.maximum(levels * off, (levels - 1.0) * off).mean(axis=0) / actual.mean()
    covered = off <= 0.0
    share, error = covered.mean(axis=0), _bootstrapped(covered)
    judged = [LEVELS.index(level) for level in JUDGED]
    distance = np.abs(share - levels)
    return {
        "wape": float(np.abs(off[:, 0]).sum() / actual.sum()),
        "pinballPercent": _by_level(100.0 * loss),
        "coverage": _by_level(share),
        "coverageStandardError": _by_level(error),
        "coverageWithinTarget": bool(
            (distance <= np.maximum(COVERAGE_TARGET, 2.0 * error))[judged].all()
        ),
    }


def _bootstrapped(covered: NDArray[np.bool_]) -> Floats:
    """Standard error (L,) of the shares covered, by resampling blocks of time."""
    size = min(int(BLOCK_SECONDS / TICK_SECONDS), max(len(covered) // LEAST_BLOCKS, 1))
    blocks = [covered[i : i + size].sum(axis=0) for i in range(0, len(covered), size)]
    lengths = np.array([len(covered[i : i + size]) for i in range(0, len(covered), size)])
    drawn = np.random.default_rng(0).integers(0, len(blocks), (RESAMPLES, len(blocks)))
    shares = np.stack(blocks)[drawn].sum(axis=1) / lengths[drawn].sum(axis=1)[:, None]
    return np.asarray(shares.std(axis=0))


def _by_level(values: Floats) -> dict[str, float]:
    return {str(level): round(float(v), 4) for level, v in zip(LEVELS, values, strict=True)}


def _highest_of(path: Floats, ticks: int) -> Floats:
    """Highest of each value and the ``ticks`` before it."""
    result = path.copy()
    for back in range(1, ticks + 1):
        result[back:] = np.maximum(result[back:], path[:-back])
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """Attainment and cost (M,) of one path of wanted capacity at every margin."""

    attainment: Floats
    cost: Floats = field(repr=False)

    def at(self, attainment: float) -> float:
        """Cost at an attainment, linear in the log of the misses; infinite where never reached."""
        if self.attainment.max() < attainment:
            return np.inf
        misses = np.log(np.maximum(1.0 - self.attainment[::-1], 1e-9))
        return float(np.interp(np.log(1.0 - attainment), misses, self.cost[::-1]))


def fleet(replay: Replay, wanted: Floats, margins: Floats = MARGINS) -> Fleet:
    """Run the fluid fleet that wants margin times ``wanted`` (T,) from the tick after it was said.

    What is Ready has been wanted for a whole cold start.
    """
    held = _highest_of(np.nan_to_num(wanted), replay.cold_start_ticks)
    ready = -_highest_of(-held, replay.cold_start_ticks)
    # One tick of age: what is said of tick i is decided at the end of tick i + 1.
    seen, demand = replay.seen[2:], replay.demand[2:]
    return _swept(held[:-2], ready[:-2], demand, seen, margins)


def clairvoyant(replay: Replay) -> Fleet:
    """Return the fleet that starts every replica just in time for the 60 s mean demand."""
    smooth = np.convolve(replay.demand, np.full(4, 0.25), "same")
    paid = _highest_of(smooth[::-1], replay.cold_start_ticks)[::-1]
    return _swept(paid, smooth, replay.demand, replay.seen, MARGINS)


def _swept(
    paid: Floats, ready: Floats, demand: Floats, seen: NDArray[np.bool_], margins: Floats
) -> Fleet:
    missed = np.array([np.maximum(demand - m * ready, 0.0)[seen].sum() for m in margins])
    return Fleet(1.0 - missed / demand[seen].sum(), margins * paid[seen].mean())


def measured(cell: Cell, cold_start: float) -> dict[str, Any]:
    """All figures of one cell at one cold start."""
    replay = replayed(cell, cold_start)
    ideal = clairvoyant(replay)
    law = fleet(replay, replay.attaining, np.ones(1))
    names = {str(name): replay.candidates[:, at] for at, name in enumerate(CANDIDATES)}
    names["published"] = replay.published
    names = {name: said for name, said in names.items() if np.isfinite(said).any()}

    def ratios(wanted: Floats) -> dict[str, float | None]:
        run = fleet(replay, wanted)
        return {str(a): _finite(run.at(a) / ideal.at(a)) for a in ATTAINMENTS}

    costs: dict[str, Any] = {
        name: {str(level): ratios(said[:, at]) for at, level in enumerate(LEVELS)}
        for name, said in names.items()
        if name != Candidate.PERSISTENCE
    }
    share = {name: float((replay.sources == name).mean()) for name in map(str, CANDIDATES)}
    return {
        "coldStartSeconds": cold_start,
        "horizonSeconds": cold_start + 2 * TICK_SECONDS,
        "skill": {name: skill(replay, said) for name, said in names.items()},
        "costOverClairvoyant": {"persistence": ratios(replay.level), **costs},
        "attainingLaw": {
            "attainment": round(float(law.attainment[0]), 4),
            "costOverClairvoyant": _finite(law.cost[0] / ideal.at(ATTAINMENTS[-1])),
        },
        "sourceShare": share,
        "trustedShare": float(replay.trusted.mean()),
        "tickMicroseconds": {
            "mean": round(float(replay.microseconds.mean()), 1),
            "p50": round(float(np.median(replay.microseconds)), 1),
            "p99": round(float(np.percentile(replay.microseconds, 99)), 1),
            "max": round(float(replay.microseconds.max()), 1),
        },
        "initialSeconds": round(replay.start_seconds, 3),
    }


def _finite(ratio: float) -> float | None:
    """A ratio for JSON, None where the attainment is not reached."""
    return round(float(ratio), 4) if np.isfinite(ratio) else None


def main() -> None:
    """Measure the cells that the command line names, all by default."""
    parser = argparse.ArgumentParser(prog="python -m simulations.bench.forecast")
    parser.add_argument("cells", nargs="*", metavar="CELL", help=f"any of {', '.join(CELLS)}")
    names = parser.parse_args().cells or list(CELLS)
    unknown = [name for name in names if name not in CELLS]
    if unknown:
        parser.error(f"no cell {unknown[0]!r}; choose from {', '.join(CELLS)}")
    if not TRACES.is_dir():
        parser.error(f"no traces at {TRACES}: this benchmark reads them there")
    document = {}
    for name in names:
        begin = perf_counter()
        cell = CELLS[name]
        document[name] = [measured(cell, cold_start) for cold_start in cell.cold_starts]
        sys.stderr.write(f"{name}: {perf_counter() - begin:.1f} s\n")
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
