"""What a simulated fleet is made of and how requests find their way: the engine's parameters."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from controller.core.domain.variant import PerformanceProfile
from simulations.engine import kernel


class Router(IntEnum):
    """How a request finds its replica among the routable ones of its pools.

    ``RANDOM``: uniform. ``LEAST_OUTSTANDING``: fewest requests taken and not ended; ties go to the
    first in cyclic order after the replica picked last.
    """

    RANDOM = kernel.RANDOM
    LEAST_OUTSTANDING = kernel.LEAST_OUTSTANDING


class PoolLaw(IntEnum):
    """How a request finds its pool.

    ``SHARED``: all pools are one set. ``WEIGHTED``: drawn by ``Fleet.set_weights``, as a gateway
    does, whether or not the pool has replicas. ``OVERFLOW``: the pools that are no fallback; what
    they refuse is sent to the fallback pools. ``SEPARATE``: each request names its pool.
    """

    SHARED = kernel.SHARED
    WEIGHTED = kernel.WEIGHTED
    OVERFLOW = kernel.OVERFLOW
    SEPARATE = kernel.SEPARATE


class Admission(StrEnum):
    """When a waiting request starts, first come first served, as KV room allows.

    ``RESERVE``: when prompt + output tokens can be set aside; nothing is preempted.

    ``PREEMPT``: when its prompt fits beside what is in use. A decoding sequence takes one token
    more each iteration; where an iteration would not fit, the sequence admitted last goes back to
    the front of the queue, and so on until it fits. It keeps its first token's time, loses its KV
    and, once admitted again, prefills its prompt and the tokens it had generated as one prompt,
    whose end yields its next token.
    """

    RESERVE = "Reserve"
    PREEMPT = "Preempt"


class Outcome(IntEnum):
    """How a request ended: answered in full, or lost by one of four causes."""

    FINISHED = kernel.BY_FINISH
    REFUSED = kernel.BY_REFUSAL
    TOO_LARGE = kernel.BY_SIZE
    TIMED_OUT = kernel.BY_TIME_OUT
    FAILED = kernel.BY_FAILURE


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """Replicas of one variant.

    A replica refuses a request that finds ``queue_limit`` outstanding ones (None: a million).
    """

    profile: PerformanceProfile
    queue_limit: int | None = None
    fallback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """What holds for all pools.

    A request is good when TTFT and TPOT are within the thresholds; one whose last token is later
    than ``client_timeout_seconds`` after its arrival (None: never) is aborted. What was refused or
    lost in a crash is sent again ``retries`` times, ``retry_backoff_seconds`` later; its clock runs
    on from the first arrival. ``*_edges_seconds`` are the buckets that Prometheus shows.
    """

    ttft_threshold_seconds: float
    tpot_threshold_seconds: float
    law: PoolLaw = PoolLaw.SHARED
    router: Router = Router.LEAST_OUTSTANDING
    client_timeout_seconds: float | None = None
    retries: int = 0
    retry_backoff_seconds: float = 1.0
    admission: Admission = Admission.RESERVE
    ttft_edges_seconds: tuple[float, ...] = ()
    tpot_edges_seconds: tuple[float, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            ValueError: a field is out of range.
        """
        if self.client_timeout_seconds is not None and not self.client_timeout_seconds > 0.0:
            raise ValueError(
                "client_timeout_seconds must be positive, or None for clients that wait for ever, "
                f"got {self.client_timeout_seconds}"
            )
        if self.retries < 0:
            raise ValueError(f"retries must be at least 0, got {self.retries}")
        if not self.retry_backoff_seconds > 0.0:
            raise ValueError(
                f"retry_backoff_seconds must be positive, got {self.retry_backoff_seconds}"
            )


def check_pool(pool: PoolSpec, number: int) -> None:
    """Refuse a pool that no engine could run.

    Raises:
        ValueError: a field of the pool or of its profile is out of range.
    """
    profile = pool.profile
    if (
        profile.t0_milliseconds <= 0.0
        or min(
            profile.delta_milliseconds,
            profile.epsilon_milliseconds,
            profile.kappa_milliseconds,
            profile.beta_milliseconds,
        )
        < 0.0
    ):
        raise ValueError(f"pools[{number}].profile must have t0 > 0 and no negative slope")
    if not 1 <= profile.max_running <= profile.max_batched_tokens:
        raise ValueError(
            f"pools[{number}].profile needs 1 <= max_running <= max_batched_tokens, got "
            f"{profile.max_running} and {profile.max_batched_tokens}"
        )
    if pool.queue_limit is not None and pool.queue_limit < 1:
        raise ValueError(f"pools[{number}].queue_limit must be at least 1 or None")
