"""The behavior block, with HPA's exact semantics, variant by variant (autoscaling/v2).

Stabilization takes the smallest recommendation of the window on the way up and the largest on
the way down; rate policies limit the change per period, counted from the changes made in it.
"""

from math import ceil

from controller.core.domain.decision import Allocation, Reason
from controller.core.domain.policy import RatePolicy, ScalingRules, SelectPolicy
from controller.core.guards.context import GuardContext, Verdict

#: Changes made, oldest first: (Unix seconds, variant index, signed change).
Changes = tuple[tuple[float, int, int], ...]


def stabilization(context: GuardContext, allocation: Allocation) -> Verdict:
    """HPA's stabilization windows over the recommendations so far."""
    behavior = context.policy.behavior
    if behavior is None:
        return Verdict(allocation, Reason.STABILIZATION_WINDOW)
    up = behavior.scale_up.stabilization_window_seconds if behavior.scale_up else 0
    down = behavior.scale_down.stabilization_window_seconds if behavior.scale_down else 0
    stable = []
    for v, wanted in enumerate(allocation):
        lowest, highest = wanted, wanted
        for at, recommended in context.recommended:
            if at > context.now - up:
                lowest = min(lowest, recommended[v])
            if at > context.now - down:
                highest = max(highest, recommended[v])
        stable.append(min(max(context.current[v], lowest), highest))
    return Verdict(tuple(stable), Reason.STABILIZATION_WINDOW)


def rate(context: GuardContext, allocation: Allocation, changes: Changes) -> Verdict:
    """HPA's rate policies, given the changes made so far."""
    behavior = context.policy.behavior
    if behavior is None:
        return Verdict(allocation, Reason.SCALE_RATE_LIMITED)
    limited = []
    for v, wanted in enumerate(allocation):
        current = context.current[v]
        mine = tuple((at, delta) for at, variant, delta in changes if variant == v)
        if wanted > current and behavior.scale_up is not None:
            ceiling = _up_limit(behavior.scale_up, current, mine, context.now)
            limited.append(min(wanted, max(ceiling, current)))
        elif wanted < current and behavior.scale_down is not None:
            floor = _down_limit(behavior.scale_down, current, mine, context.now)
            limited.append(max(wanted, min(floor, current)))
        else:
            limited.append(wanted)
    return Verdict(tuple(limited), Reason.SCALE_RATE_LIMITED)


def _base(
    current: int, changes: tuple[tuple[float, int], ...], now: float, policy: RatePolicy
) -> int:
    """Replicas at the start of the policy's period."""
    return current - sum(delta for at, delta in changes if at > now - policy.period_seconds)


def _up_limit(
    rules: ScalingRules, current: int, changes: tuple[tuple[float, int], ...], now: float
) -> int:
    if rules.select_policy is SelectPolicy.DISABLED or not rules.policies:
        return current if rules.select_policy is SelectPolicy.DISABLED else 2**31
    limits = []
    for policy in rules.policies:
        base = _base(current, changes, now, policy)
        grown = ceil(base * (1.0 + policy.value / 100.0)) if policy.percent else base + policy.value
        limits.append(grown)
    return max(limits) if rules.select_policy is SelectPolicy.MAX else min(limits)


def _down_limit(
    rules: ScalingRules, current: int, changes: tuple[tuple[float, int], ...], now: float
) -> int:
    if rules.select_policy is SelectPolicy.DISABLED or not rules.policies:
        return current if rules.select_policy is SelectPolicy.DISABLED else 0
    limits = []
    for policy in rules.policies:
        base = _base(current, changes, now, policy)
        shrunk = int(base * (1.0 - policy.value / 100.0)) if policy.percent else base - policy.value
        limits.append(shrunk)
    return min(limits) if rules.select_policy is SelectPolicy.MAX else max(limits)
