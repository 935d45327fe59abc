"""How near the core's performance model is to the engine: capacity of both, as JSON.

Every row is one fleet under one mix and SLO: requests/s by the engine (bisection on replays of
i.i.d. requests, Poisson arrivals) and by the model, from the sample's own shape and from its means
alone. Mixes are those of the public traces where a folder of them is given, beside a generated
lognormal one. Run as ``python -m simulations.bench.capacity_model [--traces DIR] [--quick]``.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.policy import Balancing, Routing, RoutingLaw, Slo
from controller.core.domain.variant import Role, Variant
from controller.core.performance.capacity import FleetCapacity, fleet_capacity
from controller.core.performance.catalog import profile
from controller.core.performance.mix import TokenMix
from simulations.engine.capacity import FleetShape, TokenSample, measure_capacity
from simulations.engine.fleet import EngineConfig, PoolLaw, PoolSpec, Router
from simulations.traces.opening import open_trace

Tokens = tuple[NDArray[np.int64], NDArray[np.int64]]

_TARGET: Final = 0.99
_SAMPLE: Final = 200_000
_TRACES: Final = (
    ("azure-2023-conv", 1.0),
    ("servegen-m-mid-recon", 1.0),
    ("servegen-m-small-recon", 1.0),
    ("servegen-mm-image-recon", 1.0),
    ("mooncake-conversation-jitter", 5.0),
)
_KINDS: Final = ("8b-bf16-h100", "8b-fp8-h100", "8b-bf16-a100", "8b-fp8-l40s", "70b-bf16-4xh100")
_TPOT_SECONDS: Final = (0.025, 0.05)
_SIZES: Final = (1, 5, 20)
_MIXED: Final = (
    ("8b-bf16-h100", "8b-fp8-l40s"),
    ("8b-bf16-h100", "8b-bf16-a100"),
    ("8b-bf16-h100", "8b-fp8-h100"),
)
_BALANCED: Final = Routing(law=RoutingLaw.SHARED, balancing=Balancing.LEAST_LOADED)
_LAWS: Final = (
    Routing(law=RoutingLaw.SHARED, balancing=Balancing.PER_ENDPOINT),
    _BALANCED,
    Routing(law=RoutingLaw.WEIGHTED, balancing=Balancing.PER_ENDPOINT),
    Routing(law=RoutingLaw.OVERFLOW, balancing=Balancing.LEAST_LOADED),
)
_POOL_LAWS: Final = {
    RoutingLaw.SHARED: PoolLaw.SHARED,
    RoutingLaw.WEIGHTED: PoolLaw.WEIGHTED,
    RoutingLaw.OVERFLOW: PoolLaw.OVERFLOW,
}
_ROUTERS: Final = {
    Balancing.PER_ENDPOINT: Router.RANDOM,
    Balancing.LEAST_LOADED: Router.LEAST_OUTSTANDING,
}
#: Queue limit of a row over the outstanding at capacity, where it has one.
_LIMIT_SHARE: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fleet to compare: replicas by kind, the first of them Primary."""

    mix: str
    replicas: tuple[tuple[str, int], ...]
    routing: Routing
    ttft_seconds: float
    tpot_seconds: float
    limited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Requests/s of the fleet, and the model's relative errors; None: the SLO cannot be met."""

    mix: str
    fleet: str
    law: str
    balancing: str
    tpotSeconds: float  # noqa: N815 - JSON key
    queueLimit: int | None  # noqa: N815 - JSON key
    engine: float
    error: float | None
    errorFromMeans: float | None  # noqa: N815 - JSON key


def cases(mix: str, ttft_seconds: float) -> Iterator[Case]:
    """Fleets of one kind and mixed ones, under every routing law, for one mix."""
    for tpot in _TPOT_SECONDS:
        for kind in _KINDS:
            for size in _SIZES:
                for limited in (False, True) if size > 1 else (False,):
                    yield Case(
                        mix=mix,
                        replicas=((kind, size),),
                        routing=_BALANCED,
                        ttft_seconds=ttft_seconds,
                        tpot_seconds=tpot,
                        limited=limited,
                    )
    for first, second in _MIXED:
        for routing in _LAWS:
            yield Case(
                mix=mix,
                replicas=((first, 4), (second, 2)),
                routing=routing,
                ttft_seconds=ttft_seconds,
                tpot_seconds=_TPOT_SECONDS[-1],
                limited=routing.law is RoutingLaw.OVERFLOW,
            )


def _variants(case: Case, limit: int | None) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            name=kind,
            role=Role.PRIMARY if place == 0 else Role.FALLBACK,
            cost_per_replica_hour=1.0,
            quality=1.0,
            min_replicas=0,
            max_replicas=count,
            gpus_per_replica=1,
            cold_start_seconds=120.0,
            profile=profile(f"llama-{kind}"),
            queue_limit=limit,
        )
        for place, (kind, count) in enumerate(case.replicas)
    )


