"""How long days of traffic take to replay with steelyard deciding, and how much memory.

The traffic is the packed ``servegen-m-mid-rate`` where the public traces are beside the project,
else fourteen generated days of the same size and tokens: the figures say which.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

import simulations
from controller.core.planner import SteelyardPlanner
from simulations.scenario import ReplicaSpec, ScenarioSpec, TraceSpec, load
from simulations.setup import Prepared, prepare
from simulations.traces.components import Diurnal, RandomBursts, Wander
from simulations.traces.synthetic import SyntheticSpec, SyntheticTokens
from simulations.world.simulation import simulate

SCENARIOS: Final = Path(simulations.__file__).parent / "scenarios"
SCENARIO: Final = "servegen-m-mid-rate"
DAY_SECONDS: Final = 86_400.0
#: Replayed once, unmeasured, so that compiling the engine is not timed.
_WARM_UP_SECONDS: Final = 3_600.0

#: Catalogue profiles of the Primary and of the Fallback, by accelerator.
_PROFILES: Final = {
    "nvidia-l40s": ("llama-8b-bf16-l40s", "llama-8b-fp8-l40s"),
    "nvidia-a100": ("llama-8b-bf16-a100", "llama-8b-int8-a100"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayFigures:
    """One replay: what it was, how long it took, and what came of it.

    ``processor_seconds`` is what ``wall_seconds`` would be on a core that nobody else uses.
    """

    trace: str
    accelerator: str
    days: float
    peak_replicas: float
    requests: int
    ticks: int
    wall_seconds: float
    processor_seconds: float
    prepare_seconds: float
    requests_per_second: float
    plan_mean_milliseconds: float
    plan_p99_milliseconds: float
    plan_share_of_wall: float
    attainment: float
    cost: float
    churn: int


def replay(accelerator: str, days: float, peak_replicas: float) -> ReplayFigures:
    """Replay the first ``days`` with steelyard deciding every 15 s."""
    spec, trace = _spec(accelerator)
    simulated(spec, _WARM_UP_SECONDS, peak_replicas)
    start = perf_counter()
    ready = _prepared(spec, days * DAY_SECONDS, peak_replicas)
    prepared_at, used = perf_counter(), process_time()
    result = simulate(ready.setup, SteelyardPlanner(), "steelyard")
    wall_seconds, processor_seconds = perf_counter() - prepared_at, process_time() - used
    ticks = len(result.timeline.at_seconds)
    return ReplayFigures(
        trace=trace,
        accelerator=accelerator,
        days=days,
        peak_replicas=peak_replicas,
        requests=result.requests,
        ticks=ticks,
        wall_seconds=wall_seconds,
        processor_seconds=processor_seconds,
        prepare_seconds=prepared_at - start,
        requests_per_second=result.requests / wall_seconds,
        plan_mean_milliseconds=1e3 * result.plan_seconds_mean,
        plan_p99_milliseconds=1e3 * result.plan_seconds_p99,
        plan_share_of_wall=result.plan_seconds_mean * ticks / wall_seconds,
        attainment=result.attainment,
        cost=result.cost,
        churn=result.churn,
    )


def simulated(spec: ScenarioSpec, to_seconds: float, peak_replicas: float) -> None:
    """Replay the part up to ``to_seconds`` with steelyard deciding."""
    simulate(_prepared(spec, to_seconds, peak_replicas).setup, SteelyardPlanner(), "steelyard")


def _prepared(spec: ScenarioSpec, to_seconds: float, peak_replicas: float) -> Prepared:
    return prepare(
        spec, SCENARIOS, peak_replicas=peak_replicas, from_seconds=0.0, to_seconds=to_seconds
    )


def _spec(accelerator: str) -> tuple[ScenarioSpec, str]:
    """The shipped scenario on another accelerator, and the name of the trace it replays."""
    shipped = load(SCENARIOS / f"{SCENARIO}.yaml")
    changes: dict[str, Any] = {"model_deployment": _on(accelerator, shipped.model_deployment)}
    changes["replicas"] = {
        name: replica.model_copy(update={"profile": None})
        for name, replica in shipped.replicas.items()
    } or {"bf16": ReplicaSpec()}
    if (SCENARIOS / str(shipped.trace.path)).exists():
        return shipped.model_copy(update=changes), SCENARIO
    changes["trace"] = generated(14.0)
    return shipped.model_copy(update=changes), "generated"


def _on(accelerator: str, model_deployment: dict[str, Any]) -> dict[str, Any]:
    changed = copy.deepcopy(model_deployment)
    variants = changed["spec"]["variants"]
    for variant, catalogued in zip(variants, _PROFILES[accelerator], strict=True):
        variant["accelerator"] = accelerator
        variant["performance"] = {"profile": catalogued}
    return changed


def generated(days: float) -> TraceSpec:
    """Days of traffic like servegen-m-mid: a daily cycle, weekends, wander, bursts, its tokens."""
    return TraceSpec(
        synthetic=SyntheticSpec(
            duration_seconds=days * DAY_SECONDS,
            level_requests_per_second=100.0,
            components=(
                Diurnal(swing=0.4, weekend_factor=0.8),
                Wander(sigma=0.1),
                RandomBursts(height=1.4),
            ),
            tokens=SyntheticTokens(prompt_tokens_mean=306.0, output_tokens_mean=50.7),
            start_day="Monday",
            local_dispersion=1.5,
        )
    )
