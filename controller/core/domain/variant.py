"""A variant: one servable form of the model, and the timing law of one of its replicas."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Whether a variant is the preferred quality or stands in for it."""

    PRIMARY = "Primary"
    FALLBACK = "Fallback"


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceProfile:
    """Timing parameters of one replica: how long one engine iteration takes.

    An iteration that decodes ``b`` sequences and prefills ``n`` prompt tokens lasts, in
    milliseconds,

        sqrt(t0² + (delta (n + b))²) + epsilon Σ((p + n_i)² - p²) + kappa Σ context + beta b

    with ``p`` the prompt tokens of a request already prefilled, ``n_i`` those of this iteration
    and ``context`` the KV tokens each decoding sequence holds.
    """

    t0_milliseconds: float
    delta_milliseconds: float
    epsilon_milliseconds: float
    kappa_milliseconds: float
    beta_milliseconds: float = 0.0
    kv_capacity_tokens: int
    max_running: int = 256
    max_batched_tokens: int = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One servable form of the model, as the decision sees it.

    ``cost_per_replica_hour`` is in the currency of the price table. ``cold_start_seconds`` is the
    declared prior of create-to-Ready; measured cold starts replace it. ``queue_limit`` is the
    number of outstanding requests at which a replica refuses (None: never).
    """

    name: str
    role: Role
    cost_per_replica_hour: float
    quality: float
    min_replicas: int
    max_replicas: int
    gpus_per_replica: int
    cold_start_seconds: float
    profile: PerformanceProfile
    queue_limit: int | None = None
