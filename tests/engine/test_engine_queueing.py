"""Degenerate profiles turn the engine into textbook queues with known means."""

import math
from typing import Final

import numpy as np
import pytest

from controller.core.domain.variant import PerformanceProfile
from simulations.engine.fleet import EngineConfig, Fleet, PoolSpec

REQUESTS: Final = 1_000_000
STEP_SECONDS: Final = 1e-3
MEAN_TOKENS: Final = 400
CONFIG: Final = EngineConfig(ttft_threshold_seconds=1.0, tpot_threshold_seconds=1.0)


def servers(count: int) -> PerformanceProfile:
    """A replica that is ``count`` servers with one queue: each token takes one step, always."""
    return PerformanceProfile(
        t0_milliseconds=STEP_SECONDS * 1e3,
        delta_milliseconds=0.0,
        epsilon_milliseconds=0.0,
        kappa_milliseconds=0.0,
        kv_capacity_tokens=1 << 40,
        max_running=count,
    )


def run(
    replica: PerformanceProfile, rate: float, outputs: np.ndarray, seed: int
) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Endings of Poisson arrivals with one prompt token, the first tenth left out."""
    times = np.cumsum(np.random.default_rng(seed).exponential(1.0 / rate, len(outputs)))
    fleet = Fleet((PoolSpec(profile=replica),), CONFIG, 1)
    fleet.add_replica(0, 0.0)
    fleet.watch(len(outputs))
    fleet.advance(times[-1], times, np.ones(len(outputs), np.int64), outputs)
    fleet.finish()
    endings = fleet.endings()
    return endings[endings["uid"] >= len(outputs) // 10]


def geometric(seed: int) -> np.ndarray:
    """Output tokens whose service time is as good as exponential."""
    return np.random.default_rng(seed).geometric(1.0 / MEAN_TOKENS, REQUESTS)


@pytest.mark.parametrize("utilisation", [0.5, 0.8])
def test_one_server_is_m_m_1(utilisation: float) -> None:
    """The mean wait of one exponential server is rho / (1 - rho) services."""
    service = MEAN_TOKENS * STEP_SECONDS
    endings = run(servers(1), utilisation / service, geometric(1), 2)
    wait = np.mean(endings["first"] - endings["arrival"]) - STEP_SECONDS
    assert wait == pytest.approx(service * utilisation / (1.0 - utilisation), rel=0.03)
    sojourn = np.sort(endings["end"] - endings["arrival"])
    # The time in the system is exponential with mean service / (1 - rho).
    p99 = sojourn[int(0.99 * len(sojourn))]
    assert p99 == pytest.approx(math.log(100.0) * service / (1.0 - utilisation), rel=0.05)


@pytest.mark.parametrize(("count", "utilisation"), [(2, 0.8), (8, 0.9)])
def test_several_servers_are_m_m_c(count: int, utilisation: float) -> None:
    """The mean wait of c exponential servers with one queue is Erlang's."""
    service = MEAN_TOKENS * STEP_SECONDS
    offered = count * utilisation
    endings = run(servers(count), offered / service, geometric(3), 4)
    terms = [offered**k / math.factorial(k) for k in range(count)]
    last = offered**count / math.factorial(count) / (1.0 - utilisation)
    waits = last / (sum(terms) + last)
    expected = waits * service / (count * (1.0 - utilisation))
    # A request that finds a free server still waits for the next step: half of one in the mean.
    wait = np.mean(endings["first"] - endings["arrival"]) - 1.5 * STEP_SECONDS
    assert wait == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("spread", ["constant", "geometric", "two-point"])
def test_host_time_alone_is_processor_sharing(spread: str) -> None:
    """With time per sequence only, the mean sojourn is that of M/G/1-PS for any service law."""
    utilisation = 0.7
    replica = PerformanceProfile(
        t0_milliseconds=1e-6,
        delta_milliseconds=0.0,
        epsilon_milliseconds=0.0,
        kappa_milliseconds=0.0,
        beta_milliseconds=STEP_SECONDS * 1e3,
        kv_capacity_tokens=1 << 40,
        max_running=4096,
    )
    rng = np.random.default_rng(5)
    outputs = {
        "constant": np.full(REQUESTS, MEAN_TOKENS),
        "geometric": geometric(6),
        "two-point": np.where(rng.random(REQUESTS) < 0.9, 100, 3_100),
    }[spread]
    # The first token comes out of the prompt, which takes no time here.
    service = (float(np.mean(outputs)) - 1.0) * STEP_SECONDS
    endings = run(replica, utilisation / service, outputs, 7)
    sojourn = np.mean(endings["end"] - endings["arrival"])
    assert sojourn == pytest.approx(service / (1.0 - utilisation), rel=0.03)
