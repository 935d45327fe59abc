"""Suite files: cells by their axes, and errors that name the field and the fix."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from simulations.scenario import InvalidScenario
from simulations.scoreboard.cell import CellSpec
from simulations.scoreboard.suite import SUITES, InvalidSuite, cells_of, load_suite, suite_path

Write: TypeAlias = Callable[..., Path]


def cell_of(**fields: Any) -> CellSpec:
    """A cell of the generated morning."""
    return CellSpec.model_validate({"scenario": "morning", **fields})


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_suite_resolves(path: Path) -> None:
    """Each cell is a scenario that a ModelDeployment's rules accept, under a name of its own."""
    cells = cells_of(load_suite(path))
    assert cells
    assert len({cell.name for cell in cells}) == len(cells)


def test_the_full_suite_is_a_designed_subset() -> None:
    """Some sixty cells: every trace once, and a factorial on three of them."""
    cells = cells_of(load_suite(suite_path("full")))
    assert 50 <= len(cells) <= 80
    traces = {cell.scenario.trace.path for cell in cells if cell.scenario.trace.path}
    assert len(traces) >= 12
    fleets = {cell.scenario.peak_replicas for cell in cells}
    assert {5.0, 20.0, 100.0} <= fleets
    colds = {
        spec.cold_start_median_seconds for cell in cells for spec in cell.scenario.replicas.values()
    }
    assert {45.0, 120.0, 180.0, 300.0} <= colds


def test_a_factorial_is_every_combination(write_suite: Write) -> None:
    """Axes are multiplied, and each cell is named by them."""
    factorial = {
        "cell": {"scenario": "morning"},
        "over": {"fleet": [5, 20], "coldStartSeconds": [45, 300]},
    }
    cells = cells_of(load_suite(write_suite(cells=[], factorials=[factorial])))
    assert [cell.name for cell in cells] == [
        "morning-5-45s", "morning-5-300s", "morning-20-45s", "morning-20-300s",
    ]  # fmt: skip
    assert [cell.scenario.peak_replicas for cell in cells] == [5.0, 5.0, 20.0, 20.0]


def test_axes_reach_the_scenario(write_suite: Write) -> None:
    """Pair, cold start, budget, quota, routing and queue limit are those of the replay."""
    fields = {
        "scenario": "morning",
        "fleet": 10,
        "pair": "70b-half-gpus",
        "coldStartSeconds": 180,
        "qualityBudget": "0.3",
        "quotaShare": 0.9,
        "routing": "Weighted",
        "queueLimit": False,
    }
    (cell,) = cells_of(load_suite(write_suite(cells=[fields])))
    policy = cell.scenario.policy()
    assert [variant.gpus_per_replica for variant in policy.variants] == [4, 2]
    assert [variant.cold_start_seconds for variant in policy.variants] == [180.0, 135.0]
    assert policy.quality.max_degraded_share == 0.3
    assert cell.scenario.gpu_quota == 36
    assert policy.routing.law == "Weighted"
    assert all(spec.queue_limit is None for spec in cell.scenario.replicas.values())


def test_a_warm_twin_stays_warm_whatever_a_cold_start_takes() -> None:
    """The axis of cold starts is that of replicas that load their weights."""
    twin = cell_of(pair="warm-twin", coldStartSeconds=300)
    assert twin.title == "morning-300s-warm-twin"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cells": [{"scenario": "nowhere"}]}, r"nowhere is not shipped; choose from .*morning"),
        ({"cells": [{"scenario": "morning", "fleet": 0}]}, r"cells\.0\.fleet"),
        ({"cells": [{"scenario": "morning", "speed": 1}]}, r"cells\.0\.speed"),
        ({"cells": [{"scenario": "morning"}] * 2}, "morning twice"),
        ({"cells": []}, "name at least one cell"),
        (
            {"cells": [{"scenario": "morning", "training": [100, 300], "test": [200, 400]}]},
            "must end before the test begins",
        ),
        (
            {"cells": [{"scenario": "morning", "replicas": {"bf17": {"queueLimit": 9}}}]},
            r"replicas\.bf17: no variant .*write one of bf16",
        ),
    ],
)
def test_a_wrong_suite_says_what_and_where(
    write_suite: Write, fields: dict[str, Any], message: str
) -> None:
    """Every error names the field and the fix."""
    with pytest.raises((InvalidSuite, InvalidScenario), match=message):
        cells_of(load_suite(write_suite(**fields)))


def test_an_unknown_suite_lists_the_shipped_ones() -> None:
    """A name that is neither a file nor shipped is told with the choice."""
    with pytest.raises(InvalidSuite, match=r"days, full, quick, standard"):
        suite_path("quik")
