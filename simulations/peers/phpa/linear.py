"""The linear model: a straight line through the last proposals, read one look-ahead from now."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

#: Proposals as (seconds, replicas), in time order.
Proposals: TypeAlias = tuple[tuple[float, int], ...]

#: What rounding in a least-squares fit may leave above a whole number.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearModel:
    """Ordinary least squares on ``history_size`` proposals and the present one.

    ``quirk_reversed`` hands proposals to the fit in the order of the original, once its history is
    full: the stored ones newest first, then the present one. ``quirk_unrounded`` takes the ceiling
    of the fit as it is: a flat 3 is then 4 whenever rounding leaves it just above 3.
    """

    look_ahead_seconds: float
    history_size: int = 6
    quirk_reversed: bool = False
    quirk_unrounded: bool = False

    def __post_init__(self) -> None:
        """Reject a history that no line could be fitted to."""
        if self.history_size < 1:
            raise ValueError(f"history_size: must be at least 1, got {self.history_size}")

    def predicted(self, stored: Proposals, at_seconds: float, replicas: int) -> int:
        """Replicas one look-ahead from ``at_seconds``, where the HPA proposes ``replicas``."""
        if not stored:
            return replicas
        if self.quirk_reversed and len(stored) >= self.history_size:
            stored = stored[::-1]
        points = (*stored, (at_seconds, replicas))
        until = at_seconds + self.look_ahead_seconds
        line = np.array([(1.0, until - at) for at, _ in points])
        left, singular, right = np.linalg.svd(line, full_matrices=False)
        # In this order of products, which decides what rounding leaves, statsmodels solves it.
        inverse = np.dot(right.T, (1.0 / singular)[:, np.newaxis] * left.T)
        value = float(np.dot(inverse, np.array([float(count) for _, count in points]))[0])
        return math.ceil(value if self.quirk_unrounded else value - _ROUNDING)

    def begun(self, proposals: Proposals) -> Proposals:
        """What is kept of proposals made before."""
        return proposals[-self.history_size :]

    def synced(self, stored: Proposals, at_seconds: float, replicas: int) -> tuple[int, Proposals]:
        """Predict, and keep the present proposal for the next sync."""
        prediction = self.predicted(stored, at_seconds, replicas)
        return prediction, self.begun((*stored, (at_seconds, replicas)))
