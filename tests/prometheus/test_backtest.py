"""A back-test of a real Prometheus that was filled with a simulated fleet's metrics."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import Result
from numpy.typing import NDArray
from typer.testing import CliRunner

from controller.adapters.prometheus.profiles import load
from controller.adapters.prometheus.settings import PrometheusSettings
from controller.core.domain.observation import TOKEN_EDGES
from controlplane.prometheus import Prometheus
from simulations import compare
from simulations.backtest.backtest import Backtest, read_backtest
from simulations.backtest.errors import InvalidHistory
from simulations.cli.app import app
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
                if name.startswith(("request_prompt", "request_gen")):
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


# --- the command -------------------------------------------------------------------------------


def steelyard_sim(file: Path, url: str, *more: str | Path) -> Result:
    """Run the command in this process, on the part that was served."""
    asked = {"--days": f"{DAYS:.6f}", "--until": "2025-04-01T06:01"}
    asked |= dict(zip(more[::2], more[1::2], strict=True))  # type: ignore[arg-type]
    arguments = [str(part) for pair in asked.items() for part in pair]
    return CliRunner().invoke(
        app,
        ["backtest", "--prometheus", url, "-f", str(file), *arguments],
        env={"COLUMNS": "250"},
    )


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Write the object to a file, with changes of every variant."""

    def write(namespace: str = "serving", **changes: Any) -> Path:
        path = tmp_path / "md.yaml"
        written = document(**changes)
        written["metadata"]["namespace"] = namespace
        path.write_text(yaml.safe_dump(written))
        return path

    return write


