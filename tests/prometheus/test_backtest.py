"""A back-test of a real Prometheus that was filled with a simulated fleet's metrics."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from controlplane.prometheus import Prometheus
from numpy.typing import NDArray

from controller.adapters.prometheus.profiles import load
from controller.adapters.prometheus.settings import PrometheusSettings
from controller.core.domain.observation import TOKEN_EDGES
from simulations import compare
from simulations.backtest.backtest import Backtest, read_backtest
from simulations.engine.fleet import EngineConfig, Fleet, PoolSpec
from simulations.scenario import MetricsSpec, ReplicaSpec, ScenarioSpec, TraceSpec
from simulations.setup import Prepared, Recorded, prepare
from simulations.traces.rate_trace import RateTrace
from simulations.traces.tokens import LognormalTokens
from simulations.world.conditions import Conditions
from simulations.world.metrics import SimulatedPrometheus

pytestmark = pytest.mark.cluster

ORIGIN = 1_743_465_600.0
SCRAPE_SECONDS = 30.0
HOUR = 3600.0
PAST_HOURS, REPLAYED_HOURS = 2, 4
DAYS = REPLAYED_HOURS / 24.0
UNTIL = ORIGIN + (PAST_HOURS + REPLAYED_HOURS) * HOUR + 60.0
PODS = (("llama-bf16-a", "llama-bf16-b", "llama-bf16-c"), ("llama-fp8-a",))
TTFT_EDGES = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
TPOT_EDGES = (0.01, 0.025, 0.04, 0.05, 0.1)


def variant(name: str, role: str, **changes: Any) -> dict[str, Any]:
    """One variant of the object."""
    return {
        "name": name,
        "role": role,
        "targetRef": {"name": f"llama-{name}"},
        "servedModelName": "llama",
        "accelerator": "nvidia-h100",
        "gpusPerReplica": 1,
        "quality": "1" if role == "Primary" else "0.99",
        "maxReplicas": 8,
        "coldStartSeconds": 60,
        "performance": {"profile": f"llama-8b-{name}-h100"},
        **changes,
    }


def document(**changes: Any) -> dict[str, Any]:
    """The object; ``changes`` are of every variant."""
    return {
        "apiVersion": "steelyard.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "llama", "namespace": "serving"},
        "spec": {
            "slo": {
                "objectives": [
                    {"metric": "TimeToFirstToken", "thresholdMilliseconds": 1000},
                    {"metric": "TimePerOutputToken", "thresholdMilliseconds": 50},
                ],
                "target": "0.99",
            },
            "quality": {"maxDegradedShare": "0.05"},
            "variants": [
                variant("bf16", "Primary", **changes),
                variant("fp8", "Fallback", **changes),
            ],
            "routing": {"type": "Shared", "balancing": "LeastLoaded"},
        },
    }


class Exposition:
    """Samples as OpenMetrics text, gathered by metric."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, value: float, at: float, pod: str, more: str = "") -> None:
        """Add one sample of a pod of vLLM."""
        labels = f'namespace="serving",pod="{pod}",model_name="llama",engine="0"{more}'
        line = f"vllm:{name}{{{labels}}} {value:.17g} {at:.3f}"
        self._lines.setdefault(f"vllm:{name}", []).append(line)

    def histogram(
        self, name: str, at: float, pod: str, counts: list[float], edges: tuple[float, ...]
    ) -> None:
        """Add one histogram out of counts per bucket."""
        below = list(accumulate(counts))
        for edge, count in zip((*map(str, edges), "+Inf"), below, strict=True):
            self.add(f"{name}_bucket", count, at, pod, f',le="{edge}"')
        self.add(f"{name}_count", below[-1], at, pod)

    def text(self, without: tuple[float, float] = (0.0, 0.0)) -> str:
        """All samples but those in a gap."""
        low, high = without
        kept = (
            "\n".join(
                (
                    f"# TYPE {name} unknown",
                    *(one for one in lines if not low <= float(one.rsplit(" ", 1)[1]) < high),
                )
            )
            for name, lines in self._lines.items()
        )
        return "\n".join((*kept, "# EOF", ""))


def traffic() -> RateTrace:
    """Six hours of waves whose lengths change by the hour."""
    minutes = 60 * (PAST_HOURS + REPLAYED_HOURS)
    at = np.arange(minutes)
    requests = 60.0 * (60.0 + 35.0 * np.sin(2.0 * np.pi * at / 180.0))
    hour = at // 60
    return RateTrace(
        name="waves",
        bucket_seconds=60.0,
        requests=requests,
        tokens=LognormalTokens(
            requests=requests,
            prompt_tokens_mean=600.0 + 50.0 * hour,
            output_tokens_mean=150.0 + 10.0 * hour,
        ),
        imputed=np.zeros(minutes, np.bool_),
        seed=3,
    )


