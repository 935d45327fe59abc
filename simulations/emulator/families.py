"""vLLM's metric families: which there are by version, under what names, and from which counts."""

from collections.abc import Callable
from enum import Enum
from typing import Final

from simulations.emulator.counts import Counts
from simulations.emulator.histogram import Histogram

#: vLLM's default block size on NVIDIA GPUs.
BLOCK_TOKENS = 16


class MetricsVersion(Enum):
    """Which generation of names a server shows.

    ``CURRENT``: vLLM 0.32. ``OLD``: 0.8 and before, of which dashboards and many autoscalers still
    speak: KV use as ``gpu_cache_usage_perc``, one ``time_per_output_token_seconds`` that counts
    token gaps, no rejections, no reasons of waiting, no tokens by source.
    """

    CURRENT = "0.32"
    OLD = "0.8"


#: Families that the old generation lacks.
NEW_FAMILIES = frozenset(
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
OLD_NAMES = {
    "vllm:kv_cache_usage_perc": "vllm:gpu_cache_usage_perc",
    "vllm:prefix_cache_queries": "vllm:gpu_prefix_cache_queries",
    "vllm:prefix_cache_hits": "vllm:gpu_prefix_cache_hits",
    "vllm:inter_token_latency_seconds": "vllm:time_per_output_token_seconds",
}

#: Labels of ``cache_config_info`` that say nothing about a simulated replica, as recorded.
CACHE_LABELS = {
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

HISTOGRAMS: Final[tuple[tuple[str, str, Callable[[Counts], Histogram]], ...]] = (
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
