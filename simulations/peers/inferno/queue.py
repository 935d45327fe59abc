"""A replica as an M/M/1/K queue whose service rate depends on the requests in service.

Times in milliseconds, rates in requests per millisecond. With j in the system, min(j, N) are in
service and finish at mu(min(j, N)); at most K = N + Q are in the system and more are lost. The
states above N form a geometric tail, which is summed in closed form: sizing asks for thousands of
these, and K is 11 N.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Requests that may wait, per place in the batch.
QUEUE_PER_BATCH = 10
#: Arrival rates looked at lie between these shares of mu(1) and of mu(N).
LEAST_LOAD = 0.001
MOST_LOAD = 0.999


@dataclass(frozen=True, slots=True)
class Tokens:
    """Mean prompt and output tokens of a request."""

    prompt: float
    output: float


class Timing(Protocol):
    """What a replica's timing parameters say of a mix of requests."""

    def service_times(self, tokens: Tokens, batches: Array) -> Array:
        """Time in service of a request in batches of constant size; same shape as ``batches``."""
        ...

    def latencies(
        self, tokens: Tokens, waiting: float, service: float, served: float, max_batch: int
    ) -> "Latencies":
        """Latencies from the queue's mean wait, mean service time and mean number in service."""
        ...


@dataclass(frozen=True, slots=True)
class Latencies:
    """Means: prefill, time to first token with the wait, time between tokens."""

    prefill: float
    ttft: float
    itl: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreeParameters:
    """Iteration alpha + b (beta tokens computed + gamma tokens read), the form after v0.5.1.

    A request computes (I + O) / (O + 1) tokens an iteration and reads I + O / 2 in the mean.
    """

    alpha: float
    beta: float
    gamma: float

    def iteration(self, tokens: Tokens, batch: Array) -> Array:
        """Mean iteration with so many requests in service."""
        computed = self.beta * (tokens.prompt + tokens.output) / (tokens.output + 1.0)
        return self.alpha + batch * (computed + self.gamma * (tokens.prompt + tokens.output / 2.0))

    def prefill(self, tokens: Tokens, batch: Array) -> Array:
        """The iteration that holds a request's own prompt; 0 without a prompt."""
        if tokens.prompt <= 0.0:
            return np.zeros_like(batch)
        return self.iteration(tokens, batch) + (self.beta + self.gamma) * tokens.prompt

    def decode(self, tokens: Tokens, batch: Array) -> Array:
        """An iteration that adds one token to a request's own context."""
        own = self.beta + self.gamma * (tokens.prompt + tokens.output / 2.0)
        return self.iteration(tokens, batch) + own

    def service_times(self, tokens: Tokens, batches: Array) -> Array:
        """Prefill and O decodes."""
        return self.prefill(tokens, batches) + tokens.output * self.decode(tokens, batches)

    def latencies(
        self, tokens: Tokens, waiting: float, service: float, served: float, max_batch: int
    ) -> Latencies:
        """Time between tokens is what of the service time is not prefill."""
        del max_batch
        prefill = float(self.prefill(tokens, np.array(served)))
        itl = (service - prefill) / tokens.output
        return Latencies(prefill=prefill, ttft=waiting + prefill + itl, itl=itl)


@dataclass(frozen=True, slots=True, kw_only=True)
class FourParameters:
    """Decode alpha + beta b and prefill gamma + delta I b, the form up to v0.5.1."""

    alpha: float
    beta: float
    gamma: float
    delta: float

    def prefill(self, tokens: Tokens, batch: Array) -> Array:
        """0 without a prompt."""
        if tokens.prompt <= 0.0:
            return np.zeros_like(batch)
        return self.gamma + self.delta * tokens.prompt * batch

    def decode(self, batch: Array) -> Array:
        """One token for everybody."""
        return self.alpha + self.beta * batch

    def service_times(self, tokens: Tokens, batches: Array) -> Array:
        """Prefill and the decodes after the first token."""
        return self.prefill(tokens, batches) + _decodes(tokens) * self.decode(batches)

    def latencies(
        self, tokens: Tokens, waiting: float, service: float, served: float, max_batch: int
    ) -> Latencies:
        """Latencies at the batch whose service time is the mean one, not at the mean batch."""
        del served
        decodes = tokens.output - 1.0
        slope = self.delta * tokens.prompt + self.beta * decodes
        above = service - (self.gamma + self.alpha * decodes)
        wanted = above / slope if slope > 0.0 else float(np.copysign(np.inf, above))
        batch = np.array(min(max(wanted, 0.0), float(max_batch)))
        prefill = float(self.prefill(tokens, batch))
        return Latencies(prefill=prefill, ttft=waiting + prefill, itl=float(self.decode(batch)))


