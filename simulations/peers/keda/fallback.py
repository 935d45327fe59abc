"""What KEDA hands to the HPA when a trigger fails: a value made up from fallback.replicas."""

from dataclasses import dataclass
from enum import StrEnum


class FallbackBehavior(StrEnum):
    """Which number of replicas the made-up value stands for."""

    STATIC = "static"
    CURRENT = "currentReplicas"
    CURRENT_IF_HIGHER = "currentReplicasIfHigher"
    CURRENT_IF_LOWER = "currentReplicasIfLower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """A ScaledObject's fallback block: from ``failure_threshold`` + 1 failures in a row on."""

    failure_threshold: int
    replicas: int
    behavior: FallbackBehavior = FallbackBehavior.STATIC

    def replicas_from(self, current: int) -> int:
        """Replicas that the value shall make the HPA ask for."""
        if self.behavior is FallbackBehavior.STATIC:
            return self.replicas
        if self.behavior is FallbackBehavior.CURRENT:
            return current
        if self.behavior is FallbackBehavior.CURRENT_IF_HIGHER:
            return max(current, self.replicas)
        return min(current, self.replicas)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The scaled workload when the trigger is read. ``ready`` None: a metric of AverageValue."""

    replicas: int
    ready: int | None = None


def handed_on(
    fallback: Fallback | None,
    value_milli: int | None,
    target_milli: int,
    workload: Workload,
    failures: int,
) -> tuple[int | None, int]:
    """Return the value for the HPA (None: the metric failed) and the failures in a row so far.

    ``value_milli`` None is a failed query; ``failures`` counts those before it.
    """
    if value_milli is not None:
        return value_milli, 0
    failures += 1
    if fallback is None or failures <= fallback.failure_threshold:
        return None, failures
    total = target_milli * fallback.replicas_from(workload.replicas)
    if workload.ready is None:
        return total, failures
    return (total // workload.ready if workload.ready > 0 else None), failures
