"""What the documents show besides the walk-through is what the project takes."""

from pathlib import Path

import yaml

from controller.adapters.prometheus.profiles import load
from controller.api.v1alpha1 import parse
from walkthrough.pages import OPERATIONS, README, block, commands


def test_the_commands_on_kind_are_the_same_in_both_places() -> None:
    """README and docs/operations.md begin with `make kind` and end with `make kind-down`."""
    typed = commands(README, "kind")
    assert typed == commands(OPERATIONS, "kind")
    assert (typed[0], typed[-1]) == ("make kind", "make kind-down")


def test_the_documented_metrics_profiles_load(tmp_path: Path) -> None:
    """The example is read as a file of profiles, and means what is said beside it."""
    file = tmp_path / "profiles.yaml"
    file.write_text(block(OPERATIONS, "metrics profiles"))
    profiles = load(file)
    mine = profiles.engines["my-engine"]
    assert [family.names for family in mine.ended] == [("my_done_total", "my_failed_total")]
    assert [family.names for family in mine.kv_use] == [("my_kv_use_ratio",), ("my_kv_usage",)]
    assert [(one.name, one.unit) for one in mine.tpot] == [("my_token_gap_ms", 0.001)]
    assert mine.model_label == "model"
    wanted = profiles.arrivals["envoy"].wanted("serving", "llama")
    assert wanted == "httproute/serving/llama/rule/0"


def test_the_object_of_the_readme_is_one() -> None:
    """The README's ModelDeployment is taken, also with the names of the documented profiles."""
    document = yaml.safe_load(block(README, "object"))
    assert parse(document).spec.mode == "Auto"
    variant = document["spec"]["variants"][0]
    profiles = yaml.safe_load(block(OPERATIONS, "metrics profiles"))
    variant["engine"] = profiles["engines"][0]["name"]
    document["spec"]["arrivals"] = {
        "metricsProfile": profiles["arrivals"][0]["name"],
        "name": "llama",
    }
    assert parse(document).spec.variants[0].engine == "my-engine"
