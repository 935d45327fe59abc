"""KEDA's own loop: it activates a workload from zero and deactivates it, the HPA does the rest."""

from dataclasses import dataclass, replace

#: How often the loop polls the triggers.
POLL_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorSpec:
    """The fields of a ScaledObject that the loop reads.

    ``idle_replicas`` None: not set. ``fallback_replicas`` None: no fallback block.
    """

    min_replicas: int
    idle_replicas: int | None = None
    cooldown_seconds: float = 300.0
    initial_cooldown_seconds: float = 0.0
    fallback_replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorHistory:
    """When the object was created, and when a trigger was last active (None: never)."""

    created_at_seconds: float
    active_at_seconds: float | None = None


def poll(
    spec: ExecutorSpec,
    history: ExecutorHistory,
    replicas: int,
    *,
    active: bool,
    error: bool,
    now: float,
) -> tuple[int, ExecutorHistory]:
    """One poll: spec.replicas to set, and what is remembered.

    ``active``: some trigger is above its activation threshold; ``error``: some trigger failed.
    """
    if active:
        asleep = replicas == 0 or (spec.idle_replicas is not None and replicas < spec.min_replicas)
        if asleep:
            return max(1, spec.min_replicas), replace(history, active_at_seconds=now)
        # An active trigger beside a failed one does not prolong the cooldown.
        return replicas, history if error else replace(history, active_at_seconds=now)
    if error and spec.fallback_replicas != 0:
        return replicas, history
    return _inactive(spec, history, replicas, now), history


def _inactive(spec: ExecutorSpec, history: ExecutorHistory, replicas: int, now: float) -> int:
    idle = spec.idle_replicas
    may_sleep = (idle is not None and replicas > idle) or (replicas > 0 and spec.min_replicas == 0)
    if may_sleep:
        return (idle or 0) if _cooled_down(spec, history, now) else replicas
    if idle is None and replicas < spec.min_replicas:
        return spec.min_replicas
    return replicas


def _cooled_down(spec: ExecutorSpec, history: ExecutorHistory, now: float) -> bool:
    if history.active_at_seconds is None:
        return now > history.created_at_seconds + spec.initial_cooldown_seconds
    return now > history.active_at_seconds + spec.cooldown_seconds
