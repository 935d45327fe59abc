"""The recording rules: generated, accepted by promtool, and what they record is right."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.adapters.prometheus import rules
from controlplane.prometheus import PromtoolFailed, promtool

FOLDER = Path(__file__).parents[2] / "manifests/monitoring"


@pytest.mark.parametrize("name", [rules.PLAIN, rules.CUSTOM_RESOURCE])
def test_the_files_are_what_is_generated(name: str) -> None:
    """Both come from one source; a stale one says how to make it anew."""
    text = (FOLDER / name).read_text()
    assert text == rules.rendered()[name], "run: make generate"


def test_both_files_hold_the_same_rules() -> None:
    """Who has the operator of Prometheus and who has not get the same."""
    plain = yaml.safe_load((FOLDER / rules.PLAIN).read_text())
    resource = yaml.safe_load((FOLDER / rules.CUSTOM_RESOURCE).read_text())
    assert (resource["apiVersion"], resource["kind"]) == (
        "monitoring.coreos.com/v1",
        "PrometheusRule",
    )
    assert resource["spec"] == plain


def series(metric: str, values: str, **labels: str) -> dict[str, str]:
    """Samples of one series, one each 15 s."""
    pairs = {"namespace": "serving", "pod": "a", "model_name": "llama", **labels}
    text = ",".join(f'{name}="{value}"' for name, value in pairs.items() if value)
    return {"series": f"{metric}{{{text}}}", "values": values}


def question(part: str, value: float, **labels: str) -> dict[str, Any]:
    """What is recorded of one part at the third sample."""
    pairs = {
        "__name__": "steelyard:engine:readings",
        "namespace": "serving",
        "pod": "a",
        "model_name": "llama",
        "profile": "VLLM",
        "part": part,
        **labels,
    }
    name = pairs.pop("__name__")
    text = ",".join(f'{key}="{each}"' for key, each in pairs.items() if each)
    return {
        "expr": f'{name}{{part="{part}",profile="{pairs["profile"]}"}}',
        "eval_time": "30s",
        "exp_samples": [{"labels": f"{name}{{{text}}}", "value": value}],
    }


def unit_test(folder: Path, given: list[dict[str, str]], asked: list[dict[str, Any]]) -> str:
    """Write a rule test; returns its path."""
    (folder / "rules.yaml").write_text((FOLDER / rules.PLAIN).read_text())
    case = {"interval": "15s", "input_series": given, "promql_expr_test": asked}
    path = folder / "test.yaml"
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "15s", "tests": [case]}
    path.write_text(yaml.safe_dump(document))
    return str(path)


@pytest.mark.cluster
def test_a_pods_series_are_summed_and_alternatives_are_not(
    control_plane_programs: Any, tmp_path: Path
) -> None:
    """Data-parallel engines add up; an old name counts only where the new one is absent."""
    old = {"pod": "b"}
    given = [
        series("vllm:num_requests_running", "1 2 3", engine="0"),
        series("vllm:num_requests_running", "1 2 4", engine="1"),
        series("vllm:request_success_total", "0 5 9", finished_reason="stop"),
        series("vllm:request_success_total", "0 1 2", finished_reason="abort"),
        series("vllm:kv_cache_usage_perc", "0.1 0.2 0.3"),
        series("vllm:gpu_cache_usage_perc", "0.9 0.9 0.9"),
        series("vllm:inter_token_latency_seconds_count", "1 1 70"),
        series("vllm:request_time_per_output_token_seconds_count", "1 1 7"),
        series("vllm:inter_token_latency_seconds_count", "1 1 90", **old),
        series("up", "0 0 0", pod="c", model_name=""),
        series("up", "1 1 1", model_name=""),
    ]
    asked = [
        question("running", 7.0),
        question("time", 30.0),
        question("ended", 11.0),
        question("failed", 2.0),
        question("kv_use", 0.3),
        question("tpot_count", 7.0),
        question("gaps_count", 90.0, **old),
        question("down", 0.0, pod="c", model_name=""),
        {"expr": 'steelyard:engine:readings{part=~"refused|twice"}', "eval_time": "30s"},
    ]
    promtool(control_plane_programs, "test", "rules", unit_test(tmp_path, given, asked))


@pytest.mark.cluster
def test_a_pod_of_two_scrape_jobs_is_told(control_plane_programs: Any, tmp_path: Path) -> None:
    """Several engines of one pod are right; the same engine twice is not."""
    given = [
        series("vllm:num_requests_running", "1 2 3", engine="0", job="one"),
        series("vllm:num_requests_running", "1 2 4", engine="1", job="one"),
        series("vllm:num_requests_running", "1 2 3", pod="b", engine="0", job="one"),
        series("vllm:num_requests_running", "1 2 3", pod="b", engine="0", job="two"),
    ]
    path = unit_test(tmp_path, given, [question("twice", 2.0, pod="b")])
    promtool(control_plane_programs, "test", "rules", path)


@pytest.mark.cluster
def test_every_engine_is_recorded(control_plane_programs: Any, tmp_path: Path) -> None:
    """Each under its own profile, by the labels that it has."""
    nameless = {"model_name": ""}
    given = [
        series("sglang:num_running_reqs", "1 2 3"),
        series("tgi_request_success", "1 2 3", **nameless),
        series("tgi_request_failure", "0 0 1", err="overloaded", **nameless),
        series("nv_trt_llm_request_metrics", "1 2 6", request_type="waiting", **nameless),
        series("nv_trt_llm_request_metrics", "1 2 9", request_type="max", **nameless),
        series("nv_inference_request_success", "1 2 8", model="tensorrt_llm", **nameless),
        series("nv_inference_request_success", "1 2 8", model="ensemble", **nameless),
    ]
    asked = [
        question("running", 3.0, profile="SGLang"),
        question("ended", 4.0, profile="TGI", **nameless),
        question("waiting", 6.0, profile="TritonTRTLLM", **nameless),
        question("ended", 8.0, profile="TritonTRTLLM", **nameless),
    ]
    promtool(control_plane_programs, "test", "rules", unit_test(tmp_path, given, asked))


@pytest.mark.cluster
def test_a_wrong_expectation_fails(control_plane_programs: Any, tmp_path: Path) -> None:
    """The unit tests above can fail."""
    given = [series("vllm:num_requests_running", "1 2 3")]
    path = unit_test(tmp_path, given, [question("running", 4.0)])
    with pytest.raises(PromtoolFailed, match="running"):
        promtool(control_plane_programs, "test", "rules", path)
