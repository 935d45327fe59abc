"""From a metric to the number of replicas it proposes, one function per metric type.

Quantities are integers in milli-units, as the metrics API carries them: that truncation decides
at the edges (an average of 11.00033 against a target of 10 is still a ratio of 1.1: hold).
A proposal is None where the controller reports the metric as failed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

#: What the controller proposes for a negative External sum, which it takes for an overflow.
OVERFLOW_PROPOSAL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Relative distance from the target within which nothing changes, per direction."""

    up: float = 0.1
    down: float = 0.1

    def holds(self, ratio: float) -> bool:
        """Whether usage over target is near enough to 1 to leave the replicas alone."""
        return (1.0 - self.down) <= ratio <= (1.0 + self.up)


class PodPhase(StrEnum):
    """Where a pod is in its life, as far as the controller looks."""

    PENDING = "Pending"
    RUNNING = "Running"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod as the controller sees it; ``sample_milli`` None: the metrics API has no sample."""

    phase: PodPhase
    ready: bool
    terminating: bool = False
    sample_milli: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuPod:
    """A pod with what the CPU rules look at besides; times in seconds on one clock."""

    pod: Pod
    request_milli: int
    started_at_seconds: float
    ready_changed_at_seconds: float
    sampled_at_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuMetric:
    """A CPU utilization target in percent of the request, and the controller's start-up rules.

    The durations say how long CPU samples of a starting pod are set aside.
    """

    target_percent: int
    initialization_seconds: float = 300.0
    initial_readiness_seconds: float = 30.0
    sample_window_seconds: float = 60.0


def external_average_proposal(
    total_milli: int, target_milli: int, status_replicas: int, tolerance: Tolerance
) -> int:
    """External or Object metric of type AverageValue: the total shared by all pods.

    ``status_replicas`` counts every pod, Ready or not; with none the ratio is infinite.
    """
    if total_milli < 0:
        return OVERFLOW_PROPOSAL
    if status_replicas > 0 and tolerance.holds(total_milli / (target_milli * status_replicas)):
        return status_replicas
    return math.ceil(total_milli / target_milli)


def external_value_proposal(
    total_milli: int,
    target_milli: int,
    replicas: int,
    ready_pods: int | None,
    tolerance: Tolerance,
) -> int | None:
    """External or Object metric of type Value: the ratio times the Ready pods.

    ``replicas`` is spec.replicas. ``ready_pods`` counts Running and Ready pods, terminating ones
    included; None when no pod matches the selector, an error unless the ratio is within tolerance.
    """
    ratio = total_milli / target_milli
    if replicas == 0:
        return math.ceil(ratio)
    if tolerance.holds(ratio):
        return replicas
    return None if ready_pods is None else math.ceil(ratio * ready_pods)


def ready_pods(pods: Sequence[Pod]) -> int | None:
    """Pods counted by a Value metric, or None when there is no pod at all."""
    if not pods:
        return None
    return sum(pod.phase is PodPhase.RUNNING and pod.ready for pod in pods)


def pods_proposal(
    pods: Sequence[Pod], target_milli: int, replicas: int, tolerance: Tolerance
) -> int | None:
    """Pods metric (AverageValue) with the rules for missing and not yet running pods."""
    alive = [pod for pod in pods if not pod.terminating and pod.phase is not PodPhase.FAILED]
    running = [pod for pod in alive if pod.phase is not PodPhase.PENDING]
    samples = [pod.sample_milli for pod in running if pod.sample_milli is not None]
    if not samples:
        return None
    groups = _Groups(
        samples=samples,
        missing=len(running) - len(samples),
        missing_fill=target_milli,
        unready=len(alive) - len(running),
    )
    return _filled_proposal(
        groups, lambda values: (sum(values) // len(values)) / target_milli, replicas, tolerance
    )


def cpu_utilization_proposal(
    pods: Sequence[CpuPod],
    metric: CpuMetric,
    replicas: int,
    tolerance: Tolerance,
    now: float,
) -> int | None:
    """Resource metric (CPU, AverageUtilization), setting aside pods that still start up.

    All pods must request the same CPU: a variant's replicas come from one template.
    """
    requests = {cpu_pod.request_milli for cpu_pod in pods}
    if len(requests) > 1:
        raise ValueError(f"request_milli: pods of one workload must agree, got {sorted(requests)}")
    samples: list[int] = []
    missing = unready = 0
    for cpu_pod in pods:
        pod = cpu_pod.pod
        if pod.terminating or pod.phase is PodPhase.FAILED:
            continue
        if pod.phase is PodPhase.PENDING:
            unready += 1
        elif pod.sample_milli is None:
            missing += 1
        elif _starts_up(cpu_pod, metric, now):
            unready += 1
        else:
            samples.append(pod.sample_milli)
    if not samples:
        return None
    request_milli = requests.pop()
    groups = _Groups(
        samples=samples,
        missing=missing,
        missing_fill=request_milli * max(100, metric.target_percent) // 100,
        unready=unready,
    )
    return _filled_proposal(
        groups,
        lambda values: (100 * sum(values) // (request_milli * len(values))) / metric.target_percent,
        replicas,
        tolerance,
    )


def combined_proposal(proposals: Sequence[int | None], replicas: int) -> int | None:
    """Largest proposal; a failed metric vetoes a scale-down, and all failed is no proposal."""
    valid = [proposal for proposal in proposals if proposal is not None]
    if not valid or (len(valid) < len(proposals) and max(valid) < replicas):
        return None
    return max(valid)


def _starts_up(cpu_pod: CpuPod, metric: CpuMetric, now: float) -> bool:
    """Whether a running pod's CPU sample still shows its start and not its load."""
    changed = cpu_pod.ready_changed_at_seconds
    if cpu_pod.started_at_seconds + metric.initialization_seconds > now:
        return (
            not cpu_pod.pod.ready
            or cpu_pod.sampled_at_seconds < changed + metric.sample_window_seconds
        )
    never_ready_before = changed < cpu_pod.started_at_seconds + metric.initial_readiness_seconds
    return not cpu_pod.pod.ready and never_ready_before


@dataclass(frozen=True, slots=True, kw_only=True)
class _Groups:
    """Samples of pods that count, and how many pods have none or are set aside."""

    samples: list[int]
    missing: int
    missing_fill: int
    unready: int


def _filled_proposal(
    groups: _Groups,
    ratio_of: Callable[[Sequence[int]], float],
    replicas: int,
    tolerance: Tolerance,
) -> int:
    """Propose on the samples, filling in absent pods against the direction of the change."""
    ratio = ratio_of(groups.samples)
    unready_damps = groups.unready > 0 and ratio > 1.0
    if groups.missing == 0 and not unready_damps:
        return replicas if tolerance.holds(ratio) else math.ceil(ratio * len(groups.samples))
    filled = list(groups.samples)
    if ratio < 1.0:
        filled += [groups.missing_fill] * groups.missing
    elif ratio > 1.0:
        filled += [0] * (groups.missing + groups.unready)
    damped = ratio_of(filled)
    if tolerance.holds(damped) or (ratio - 1.0) * (damped - 1.0) < 0.0:
        return replicas
    proposal = math.ceil(damped * len(filled))
    contradicts = proposal > replicas if damped < 1.0 else proposal < replicas
    return replicas if contradicts else proposal
