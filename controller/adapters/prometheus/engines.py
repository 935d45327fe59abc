"""Metrics profiles: what each serving engine calls what we read. Names and labels only, as data.

A family may have several names over an engine's versions: the best comes first, and of each pod
the first that exists counts. Sources: vLLM docs/design/metrics.md and docs/usage/metrics.md and a
recorded exposition of 0.32; SGLang references/production_metrics; TGI reference/metrics; Triton
user_guide/metrics and the TensorRT-LLM backend's README.
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

MetricName = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$", max_length=200)]
Label = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=100)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$", max_length=63)]


class _Data(BaseModel):
    """Frozen, closed, camelCase outside."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, extra="forbid", frozen=True
    )


class Family(_Data):
    """One metric, or several whose series are summed, where ``matching`` labels have a value."""

    names: Annotated[tuple[MetricName, ...], Field(min_length=1, max_length=8)]
    matching: dict[Label, tuple[str, ...]] = {}


class Buckets(_Data):
    """A histogram by its family's name, without ``_bucket``; one of its units in SI is ``unit``."""

    name: MetricName
    unit: Annotated[float, Field(gt=0)] = 1.0


def _family(given: Any) -> Any:
    """Let a bare name stand for a family."""
    return {"names": [given]} if isinstance(given, str) else given


def _families(given: Any) -> Any:
    """Let one alternative stand without a list."""
    return [given] if isinstance(given, str | dict) else given


def _bucket(given: Any) -> Any:
    return {"name": given} if isinstance(given, str) else given


Families = Annotated[
    tuple[Annotated[Family, BeforeValidator(_family)], ...], BeforeValidator(_families)
]
Histograms = Annotated[
    tuple[Annotated[Buckets, BeforeValidator(_bucket)], ...], BeforeValidator(_families)
]
Needed = Annotated[Families, Field(min_length=1, max_length=8)]


class EngineProfile(_Data):
    """What one engine exports; several alternatives each, best first.

    ``running``, ``waiting`` and ``ended`` (requests that ended, however) are needed: arrivals
    follow from them. ``received`` counts arrivals themselves where an engine does. ``failed`` are
    those of ``ended`` that did not succeed; ``refused`` never entered ``ended``. ``created`` is
    the Unix time at which an engine's counters began. ``tpot`` has one sample a request, ``gaps``
    one a token gap: it stands in where the former is absent. ``appears_late`` says that a counter
    is first exported once it has counted something. Without ``model_label`` series are known by
    their pod alone. ``rank_labels`` tell apart the several series that one pod rightly has; any
    more come of scraping it twice.
    """

    name: Name
    namespace_label: Label = "namespace"
    pod_label: Label = "pod"
    model_label: Label | None = "model_name"
    rank_labels: Annotated[tuple[Label, ...], Field(max_length=8)] = ()
    running: Needed
    waiting: Needed
    ended: Needed
    received: Families = ()
    failed: Families = ()
    refused: Families = ()
    created: Families = ()
    kv_use: Families = ()
    token_requests: Families = ()
    prompt_tokens: Families = ()
    output_tokens: Families = ()
    ttft: Histograms = ()
    tpot: Histograms = ()
    gaps: Histograms = ()
    prompt_lengths: Histograms = ()
    output_lengths: Histograms = ()
    appears_late: bool = False
    buckets_flag: str = "a bucket edge there"

    @property
    def labels(self) -> tuple[str, ...]:
        """What series are grouped by."""
        model = () if self.model_label is None else (self.model_label,)
        return (self.namespace_label, self.pod_label, *model)


class ArrivalsProfile(_Data):
    """A counter of received requests outside the engine: a gateway's, an endpoint picker's.

    The series of one model have ``value`` in ``name_label``, in which ``{name}`` stands for
    ``spec.arrivals.name`` and ``{namespace}`` for the object's namespace, and its namespace in
    ``namespace_label``. One of the two must tell the namespace: else any tenant could name
    another's traffic. ``instance_labels`` tell the processes apart that count.
    """

    name: Name
    counter: Needed
    name_label: Label
    value: Annotated[str, Field(max_length=500)] = "{name}"
    namespace_label: Label | None = None
    instance_labels: Annotated[tuple[Label, ...], Field(max_length=4)] = ("instance", "pod")

    def wanted(self, namespace: str, name: str) -> str:
        """Return the value of ``name_label`` for one object."""
        return self.value.replace("{namespace}", namespace).replace("{name}", name)


