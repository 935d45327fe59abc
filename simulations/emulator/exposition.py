"""vLLM's metrics in Prometheus' text format: names, labels and edges as its servers show them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
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

from simulations.emulator.counts import Counts
from simulations.emulator.histogram import Histogram
from simulations.emulator.replica import Replica

#: Content type of what ``expose`` returns.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: vLLM's default block size on NVIDIA GPUs.
_BLOCK_TOKENS = 16


class MetricsVersion(Enum):
    """Which generation of names a server shows.

    ``CURRENT``: vLLM 0.32. ``OLD``: 0.8 and before, of which dashboards and many autoscalers still
    speak: KV use as ``gpu_cache_usage_perc``, one ``time_per_output_token_seconds`` that counts
    token gaps, no rejections, no reasons of waiting, no tokens by source.
    """

    CURRENT = "0.32"
    OLD = "0.8"


#: Families that the old generation lacks.
_NEW_FAMILIES = frozenset(
    {
        "vllm:num_requests_waiting_by_reason",
        "vllm:engine_sleep_state",
        "vllm:external_prefix_cache_queries",
        "vllm:external_prefix_cache_hits",
        "vllm:mm_cache_queries",
        "vllm:mm_cache_hits",
        "vllm:prompt_tokens_by_source",
        "vllm:prompt_tokens_cached",
        "vllm:prompt_tokens_cached_by_source",
        "vllm:admission_rejections",
        "vllm:request_time_per_output_token_seconds",
        "vllm:request_num_preemptions",
        "vllm:request_prefill_kv_computed_tokens",
        "vllm:estimated_flops_per_gpu",
        "vllm:estimated_read_bytes_per_gpu",
        "vllm:estimated_write_bytes_per_gpu",
    }
)

#: Old names of families that both generations have.
_OLD_NAMES = {
    "vllm:kv_cache_usage_perc": "vllm:gpu_cache_usage_perc",
    "vllm:prefix_cache_queries": "vllm:gpu_prefix_cache_queries",
    "vllm:prefix_cache_hits": "vllm:gpu_prefix_cache_hits",
    "vllm:inter_token_latency_seconds": "vllm:time_per_output_token_seconds",
}

#: Labels of ``cache_config_info`` that say nothing about a simulated replica, as recorded.
_CACHE_LABELS = {
    "_block_size_resolved": "True",
    "cache_dtype": "auto",
    "cache_hit_alignment_tokens": "None",
    "enable_mamba_shared_prefix_checkpoint": "False",
    "enable_prefix_caching": "False",
    "gpu_memory_utilization": "0.92",
    "hash_block_size": "None",
    "is_attention_free": "False",
    "kv_cache_dtype_skip_layers": "[]",
    "kv_cache_layout": "None",
    "kv_cache_memory_bytes": "None",
    "kv_offloading_backend": "native",
    "kv_offloading_size": "None",
    "kv_sharing_fast_prefill": "False",
    "mamba_block_size": "None",
    "mamba_cache_dtype": "auto",
    "mamba_cache_mode": "none",
    "mamba_page_size_padded": "None",
    "mamba_ssm_cache_dtype": "auto",
    "num_cpu_blocks": "None",
    "num_gpu_blocks_override": "None",
    "prefix_cache_retention_interval": "0",
    "prefix_caching_hash_algo": "sha256",
    "prefix_match_unit": "None",
    "replayssm_buffer_len": "16",
    "skip_page_size_padded": "None",
    "sliding_window": "None",
    "swa_bounded_replay": "True",
    "use_kda_recoverssm": "False",
    "use_replayssm": "False",
    "user_specified_block_size": "False",
}

_HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[Counts], Histogram]], ...]] = (
    ("request_prompt_tokens", "Prompt tokens per request.", lambda c: c.request_prompt_tokens),
    (
        "request_generation_tokens",
        "Generated tokens per request.",
        lambda c: c.request_generation_tokens,
    ),
    ("iteration_tokens_total", "Tokens per engine iteration.", lambda c: c.iteration_tokens),
    (
        "request_max_num_generation_tokens",
        "Most tokens a request's choices generated.",
        lambda c: c.request_generation_tokens,
    ),
    ("request_params_n", "The n of requests.", lambda c: c.choices),
    (
        "request_params_max_tokens",
        "The max_tokens of requests.",
        lambda c: c.request_generation_tokens,
    ),
    ("time_to_first_token_seconds", "Time to first token.", lambda c: c.time_to_first_token),
    ("inter_token_latency_seconds", "Gaps between tokens.", lambda c: c.inter_token_latency),
    (
        "request_time_per_output_token_seconds",
        "Mean gap between a request's tokens.",
        lambda c: c.time_per_output_token,
    ),
    ("e2e_request_latency_seconds", "Arrival to last token.", lambda c: c.end_to_end),
    ("request_queue_time_seconds", "Time waiting to be scheduled.", lambda c: c.queue_time),
    ("request_inference_time_seconds", "Scheduled to last token.", lambda c: c.inference_time),
    ("request_prefill_time_seconds", "Scheduled to first token.", lambda c: c.prefill_time),
    ("request_decode_time_seconds", "First token to last.", lambda c: c.decode_time),
    ("request_num_preemptions", "Preemptions per request.", lambda c: c.preemptions),
    (
        "request_prefill_kv_computed_tokens",
        "Prompt tokens computed and not cached, per request.",
        lambda c: c.request_prompt_tokens,
    ),
)


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
            elif family.name not in _NEW_FAMILIES:
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
        for name, text, histogram in _HISTOGRAMS:
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
        blocks = replica.profile.kv_capacity_tokens // _BLOCK_TOKENS
        tokens = blocks * _BLOCK_TOKENS
        labels = {
            **_CACHE_LABELS,
            "engine": "0",
            "block_size": str(_BLOCK_TOKENS),
            "effective_attention_block_size": str(_BLOCK_TOKENS),
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
    old = _OLD_NAMES.get(family.name)
    if old is None:
        return family
    renamed = Metric(old, family.documentation, family.type)
    for sample in family.samples:
        suffix = sample.name.removeprefix(family.name)
        renamed.add_sample(old + suffix, sample.labels, sample.value)
    return renamed
