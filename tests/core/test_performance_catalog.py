"""The built-in performance profiles."""

import pytest

from controller.core.performance.catalog import CATALOG, entry, profile

FITTED = {
    "llama-8b-bf16-h100",
    "llama-8b-fp8-h100",
    "llama-8b-bf16-a100",
    "llama-8b-bf16-l40s",
    "llama-8b-fp8-l40s",
    "llama-70b-bf16-4xh100",
    "llama-70b-fp8-2xh100",
    "llama-70b-fp8-4xh100",
}


def test_only_the_fitted_entries_are_not_marked_assumed() -> None:
    """An entry nobody measured says so in its source."""
    assert {name for name, found in CATALOG.items() if not found.assumed} == FITTED


def test_an_unknown_name_lists_the_known_ones() -> None:
    """A misspelt profile name is answered with all that exist."""
    with pytest.raises(ValueError, match="llama-8b-bf16-h100") as failure:
        profile("llama-8b-h100")
    assert all(name in str(failure.value) for name in CATALOG)


@pytest.mark.parametrize("name", CATALOG)
def test_names_carry_the_hardware(name: str) -> None:
    """The end of a name is the GPU count, where above one, and the kind of the entry."""
    found = entry(name)
    kind = found.accelerator.removeprefix("nvidia-")
    count = "" if found.gpus_per_replica == 1 else f"{found.gpus_per_replica}x"
    assert name.endswith(f"-{count}{kind}")


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("llama-8b-fp8-h100", "llama-8b-bf16-h100"),
        ("llama-8b-int8-a100", "llama-8b-bf16-a100"),
        ("llama-8b-fp8-l40s", "llama-8b-bf16-l40s"),
        ("llama-8b-int4-l40s", "llama-8b-bf16-l40s"),
        ("llama-70b-fp8-4xh100", "llama-70b-bf16-4xh100"),
    ],
)
def test_fewer_bits_are_faster_and_leave_more_room(lower: str, higher: str) -> None:
    """On the same GPUs a quantized form starts its iteration sooner and holds more KV."""
    small, large = profile(lower), profile(higher)
    assert small.t0_milliseconds < large.t0_milliseconds
    assert small.delta_milliseconds <= large.delta_milliseconds
    assert small.kv_capacity_tokens > large.kv_capacity_tokens