@dataclass(frozen=True)
class Served:
    """What a fleet of fixed size served: its metrics, and how many came in each minute."""

    exposition: Exposition
    arrived: NDArray[np.int64]


def serve(prepared: Prepared) -> Served:
    """Serve the traffic on the pods, and scrape them."""
    setup = prepared.setup
    config = EngineConfig(
        ttft_threshold_seconds=1.0,
        tpot_threshold_seconds=0.05,
        ttft_edges_seconds=TTFT_EDGES,
        tpot_edges_seconds=TPOT_EDGES,
    )
    pools = tuple(PoolSpec(profile=one.profile) for one in setup.policy.variants)
    fleet = Fleet(pools, config, 8)
    for pool, pods in enumerate(PODS):
        for _ in pods:
            fleet.add_replica(pool, 0.0)
    fleet.set_weights(tuple(float(len(pods)) for pods in PODS))
    scrapes = SimulatedPrometheus(setup.policy, Conditions(cold_starts=()), fleet, ORIGIN)
    trace, exposition = traffic(), Exposition()
    arrived = np.zeros(int(trace.duration_seconds // 60), np.int64)
    at = 0.0
    scrapes.scrape(at)
    expose(exposition, scrapes)
    for index in range(int(trace.duration_seconds // trace.chunk_seconds)):
        chunk = trace.chunk(index)
        arrived += np.bincount((chunk.seconds // 60).astype(int), minlength=len(arrived))
        for low in np.arange(at, at + trace.chunk_seconds, SCRAPE_SECONDS).tolist():
            at = low + SCRAPE_SECONDS
            first, last = np.searchsorted(chunk.seconds, (low, at))
            part = slice(first, last)
            prompt, output = chunk.prompt_tokens[part], chunk.output_tokens[part]
            scrapes.count_lengths(prompt, output)
            fleet.advance(at, chunk.seconds[part], prompt, output)
            scrapes.scrape(at)
            expose(exposition, scrapes)
    for late in range(1, 7):  # nothing comes any more
        fleet.advance(at + late * SCRAPE_SECONDS)
        scrapes.scrape(at + late * SCRAPE_SECONDS)
        expose(exposition, scrapes)
    return Served(exposition, arrived)


def expose(exposition: Exposition, scrapes: SimulatedPrometheus) -> None:
    """Show every pod's share of what its pool counts."""
    latest = scrapes.latest
    assert latest is not None
    totals, at = latest.totals, ORIGIN + latest.at_seconds
    for pool, pods in enumerate(PODS):
        for number, pod in enumerate(pods):

            def share(count: float, of: int = len(pods), nth: int = number) -> float:
                """A pod's part of a whole count; all parts together are the count."""
                return float((int(count) + nth) // of)

            for name, value in (
                ("num_requests_running", latest.running[pool]),
                ("num_requests_waiting", latest.waiting[pool]),
                ("request_prompt_tokens_count", totals.finished[pool]),
                ("request_prompt_tokens_sum", totals.finished_prompt_tokens[pool]),
                ("request_generation_tokens_sum", totals.finished_output_tokens[pool]),
            ):
                exposition.add(name, share(value), at, pod)
            more = ',finished_reason="stop"'
            finished = share(totals.finished[pool])
            exposition.add("request_success_total", finished, at, pod, more)
            for name, counts, edges in (
                ("time_to_first_token_seconds", totals.ttft_histogram[pool], TTFT_EDGES),
                ("request_time_per_output_token_seconds", totals.tpot_histogram[pool], TPOT_EDGES),
                ("request_prompt_tokens", latest.prompt_histogram, TOKEN_EDGES),
                ("request_generation_tokens", latest.output_histogram, TOKEN_EDGES),
            ):
                if name.startswith("request_prompt") or name.startswith("request_gen"):
                    if pool == 0:  # lengths are known of the fleet: its first pool shows them
                        below = list(accumulate(share(count) for count in counts))
                        for edge, count in zip((*map(str, edges), "+Inf"), below, strict=True):
                            exposition.add(f"{name}_bucket", count, at, pod, f',le="{edge}"')
                    continue
                exposition.histogram(name, at, pod, [share(count) for count in counts], edges)


@pytest.fixture(scope="module")
def direct() -> Prepared:
    """The same traffic without a Prometheus in between."""
    spec = ScenarioSpec(
        name="direct",
        model_deployment=document(),
        trace=TraceSpec(path="waves"),
        replicas={
            name: ReplicaSpec(cold_start_median_seconds=60.0, queue_limit=None)
            for name in ("bf16", "fp8")
        },
        metrics=MetricsSpec(scrape_interval_seconds=SCRAPE_SECONDS),
    )
    recorded = Recorded(trace=traffic(), starts_at_seconds=ORIGIN)
    return prepare(spec, Path(), trace=recorded, from_seconds=PAST_HOURS * HOUR)


@pytest.fixture(scope="module")
def served(direct: Prepared) -> Served:
    """What the fleet served."""
    return serve(direct)


Starter = Callable[[str], Prometheus]


@pytest.fixture(scope="module")
def filled(
    control_plane_programs: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Starter]:
    """Start Prometheus servers that hold samples; they end with the module."""
    started = []

    def start(text: str) -> Prometheus:
        folder = tmp_path_factory.mktemp("prometheus")
        started.append(Prometheus.start(control_plane_programs, folder, blocks=text))
        return started[-1]

    yield start
    for one in started:
        one.server.kill()


@pytest.fixture(scope="module")
def prometheus(filled: Starter, served: Served) -> Prometheus:
    """A Prometheus that has scraped it all."""
    return filled(served.exposition.text())


def read(url: str, days: float = DAYS, until: float = UNTIL, **changes: Any) -> Backtest:
    """Read the history of the object."""
    settings = PrometheusSettings(url=url)
    return read_backtest(document(**changes), settings, load(None), days, until)


@pytest.fixture(scope="module")
def backtest(prometheus: Prometheus) -> Backtest:
    """The history read back."""
    return read(prometheus.url)


def test_every_request_is_read_back(backtest: Backtest, served: Served) -> None:
    """The trace has what came, minute by minute, and in sum to the last request."""
    trace = backtest.prepared.setup.trace
    minutes = trace.demand(60.0).requests
    came = served.arrived[60 * PAST_HOURS :]
    assert len(minutes) == len(came)
    assert minutes == pytest.approx(came, abs=2.0)
    assert minutes.sum() == pytest.approx(came.sum(), abs=2.0)
    drawn = sum(len(trace.chunk(i)) for i in range(int(trace.duration_seconds // 600)))
    assert drawn == round(minutes.sum())
    past = backtest.prepared.setup.past
    assert past is not None
    assert past.from_seconds == ORIGIN
    assert past.requests[5:] == pytest.approx(served.arrived[5 : 60 * PAST_HOURS], abs=2.0)
    assert backtest.history.missing_share == 0.0


def test_lengths_are_those_of_each_hour(backtest: Backtest, direct: Prepared) -> None:
    """Means by the hour, and the spread that the histograms show."""
    hours = backtest.prepared.setup.trace.demand(HOUR)
    true = direct.setup.trace.demand(HOUR)
    assert hours.prompt_tokens_mean == pytest.approx(true.prompt_tokens_mean, rel=0.05)
    assert hours.output_tokens_mean == pytest.approx(true.output_tokens_mean, rel=0.05)
    for read_back, drawn in zip(
        backtest.prepared.setup.trace.token_sample(50_000, 1),
        direct.setup.trace.token_sample(50_000, 1),
        strict=True,
    ):
        for level in (0.25, 0.5, 0.9, 0.99):
            assert np.quantile(read_back, level) == pytest.approx(
                np.quantile(drawn, level), rel=0.155
            )


@pytest.mark.parametrize("policy", ["steelyard", "static-peak", "hpa-queue"])
def test_costs_are_those_of_a_direct_replay(
    policy: str, backtest: Backtest, direct: Prepared
) -> None:
    """What came by way of Prometheus costs what the traffic itself does."""
    back, true = (compare.run(one, policy, 0) for one in (backtest.prepared, direct))
    assert back.cost == pytest.approx(true.cost, rel=0.06)
    assert back.attainment == pytest.approx(true.attainment, abs=0.01)


def test_what_really_ran_is_priced_and_checks_the_model(backtest: Backtest) -> None:
    """Four pods at their price; the simulator agrees with the histograms that it made."""
    was = backtest.as_it_was(0)
    hours = REPLAYED_HOURS - 300.0 / HOUR
    assert was.result.cost == pytest.approx(4 * 4.0 * hours, rel=1e-6)
    assert was.most_replicas == (3, 1)
    assert [fit.objective.metric for fit in was.fits] == ["TTFT", "TPOT"]
    assert all(abs(fit.error) < 0.01 for fit in was.fits)
    assert backtest.seen.attainment is not None
    assert backtest.seen.attainment[0] <= was.result.attainment + 0.01
    assert backtest.seen.attainment[1] >= was.result.attainment - 0.01
    assert backtest.seen.degraded_share == pytest.approx(was.result.degraded_share, abs=0.02)
    told = " ".join(backtest.caveats(was))
    assert "Measured error of the replica model" in told
    assert "llama-8b-bf16-h100" in told
    assert "nvidia-h100 4.00" in told
    assert "no samples" not in told
