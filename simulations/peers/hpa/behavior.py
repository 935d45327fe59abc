"""Stabilization windows and rate policies: what keeps a proposal from taking effect at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from controller.core.domain.policy import RatePolicy, ScalingRules, SelectPolicy

#: Without a behavior block: the controller's own window and the fixed cap on a scale-up.
LEGACY_UP_FACTOR = 2
LEGACY_UP_FLOOR = 4


class Limit(StrEnum):
    """Why a stabilized recommendation was cut, by the API's ScalingLimited reasons."""

    WITHIN_RANGE = "DesiredWithinRange"
    TOO_MANY = "TooManyReplicas"
    TOO_FEW = "TooFewReplicas"
    SCALE_UP = "ScaleUpLimit"
    SCALE_DOWN = "ScaleDownLimit"


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaBehavior:
    """A behavior block after API defaulting: rules for both directions."""

    scale_up: ScalingRules
    scale_down: ScalingRules


def default_behavior(down_window_seconds: int = 300) -> HpaBehavior:
    """Behavior of an HPA whose block is present and empty."""
    return HpaBehavior(
        scale_up=ScalingRules(
            stabilization_window_seconds=0,
            select_policy=SelectPolicy.MAX,
            policies=(
                RatePolicy(percent=False, value=4, period_seconds=15),
                RatePolicy(percent=True, value=100, period_seconds=15),
            ),
        ),
        scale_down=ScalingRules(
            stabilization_window_seconds=down_window_seconds,
            select_policy=SelectPolicy.MAX,
            policies=(RatePolicy(percent=True, value=100, period_seconds=15),),
        ),
    )


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A raw proposal and when it was made."""

    at_seconds: float
    replicas: int


@dataclass(frozen=True, slots=True)
class ScaleEvent:
    """By how many replicas a scaling moved, and when."""

    at_seconds: float
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleEvents:
    """What the controller remembers of its own scalings, per direction, in slot order."""

    up: tuple[ScaleEvent, ...] = ()
    down: tuple[ScaleEvent, ...] = ()

    def recorded(self, behavior: HpaBehavior, before: int, after: int, now: float) -> "ScaleEvents":
        """Return the events with this scaling added; without a change, the same events."""
        if after > before:
            event = ScaleEvent(now, after - before)
            return ScaleEvents(up=_stored(self.up, behavior.scale_up, event), down=self.down)
        if after < before:
            event = ScaleEvent(now, before - after)
            return ScaleEvents(up=self.up, down=_stored(self.down, behavior.scale_down, event))
        return self


def stabilized(
    behavior: HpaBehavior,
    recommendations: Sequence[Recommendation],
    replicas: int,
    proposal: int,
    now: float,
) -> int:
    """Replicas after both windows (t - W, t]: up to their least, down to their greatest."""
    up_from = now - behavior.scale_up.stabilization_window_seconds
    down_from = now - behavior.scale_down.stabilization_window_seconds
    least = greatest = proposal
    for past in recommendations:
        if past.at_seconds > up_from and past.replicas < least:
            least = past.replicas
        if past.at_seconds > down_from and past.replicas > greatest:
            greatest = past.replicas
    return min(max(replicas, least), greatest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """From how many replicas to how many, and the range that bounds it."""

    replicas: int
    wanted: int
    min_replicas: int
    max_replicas: int

    def up_to(self, limit: int) -> tuple[int, Limit]:
        """Cut the wanted replicas to the rate limit and the maximum."""
        limits_up = limit < self.max_replicas
        ceiling = limit if limits_up else self.max_replicas
        if self.wanted <= ceiling:
            return self.wanted, Limit.WITHIN_RANGE
        return ceiling, Limit.SCALE_UP if limits_up else Limit.TOO_MANY

    def down_to(self, limit: int) -> tuple[int, Limit]:
        """Raise the wanted replicas to the rate limit and the minimum."""
        limits_down = limit > self.min_replicas
        floor = limit if limits_down else self.min_replicas
        if self.wanted >= floor:
            return self.wanted, Limit.WITHIN_RANGE
        return floor, Limit.SCALE_DOWN if limits_down else Limit.TOO_FEW


def rate_limited(
    behavior: HpaBehavior, events: ScaleEvents, move: Move, now: float
) -> tuple[int, Limit]:
    """Cut a move to what rate policies and the replica range allow."""
    replicas = move.replicas
    if move.wanted > replicas:
        return move.up_to(max(_up_limit(behavior.scale_up, events, replicas, now), replicas))
    if move.wanted < replicas:
        return move.down_to(min(_down_limit(behavior.scale_down, events, replicas, now), replicas))
    return replicas, Limit.WITHIN_RANGE


def legacy_stabilized(
    recommendations: Sequence[Recommendation], proposal: int, window_seconds: float, now: float
) -> int:
    """Without a behavior block: the greatest proposal in [t - W, t], both ends included."""
    since = now - window_seconds
    recent = (past.replicas for past in recommendations if past.at_seconds >= since)
    return max(proposal, max(recent, default=proposal))


def legacy_limited(move: Move) -> tuple[int, Limit]:
    """Without a behavior block: at most twice the replicas, or 4 from fewer than 2."""
    if move.wanted < move.min_replicas:
        return move.min_replicas, Limit.TOO_FEW
    return move.up_to(max(LEGACY_UP_FACTOR * move.replicas, LEGACY_UP_FLOOR))


def _stored(
    slots: tuple[ScaleEvent, ...], rules: ScalingRules, event: ScaleEvent
) -> tuple[ScaleEvent, ...]:
    """Put an event into the last slot that its own direction no longer needs, else append it.

    The slot's old event is lost even where the other direction's longer periods still count it:
    the controller does the same.
    """
    longest = max((policy.period_seconds for policy in rules.policies), default=0)
    for slot in range(len(slots) - 1, -1, -1):
        if slots[slot].at_seconds < event.at_seconds - longest:
            return (*slots[:slot], event, *slots[slot + 1 :])
    return (*slots, event)


def _moved(events: Sequence[ScaleEvent], period_seconds: int, now: float) -> int:
    """Replicas moved in (t - period, t]."""
    since = now - period_seconds
    return sum(event.replicas for event in events if event.at_seconds > since)


def _period_start(policy: RatePolicy, events: ScaleEvents, replicas: int, now: float) -> int:
    """Replicas at the start of a policy's period."""
    period = policy.period_seconds
    return replicas - _moved(events.up, period, now) + _moved(events.down, period, now)


def _up_limit(rules: ScalingRules, events: ScaleEvents, replicas: int, now: float) -> int:
    if rules.select_policy is SelectPolicy.DISABLED:
        return replicas
    limits = []
    for policy in rules.policies:
        start = _period_start(policy, events, replicas, now)
        # Doubles in this order are part of the law: 100 x 1.1 rounds up to 111.
        grown = math.ceil(start * (1 + policy.value / 100))
        limits.append(grown if policy.percent else start + policy.value)
    return max(limits) if rules.select_policy is SelectPolicy.MAX else min(limits)


def _down_limit(rules: ScalingRules, events: ScaleEvents, replicas: int, now: float) -> int:
    if rules.select_policy is SelectPolicy.DISABLED:
        return replicas
    limits = []
    for policy in rules.policies:
        start = _period_start(policy, events, replicas, now)
        # Doubles in this order are part of the law: 10 x (1 - .9) truncates to 0.
        shrunk = math.trunc(start * (1 - policy.value / 100))
        limits.append(shrunk if policy.percent else start - policy.value)
    return min(limits) if rules.select_policy is SelectPolicy.MAX else max(limits)
