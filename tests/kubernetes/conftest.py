"""Connections of the adapter's to the tests' control plane."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controller.adapters.clock import SystemClock
from controller.adapters.kubernetes.client import Kubernetes, Rate
from controlplane.cluster import ControlPlane
from kubernetes import config

Connect = Callable[..., Kubernetes]


@pytest.fixture
def connect_as(control_plane: ControlPlane) -> Iterator[Connect]:
    """Connect as the administrator, or with another kubeconfig; closed with the test."""
    made: list[Kubernetes] = []

    def connect(kubeconfig: Path | None = None, *, per_second: float = 1000.0) -> Kubernetes:
        api = config.new_client_from_config(str(kubeconfig or control_plane.kubeconfig))
        api.configuration.retries = False
        made.append(
            Kubernetes(
                api=api,
                rate=Rate(per_second=per_second, steady=SystemClock().steady),
                timeout_seconds=5.0,
                pool=ThreadPoolExecutor(8),
            )
        )
        return made[-1]

    yield connect
    for each in made:
        each.close()


@pytest.fixture
def kubernetes(connect_as: Connect) -> Kubernetes:
    """A connection as the administrator."""
    return connect_as()
