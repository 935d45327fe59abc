"""A path of replicas over time, and what its replay yielded."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Path:
    """Replicas that are Ready in every bucket: ``replicas`` has shape (buckets, variants), int64.

    Bucket i covers ``[i, i + 1) * bucket_seconds`` of scenario time. Whoever replays it starts
    every replica one cold start early, so that it is Ready on time, and bills that start.
    """

    bucket_seconds: float
    replicas: NDArray[np.int64]

    def __post_init__(self) -> None:
        """Raise ``ValueError`` where the arrays cannot be a path."""
        if not self.bucket_seconds > 0.0:
            raise ValueError(f"bucket_seconds is {self.bucket_seconds}: give a positive length")
        if self.replicas.ndim != 2:
            raise ValueError(
                f"replicas has {self.replicas.ndim} dimensions: give (buckets, variants)"
            )
        if self.replicas.size and int(self.replicas.min()) < 0:
            raise ValueError("replicas has a negative entry: give counts of Ready replicas")

    def at(self, seconds: float) -> tuple[int, ...]:
        """Ready replicas of every variant at ``seconds``; the last bucket holds for ever."""
        bucket = min(max(int(seconds // self.bucket_seconds), 0), len(self.replicas) - 1)
        return tuple(int(n) for n in self.replicas[bucket])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PathOutcome:
    """What one replay of a path yielded.

    ``cost`` is in the price table's currency, all GPU time from request to release. ``misses`` and
    ``requests`` have shape (buckets,) and count by the bucket of arrival.
    """

    cost: float
    attainment: float
    degraded_share: float
    misses: NDArray[np.float64]
    requests: NDArray[np.float64]


#: Replays a path request by request in the scenario's own engine and router.
Replay: TypeAlias = Callable[[Path], PathOutcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Billing:
    """What a variant's replicas cost and how many there may be.

    ``cold_start_seconds`` is the median; a start costs that much GPU time before it serves.
    """

    cost_per_replica_hour: float
    cold_start_seconds: float
    min_replicas: int
    max_replicas: int
    fallback: bool = False

    def __post_init__(self) -> None:
        """Raise ``ValueError`` naming the field that cannot be."""
        if not self.cost_per_replica_hour > 0.0:
            raise ValueError("cost_per_replica_hour must be positive: a free variant has no plan")
        if self.cold_start_seconds < 0.0:
            raise ValueError("cold_start_seconds must not be negative")
        if not 0 <= self.min_replicas <= self.max_replicas:
            raise ValueError(
                f"min_replicas {self.min_replicas} and max_replicas {self.max_replicas}: "
                "give 0 <= min <= max"
            )

    @property
    def cost_per_second(self) -> float:
        """Price of one replica-second."""
        return self.cost_per_replica_hour / 3600.0

    @property
    def start_cost(self) -> float:
        """Price of one start."""
        return self.cold_start_seconds * self.cost_per_second
