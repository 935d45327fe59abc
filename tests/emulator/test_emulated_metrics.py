"""The exposition: names, labels and edges are those that vLLM's servers show."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from simulations.emulator.exposition import Identity, MetricsVersion, expose
from simulations.emulator.replica import Replica, Request

#: A fixture that makes things.
Make = Callable[..., Any]

RECORDED = Path(__file__).parents[2] / ".." / "shared" / "reference" / "vllm-0.32.0.prom"
IDENTITY = Identity(model_name="tiny", started_unix_seconds=1.8e9)

#: Labels whose values are part of the contract; others name the server or its cache.
FIXED = {"le", "reason", "source", "finished_reason", "sleep_state", "engine"}

#: What autoscalers read of a server, where the recorded file is not at hand.
READ_BY_AUTOSCALERS = {
    "vllm:num_requests_running": {"engine", "model_name"},
    "vllm:num_requests_waiting": {"engine", "model_name"},
    "vllm:num_requests_waiting_by_reason": {"engine", "model_name", "reason"},
    "vllm:engine_sleep_state": {"engine", "model_name", "sleep_state"},
    "vllm:kv_cache_usage_perc": {"engine", "model_name"},
    "vllm:admission_rejections_total": {"model_name", "reason"},
    "vllm:num_preemptions_total": {"engine", "model_name"},
    "vllm:prefix_cache_queries_total": {"engine", "model_name"},
    "vllm:prefix_cache_hits_total": {"engine", "model_name"},
    "vllm:prompt_tokens_total": {"engine", "model_name"},
    "vllm:prompt_tokens_by_source_total": {"engine", "model_name", "source"},
    "vllm:generation_tokens_total": {"engine", "model_name"},
    "vllm:request_success_total": {"engine", "model_name", "finished_reason"},
    "vllm:time_to_first_token_seconds_bucket": {"engine", "model_name", "le"},
    "vllm:inter_token_latency_seconds_bucket": {"engine", "model_name", "le"},
    "vllm:request_time_per_output_token_seconds_bucket": {"engine", "model_name", "le"},
    "vllm:e2e_request_latency_seconds_sum": {"engine", "model_name"},
    "vllm:request_queue_time_seconds_count": {"engine", "model_name"},
    "vllm:request_prompt_tokens_bucket": {"engine", "model_name", "le"},
    "vllm:request_generation_tokens_bucket": {"engine", "model_name", "le"},
    "vllm:iteration_tokens_total_count": {"engine", "model_name"},
    "http_requests_total": {"handler", "method", "status"},
    "process_start_time_seconds": set(),
}


@pytest.fixture
def idle_again(traffic: Make, pod_spec: Make) -> Replica:
    """A server with the recorded one's context, after some requests."""
    replica = Replica(pod_spec("a").profile, 0.0, max_model_len=1024)
    for arrival, prompt, output in traffic(20, 5.0, prompts=300, outputs=90).rows():
        replica.submit(Request(prompt, output), arrival)
    replica.settle(1e4)
    return replica