def test_the_command_says_what_each_policy_would_have_cost(
    prometheus: Prometheus, file: Callable[..., Path], tmp_path: Path
) -> None:
    """A row for what was seen, what ran and the policy; caveats; results and page."""
    results, page = tmp_path / "out.json", tmp_path / "out.html"
    done = steelyard_sim(
        file(), prometheus.url,
        "--policy", "static-peak", "--json", results, "--html", page,
        "--processes", "1", "--plan-replays", "1",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    for told in ("as it was, seen", "as-it-was", "static-peak", "reference plan", "saved %"):
        assert told in done.stdout
    assert "Before you trust this" in done.stdout
    written = json.loads(results.read_text())
    assert [one["name"] for one in written["policies"]] == ["as-it-was", "static-peak"]
    assert written["seen"]["toSeconds"] - written["seen"]["fromSeconds"] == REPLAYED_HOURS * HOUR
    assert written["seen"]["objectives"][0]["seenShare"] > 0.99
    assert written["caveats"]
    # A fallback served a third of what ran: over its budget, however well it did.
    assert "! as-it-was" in " ".join(done.stdout.split())
    assert "* static-peak" in " ".join(done.stdout.split())
    assert "Before you trust this" in page.read_text()
    again = CliRunner().invoke(app, ["report", str(results)], env={"COLUMNS": "250"})
    assert again.exit_code == 0
    assert "Measured error of the replica model" in again.stdout


def refused(result: Result) -> str:
    """Return the error on one line, having made sure that it is one."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


def test_a_model_without_series_is_told_with_the_selector(
    prometheus: Prometheus, file: Callable[..., Path]
) -> None:
    """What was looked for, what there is instead, and which fields to correct."""
    told = refused(steelyard_sim(file(servedModelName="mistral"), prometheus.url))
    assert 'vllm:num_requests_running{namespace="serving",model_name="mistral"}' in told
    assert "there it has series of llama" in told
    assert "servedModelName" in told
    told = refused(steelyard_sim(file(namespace="elsewhere"), prometheus.url))
    assert 'namespace="elsewhere"' in told
    assert "there is none of VLLM in that namespace at all" in told


def test_too_short_a_history_says_how_long_it_is(
    prometheus: Prometheus, file: Callable[..., Path]
) -> None:
    """Six hours are no seven days; what may be asked for is told."""
    told = refused(steelyard_sim(file(), prometheus.url, "--days", "7"))
    assert "Prometheus has 0.2" in told
    assert "give --days 0.2" in told


def test_a_prometheus_that_is_not_there_is_told(file: Callable[..., Path]) -> None:
    """The address, what happened, and what an address looks like."""
    told = refused(steelyard_sim(file(), "http://127.0.0.1:1"))
    assert "--prometheus: http://127.0.0.1:1 does not answer" in told
    assert "kubectl port-forward" in told
    assert "url: write an address" in refused(steelyard_sim(file(), "localhost:9090"))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--days", "0"), "--days: found 0; write a number"),
        (("--until", "yesterday"), "--until: found 'yesterday'; write a date"),
        (("--until", "2999-01-01"), "is yet to come"),
        (("--policy", "magic"), "magic"),
        (("--metrics-profiles", "/nowhere.yaml"), "/nowhere.yaml"),
    ],
)
def test_wrong_options_are_told(
    options: tuple[str, str], told: str, prometheus: Prometheus, file: Callable[..., Path]
) -> None:
    """Each with the option and the fix, and no back-test."""
    assert told in refused(steelyard_sim(file(), prometheus.url, *options))


def test_a_wrong_object_is_told_field_by_field(
    prometheus: Prometheus, file: Callable[..., Path], tmp_path: Path
) -> None:
    """As kubectl apply would; a file without an object, or that is no YAML, too."""
    told = refused(steelyard_sim(file(maxReplicas=0), prometheus.url))
    assert "spec.variants[0].maxReplicas: found 0" in told
    told = refused(steelyard_sim(file(engine="magic"), prometheus.url))
    assert "spec.variants[0].engine" in told
    assert "--metrics-profiles" in told
    other = tmp_path / "other.yaml"
    other.write_text("kind: Deployment")
    assert "found 0 objects of kind ModelDeployment" in refused(
        steelyard_sim(other, prometheus.url)
    )
    other.write_text("a: [")
    assert "cannot be read as YAML" in refused(steelyard_sim(other, prometheus.url))


# --- what is not there -------------------------------------------------------------------------


def test_a_gap_is_filled_and_told(filled: Starter, served: Served) -> None:
    """Half an hour without a scrape: the counters tell what came, and the share is told."""
    begin = ORIGIN + (PAST_HOURS + 1) * HOUR
    gap = (begin, begin + 1800.0)
    made = read(filled(served.exposition.text(gap)).url)
    share = 1800.0 / (REPLAYED_HOURS * HOUR)
    assert made.history.missing_share == pytest.approx(share, abs=0.01)
    came = served.arrived[60 * PAST_HOURS :]
    minutes = made.prepared.setup.trace.demand(60.0).requests
    assert minutes.sum() == pytest.approx(came.sum(), abs=2.0)
    assert minutes[60:90] == pytest.approx(np.full(30, came[60:90].mean()), rel=0.05)
    was = made.as_it_was(0)
    assert was.result.cost == pytest.approx(4 * 4.0 * (REPLAYED_HOURS - 300.0 / HOUR), rel=1e-6)
    told = " ".join(made.caveats(was))
    assert f"{100 * made.history.missing_share:.2f} % of the replayed time has no samples" in told


def test_too_many_gaps_are_refused(filled: Starter, served: Served) -> None:
    """More than a fifth would be invented."""
    begin = ORIGIN + (PAST_HOURS + 1) * HOUR
    url = filled(served.exposition.text((begin, begin + 5000.0))).url
    with pytest.raises(InvalidHistory, match="have no samples, and more than 20 %"):
        read(url)


def test_pods_that_come_and_go_are_priced_while_they_are_there(filled: Starter) -> None:
    """The second pod runs for two of four hours, and brings what it counted from its start."""
    exposition = Exposition()
    for pod, first, last in (("llama-bf16-a", 0.0, 6.0), ("llama-bf16-b", 3.0, 5.0)):
        for at in np.arange(first * HOUR, last * HOUR + 90.0, SCRAPE_SECONDS).tolist():
            simple(exposition, pod, ORIGIN + at, 2.0 * (at - first * HOUR))
    made = read(filled(exposition.text()).url)
    minutes = made.prepared.setup.trace.demand(60.0).requests
    assert minutes[5:55] == pytest.approx(120.0, abs=2.0)
    assert minutes[65:175] == pytest.approx(240.0, abs=2.0)
    assert minutes.sum() == pytest.approx(2.0 * (4.0 + 2.0) * HOUR, abs=200.0)
    was = made.as_it_was(0)
    assert was.most_replicas == (2, 0)
    hours = REPLAYED_HOURS - 300.0 / HOUR + 2.0
    # A cold start of a minute before it, and three scrapes until it is known to be gone.
    assert was.result.cost == pytest.approx(4.0 * hours, abs=4.0 * 300.0 / HOUR)
    assert was.result.cost > 4.0 * hours
    told = " ".join(made.caveats(was))
    assert "the replica model could not be checked" in told.lower()
    assert "There are no histograms of token lengths" in told


def simple(exposition: Exposition, pod: str, at: float, count: float, engine: str = "") -> None:
    """Show a pod that never queues, without histograms."""
    for name, value in (
        ("num_requests_running", 4.0),
        ("num_requests_waiting", 0.0),
        ("request_prompt_tokens_count", count),
        ("request_prompt_tokens_sum", 500.0 * count),
        ("request_generation_tokens_sum", 100.0 * count),
    ):
        exposition.add(name, value, at, pod, engine)
    exposition.add("request_success_total", count, at, pod, f',finished_reason="stop"{engine}')


def test_a_pod_that_is_scraped_by_two_jobs_is_refused(filled: Starter) -> None:
    """All counts would be double."""
    exposition = Exposition()
    for job in (',job="one"', ',job="two"'):
        for at in np.arange(0.0, 6 * HOUR + 90.0, SCRAPE_SECONDS).tolist():
            simple(exposition, "llama-bf16-a", ORIGIN + at, 2.0 * at, job)
    url = filled(exposition.text()).url
    with pytest.raises(InvalidHistory, match="scraped by two jobs"):
        read(url)


def test_pods_of_other_names_are_the_first_variants(filled: Starter) -> None:
    """A model whose pods are not named after a workload is read all the same, and that is told."""
    exposition = Exposition()
    for at in np.arange(0.0, 6 * HOUR + 90.0, SCRAPE_SECONDS).tolist():
        simple(exposition, "predictor-0", ORIGIN + at, 2.0 * at)
    made = read(filled(exposition.text()).url)
    was = made.as_it_was(0)
    assert was.most_replicas == (1, 0)
    assert "are not named after the workloads of bf16, fp8" in " ".join(made.caveats(was))


def test_only_the_workloads_pods_count_where_they_can_be_told(filled: Starter) -> None:
    """A stranger that serves the same model in the namespace brings no traffic."""
    exposition = Exposition()
    for at in np.arange(0.0, 6 * HOUR + 90.0, SCRAPE_SECONDS).tolist():
        simple(exposition, "llama-bf16-a", ORIGIN + at, 2.0 * at)
        simple(exposition, "other-a", ORIGIN + at, 9.0 * at)
    made = read(filled(exposition.text()).url)
    assert made.prepared.setup.trace.demand(60.0).requests == pytest.approx(120.0, abs=2.0)


def test_arrivals_of_a_gateway_count_in_place_of_the_engines(
    filled: Starter, tmp_path: Path
) -> None:
    """The gateway counted three a second, of which the engines ended two; tokens are theirs."""
    exposition = Exposition()
    lines = []
    for at in np.arange(0.0, 6 * HOUR + 90.0, SCRAPE_SECONDS).tolist():
        simple(exposition, "llama-bf16-a", ORIGIN + at, 2.0 * at)
        labels = 'route="llama",ns="serving",instance="gateway-1"'
        lines.append(f"gateway_requests_total{{{labels}}} {3.0 * at} {ORIGIN + at:.3f}")
    text = "\n".join(("# TYPE gateway_requests_total unknown", *lines, exposition.text()))
    path = tmp_path / "profiles.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "arrivals": [
                    {
                        "name": "gateway",
                        "counter": "gateway_requests_total",
                        "nameLabel": "route",
                        "namespaceLabel": "ns",
                    }
                ]
            }
        )
    )
    asked = document()
    asked["spec"]["arrivals"] = {"metricsProfile": "gateway", "name": "llama"}
    settings = PrometheusSettings(url=filled(text).url)
    made = read_backtest(asked, settings, load(path), DAYS, UNTIL)
    demand = made.prepared.setup.trace.demand(HOUR)
    assert demand.requests == pytest.approx(3.0 * HOUR, rel=0.01)
    assert demand.prompt_tokens_mean == pytest.approx(500.0)
    with pytest.raises(InvalidHistory, match="--metrics-profiles"):
        read_backtest(asked, settings, load(None), DAYS, UNTIL)
