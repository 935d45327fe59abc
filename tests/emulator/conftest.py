"""What the emulator's tests share: small traffic, a clock set by hand, and the pure simulation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from controller.core.performance.catalog import profile
from simulations.emulator.view import ClusterView, PodSpec, ServiceSpec
from simulations.engine.config import EngineConfig, PoolSpec
from simulations.engine.fleet import Fleet

NAMESPACE = "serving"
SERVICE = "llama"
PROFILE = profile("llama-8b-bf16-h100")


@dataclass
class ManualClock:
    """A clock that stands where a test sets it."""

    now: float = 0.0

    def emulated_seconds(self) -> float:
        """Return the time set."""
        return self.now

    def unix_seconds(self, emulated_seconds: float) -> float:
        """Return a Unix time."""
        return 1.8e9 + emulated_seconds

    def delay_seconds(self, emulated_seconds: float) -> float:
        """Return how far away a time is."""
        return max(0.0, emulated_seconds - self.now)


@dataclass
class Traffic:
    """Requests in order of arrival, all arrays (requests,)."""

    seconds: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray

    def rows(self) -> list[tuple[float, int, int]]:
        """Return (arrival, prompt, output) of each."""
        return list(
            zip(
                self.seconds.tolist(),
                self.prompt_tokens.tolist(),
                self.output_tokens.tolist(),
                strict=True,
            )
        )


@pytest.fixture(scope="session")
def clock_type() -> type[ManualClock]:
    """The clock that a test sets."""
    return ManualClock


@pytest.fixture(scope="session")
def traffic() -> Callable[..., Traffic]:
    """Poisson arrivals of mixed lengths."""

    def make(
        requests: int, rate: float, seed: int = 0, prompts: int = 3000, outputs: int = 200
    ) -> Traffic:
        random = np.random.default_rng(seed)
        return Traffic(
            np.cumsum(random.exponential(1.0 / rate, requests)),
            random.integers(1, prompts, requests),
            random.integers(1, outputs, requests),
        )

    return make


@pytest.fixture(scope="session")
def pod_spec() -> Callable[..., PodSpec]:
    """A Ready pod of the Service ``llama``."""

    def make(name: str, **fields: Any) -> PodSpec:
        base = {
            "namespace": NAMESPACE,
            "profile": PROFILE,
            "served_model_name": "llama-3.1-8b",
            "labels": {"app": SERVICE},
        }
        return PodSpec(name=name, **{**base, **fields})

    return make


@pytest.fixture(scope="session")
def cluster_view() -> Callable[..., ClusterView]:
    """Pods behind the Service ``llama``."""

    def make(*pods: PodSpec, **fields: Any) -> ClusterView:
        service = ServiceSpec(namespace=NAMESPACE, name=SERVICE, selector={"app": SERVICE})
        return ClusterView(pods=pods, services=(service,), **fields)

    return make


@pytest.fixture(scope="session")
def simulate() -> Callable[..., np.ndarray]:
    """The same requests in the pure simulation: its endings in order of arrival."""

    def run(
        traffic: Traffic,
        replicas: int,
        queue_limit: int | None = None,
        timeout: float | None = None,
    ) -> np.ndarray:
        config = EngineConfig(
            ttft_threshold_seconds=1.0,
            tpot_threshold_seconds=0.05,
            client_timeout_seconds=timeout,
        )
        fleet = Fleet((PoolSpec(profile=PROFILE, queue_limit=queue_limit),), config, replicas)
        for _ in range(replicas):
            fleet.add_replica(0, 0.0)
        fleet.watch(len(traffic.seconds))
        fleet.advance(
            float(traffic.seconds[-1]),
            traffic.seconds,
            traffic.prompt_tokens,
            traffic.output_tokens,
        )
        fleet.finish()
        return np.sort(fleet.endings(), order="uid")

    return run
