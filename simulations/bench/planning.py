"""How long one decision takes: ``plan()`` over days of noisy ticks.

The world around it is a few lines, so that nothing but the planner is worth timing: demand with a
daily cycle, wandering noise and a drifting token mix, replicas that follow the decision one cold
start late, gauges off the performance model with noise. Everything that a planner does now and
then (a new mix's capacity tables, refits, selection) falls into the ticks that are timed.
"""

from dataclasses import dataclass, replace
from time import perf_counter, process_time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.decision import Allocation
from controller.core.domain.observation import (
    Measured,
    Observation,
    Outcomes,
    PastTraffic,
    Traffic,
    VariantObservation,
)
from controller.core.domain.policy import (
    Balancing,
    Limits,
    Mode,
    OnExhausted,
    Policy,
    QualityBudget,
    Routing,
    RoutingLaw,
    Slo,
)
from controller.core.domain.variant import Role, Variant
from controller.core.performance.capacity import FleetCapacity, fleet_capacity
from controller.core.performance.catalog import profile
from controller.core.performance.mix import TokenMix
from controller.core.planner import SteelyardPlanner

TICK_SECONDS: Final = 15.0
COLD_START_SECONDS: Final = 120.0
DAY_SECONDS: Final = 86_400.0
#: A Tuesday's midnight (UTC).
ORIGIN_SECONDS: Final = 1_743_465_600.0
PAST_DAYS: Final = 3
#: 25 hours, so that two rounds of refits and every hour of the day are in.
TICKS: Final = 6_000
PROMPT_TOKENS: Final = 1_155.0
OUTPUT_TOKENS: Final = 211.0

