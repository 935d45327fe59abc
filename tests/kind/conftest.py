"""The kind tier: only where it is asked for, since it needs Docker and some minutes."""

import os
from pathlib import Path

import pytest

#: `make test-kind` sets it; without it these tests are not even collected.
ASKED = "STEELYARD_TEST_KIND"

collect_ignore_glob = [] if os.environ.get(ASKED) else ["test_*.py"]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "kind: needs Docker, kind and kubectl")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).parents[2]
