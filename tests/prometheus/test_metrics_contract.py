"""The simulator's metrics and ours over a real Prometheus: the same traffic, the same readings."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.adapters.prometheus import rules
from controller.adapters.prometheus.metrics import PrometheusMetrics
from controller.adapters.prometheus.profiles import Profiles, parse
from controller.adapters.prometheus.session import PrometheusClient
from controller.adapters.prometheus.settings import PrometheusSettings
from controller.core.domain.observation import TOKEN_EDGES, Measured, Missing, Outcomes, Traffic
from controller.core.domain.policy import Policy
from controller.ports import MetricsReading
from controlplane.prometheus import promtool
from simulations.engine.fleet import EngineConfig, Fleet, PoolSpec
from simulations.setup import TPOT_EDGES_SECONDS, TTFT_EDGES_SECONDS
from simulations.world.conditions import Conditions, Metrics
from simulations.world.metrics import Scrape, SimulatedPrometheus

pytestmark = pytest.mark.cluster

ORIGIN = 1_743_465_600.0
SCRAPE_SECONDS = 15.0
SCRAPES = 24
#: The pods of each pool; the counts of a pool are spread over its pods.
PODS = (("bf16-a", "bf16-b"), ("fp8-a",))

Lines = dict[str, list[str]]


class Exposition:
    """Scrapes of vLLM's metrics as OpenMetrics text with timestamps."""

    def __init__(self) -> None:
        self._families: Lines = {}

    def add(self, name: str, value: float, at: float, **labels: str) -> None:
        """Add one sample."""
        text = ",".join(f'{key}="{each}"' for key, each in labels.items())
        line = f"{name}{{{text}}} {value:.17g} {at:.3f}"
        self._families.setdefault(name, []).append(line)

    def text(self) -> str:
        """All samples, each name once."""
        parts = [
            "\n".join((f"# TYPE {name} unknown", *lines)) for name, lines in self._families.items()
        ]
        return "\n".join((*parts, "# EOF", ""))


