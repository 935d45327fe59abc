"""Ray Serve's default policy: smoothed proportional control, then a delay per direction."""

import math
from dataclasses import dataclass
from enum import StrEnum

#: Slack Ray gives a delay against rounding of the clock.
CLOCK_SLACK_SECONDS = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySpec:
    """A deployment's autoscaling_config; defaults are Ray's.

    ``downscale_to_zero_delay_seconds`` None: the downscale delay holds for the last replica too.
    """

    min_replicas: int = 1
    max_replicas: int
    target_ongoing_requests: float = 2.0
    upscaling_factor: float = 1.0
    downscaling_factor: float = 1.0
    upscale_delay_seconds: float = 30.0
    downscale_delay_seconds: float = 600.0
    downscale_to_zero_delay_seconds: float | None = None


class Direction(StrEnum):
    """Where the policy wants to go."""

    UP = "Up"
    DOWN = "Down"


@dataclass(frozen=True, slots=True)
class RayHistory:
    """Since when the policy wants the same direction; None when it wants to stay."""

    direction: Direction | None = None
    since_seconds: float = 0.0


def wanted_replicas(spec: RaySpec, ongoing: float, running: int) -> int:
    """Replicas wanted from ``running`` ones, before delays and range."""
    needed = ongoing / spec.target_ongoing_requests
    factor = spec.upscaling_factor if needed >= running else spec.downscaling_factor
    wanted = math.ceil(running + factor * (needed - running))
    if math.ceil(needed) < running and wanted == running:
        # A small factor would otherwise never come down.
        wanted -= 1
    return max(wanted, 0)


def decide(
    spec: RaySpec, history: RayHistory, ongoing: float, running: int, target: int, now: float
) -> tuple[int, RayHistory]:
    """One loop: the new target of replicas, from requests, RUNNING replicas and the old target."""
    if running == 0:
        wake = max(math.ceil(spec.upscaling_factor), target) if ongoing > 0.0 else target
        return _ranged(spec, wake), history
    wanted = wanted_replicas(spec, ongoing, running)
    if target > 1:
        wanted = max(wanted, 1)
    if wanted == target:
        return _ranged(spec, target), RayHistory()
    direction = Direction.UP if wanted > target else Direction.DOWN
    if history.direction is not direction:
        history = RayHistory(direction, now)
    if now - history.since_seconds + CLOCK_SLACK_SECONDS >= _delay(spec, direction, target):
        return _ranged(spec, wanted), RayHistory()
    return _ranged(spec, target), history


def _delay(spec: RaySpec, direction: Direction, target: int) -> float:
    if direction is Direction.UP:
        return spec.upscale_delay_seconds
    if target == 1 and spec.downscale_to_zero_delay_seconds is not None:
        return spec.downscale_to_zero_delay_seconds
    return spec.downscale_delay_seconds


def _ranged(spec: RaySpec, replicas: int) -> int:
    return min(max(replicas, spec.min_replicas), spec.max_replicas)
