"""The emulator's options: what they make, and how wrong ones are told."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from simulations.emulator.__main__ import app, models
from simulations.emulator.replay_order import cut_and_scaled

TRACE = {"durationSeconds": 600, "levelRequestsPerSecond": 5}


def test_models_become_pods_behind_services() -> None:
    """Each --model is a Service with so many Ready pods of one profile and queue limit."""
    view = models(["llama=llama-8b-bf16-h100:2:64", "small=llama-8b-int4-h100"])
    assert [pod.name for pod in view.pods] == ["llama-0", "llama-1", "small-0"]
    assert [pod.queue_limit for pod in view.pods] == [64, 64, None]
    assert [pod.served_model_name for pod in view.pods] == ["llama", "llama", "small"]
    assert [(service.name, dict(service.selector)) for service in view.services] == [
        ("llama", {"app": "llama"}),
        ("small", {"app": "small"}),
    ]


@pytest.mark.parametrize(
    "wrong",
    ["llama", "=x", "llama=", "llama=gpt", "llama=llama-8b-bf16-h100:two", "a=b:1:2:3"],
)
def test_wrong_models_are_told(wrong: str) -> None:
    """A --model of another form, or of an unknown profile, is named in the error."""
    with pytest.raises(typer.BadParameter, match=f"--model {wrong}"):
        models([wrong])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve"], "--kubeconfig"),
        (["serve", "--model", "a=llama-8b-bf16-h100", "--kubeconfig", "TRACE"], "give one of"),
        (["serve", "--model", "a=llama-8b-bf16-h100", "--trace", "TRACE"], "--door"),
        (["serve", "--model", "a=llama-8b-bf16-h100", "--speed", "0"], "speed"),
        (["load", "/no/such/trace.csv", "--url", "http://localhost"], "/no/such/trace.csv"),
    ],
)
def test_wrong_options_end_with_the_fix(arguments: list[str], message: str, tmp_path: Path) -> None:
    """What cannot be served or played ends with status 2 and names the option."""
    trace = tmp_path / "trace.csv"
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,10,10\n")
    arguments = [str(trace) if argument == "TRACE" else argument for argument in arguments]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "300", "TERM": "dumb"})
    assert result.exit_code == 2
    assert message in result.output


def test_a_peak_is_that_of_the_part_that_is_played() -> None:
    """The part in [from, to) peaks as asked, though it be shorter than the peak's minute."""
    for end in (130.0, 400.0):
        part = cut_and_scaled(TRACE, peak=40.0, from_seconds=100.0, to_seconds=end)
        assert part.duration_seconds == end - 100.0
        rate = sum(len(part.chunk(i)) for i in range(int(end / part.chunk_seconds) + 1)) / (
            end - 100.0
        )
        assert rate == pytest.approx(40.0, rel=0.2)