def expose(exposition: Exposition, scrape: Scrape) -> None:
    """Add one scrape of every pod, each showing its share of what its pool counts."""
    totals = scrape.totals
    at = ORIGIN + scrape.at_seconds
    for pool, pods in enumerate(PODS):
        for number, pod in enumerate(pods):

            def share(count: float, of: int = len(pods), nth: int = number) -> float:
                """A pod's part of a whole count; all parts together are the count."""
                return float((int(count) + nth) // of)

            def add(name: str, value: float, on: str = pod, **labels: str) -> None:
                exposition.add(
                    f"vllm:{name}", value, at,
                    namespace="serving", pod=on, model_name="llama", engine="0", **labels,
                )  # fmt: skip

            def histogram(name: str, counts: Any, edges: Any) -> None:
                below = list(accumulate(share(count) for count in counts))
                for edge, count in zip((*map(str, edges), "+Inf"), below, strict=True):
                    add(f"{name}_bucket", count, le=edge)
                add(f"{name}_count", below[-1])

            add("num_requests_running", share(scrape.running[pool]))
            add("num_requests_waiting", share(scrape.waiting[pool]))
            add("kv_cache_usage_perc", float(scrape.kv_use[pool]))
            add("request_success_total", share(totals.finished[pool]), finished_reason="stop")
            add("request_success_total", share(totals.timed_out[pool]), finished_reason="abort")
            add("admission_rejections_total", share(totals.refused[pool]), reason="max")
            add("request_prompt_tokens_sum", share(totals.finished_prompt_tokens[pool]))
            add("request_generation_tokens_sum", share(totals.finished_output_tokens[pool]))
            histogram(
                "time_to_first_token_seconds", totals.ttft_histogram[pool], TTFT_EDGES_SECONDS
            )
            tpot = totals.tpot_histogram[pool]
            histogram("request_time_per_output_token_seconds", tpot, TPOT_EDGES_SECONDS)
            # The simulator knows lengths of the fleet only: its first pool shows them.
            for name, lengths in (
                ("request_prompt_tokens", scrape.prompt_histogram),
                ("request_generation_tokens", scrape.output_histogram),
            ):
                below = list(accumulate(share(n) if pool == 0 else 0.0 for n in lengths))
                for edge, count in zip((*map(str, TOKEN_EDGES), "+Inf"), below, strict=True):
                    add(f"{name}_bucket", count, le=edge)
            add("request_prompt_tokens_count", share(totals.finished[pool]))


@dataclass(frozen=True)
class Run:
    """What was scraped, and what the simulator's metrics said at each scrape."""

    text: str
    simulated: tuple[Any, ...]


def simulate(policy: Policy) -> Run:
    """Serve bursts on two replicas and a fallback that refuse above a queue limit."""
    config = EngineConfig(
        ttft_threshold_seconds=policy.slo.ttft_seconds,
        tpot_threshold_seconds=policy.slo.tpot_seconds,
        ttft_edges_seconds=TTFT_EDGES_SECONDS,
        tpot_edges_seconds=TPOT_EDGES_SECONDS,
    )
    limits = (100, 150)
    pools = tuple(
        PoolSpec(profile=v.profile, queue_limit=limit)
        for v, limit in zip(policy.variants, limits, strict=True)
    )
    fleet = Fleet(pools, config, 8)
    for pool, pods in enumerate(PODS):
        for _ in pods:
            fleet.add_replica(pool, 0.0)
    conditions = Conditions(
        cold_starts=(),
        metrics=Metrics(scrape_interval_seconds=SCRAPE_SECONDS, delay_seconds=0.0),
    )
    prometheus = SimulatedPrometheus(policy, conditions, fleet, ORIGIN)
    exposition = Exposition()
    generator = np.random.default_rng(7)
    simulated = []
    for number in range(SCRAPES):
        at = number * SCRAPE_SECONDS
        count = 0 if number % 8 == 7 else int(generator.integers(5, 600))
        arrivals = np.sort(generator.uniform(max(at - 15.0, 0.0), max(at - 13.0, 0.0), count))
        prompt = generator.integers(10, 3000, count)
        output = generator.integers(1, 400, count)
        prometheus.count_lengths(prompt, output)
        fleet.advance(at, arrivals, prompt, output)
        prometheus.scrape(at)
        assert prometheus.latest is not None
        expose(exposition, prometheus.latest)
        simulated.append(prometheus.query(at))
    return Run(exposition.text(), tuple(simulated))


@pytest.fixture
def policy(world: Any) -> Policy:
    """One object with the pods that are scraped."""
    made = world.add()
    for variant, pods in enumerate(PODS):
        for pod in pods:
            world.pod(made, variant, pod)
    return made


Reader = Callable[[str], Iterator[MetricsReading]]


@pytest.fixture
def read_all(
    world: Any, policy: Policy, profiles: Profiles, settings: PrometheusSettings
) -> Iterator[Callable[..., list[MetricsReading]]]:
    """Read at every scrape, out of a Prometheus at an address."""
    clients = []

    def go(url: str, **changes: Any) -> list[MetricsReading]:
        chosen = replace(settings, url=url, **changes)
        client = PrometheusClient(chosen)
        clients.append(client)
        metrics = PrometheusMetrics(client, world, chosen, profiles)
        # Bucket edges are learned in a cycle of their own, in which lengths are not asked.
        asyncio.run(metrics.read([], ORIGIN - 60.0))
        readings = []
        for number in range(SCRAPES):
            now = ORIGIN + number * SCRAPE_SECONDS
            (reading,) = asyncio.run(metrics.read([world.question(policy)], now))
            readings.append(reading)
        return readings

    yield go
    for client in clients:
        client.close()


def without_lengths(traffic: Any) -> Any:
    """Traffic without its histograms, which begin a look later where edges are learned first."""
    return (
        replace(traffic, prompt_histogram=(), output_histogram=())
        if isinstance(traffic, Traffic)
        else traffic
    )


def test_the_same_traffic_gives_the_same_readings(
    policy: Policy, start_prometheus: Callable[..., Any], read_all: Any
) -> None:
    """Arrivals, refusals, tokens, lengths, outcomes and gauges agree to the last request."""
    run = simulate(policy)
    prometheus = start_prometheus(blocks=run.text)
    refused = bad = 0.0
    told = 0
    lengths: list[tuple[float, ...]] = []
    for number, (reading, (traffic, outcomes, gauges)) in enumerate(
        zip(read_all(prometheus.url), run.simulated, strict=True)
    ):
        assert reading.gauges == gauges
        assert without_lengths(reading.traffic) == without_lengths(traffic)
        assert reading.outcomes == outcomes
        assert reading.finding == ""
        if number > 1:
            assert isinstance(outcomes, Outcomes)
            refused += traffic.refused
            bad += outcomes.bad_ttft + outcomes.bad_tpot
            # Lengths are not read in the cycles that look up bucket edges: they come in the next.
            lengths += [traffic.prompt_histogram, traffic.output_histogram]
            if reading.traffic.prompt_histogram:
                told += 1
                assert reading.traffic.prompt_histogram == tuple(
                    map(sum, zip(*lengths[::2], strict=True))
                )
                assert reading.traffic.output_histogram == tuple(
                    map(sum, zip(*lengths[1::2], strict=True))
                )
                lengths.clear()
    assert refused > 0
    assert bad > 0
    assert told > SCRAPES - 5


def test_a_scrape_gap_is_made_up_for(
    policy: Policy, start_prometheus: Callable[..., Any], read_all: Any
) -> None:
    """Without the scrapes in between all is counted once they are back, and never before."""
    run = simulate(policy)
    gap = [f"{ORIGIN + number * SCRAPE_SECONDS:.3f}" for number in range(8, 16)]
    kept = [line for line in run.text.split("\n") if not line.endswith(tuple(gap))]
    readings = read_all(start_prometheus(blocks="\n".join(kept)).url)
    seen = [reading.traffic for reading in readings]
    for number in range(8, 16):
        assert isinstance(seen[number], Missing)
    whole = sum(t.requests for t, _, _ in run.simulated[8:17])
    assert isinstance(seen[16], Traffic)
    assert seen[16].requests == whole
    assert seen[16].from_seconds == ORIGIN + 7 * SCRAPE_SECONDS


def test_the_recording_rules_give_the_same_in_two_queries(
    policy: Policy, start_prometheus: Callable[..., Any], read_all: Any, tmp_path: Path
) -> None:
    """What the rules record, backfilled over the same blocks, reads as the raw series do."""
    run = simulate(policy)
    prometheus = start_prometheus(blocks=run.text)
    raw = read_all(prometheus.url)
    (tmp_path / "rules.yaml").write_text(rules.rendered()[rules.PLAIN].replace("1m", "15s"))
    promtool(
        prometheus.programs, "tsdb", "create-blocks-from", "rules",
        f"--start={ORIGIN:.0f}", f"--end={ORIGIN + SCRAPES * SCRAPE_SECONDS:.0f}",
        f"--url={prometheus.url}", f"--output-dir={prometheus.folder / 'data'}",
        "--eval-interval=15s", str(tmp_path / "rules.yaml"),
    )  # fmt: skip
    prometheus.restart()
    recorded = read_all(prometheus.url, recording_rules=True)
    # A rule is evaluated after the scrape that it reads: the same readings, somewhat later.
    whole = {one.traffic.to_seconds: one for one in raw if isinstance(one.traffic, Traffic)}
    counted = [one for one in recorded[4:] if isinstance(one.traffic, Traffic)]
    assert len(counted) >= SCRAPES - 5
    for one in counted:
        other = whole[one.traffic.to_seconds]
        assert without_lengths(one.traffic) == without_lengths(other.traffic)
        assert one.outcomes == other.outcomes
        assert one.gauges == other.gauges
    told = [one.traffic for one in counted if one.traffic.prompt_histogram]
    assert len(told) >= SCRAPES - 8
    assert all(sum(one.prompt_histogram) == sum(one.output_histogram) for one in told)


def test_the_recorded_exposition_of_vllm_is_read(
    world: Any, start_prometheus: Callable[..., Any], settings: PrometheusSettings
) -> None:
    """What vLLM 0.32 shows of itself gives every reading."""
    path = Path(__file__).parents[3] / "shared/reference/vllm-0.32.0.prom"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    exposition = Exposition()
    for line in path.read_text().splitlines():
        if line.startswith("vllm:"):
            name, rest = line.split("{", 1)
            labels, value = rest.rsplit("} ", 1)
            pairs = dict(pair.split('="', 1) for pair in labels[:-1].split('",'))
            for number in range(2):
                more = {"namespace": "serving", "pod": "a"}
                at = ORIGIN + number * SCRAPE_SECONDS
                exposition.add(name, float(value), at, **pairs, **more)
    policy = world.add(variant={"servedModelName": "tiny"})
    world.pod(policy, 0, "a")
    chosen = replace(settings, url=start_prometheus(blocks=exposition.text()).url)
    client = PrometheusClient(chosen)
    metrics = PrometheusMetrics(client, world, chosen, parse({}))
    for at in (0.0, 15.0):
        (reading,) = asyncio.run(metrics.read([world.question(policy)], ORIGIN + at + 1.0))
    client.close()
    assert isinstance(reading.traffic, Traffic)
    assert isinstance(reading.outcomes, Outcomes)
    assert reading.gauges[0] == (Measured(0.0, ORIGIN + 15.0),) * 3
    assert reading.finding == ""
