"""What the predictive HPA makes of the HPA's proposal and its models' predictions."""

import math
from collections.abc import Sequence
from enum import StrEnum


class DecisionType(StrEnum):
    """How one number is made of the proposal and the predictions."""

    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    MEAN = "mean"
    MEDIAN = "median"


def decided(kind: DecisionType, replicas: Sequence[int]) -> int:
    """Replicas that are wanted, before the HPA's behavior and its limits.

    ``replicas`` are the HPA's proposal and one prediction per model, negative ones too. A mean is
    rounded half up and not below 0; of an even number the median is the middle two's mean without
    its fraction.
    """
    if kind is DecisionType.MAXIMUM:
        return max(replicas)
    if kind is DecisionType.MINIMUM:
        return min(replicas)
    if kind is DecisionType.MEAN:
        return max(0, math.floor(sum(replicas) / len(replicas) + 0.5))
    ordered, middle = sorted(replicas), len(replicas) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return int((ordered[middle - 1] + ordered[middle]) / 2)