_KINDS: Final = (
    ("bf16", Role.PRIMARY, 4.0, 1.0, "llama-8b-bf16-h100"),
    ("fp8", Role.FALLBACK, 4.0, 0.995, "llama-8b-fp8-h100"),
    ("int8-a100", Role.FALLBACK, 2.5, 0.99, "llama-8b-int8-a100"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTimes:
    """Wall-clock times of ``plan`` over the ticks, and of ``initial`` before them.

    ``mean_processor_milliseconds`` is what the mean would be on a core that nobody else uses.
    ``mixes`` are the token mixes for which capacity had to be computed on the way.
    """

    variants: int
    max_replicas: int
    ticks: int
    mixes: int
    initial_seconds: float
    mean_milliseconds: float
    mean_processor_milliseconds: float
    p50_milliseconds: float
    p99_milliseconds: float
    longest_milliseconds: float


def policy_of(variants: int, max_replicas: int) -> Policy:
    """Policy with so many of three variants, each of up to ``max_replicas``."""
    return Policy(
        namespace="bench",
        name="llama",
        mode=Mode.AUTO,
        slo=Slo(
            ttft_seconds=1.0,
            tpot_seconds=0.05,
            target=0.99,
            window_seconds=DAY_SECONDS,
            planned_budget_share=0.9,
        ),
        quality=QualityBudget(max_degraded_share=0.05, on_exhausted=OnExhausted.HOLD),
        variants=tuple(
            Variant(
                name=name,
                role=role,
                cost_per_replica_hour=cost,
                quality=quality,
                min_replicas=1 if role is Role.PRIMARY else 0,
                max_replicas=max_replicas,
                gpus_per_replica=1,
                cold_start_seconds=COLD_START_SECONDS,
                profile=profile(catalogued),
                queue_limit=150,
            )
            for name, role, cost, quality, catalogued in _KINDS[:variants]
        ),
        routing=Routing(law=RoutingLaw.SHARED, balancing=Balancing.LEAST_LOADED),
        limits=Limits(),
        tick_seconds=TICK_SECONDS,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Demand:
    """True arrival rate and mean tokens by tick, arrays (ticks,)."""

    rates: NDArray[np.float64]
    prompt: NDArray[np.float64]
    output: NDArray[np.float64]


def _wander(
    generator: np.random.Generator, steps: int, spread: float, memory: float
) -> NDArray[np.float64]:
    """Ornstein-Uhlenbeck path of a stationary ``spread`` that forgets in ``memory`` steps."""
    kept = np.exp(-1.0 / memory)
    shocks = generator.normal(0.0, spread * np.sqrt(1.0 - kept**2), steps)
    path = np.empty(steps)
    value = generator.normal(0.0, spread)
    for step, shock in enumerate(shocks):
        value = kept * value + shock
        path[step] = value
    return path


def _demand(peak: float, ticks: int, generator: np.random.Generator) -> _Demand:
    """A daily cycle with noise of minutes and hours, and a mix that drifts by a third a day."""
    seconds = np.arange(ticks) * TICK_SECONDS
    day = 2.0 * np.pi * seconds / DAY_SECONDS
    noise = _wander(generator, ticks, 0.05, 20.0) + _wander(generator, ticks, 0.08, 480.0)
    rates = peak * (0.55 - 0.3 * np.cos(day)) * np.exp(noise)
    drift = 0.15 * np.sin(day) + _wander(generator, ticks, 0.05, 240.0)
    return _Demand(
        rates=rates,
        prompt=PROMPT_TOKENS * np.exp(drift),
        output=OUTPUT_TOKENS * np.exp(0.5 * drift + _wander(generator, ticks, 0.04, 240.0)),
    )


def _past(demand: _Demand, generator: np.random.Generator) -> PastTraffic:
    """``demand`` by the minute, counted with noise, up to ``ORIGIN_SECONDS``."""
    per_minute = round(60.0 / TICK_SECONDS)
    rates, prompt, output = (
        values.reshape(-1, per_minute).mean(axis=1)
        for values in (demand.rates, demand.prompt, demand.output)
    )
    return PastTraffic(
        from_seconds=ORIGIN_SECONDS - 60.0 * len(rates),
        step_seconds=60.0,
        requests=generator.poisson(60.0 * rates).astype(np.float64),
        prompt_tokens_mean=prompt,
        output_tokens_mean=output,
    )


class _Replicas:
    """Replicas that follow the decision one cold start late."""

    def __init__(self, allocation: Allocation) -> None:
        self._ready = list(allocation)
        self._started: list[list[float]] = [[] for _ in allocation]

    def decided(self, allocation: Allocation, now: float) -> None:
        """Start what is missing, and drop what is too many: the youngest first."""
        for v, wanted in enumerate(allocation):
            excess = self._ready[v] + len(self._started[v]) - wanted
            self._started[v] += [now] * -excess
            if excess > 0:
                kept = max(len(self._started[v]) - excess, 0)
                del self._started[v][kept:]
                self._ready[v] = min(self._ready[v], wanted)

    def seen(self, now: float) -> tuple[VariantObservation, ...]:
        """Let what is due become Ready, and show it."""
        shown = []
        for v, started in enumerate(self._started):
            due = [since for since in started if now - since >= COLD_START_SECONDS]
            self._started[v] = started[len(due) :]
            self._ready[v] += len(due)
            shown.append(
                VariantObservation(
                    desired=self._ready[v] + len(self._started[v]),
                    ready=self._ready[v],
                    starting_since_seconds=tuple(self._started[v]),
                    ready_after_seconds=tuple(now - since for since in due),
                )
            )
        return tuple(shown)


class _World:
    """What the planner sees, tick by tick."""

    def __init__(self, policy: Policy, seed: int, ticks: int) -> None:
        self._generator = np.random.default_rng(seed)
        # Its own capacity model, so that no table is ready before the planner asks for it.
        self._fleet = FleetCapacity(
            variants=policy.variants,
            slo=policy.slo,
            routing=policy.routing,
            mix=TokenMix.from_means(PROMPT_TOKENS, OUTPUT_TOKENS),
        )
        others = (0,) * (len(policy.variants) - 1)
        peak = 0.6 * self._fleet.capacity((policy.variants[0].max_replicas, *others))
        past_ticks = round(PAST_DAYS * DAY_SECONDS / TICK_SECONDS)
        whole = _demand(peak, past_ticks + ticks, self._generator)
        before = _Demand(*(v[:past_ticks] for v in (whole.rates, whole.prompt, whole.output)))
        self._demand = _Demand(*(v[past_ticks:] for v in (whole.rates, whole.prompt, whole.output)))
        self.past = _past(before, self._generator)
        self.replicas = _Replicas((policy.variants[0].max_replicas // 2, *others))

    def observation(self, tick: int, now: float) -> Observation:
        """The window that ended one tick before ``now``, and the replicas as they are."""
        draw = self._generator
        rate = float(self._demand.rates[tick])
        requests = float(draw.poisson(rate * TICK_SECONDS))
        error = draw.normal(0.0, 1.0 / np.sqrt(max(requests, 1.0)), 2)
        prompt, output = self._demand.prompt[tick], self._demand.output[tick]
        ends, starts = now - TICK_SECONDS, now - 2.0 * TICK_SECONDS
        bad = float(draw.binomial(int(requests), 0.003))
        return Observation(
            workloads_at_seconds=now,
            variants=self._loaded(self.replicas.seen(now), rate, ends),
            traffic=Traffic(
                from_seconds=starts,
                to_seconds=ends,
                requests=requests,
                refused=0.0,
                token_requests=requests,
                prompt_tokens=requests * float(prompt * (1.0 + error[0])),
                output_tokens=requests * float(output * (1.0 + error[1])),
            ),
            outcomes=Outcomes(
                from_seconds=starts,
                to_seconds=ends,
                ended=requests,
                failed=0.0,
                bad_ttft=bad,
                bad_tpot=0.0,
                degraded=0.0,
            ),
        )

    def _loaded(
        self, variants: tuple[VariantObservation, ...], rate: float, at_seconds: float
    ) -> tuple[VariantObservation, ...]:
        """The replicas with gauges as the performance model has them, and noise."""
        ready = tuple(variant.ready for variant in variants)
        mean = self._fleet.outstanding(ready, rate)
        each = float(self._generator.poisson(mean)) / max(sum(ready), 1)
        return tuple(
            replace(
                variant,
                running=Measured(each * variant.ready, at_seconds),
                waiting=Measured(0.0, at_seconds),
                kv_use=Measured(0.3, at_seconds),
            )
            for variant in variants
        )


def planning(variants: int, max_replicas: int, ticks: int = TICKS, seed: int = 0) -> PlanTimes:
    """Time ``plan`` over ``ticks`` after three days of history."""
    policy = policy_of(variants, max_replicas)
    world = _World(policy, seed, ticks)
    planner = SteelyardPlanner()
    start = perf_counter()
    history = planner.initial(policy, world.past)
    initial_seconds = perf_counter() - start
    seconds, processor = np.empty(ticks), 0.0
    mixes_before = fleet_capacity.cache_info().misses
    for tick in range(ticks):
        now = ORIGIN_SECONDS + (tick + 1) * TICK_SECONDS
        observation = world.observation(tick, now)
        start, used = perf_counter(), process_time()
        decision, history = planner.plan(policy, observation, history, now)
        seconds[tick] = perf_counter() - start
        processor += process_time() - used
        world.replicas.decided(decision.allocation, now)
    milliseconds = 1e3 * seconds
    return PlanTimes(
        variants=variants,
        max_replicas=max_replicas,
        ticks=ticks,
        mixes=fleet_capacity.cache_info().misses - mixes_before,
        initial_seconds=initial_seconds,
        mean_milliseconds=float(milliseconds.mean()),
        mean_processor_milliseconds=1e3 * processor / ticks,
        p50_milliseconds=float(np.quantile(milliseconds, 0.5)),
        p99_milliseconds=float(np.quantile(milliseconds, 0.99)),
        longest_milliseconds=float(milliseconds.max()),
    )