def modelled(case: Case, mix: TokenMix, limit: int | None) -> FleetCapacity:
    """The fleet as the core's performance model has it; ``limit`` is each replica's queue limit."""
    slo = Slo(
        ttft_seconds=case.ttft_seconds,
        tpot_seconds=case.tpot_seconds,
        target=_TARGET,
        window_seconds=86400.0,
        planned_budget_share=0.5,
    )
    return fleet_capacity(_variants(case, limit), slo, case.routing, mix)


def measured(
    case: Case, limit: int | None, weights: tuple[float, ...], tokens: TokenSample, requests: int
) -> float:
    """Requests/s of the fleet in the engine; ``weights`` matter under the law Weighted alone."""
    config = EngineConfig(
        ttft_threshold_seconds=case.ttft_seconds,
        tpot_threshold_seconds=case.tpot_seconds,
        law=_POOL_LAWS[case.routing.law],
        router=_ROUTERS[case.routing.balancing],
    )
    pools = [
        (PoolSpec(profile=one.profile, queue_limit=limit, fallback=one.role is Role.FALLBACK), n)
        for one, (_, n) in zip(_variants(case, limit), case.replicas, strict=True)
    ]
    weighted = weights if case.routing.law is RoutingLaw.WEIGHTED else None
    shape = FleetShape(pools=pools, config=config, weights=weighted)
    return measure_capacity(shape, tokens, target=_TARGET, requests=requests)


def compare(case: Case, tokens: Tokens, *, quick: bool) -> Row:
    """Measure one fleet and predict it."""
    mix = TokenMix.from_samples(*tokens)
    counts = tuple(count for _, count in case.replicas)
    limit = None
    if case.limited:
        knee = modelled(case, mix, None).outstanding_at_capacity(0, counts[0])
        limit = max(2, int(_LIMIT_SHARE * knee))
    model = modelled(case, mix, limit)
    requests = (20_000 if quick else 40_000) + 4_000 * sum(counts)
    sample = TokenSample(prompt_tokens=tokens[0], output_tokens=tokens[1])
    engine = measured(case, limit, model.optimal_weights(counts), sample, requests)
    means = modelled(case, TokenMix.from_means(mix.prompt_mean, mix.output_mean), limit)
    reachable = engine > 0.0 and model.ceiling(counts) > _TARGET
    return Row(
        mix=case.mix,
        fleet=" + ".join(f"{count} {kind}" for kind, count in case.replicas),
        law=case.routing.law.value,
        balancing=case.routing.balancing.value,
        tpotSeconds=case.tpot_seconds,
        queueLimit=limit,
        engine=engine,
        error=model.capacity(counts) / engine - 1.0 if reachable else None,
        errorFromMeans=means.capacity(counts) / engine - 1.0 if reachable else None,
    )


def mixes(traces: Path | None) -> Iterator[tuple[str, float, Tokens]]:
    """Name, TTFT in seconds and tokens of every mix that is there."""
    rng = np.random.default_rng(1)
    lengths = rng.lognormal(-0.5 * np.log(2.0), np.sqrt(np.log(2.0)), (2, _SAMPLE))
    generated = np.maximum(np.array([[1000.0], [200.0]]) * lengths, 1.0).astype(np.int64)
    yield "lognormal-1000-200", 1.0, (generated[0], generated[1])
    for name, ttft_seconds in _TRACES:
        path = None if traces is None else traces / f"{name}.csv.gz"
        if path is not None and path.exists():
            yield name, ttft_seconds, open_trace(path).token_sample(_SAMPLE, 0)


def _summary(rows: list[Row], key: str) -> dict[str, float | int]:
    errors = np.array([value for row in rows if (value := getattr(row, key)) is not None])
    if len(errors) == 0:
        return {"rows": 0}
    return {
        "rows": len(errors),
        "mean": float(errors.mean()),
        "meanAbsolute": float(np.abs(errors).mean()),
        "p90Absolute": float(np.quantile(np.abs(errors), 0.9)),
        "worst": float(np.abs(errors).max()),
    }


def main() -> None:
    """Print the table as JSON; progress goes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=Path, help="folder with the packed public traces")
    parser.add_argument("--quick", action="store_true", help="a third of the requests")
    options = parser.parse_args()
    rows: list[Row] = []
    for name, ttft_seconds, tokens in mixes(options.traces):
        for case in cases(name, ttft_seconds):
            rows.append(compare(case, tokens, quick=options.quick))
            sys.stderr.write(f"\r{name} {rows[-1].fleet:60s}")
    groups = {name: [row for row in rows if row.mix == name] for name in {r.mix for r in rows}}
    report = {
        "summary": {name: _summary(group, "error") for name, group in groups.items()},
        "summaryFromMeans": {
            name: _summary(group, "errorFromMeans") for name, group in groups.items()
        },
        "rows": [asdict(row) for row in rows],
    }
    sys.stdout.write(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
