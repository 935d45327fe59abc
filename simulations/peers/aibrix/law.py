"""AIBrix's decision: window means of a per-pod average, APA or KPA, and what it calls cooldown.

The KPA here is AIBrix's own and not Knative's: it divides the *average* over pods by the target
and takes that for replicas. The cooldown downwards takes the least recommendation of its window
where the greatest would stabilise. Both are kept as they are: this is what a user gets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Strategy(StrEnum):
    """The scaling strategy of a PodAutoscaler."""

    APA = "APA"
    KPA = "KPA"


@dataclass(frozen=True, slots=True, kw_only=True)
class AibrixSpec:
    """A PodAutoscaler; defaults are AIBrix's. ``targets`` per pod, one per metric.

    ``inverted_cooldown`` False makes the down cooldown a stabilization window: the twin that the
    authors meant.
    """

    strategy: Strategy
    targets: tuple[float, ...]
    min_replicas: int
    max_replicas: int
    up_tolerance: float = 0.1
    down_tolerance: float = 0.1
    max_scale_up_rate: float = 2.0
    max_scale_down_rate: float = 2.0
    panic_threshold: float = 2.0
    stable_window_seconds: float = 180.0
    panic_window_seconds: float = 60.0
    up_cooldown_seconds: float = 0.0
    down_cooldown_seconds: float = 300.0
    inverted_cooldown: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricWindows:
    """(second, average over pods) per window; a bucket leaves only when a newer one comes."""

    stable: tuple[tuple[float, float], ...] = ()
    panic: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AibrixHistory:
    """Windows per metric, and (time, recommendation) within the longer cooldown."""

    windows: tuple[MetricWindows, ...]
    recommendations: tuple[tuple[float, int], ...] = ()


def started(spec: AibrixSpec) -> AibrixHistory:
    """Nothing seen yet."""
    return AibrixHistory(windows=(MetricWindows(),) * len(spec.targets))


def decide(
    spec: AibrixSpec,
    history: AibrixHistory,
    replicas: int,
    pods: Sequence[Sequence[float | None]],
    now: float,
) -> tuple[int | None, int | None, AibrixHistory]:
    """Return recommendation, decision (None: error, nothing changes) and history.

    ``pods`` holds one value per pod and metric, None where its fetch failed. A metric all of whose
    fetches fail is left out; with no pods at all its last mean stays for ever.
    """
    if replicas == 0 and spec.min_replicas != 0:
        return None, 0, history
    windows = tuple(
        _recorded(spec, one, values, now) for one, values in zip(history.windows, pods, strict=True)
    )
    history = replace(history, windows=windows)
    wanted = [
        _recommended(spec, target, one, replicas)
        for target, one, values in zip(spec.targets, windows, pods, strict=True)
        if one.stable and (not values or any(value is not None for value in values))
    ]
    if not wanted:
        return None, None, history
    recommendation = min(max(*wanted, spec.min_replicas), spec.max_replicas)
    longest = max(spec.up_cooldown_seconds, spec.down_cooldown_seconds)
    kept = tuple(past for past in history.recommendations if past[0] >= now - longest)
    history = replace(history, recommendations=(*kept, (now, recommendation)))
    return recommendation, _cooled(spec, history, replicas, recommendation, now), history


def _recorded(
    spec: AibrixSpec, windows: MetricWindows, values: Sequence[float | None], now: float
) -> MetricWindows:
    known = [value for value in values if value is not None]
    if not known:
        return windows
    entry = (now, sum(known) / len(known))
    return MetricWindows(
        stable=_slid(windows.stable, entry, spec.stable_window_seconds),
        panic=_slid(windows.panic, entry, spec.panic_window_seconds),
    )


def _slid(
    buckets: tuple[tuple[float, float], ...], entry: tuple[float, float], seconds: float
) -> tuple[tuple[float, float], ...]:
    """Add a bucket and keep [t - W, t], both ends included."""
    return (*(bucket for bucket in buckets if bucket[0] >= entry[0] - seconds), entry)


def _mean(buckets: tuple[tuple[float, float], ...]) -> float:
    return sum(value for _, value in buckets) / len(buckets)


def _recommended(spec: AibrixSpec, target: float, windows: MetricWindows, replicas: int) -> int:
    stable = _mean(windows.stable)
    if spec.strategy is Strategy.APA:
        return _apa(spec, target, stable, replicas)
    calm = _kpa(spec, target, stable, replicas)
    panic = _mean(windows.panic)
    if stable <= 0.0 or panic / stable > spec.panic_threshold:
        return max(calm, _kpa(spec, target, panic, replicas))
    return calm


def _apa(spec: AibrixSpec, target: float, value: float, replicas: int) -> int:
    ratio = value / target
    if ratio > 1.0 + spec.up_tolerance:
        return min(math.ceil(replicas * ratio), math.ceil(spec.max_scale_up_rate * replicas))
    if ratio < 1.0 - spec.down_tolerance:
        return max(math.ceil(replicas * ratio), math.floor(replicas / spec.max_scale_down_rate))
    return replicas


def _kpa(spec: AibrixSpec, target: float, value: float, replicas: int) -> int:
    near = target * (1.0 - spec.down_tolerance) <= value <= target * (1.0 + spec.up_tolerance)
    wanted = replicas if near else math.ceil(value / target)
    least = math.floor(replicas / spec.max_scale_down_rate)
    greatest = max(1, math.ceil(spec.max_scale_up_rate * replicas))
    return min(max(wanted, least), greatest)


def _cooled(
    spec: AibrixSpec, history: AibrixHistory, replicas: int, recommendation: int, now: float
) -> int:
    """Greatest of the up-window's or least of the down-window's recommendations, (t - W, t]."""
    past = history.recommendations[:-1]
    if recommendation > replicas:
        since = now - spec.up_cooldown_seconds
        return max([recommendation, *(count for at, count in past if at > since)])
    if recommendation < replicas:
        since = now - spec.down_cooldown_seconds
        recent = [recommendation, *(count for at, count in past if at > since)]
        return min(recent) if spec.inverted_cooldown else min(max(recent), replicas)
    return replicas
