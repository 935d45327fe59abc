"""A suite of one short generated cell."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from simulations.scoreboard.suite import SCENARIOS, Cell, SuiteSpec, cells_of, load_suite

#: Twenty minutes of a generated morning on a small fleet, and an earlier part to tune on.
CELL = {
    "name": "small",
    "scenario": "morning",
    "fleet": 2,
    "training": [15000, 16200],
    "test": [16200, 17400],
}
SMALL = {
    "name": "small",
    "cells": [CELL],
    "targets": [0.9, 0.999],
    "planReplays": 1,
    "settings": 3,
    "ablations": False,
}


@pytest.fixture
def write_suite(tmp_path: Path) -> Any:
    """Write a suite file with some fields replaced."""

    def write(**fields: Any) -> Path:
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump(SMALL | fields, sort_keys=False))
        return path

    return write


@pytest.fixture
def suite(write_suite: Any) -> SuiteSpec:
    """The small suite."""
    return load_suite(write_suite())


@pytest.fixture
def cell(suite: SuiteSpec) -> Cell:
    """Its cell."""
    assert SCENARIOS.is_dir()
    return cells_of(suite)[0]