def series(text: str) -> dict[tuple[str, str], set[tuple[tuple[str, str], ...]]]:
    """Label sets by sample name and type; values of labels that name the server are blank."""
    found: dict[tuple[str, str], set[tuple[tuple[str, str], ...]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {k: v if k in FIXED else "" for k, v in sample.labels.items()}
            found.setdefault((sample.name, family.type), set()).add(tuple(sorted(labels.items())))
    return found


def values(replica: Replica) -> dict[str, float]:
    """Samples without further labels, by name."""
    text = expose(replica, IDENTITY).decode()
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if set(sample.labels) <= {"engine", "model_name"}
    }


@pytest.mark.skipif(not RECORDED.is_file(), reason="the recorded exposition is not at hand")
def test_every_series_of_the_engine_is_as_recorded(idle_again: Replica) -> None:
    """All of a real server's vllm: series are there with their labels and edges, and no others."""
    recorded = series(RECORDED.read_text())
    shown = series(expose(idle_again, IDENTITY).decode())
    engine = {key: labels for key, labels in recorded.items() if key[0].startswith("vllm:")}
    assert len(engine) > 80
    assert {k: v for k, v in shown.items() if k[0].startswith("vllm:")} == engine
    http = "http_request_duration_seconds_bucket", "histogram"
    assert {label[1] for label in shown[http]} == {label[1] for label in recorded[http]}
    for name in ("http_requests_total", "process_start_time_seconds"):
        assert any(key[0] == name for key in shown)


def test_what_autoscalers_read_is_there(idle_again: Replica) -> None:
    """Each series that autoscalers query has exactly the labels they select by."""
    shown = {
        name: sets for (name, _), sets in series(expose(idle_again, IDENTITY).decode()).items()
    }
    for name, labels in READ_BY_AUTOSCALERS.items():
        assert {frozenset(dict(one)) for one in shown[name]} == {frozenset(labels)}, name


def test_the_sums_agree_as_a_real_servers_do(idle_again: Replica) -> None:
    """An idle server's exposition obeys the identities found in the recorded one."""
    shown = values(idle_again)
    finished = shown["vllm:e2e_request_latency_seconds_count"]
    prompt, output = shown["vllm:prompt_tokens_total"], shown["vllm:generation_tokens_total"]
    assert finished == 20
    assert prompt == shown["vllm:prefix_cache_queries_total"] > 0
    assert shown["vllm:iteration_tokens_total_sum"] == prompt + output
    assert shown["vllm:inter_token_latency_seconds_count"] == output - finished
    assert shown["vllm:inter_token_latency_seconds_sum"] == pytest.approx(
        shown["vllm:request_decode_time_seconds_sum"]
    )
    assert shown["vllm:request_prefill_kv_computed_tokens_sum"] == prompt
    assert shown["vllm:num_requests_running"] == shown["vllm:num_requests_waiting"] == 0


def test_gauges_show_the_queue(pod_spec: Make) -> None:
    """Running and waiting add up to what was sent, and waiting is all for capacity."""
    replica = Replica(pod_spec("a").profile, 0.0)
    for _ in range(300):
        replica.submit(Request(500, 400), 0.0)
    replica.settle(4.0)
    shown = values(replica)
    assert shown["vllm:num_requests_running"] == 256
    assert shown["vllm:num_requests_waiting"] == 44
    assert 0.0 < shown["vllm:kv_cache_usage_perc"] < 1.0
    text = expose(replica, IDENTITY).decode()
    labels = '{engine="0",model_name="tiny",reason="capacity"}'
    assert f"vllm:num_requests_waiting_by_reason{labels} 44.0" in text


def test_old_servers_names(idle_again: Replica) -> None:
    """The old generation has the old names with the same figures, and lacks what came later."""
    old = expose(idle_again, IDENTITY, MetricsVersion.OLD).decode()
    names = {name for name, _ in series(old)}
    assert {
        "vllm:gpu_cache_usage_perc",
        "vllm:gpu_prefix_cache_queries_total",
        "vllm:time_per_output_token_seconds_bucket",
        "vllm:num_requests_waiting",
        "vllm:time_to_first_token_seconds_bucket",
    } <= names
    assert not names & {
        "vllm:kv_cache_usage_perc",
        "vllm:inter_token_latency_seconds_bucket",
        "vllm:admission_rejections_total",
        "vllm:num_requests_waiting_by_reason",
    }
    count = values(idle_again)["vllm:inter_token_latency_seconds_count"]
    line = 'vllm:time_per_output_token_seconds_count{engine="0",model_name="tiny"}'
    assert f"{line} {count}" in old


def test_the_cache_size_is_in_a_label(pod_spec: Make) -> None:
    """KV room is shown where vLLM shows it, in whole blocks."""
    profile = pod_spec("a").profile
    text = expose(Replica(profile, 0.0), IDENTITY).decode()
    (sample,) = [
        sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "vllm:cache_config_info"
    ]
    tokens = int(sample.labels["kv_cache_size_tokens"])
    assert tokens == int(sample.labels["num_gpu_blocks"]) * int(sample.labels["block_size"])
    assert 0 <= profile.kv_capacity_tokens - tokens < int(sample.labels["block_size"])
