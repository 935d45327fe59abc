"""Which accelerator a server runs on, and with how many replicas.

One server has one accelerator at a time. Every accelerator that meets the targets is a candidate;
its value is the penalty of the change to it, and the least value wins (the solver's unlimited
mode: accelerators are not scarce, so servers do not compete).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from simulations.peers.inferno.queue import (
    QUEUE_PER_BATCH,
    FourParameters,
    ReplicaQueue,
    ThreeParameters,
    Tokens,
)
from simulations.peers.inferno.sizing import Targets, sized

#: Share of both costs that a change of accelerator is worth.
PENALTY = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """An accelerator with the model's timing on it; ``cost`` of one replica, all instances.

    ``max_batch`` holds at ``at_tokens`` output tokens and grows as those shrink; where
    ``at_tokens`` is None it is the engine's own limit.
    """

    name: str
    cost: float
    timing: ThreeParameters | FourParameters
    max_batch: int
    at_tokens: int | None = None

    def batch(self, output_tokens: float) -> int:
        """Requests in service at once, N."""
        if self.at_tokens is None:
            return self.max_batch
        return max(math.floor(self.max_batch * self.at_tokens / output_tokens), 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Arrivals in requests/s, and their mean tokens as the collector has them: whole numbers."""

    requests_per_second: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What runs, or could: no ``accelerator`` name and no replicas is nothing at all.

    ``requests_per_second`` is what one replica may take, ``max_batch`` its places.
    """

    accelerator: str = ""
    replicas: int = 0
    cost: float = 0.0
    max_batch: int = 0
    requests_per_second: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A placement and the penalty of changing to it."""

    placement: Placement
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What is asked of a server. ``keep_accelerator``: it stays where it runs."""

    targets: Targets
    min_replicas: int
    keep_accelerator: bool = False


def candidates(
    server: Server, accelerators: Sequence[Accelerator], load: Load, current: Placement
) -> dict[str, Candidate]:
    """Candidates by the accelerator they were made for; those out of reach are left out."""
    if server.keep_accelerator and current.accelerator:
        accelerators = [one for one in accelerators if one.name == current.accelerator]
    found = {}
    for accelerator in accelerators:
        placed = placement(server, accelerator, load)
        if placed is not None:
            found[accelerator.name] = Candidate(placement=placed, value=penalty(current, placed))
    return found


def chosen(found: Mapping[str, Candidate]) -> Placement | None:
    """The least value; of equal ones the first. None without candidates."""
    best = min(found.values(), key=lambda candidate: candidate.value, default=None)
    return None if best is None else best.placement


def penalty(current: Placement, wanted: Placement) -> float:
    """Cost of the change; to another accelerator it is more than the difference."""
    change = wanted.cost - current.cost
    if wanted.accelerator == current.accelerator:
        return 0.0 if wanted.replicas == current.replicas else change
    return PENALTY * (current.cost + wanted.cost) + change


def placement(server: Server, accelerator: Accelerator, load: Load) -> Placement | None:
    """Size a server on an accelerator; None where it cannot meet the targets."""
    if load.requests_per_second <= 0.0 or load.output_tokens < 1:
        return _idle(server, accelerator)
    tokens = Tokens(float(load.prompt_tokens), float(load.output_tokens))
    batch = accelerator.batch(tokens.output)
    rate = _most_rate(accelerator.timing, tokens, batch, server.targets)
    if rate is None:
        return None
    offered = load.requests_per_second
    if server.targets.tokens_per_second > 0.0:
        offered = server.targets.tokens_per_second / tokens.output
    replicas = max(server.min_replicas, math.ceil(offered / rate))
    return Placement(
        accelerator=accelerator.name,
        replicas=replicas,
        cost=replicas * accelerator.cost,
        max_batch=batch,
        requests_per_second=rate,
    )


def _idle(server: Server, accelerator: Accelerator) -> Placement:
    """Without load: the minimum, or nothing. What a replica could take is a rough bound."""
    if server.min_replicas == 0:
        return Placement()
    batch = accelerator.max_batch
    timing = accelerator.timing
    first = timing.alpha + timing.beta
    longest = timing.alpha + timing.beta * batch
    if isinstance(timing, FourParameters):
        first = timing.gamma + timing.delta
    return Placement(
        accelerator=accelerator.name,
        replicas=server.min_replicas,
        cost=server.min_replicas * accelerator.cost,
        max_batch=batch,
        requests_per_second=1000.0 * batch / (first + longest),
    )


@lru_cache(maxsize=4096)
def _most_rate(
    timing: ThreeParameters | FourParameters, tokens: Tokens, batch: int, targets: Targets
) -> float | None:
    """Requests/s that one replica may take; tokens are whole, so the same come again and again."""
    queue = ReplicaQueue(
        timing=timing, tokens=tokens, max_batch=batch, max_queue=QUEUE_PER_BATCH * batch
    )
    found = sized(queue, targets)
    return None if found is None else 1000.0 * found.state.throughput
