"""The KPA's decision: a stable and a panic recommendation from total concurrency per replica."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from simulations.peers.knative.windows import Aggregation, Window

#: Length of the autoscaler's own tick, which is the grain of the scale-down delay.
TICK_SECONDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class KpaSpec:
    """A revision's autoscaling configuration; defaults are Knative's.

    ``target`` is the metric's value per replica that is aimed at.
    """

    target: float
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    panic_threshold: float = 2.0
    stable_window_seconds: int = 60
    panic_window_seconds: int = 6
    scale_down_delay_seconds: float = 0.0
    activation_scale: int = 1
    reachable: bool = True
    aggregation: Aggregation = Aggregation.LINEAR


@dataclass(frozen=True, slots=True, kw_only=True)
class KpaHistory:
    """Windows, panic and the delayed decisions.

    ``panic_at_seconds`` is the last time above the threshold, None when not panicking. ``delayed``
    holds (tick, desired replicas) for the scale-down delay.
    """

    stable: Window
    panic: Window
    panic_at_seconds: float | None
    panic_replicas: int
    delayed: tuple[tuple[int, int], ...] = ()

    def recorded(self, samples: Sequence[tuple[float, float]]) -> "KpaHistory":
        """Add samples of the revision's total, as (seconds, value), oldest first."""
        return replace(
            self, stable=self.stable.recorded(samples), panic=self.panic.recorded(samples)
        )


def started(spec: KpaSpec, ready: int, now: float) -> KpaHistory:
    """A fresh autoscaler: it panics at the present replicas if there is more than one."""
    several = ready > 1
    return KpaHistory(
        stable=Window(seconds=spec.stable_window_seconds),
        panic=Window(seconds=spec.panic_window_seconds),
        panic_at_seconds=now if several else None,
        panic_replicas=ready if several else 0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KpaOutcome:
    """Desired replicas before the replica range, and the averages behind them."""

    desired: int
    stable_average: float
    panic_average: float
    panicking: bool


def decide(
    spec: KpaSpec, history: KpaHistory, ready: int, now: float
) -> tuple[KpaOutcome | None, KpaHistory]:
    """One tick; None while there is no data, and then nothing changes."""
    if history.stable.empty(now):
        return None, history
    stable = history.stable.average(now, spec.aggregation)
    panic = history.panic.average(now, spec.aggregation)
    replicas = max(1, ready)
    ceiling = math.ceil(spec.max_scale_up_rate * replicas)
    floor = math.floor(replicas / spec.max_scale_down_rate) if spec.reachable else 0
    wanted = [math.ceil(average / spec.target) for average in (stable, panic)]
    calm, alarmed = (
        max(
            min(max(count, floor), ceiling),
            spec.activation_scale if spec.activation_scale > 1 and count > 0 else 0,
        )
        for count in wanted
    )
    over = wanted[1] / replicas >= spec.panic_threshold
    history = _panicked(spec, history, over=over, now=now)
    desired = calm
    if history.panic_at_seconds is not None:
        desired = max(calm, alarmed, history.panic_replicas)
        history = replace(history, panic_replicas=desired)
    desired, history = _delayed(spec, history, desired, now)
    outcome = KpaOutcome(
        desired=desired,
        stable_average=stable,
        panic_average=panic,
        panicking=history.panic_at_seconds is not None,
    )
    return outcome, history


def _panicked(spec: KpaSpec, history: KpaHistory, *, over: bool, now: float) -> KpaHistory:
    """Enter, prolong or leave panic."""
    if over:
        return replace(history, panic_at_seconds=now)
    since = history.panic_at_seconds
    if since is not None and since + spec.stable_window_seconds < now:
        return replace(history, panic_at_seconds=None, panic_replicas=0)
    return history


def _delayed(
    spec: KpaSpec, history: KpaHistory, desired: int, now: float
) -> tuple[int, KpaHistory]:
    """Greatest decision of the scale-down delay, which an unreachable revision does not have."""
    if spec.scale_down_delay_seconds <= 0.0 or not spec.reachable:
        return desired, history
    tick = math.floor(now / TICK_SECONDS)
    oldest = tick - math.ceil(spec.scale_down_delay_seconds / TICK_SECONDS)
    kept = tuple(entry for entry in history.delayed if entry[0] > oldest)
    delayed = (*kept, (tick, desired))
    return max(count for _, count in delayed), replace(history, delayed=delayed)


def excess_burst_capacity(
    capacity_per_replica: float, ready: int, panic_average: float, target_burst_capacity: float
) -> float:
    """Concurrency left for a burst; below 0 the activator stays in the path.

    A target of 0 and of -1 mean never and always.
    """
    if target_burst_capacity in {0.0, -1.0}:
        return target_burst_capacity
    return float(math.floor(capacity_per_replica * ready - target_burst_capacity - panic_average))
