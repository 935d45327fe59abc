"""The highest arrival rate at which one replica's mean latencies meet their targets."""

from collections.abc import Callable
from dataclasses import dataclass

from scipy.optimize import brentq

from simulations.peers.inferno.queue import QueueState, ReplicaQueue

#: Share of the highest rate that a target of tokens per second leaves.
THROUGHPUT_SHARE = 0.9
#: Relative accuracy and step limit of the search.
_TOLERANCE = 1e-6
_MOST_STEPS = 100


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets of a service class in milliseconds and tokens/s; 0 is no target."""

    ttft: float = 0.0
    itl: float = 0.0
    tokens_per_second: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """Arrival rates (requests/ms) that the targets allow each, and the queue at the least one."""

    ttft_rate: float
    itl_rate: float
    throughput_rate: float
    state: QueueState


def sized(queue: ReplicaQueue, targets: Targets) -> Sizing | None:
    """Size one replica; None where a target is out of reach however little arrives."""
    by_ttft = _rate_at(queue, targets.ttft, lambda state: state.latencies.ttft)
    by_itl = _rate_at(queue, targets.itl, lambda state: state.latencies.itl)
    if by_ttft is None or by_itl is None:
        return None
    by_throughput = queue.most_rate
    if targets.tokens_per_second > 0.0:
        by_throughput *= THROUGHPUT_SHARE
    return Sizing(
        ttft_rate=by_ttft,
        itl_rate=by_itl,
        throughput_rate=by_throughput,
        state=queue.at(min(by_ttft, by_itl, by_throughput)),
    )


def _rate_at(
    queue: ReplicaQueue, target: float, latency: Callable[[QueueState], float]
) -> float | None:
    """Rate at which a latency reaches its target; the highest where it never does.

    The peer bisects; the root is the same, found here in a tenth of the steps.
    """
    if target <= 0.0:
        return queue.most_rate

    def above(rate: float) -> float:
        return latency(queue.at(rate)) - target

    least, most = queue.least_rate, queue.most_rate
    at_least, at_most = above(least), above(most)
    if abs(at_least) <= _TOLERANCE * target:
        return least
    if abs(at_most) <= _TOLERANCE * target:
        return most
    # A latency that does not rise with the load rejects every target above its start as well.
    rises = at_least < at_most
    if at_least > 0.0 if rises else at_least < 0.0:
        return None
    if at_most < 0.0 if rises else at_most > 0.0:
        return most
    found = brentq(
        above, least, most, xtol=_TOLERANCE * least, rtol=_TOLERANCE, maxiter=_MOST_STEPS
    )
    # Where a latency jumps over its target (prompts of no tokens) the peer ends above the jump.
    return min(most, float(found) * (1.0 + 3.0 * _TOLERANCE))
