"""vLLM's metrics in Prometheus' text format: names, labels and edges as its servers show them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from simulations.emulator.families import (
    BLOCK_TOKENS,
    CACHE_LABELS,
    HISTOGRAMS,
    NEW_FAMILIES,
    OLD_NAMES,
    MetricsVersion,
)
from simulations.emulator.histogram import Histogram
from simulations.emulator.replica import Replica

#: Content type of what ``expose`` returns.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a server's series carry: its served model, and the Unix time at which it started."""

    model_name: str
    started_unix_seconds: float


def expose(
    replica: Replica, identity: Identity, version: MetricsVersion = MetricsVersion.CURRENT
) -> bytes:
    """Render a replica's metrics; ``replica.settle`` brings them up to date before."""
    return generate_latest(_Collector(replica, identity, version))


class _Collector(Collector):
    """One replica's metric families in vLLM's order."""

    def __init__(self, replica: Replica, identity: Identity, version: MetricsVersion) -> None:
        self._replica = replica
        self._counts = replica.counts
        self._model = identity.model_name
        self._created = identity.started_unix_seconds
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """Give all families."""
        yield GaugeMetricFamily(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            value=self._created,
        )
        for family in self._engine():
            if self._version is MetricsVersion.CURRENT:
                yield family
            elif family.name not in NEW_FAMILIES:
                yield _renamed(family)
        yield from self._http()

    def _engine(self) -> Iterator[Metric]:
        counts = self._counts
        for kind in ("flops", "read_bytes", "write_bytes"):
            yield self._counter(f"estimated_{kind}_per_gpu", f"Estimated {kind} per GPU.", 0)
        yield from self._gauges()
        yield from self._token_counters()
        yield self._counter(
            "request_success",
            "Requests that ended, by reason.",
            *(
                (reason, number)
                for reason, number in (
                    ("stop", 0),
                    ("length", counts.finished),
                    ("abort", counts.aborted),
                    ("error", 0),
                    ("repetition", 0),
                )
            ),
            label="finished_reason",
        )
        yield self._rejections()
        for name, text, histogram in HISTOGRAMS:
            yield self._histogram(f"vllm:{name}", text, histogram(counts))
        yield self._cache_config()

    def _gauges(self) -> Iterator[Metric]:
        replica = self._replica
        waiting = replica.waiting
        yield self._gauge("num_requests_running", "Requests in the batch.", replica.running)
        yield self._gauge("num_requests_waiting", "Requests waiting.", waiting)
        yield self._gauge(
            "num_requests_waiting_by_reason",
            "Requests waiting, by reason.",
            ("capacity", waiting),
            ("deferred", 0),
            label="reason",
        )
        yield self._gauge(
            "engine_sleep_state",
            "Whether the engine is awake, or how it sleeps.",
            ("awake", 1),
            ("weights_offloaded", 0),
            ("discard_all", 0),
            label="sleep_state",
        )
        yield self._gauge("kv_cache_usage_perc", "KV cache use, 1 is full.", replica.kv_use)

    def _token_counters(self) -> Iterator[Metric]:
        """Tokens by where they came from: nothing is cached, and nothing preempted."""
        counts = self._counts
        prompt = counts.prompt_tokens
        yield self._counter("prefix_cache_queries", "Tokens looked up in the cache.", prompt)
        for name in (
            "prefix_cache_hits",
            "external_prefix_cache_queries",
            "external_prefix_cache_hits",
            "mm_cache_queries",
            "mm_cache_hits",
        ):
            yield self._counter(name, f"Always 0 here: {name.replace('_', ' ')}.", 0)
        yield self._counter("num_preemptions", "Preemptions.", 0)
        yield self._counter("prompt_tokens", "Prompt tokens processed.", prompt)
        yield self._counter(
            "prompt_tokens_by_source",
            "Prompt tokens by source.",
            ("local_compute", prompt),
            ("local_cache_hit", 0),
            ("external_kv_transfer", 0),
            label="source",
        )
        yield self._counter("prompt_tokens_cached", "Prompt tokens found in a cache.", 0)
        yield self._counter(
            "prompt_tokens_cached_by_source",
            "Prompt tokens found in a cache, by tier.",
            *((tier, 0) for tier in ("device", "host", "p2p", "disk", "external_unspecified")),
            label="source",
        )
        yield self._counter("generation_tokens", "Tokens generated.", counts.generation_tokens)

    def _rejections(self) -> Metric:
        """Refusals by the queue limits; alone among vLLM's families it has no label ``engine``."""
        family = CounterMetricFamily(
            "vllm:admission_rejections",
            "Requests refused by a queue limit.",
            labels=("model_name", "reason"),
        )
        for reason, number in (
            ("max_num_queued_reqs", self._counts.rejected),
            ("max_num_queued_tokens", 0),
        ):
            family.add_metric((self._model, reason), number, created=self._created)
        return family

    def _cache_config(self) -> Metric:
        replica = self._replica
        blocks = replica.profile.kv_capacity_tokens // BLOCK_TOKENS
        tokens = blocks * BLOCK_TOKENS
        labels = {
            **CACHE_LABELS,
            "engine": "0",
            "block_size": str(BLOCK_TOKENS),
            "effective_attention_block_size": str(BLOCK_TOKENS),
            "num_gpu_blocks": str(blocks),
            "kv_cache_size_tokens": str(tokens),
            "kv_cache_max_concurrency": str(tokens / replica.max_model_len),
        }
        if self._version is MetricsVersion.OLD:
            del labels["kv_cache_size_tokens"], labels["kv_cache_max_concurrency"]
        family = GaugeMetricFamily(
            "vllm:cache_config_info", "The KV cache's configuration.", labels=tuple(labels)
        )
        family.add_metric(tuple(labels.values()), 1)
        return family

    def _http(self) -> Iterator[Metric]:
        """Give the families of the web framework, which know no model."""
        requests = CounterMetricFamily(
            "http_requests",
            "Requests by method, status and handler.",
            labels=("handler", "method", "status"),
        )
        for (handler, method), http in self._counts.http.items():
            for status, number in http.statuses.items():
                requests.add_metric((handler, method, status), number, created=self._created)
        yield requests
        fine = HistogramMetricFamily(
            "http_request_duration_highr_seconds", "Latency with many buckets.", labels=()
        )
        self._fill(fine, {}, self._counts.http_seconds)
        yield fine
        coarse = HistogramMetricFamily(
            "http_request_duration_seconds", "Latency by handler.", labels=("handler", "method")
        )
        for (handler, method), http in self._counts.http.items():
            self._fill(coarse, {"handler": handler, "method": method}, http.seconds)
        yield coarse

    # --- families ------------------------------------------------------------------------------

    def _gauge(
        self, name: str, text: str, *values: float | tuple[str, float], label: str | None = None
    ) -> Metric:
        labels = ("engine", "model_name", *(() if label is None else (label,)))
        family = GaugeMetricFamily(f"vllm:{name}", text, labels=labels)
        for extra, value in _by_label(values):
            family.add_metric(("0", self._model, *extra), value)
        return family

    def _counter(
        self, name: str, text: str, *values: float | tuple[str, float], label: str | None = None
    ) -> Metric:
        labels = ("engine", "model_name", *(() if label is None else (label,)))
        family = CounterMetricFamily(f"vllm:{name}", text, labels=labels)
        for extra, value in _by_label(values):
            family.add_metric(("0", self._model, *extra), value, created=self._created)
        return family

    def _histogram(self, name: str, text: str, histogram: Histogram) -> Metric:
        family = HistogramMetricFamily(name, text, labels=("engine", "model_name"))
        self._fill(family, {"engine": "0", "model_name": self._model}, histogram)
        return family

    def _fill(
        self, family: HistogramMetricFamily, labels: dict[str, str], histogram: Histogram
    ) -> None:
        edges = (*map(floatToGoString, histogram.edges), "+Inf")
        buckets = list(zip(edges, map(float, histogram.cumulative()), strict=True))
        family.add_metric(tuple(labels.values()), buckets, histogram.total)
        family.add_sample(f"{family.name}_created", labels, self._created)


def _by_label(
    values: Iterable[float | tuple[str, float]],
) -> Iterator[tuple[tuple[str, ...], float]]:
    """Extra label values and number of each series."""
    for value in values:
        if isinstance(value, tuple):
            yield (value[0],), float(value[1])
        else:
            yield (), float(value)


def _renamed(family: Metric) -> Metric:
    """Give a family its old name."""
    old = OLD_NAMES.get(family.name)
    if old is None:
        return family
    renamed = Metric(old, family.documentation, family.type)
    for sample in family.samples:
        suffix = sample.name.removeprefix(family.name)
        renamed.add_sample(old + suffix, sample.labels, sample.value)
    return renamed
