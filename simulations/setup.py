"""From a scenario file to a replay: the trace is scaled to the fleet and nothing is left open."""

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np

from controller.api.conversion import with_windows
from controller.core.domain.policy import Balancing, Mode, Policy, RoutingLaw
from controller.core.domain.variant import Role
from controller.core.performance.capacity import FleetCapacity, fleet_capacity
from controller.core.performance.catalog import profile as catalogue_profile
from controller.core.performance.mix import TokenMix
from simulations.engine.fleet import Admission, EngineConfig, PoolLaw, PoolSpec, Router
from simulations.engine.kernel import MAX_SLOTS
from simulations.queue_limit import auto_queue_limit
from simulations.scenario import InvalidScenario, ReplicaSpec, ScenarioSpec
from simulations.traces.opening import open_trace
from simulations.traces.readers.columns import ColumnMapping
from simulations.traces.scaling import (
    peak_requests_per_second,
    scaled_to_peak,
    scaling_report,
)
from simulations.traces.slicing import past_traffic, slice_trace
from simulations.traces.trace import Trace
from simulations.world.ceiling import ceiling
from simulations.world.conditions import ColdStart, Conditions, Fault, Interval, Metrics
from simulations.world.world import Setup

#: vLLM's default histogram edges, in seconds (reference: metrics of vLLM 0.32).
TTFT_EDGES_SECONDS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
    1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
TPOT_EDGES_SECONDS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75,
    1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip

#: Unix time of scenario time zero: midnight UTC of a Tuesday, 1 April 2025.
TRACE_EPOCH_SECONDS = 1743465600.0

#: Places of the simulated fleet beside two for each replica that may be wanted.
_SPARE_SLOTS = 8