def _decodes(tokens: Tokens) -> float:
    """Decodes of a request; one where a single token is asked for without a prompt."""
    if tokens.prompt <= 0.0 and tokens.output == 1.0:
        return 1.0
    return tokens.output - 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The queue at one arrival rate: ``throughput`` finish, ``served`` are in service in the mean.

    ``waiting`` is the mean time in the queue and ``utilization`` the mean share of the batch.
    """

    throughput: float
    waiting: float
    service: float
    served: float
    utilization: float
    latencies: Latencies


@dataclass(frozen=True, kw_only=True)
class ReplicaQueue:
    """One replica under a mix; ``max_queue`` requests may wait beside ``max_batch`` in service."""

    timing: Timing
    tokens: Tokens
    max_batch: int
    max_queue: int

    def __post_init__(self) -> None:
        """Reject what no queue can be; raises ``ValueError``."""
        if self.max_batch < 1 or self.max_queue < 0:
            raise ValueError(
                "max_batch must be >= 1 and max_queue >= 0, "
                f"got {self.max_batch} and {self.max_queue}"
            )
        if not (self.tokens.prompt >= 0.0 and self.tokens.output >= 1.0):
            raise ValueError(f"tokens: need prompt >= 0 and output >= 1, got {self.tokens}")

    @cached_property
    def service_rates(self) -> Array:
        """Completions per ms with 1 to N requests in service, shape (N,)."""
        batches = np.arange(1.0, self.max_batch + 1.0)
        return batches / self.timing.service_times(self.tokens, batches)

    @property
    def least_rate(self) -> float:
        """Lowest arrival rate looked at."""
        return LEAST_LOAD * float(self.service_rates[0])

    @property
    def most_rate(self) -> float:
        """Highest arrival rate looked at."""
        return MOST_LOAD * float(self.service_rates[-1])

    def at(self, rate: float) -> QueueState:
        """Solve the chain; raises ``ValueError`` unless the rate is above 0 and below mu(N)."""
        if not 0.0 < rate < self.service_rates[-1]:
            raise ValueError(f"rate: must be above 0 and below mu(N), got {rate} per ms")
        # Probabilities of 0..N in the system, scaled by the likeliest so that none overflows.
        log_p = self._log_weights + np.log(rate) * self._states
        p = np.exp(log_p - log_p.max())
        ratio = rate / float(self.service_rates[-1])
        tail, tail_states, last = _geometric(float(p[-1]), ratio, self.max_queue)
        total = float(p.sum()) + tail
        served = (float(p @ self._states) + self.max_batch * tail) / total
        queued = tail_states / total
        throughput = rate * (1.0 - last / total)
        service, waiting = served / throughput, queued / throughput
        return QueueState(
            throughput=throughput,
            waiting=waiting,
            service=service,
            served=served,
            utilization=served / self.max_batch,
            latencies=self.timing.latencies(self.tokens, waiting, service, served, self.max_batch),
        )

    @cached_property
    def _states(self) -> Array:
        return np.arange(self.max_batch + 1.0)

    @cached_property
    def _log_weights(self) -> Array:
        """Log of prod 1 / mu(i) for i up to the state, shape (N + 1,)."""
        return np.concatenate([[0.0], -np.cumsum(np.log(self.service_rates))])


def _geometric(first: float, ratio: float, terms: int) -> tuple[float, float, float]:
    """Sums of first ratio^i and of i first ratio^i for i in 1..terms, and the last term.

    ``ratio`` stays 1 - MOST_LOAD away from 1 in all that sizing asks, so nothing cancels.
    """
    last = first * ratio**terms
    gap = 1.0 - ratio
    whole = (first - last) * ratio / gap
    weighted = (whole - terms * last * ratio) / gap
    return whole, weighted, last