def _one(name: str, **matching: tuple[str, ...]) -> tuple[Family, ...]:
    return (Family(names=(name,), matching=matching),)


def _buckets(*names: str, unit: float = 1.0) -> tuple[Buckets, ...]:
    return tuple(Buckets(name=name, unit=unit) for name in names)


VLLM: Final = EngineProfile(
    name="VLLM",
    rank_labels=("engine",),
    running=_one("vllm:num_requests_running"),
    waiting=_one("vllm:num_requests_waiting"),
    ended=_one("vllm:request_success_total"),
    failed=_one("vllm:request_success_total", finished_reason=("abort", "error")),
    refused=_one("vllm:admission_rejections_total"),
    created=_one("vllm:request_success_created"),
    kv_use=(*_one("vllm:kv_cache_usage_perc"), *_one("vllm:gpu_cache_usage_perc")),
    token_requests=_one("vllm:request_prompt_tokens_count"),
    prompt_tokens=_one("vllm:request_prompt_tokens_sum"),
    output_tokens=_one("vllm:request_generation_tokens_sum"),
    ttft=_buckets("vllm:time_to_first_token_seconds"),
    tpot=_buckets("vllm:request_time_per_output_token_seconds"),
    gaps=_buckets("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
    prompt_lengths=_buckets("vllm:request_prompt_tokens"),
    output_lengths=_buckets("vllm:request_generation_tokens"),
    buckets_flag="--custom-histogram-buckets",
)

SGLANG: Final = EngineProfile(
    name="SGLang",
    rank_labels=("engine_type", "dp_rank", "tp_rank", "pp_rank", "moe_ep_rank"),
    running=_one("sglang:num_running_reqs"),
    waiting=_one("sglang:num_queue_reqs"),
    ended=_one("sglang:num_requests_total"),
    failed=_one("sglang:num_aborted_requests_total"),
    kv_use=_one("sglang:token_usage"),
    token_requests=_one("sglang:num_requests_total"),
    prompt_tokens=_one("sglang:prompt_tokens_total"),
    output_tokens=_one("sglang:generation_tokens_total"),
    ttft=_buckets("sglang:time_to_first_token_seconds"),
    gaps=_buckets("sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"),
    prompt_lengths=_buckets("sglang:prompt_tokens_histogram"),
    output_lengths=_buckets("sglang:generation_tokens_histogram"),
    appears_late=True,
    buckets_flag="--bucket-time-to-first-token, --bucket-inter-token-latency",
)

TGI: Final = EngineProfile(
    name="TGI",
    model_label=None,
    running=_one("tgi_batch_current_size"),
    waiting=_one("tgi_queue_size"),
    ended=(Family(names=("tgi_request_success", "tgi_request_failure")),),
    received=_one("tgi_request_count"),
    failed=_one("tgi_request_failure"),
    token_requests=_one("tgi_request_input_length_count"),
    prompt_tokens=_one("tgi_request_input_length_sum"),
    output_tokens=_one("tgi_request_generated_tokens_sum"),
    tpot=_buckets("tgi_request_mean_time_per_token_duration"),
    prompt_lengths=_buckets("tgi_request_input_length"),
    output_lengths=_buckets("tgi_request_generated_tokens"),
    appears_late=True,
)

#: Its gauges name the backend's model ("tensorrt_llm"), whatever the ensemble before it is called.
TRITON_TRTLLM: Final = EngineProfile(
    name="TritonTRTLLM",
    model_label=None,
    rank_labels=("model", "version"),
    running=_one("nv_trt_llm_request_metrics", request_type=("scheduled",)),
    waiting=_one("nv_trt_llm_request_metrics", request_type=("waiting",)),
    ended=(
        Family(
            names=("nv_inference_request_success", "nv_inference_request_failure"),
            matching={"model": ("tensorrt_llm",)},
        ),
    ),
    failed=_one("nv_inference_request_failure", model=("tensorrt_llm",)),
    kv_use=_one("nv_trt_llm_kv_cache_block_metrics", kv_cache_block_type=("fraction",)),
    ttft=_buckets("nv_inference_first_response_histogram_ms", unit=0.001),
    buckets_flag="--metrics-config histogram_latencies=true",
)

BUILT_IN: Final = (VLLM, SGLANG, TGI, TRITON_TRTLLM)