#: Request pairs drawn to describe a trace's token mix.
MIX_SAMPLE = 20_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recorded:
    """Traffic that came to a fleet: replayed at its own scale and time, from a Unix time on."""

    trace: Trace
    starts_at_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A scenario ready to be replayed with any seed, and what policies and plans need to know.

    ``capacity`` and ``knees``, the outstanding requests per replica at capacity by variant, are
    those of the true replicas, as a load test would find them. ``peak_requests_per_second`` is the
    highest 60 s mean arrival rate after scaling, ``p95_replicas`` are the Primary replicas that all
    but the busiest 5 % of the minutes need, and ``scaling`` says how the peak was reached.
    """

    name: str
    setup: Setup
    mix: TokenMix
    capacity: FleetCapacity
    knees: tuple[float, ...]
    peak_requests_per_second: float
    peak_replicas: int
    p95_replicas: int
    scaling: str
    ceiling: float
    policies: tuple[str, ...]
    seeds: tuple[int, ...]

    def with_seed(self, seed: int) -> Setup:
        """The replay with another seed for cold starts, routing and faults."""
        engine = replace(self.setup.engine, seed=seed)
        return replace(self.setup, seed=seed, engine=engine)


def prepare(
    spec: ScenarioSpec,
    base: Path,
    *,
    trace: Path | Recorded | None = None,
    columns: ColumnMapping | None = None,
    peak_replicas: float | None = None,
    from_seconds: float | None = None,
    to_seconds: float | None = None,
) -> Prepared:
    """Resolve a scenario; the keyword arguments override the file. ``base`` is its folder.

    Another ``trace`` is replayed from end to end with tokens of its own: the file's part and
    tokens belong to the file's trace. ``columns`` are that trace's, where its format is no known
    one. Recorded traffic is not scaled, and no fleet is too small for it. Decisions are carried
    out whatever the mode: a replay is there to see what they would do.

    Raises:
        InvalidScenario: a field cannot be resolved.
        InvalidModelDeployment: the ModelDeployment in it is wrong.
    """
    whole = _open(spec, base, trace, columns)
    start, end = _part(spec, whole, other=trace is not None, asked=(from_seconds, to_seconds))
    recorded = trace if isinstance(trace, Recorded) else None
    epoch = TRACE_EPOCH_SECONDS if recorded is None else recorded.starts_at_seconds
    span = (epoch + start, epoch + end)
    declared = replace(with_windows(spec.policy(), *span), mode=Mode.AUTO)
    prompt, output = slice_trace(whole, start, end).token_sample(MIX_SAMPLE, seed=0)
    mix = TokenMix.from_samples(prompt, output)
    primary = declared.indices(Role.PRIMARY)[0]
    unlimited = _capacity(_true(spec, declared), mix)
    if recorded is None:
        replicas = _peak_replicas(spec, declared, peak_replicas)
        peak = unlimited.capacity(_only(declared, primary, max(1, round(replicas))))
        peak *= replicas / max(1, round(replicas))
    else:
        _check_slots(declared)
        peak = peak_requests_per_second(whole, start, end)
        replicas = _carrying(unlimited, primary, peak)
    limits = tuple(
        _queue_limit(spec, declared, unlimited, v) for v in range(len(declared.variants))
    )
    policy = _with_queue_limits(declared, limits)
    scaled = whole
    if recorded is None:
        scaled = _scaled(spec, whole, peak, (start, end), other=trace is not None)
    replayed = slice_trace(scaled, start, end)
    past = past_traffic(scaled, start, epoch) if start > 0.0 else None
    capacity = _capacity(_true(spec, policy), mix)
    pools = _pools(spec, policy)
    return Prepared(
        name=spec.name,
        setup=Setup(
            policy=policy,
            trace=replayed,
            past=past,
            pools=pools,
            engine=_engine(spec, policy),
            conditions=_conditions(spec, policy),
            initial_allocation=_warm(policy, primary, capacity, replayed),
            max_replicas=_slots(policy),
            warmup_seconds=min(spec.warmup_seconds, 0.2 * (end - start)),
            origin_seconds=span[0],
            seed=spec.seeds[0],
        ),
        mix=mix,
        capacity=capacity,
        knees=tuple(unlimited.outstanding_at_capacity(v) for v in range(len(policy.variants))),
        peak_requests_per_second=peak,
        peak_replicas=ceil(replicas),
        p95_replicas=_p95_replicas(capacity, primary, replayed),
        scaling=scaling_report(whole, scaled).text(),
        ceiling=ceiling(pools[primary].profile, policy.slo, prompt, output),
        policies=spec.policies,
        seeds=spec.seeds,
    )


def _open(
    spec: ScenarioSpec,
    base: Path,
    override: Path | Recorded | None,
    columns: ColumnMapping | None,
) -> Trace:
    """The trace as it is, before any scaling."""
    source = spec.trace
    if isinstance(override, Recorded):
        return override.trace
    if override is not None:
        if not override.is_file():
            raise InvalidScenario(f"--trace: no file {override}; give a trace that exists")
        return open_trace(override, columns=columns)
    tokens = open_trace(_file(source.tokens, base, "tokens")) if source.tokens else None
    if source.synthetic is not None:
        return open_trace(source.synthetic, tokens=tokens)
    return open_trace(_file(str(source.path), base, "path"), tokens=tokens)


def _file(name: str, base: Path, field: str) -> Path:
    path = base / name
    if not path.is_file():
        raise InvalidScenario(
            f"trace.{field}: no file {path}; correct it, or give another trace with --trace FILE"
        )
    return path


def _part(
    spec: ScenarioSpec, whole: Trace, *, other: bool, asked: tuple[float | None, float | None]
) -> tuple[float, float]:
    """The part to replay: as asked, else as in the file, else all of a trace that is not its."""
    start, end = asked
    if start is None:
        start = 0.0 if other else spec.trace.from_seconds
    if end is None:
        end = None if other else spec.trace.to_seconds
    length = whole.duration_seconds
    end = length if end is None else min(end, length)
    if not 0.0 <= start < end:
        raise InvalidScenario(
            f"trace.fromSeconds, toSeconds (--from, --to): {start:g} to {end:g} is no part of "
            f"{whole.name}; give seconds between 0 and its length {length:g}"
        )
    if end - start < spec.tick_seconds:
        raise InvalidScenario(
            f"trace.fromSeconds, toSeconds (--from, --to): {start:g} to {end:g} is shorter than "
            f"a tick; replay at least tickSeconds = {spec.tick_seconds:g}"
        )
    return start, end


def _scaled(
    spec: ScenarioSpec, whole: Trace, peak: float, replayed: tuple[float, float], *, other: bool
) -> Trace:
    """The trace scaled so that the highest minute of the part the scenario names is ``peak``."""
    part = spec.trace
    start: float
    end: float | None
    start, end = replayed
    if part.peak_from_seconds is not None and not other:
        start, end = part.peak_from_seconds, part.peak_to_seconds
    return scaled_to_peak(
        whole, peak, from_seconds=start, to_seconds=end, jitter_seconds=part.jitter_seconds
    )


def _peak_replicas(spec: ScenarioSpec, policy: Policy, asked: float | None) -> float:
    """The fleet that the trace's peak is to need, which the ModelDeployment must allow."""
    replicas = spec.peak_replicas if asked is None else asked
    most = sum(variant.max_replicas for variant in policy.variants)
    if not 0.0 < replicas <= most:
        raise InvalidScenario(
            f"peakReplicas (--peak-replicas): found {replicas:g}; write a number above 0 and at "
            f"most the variants' maxReplicas together, {most}, or raise those"
        )
    _check_slots(policy)
    return replicas


def _check_slots(policy: Policy) -> None:
    if _slots(policy) > MAX_SLOTS:
        most = sum(variant.max_replicas for variant in policy.variants)
        raise InvalidScenario(
            f"modelDeployment.spec.variants: maxReplicas are {most} together; the simulated fleet "
            f"has room for {(MAX_SLOTS - _SPARE_SLOTS) // 2}"
        )


def _carrying(capacity: FleetCapacity, primary: int, requests_per_second: float) -> int:
    """The replicas of the first Primary that a peak needs, however many may run."""
    try:
        return max(1, capacity.required_replicas(primary, requests_per_second))
    except ValueError as error:
        raise InvalidScenario(
            f"modelDeployment.spec: {error} within the SLO's objectives; correct the variant's "
            "performance, or the thresholds"
        ) from error


