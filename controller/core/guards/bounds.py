"""Bounds: minimum, maximum, cost and GPU limits. They win over every other guard, at once."""

from controller.core.domain.decision import Allocation, Reason
from controller.core.domain.policy import Policy
from controller.core.guards.context import GuardContext, Verdict, lowered, raised


def minimum(context: GuardContext, allocation: Allocation) -> Verdict:
    """At least every variant's minimum."""
    floor = tuple(variant.min_replicas for variant in context.policy.variants)
    return Verdict(raised(floor, allocation), Reason.MIN_REPLICAS)


def maximum(context: GuardContext, allocation: Allocation) -> Verdict:
    """At most every variant's maximum."""
    ceiling = tuple(variant.max_replicas for variant in context.policy.variants)
    return Verdict(lowered(ceiling, allocation), Reason.MAX_REPLICAS)


def cost_limit(context: GuardContext, allocation: Allocation) -> Verdict:
    """At most ``limits.maxCostPerHour``, giving up the dearest replicas above the minimum first."""
    limit = context.policy.limits.max_cost_per_hour
    if limit is None:
        return Verdict(allocation, Reason.MAX_COST_PER_HOUR)
    prices = tuple(variant.cost_per_replica_hour for variant in context.policy.variants)
    return Verdict(_trim(context.policy, allocation, prices, limit), Reason.MAX_COST_PER_HOUR)


def gpu_limit(context: GuardContext, allocation: Allocation) -> Verdict:
    """At most ``limits.maxGpus``, giving up the replicas with most GPUs above the minimum first."""
    limit = context.policy.limits.max_gpus
    if limit is None:
        return Verdict(allocation, Reason.MAX_GPUS)
    gpus = tuple(float(variant.gpus_per_replica) for variant in context.policy.variants)
    return Verdict(_trim(context.policy, allocation, gpus, float(limit)), Reason.MAX_GPUS)


def total(allocation: Allocation, weights: tuple[float, ...]) -> float:
    """Weighted sum of an allocation."""
    return sum(n * weight for n, weight in zip(allocation, weights, strict=True))


def _trim(
    policy: Policy, allocation: Allocation, weights: tuple[float, ...], limit: float
) -> Allocation:
    """Take replicas away, heaviest variant first, until the weighted sum fits."""
    kept = list(allocation)
    order = sorted(range(len(kept)), key=lambda v: -weights[v])
    for v in order:
        excess = total(tuple(kept), weights) - limit
        if excess <= 1e-9 or weights[v] <= 0.0:
            break
        spare = kept[v] - policy.variants[v].min_replicas
        kept[v] -= max(0, min(spare, int(-(-(excess - 1e-9) // weights[v]))))
    return tuple(kept)