def _slots(policy: Policy) -> int:
    """Replicas that may exist at once: as many as may serve, while as many again drain."""
    return 2 * sum(variant.max_replicas for variant in policy.variants) + _SPARE_SLOTS


def _capacity(policy: Policy, mix: TokenMix) -> FleetCapacity:
    return fleet_capacity(policy.variants, policy.slo, policy.routing, mix, 1.0)


def _only(policy: Policy, variant: int, replicas: int) -> tuple[int, ...]:
    return tuple(replicas if v == variant else 0 for v in range(len(policy.variants)))


def _queue_limit(
    spec: ScenarioSpec, policy: Policy, unlimited: FleetCapacity, variant: int
) -> int | None:
    """The queue limit a scenario asks for: a number, none, or the one that serves most."""
    declared = policy.variants[variant]
    asked = spec.replicas.get(declared.name, ReplicaSpec()).queue_limit
    if asked != "auto":
        return asked
    return auto_queue_limit(unlimited, variant)


def _with_queue_limits(policy: Policy, limits: tuple[int | None, ...]) -> Policy:
    variants = tuple(
        replace(variant, queue_limit=limit)
        for variant, limit in zip(policy.variants, limits, strict=True)
    )
    return replace(policy, variants=variants)


def _true(spec: ScenarioSpec, policy: Policy) -> Policy:
    """The policy with the replicas as they really are, where its owner declared others."""
    profiles = [
        spec.replicas.get(variant.name, ReplicaSpec()).profile for variant in policy.variants
    ]
    variants = tuple(
        replace(variant, profile=catalogue_profile(name)) if name else variant
        for variant, name in zip(policy.variants, profiles, strict=True)
    )
    return replace(policy, variants=variants)


def _pools(spec: ScenarioSpec, policy: Policy) -> tuple[PoolSpec, ...]:
    return tuple(
        PoolSpec(
            profile=variant.profile,
            queue_limit=variant.queue_limit,
            fallback=variant.role is Role.FALLBACK,
        )
        for variant in _true(spec, policy).variants
    )


_LAWS = {
    RoutingLaw.SEPARATE: PoolLaw.SEPARATE,
    RoutingLaw.SHARED: PoolLaw.SHARED,
    RoutingLaw.WEIGHTED: PoolLaw.WEIGHTED,
    RoutingLaw.OVERFLOW: PoolLaw.OVERFLOW,
}
_ROUTERS = {
    Balancing.PER_ENDPOINT: Router.RANDOM,
    Balancing.LEAST_LOADED: Router.LEAST_OUTSTANDING,
}


def _engine(spec: ScenarioSpec, policy: Policy) -> EngineConfig:
    return EngineConfig(
        ttft_threshold_seconds=policy.slo.ttft_seconds,
        tpot_threshold_seconds=policy.slo.tpot_seconds,
        law=_LAWS[policy.routing.law],
        router=_ROUTERS[policy.routing.balancing],
        client_timeout_seconds=spec.clients.timeout_seconds,
        retries=spec.clients.retries,
        retry_backoff_seconds=spec.clients.retry_backoff_seconds,
        admission=Admission.RESERVE if spec.admission == "Reserve" else Admission.PREEMPT,
        ttft_edges_seconds=TTFT_EDGES_SECONDS,
        tpot_edges_seconds=TPOT_EDGES_SECONDS,
        seed=spec.seeds[0],
    )


def _conditions(spec: ScenarioSpec, policy: Policy) -> Conditions:
    starts = []
    for variant in policy.variants:
        truth = spec.replicas.get(variant.name, ReplicaSpec())
        starts.append(
            ColdStart(
                median_seconds=truth.cold_start_median_seconds,
                sigma=truth.cold_start_sigma,
                node_seconds=truth.node_seconds,
                warm_gpus=truth.warm_gpus,
            )
        )
    return Conditions(
        cold_starts=tuple(starts),
        gpu_quota=spec.gpu_quota,
        metrics=Metrics(
            scrape_interval_seconds=spec.metrics.scrape_interval_seconds,
            delay_seconds=spec.metrics.delay_seconds,
        ),
        faults=tuple(
            Fault(
                kind=fault.kind,
                interval=Interval(fault.from_seconds, fault.to_seconds),
                amount=fault.amount,
            )
            for fault in spec.faults
        ),
    )


def _p95_replicas(capacity: FleetCapacity, primary: int, trace: Trace) -> int:
    minutes = trace.demand(60.0).requests / 60.0
    return capacity.required_replicas(primary, float(np.quantile(minutes, 0.95)))


def _warm(policy: Policy, primary: int, capacity: FleetCapacity, trace: Trace) -> tuple[int, ...]:
    """The fleet every replay starts with: what 1.1 times the first minutes need."""
    first = trace.demand(60.0).requests[:5] / 60.0
    needed = capacity.required_replicas(primary, 1.1 * float(np.max(first)))
    return tuple(
        min(max(variant.min_replicas, needed if v == primary else 0), variant.max_replicas)
        for v, variant in enumerate(policy.variants)
    )
