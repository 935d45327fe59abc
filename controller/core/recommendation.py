"""Recommendation: the allocation the optimiser would have, before any guard."""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.decision import Allocation
from controller.core.domain.observation import Observation
from controller.core.domain.policy import OnExhausted, Policy, RoutingLaw
from controller.core.domain.variant import Role
from controller.core.forecasting.candidates import Candidate
from controller.core.guards import shortage
from controller.core.optimizer.choice import Choice, choose
from controller.core.optimizer.demand import nodes
from controller.core.optimizer.pacing import Prices
from controller.core.outlook import Outlook


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What the optimiser chose, and whether plain persistence would have chosen otherwise.

    ``short`` says whether it was kept from more replicas of a variant by a lack of GPUs.
    """

    choice: Choice
    changed_by_forecast: bool
    short: bool


def recommend(
    policy: Policy, observation: Observation, outlook: Outlook, now: float, *, fallback: bool
) -> Recommendation:
    """The cheapest allocation for the forecast demand; ``fallback`` False uses none."""
    reachable = shortage.reachable(policy, observation.variants, now)
    bounds = _bounds(policy, reachable, outlook.prices, fallback=fallback)
    choice = _choice(policy, outlook, outlook.quantiles(), bounds)
    rows = zip(policy.variants, choice.best.allocation, reachable, strict=True)
    # In a hopeless overload a few replicas more make no odds, and the choice may stay below.
    hopeless = outlook.carries(choice.best.allocation) < outlook.quantiles()[0]
    short = any(
        most < variant.max_replicas and (count >= most or hopeless) for variant, count, most in rows
    )
    if outlook.forecast.source is Candidate.PERSISTENCE:
        return Recommendation(choice, changed_by_forecast=False, short=short)
    plain = _choice(policy, outlook, outlook.persistence_quantiles(), bounds)
    changed = plain.best.allocation != choice.best.allocation
    return Recommendation(choice, changed_by_forecast=changed, short=short)


def _choice(
    policy: Policy,
    outlook: Outlook,
    quantiles: NDArray[np.float64],
    bounds: tuple[Allocation, Allocation],
) -> Choice:
    demand = nodes(outlook.forecast.levels, quantiles).over(outlook.factor)
    return choose(policy, outlook.fleet, demand, outlook.prices, bounds)


def _bounds(
    policy: Policy, reachable: Allocation, prices: Prices, *, fallback: bool
) -> tuple[Allocation, Allocation]:
    """Lowest and highest counts to choose from; ``reachable`` are those that have GPUs."""
    low = tuple(variant.min_replicas for variant in policy.variants)
    allowed = tuple(
        variant.max_replicas if fallback or variant.role is Role.PRIMARY else variant.min_replicas
        for variant in policy.variants
    )
    short = any(
        reachable[v] < policy.variants[v].max_replicas for v in policy.indices(Role.PRIMARY)
    )
    useful = allowed if short else _useful(policy, allowed, prices)
    high = tuple(
        max(least, min(most, worth))
        for least, most, worth in zip(low, reachable, useful, strict=True)
    )
    return low, high


def _useful(policy: Policy, highest: Allocation, prices: Prices) -> Allocation:
    """Highest counts worth looking at: no more fallbacks than the quality budget lets serve.

    Where all variants share their traffic, a fallback's share is about its share of the replicas.
    Under ``Degrade`` and the other laws nothing is ruled out beforehand. Counts go up to a power
    of two, so that a budget that moves does not ask for another table every tick.
    """
    shared = policy.routing.law in {RoutingLaw.SHARED, RoutingLaw.WEIGHTED}
    if not shared or policy.quality.on_exhausted is OnExhausted.DEGRADE:
        return highest
    primaries = sum(highest[v] for v in policy.indices(Role.PRIMARY))
    share = min(2.0 * prices.degraded_share_allowed, 1.0)
    worth = ceil(share * primaries)
    worth = 1 << (worth - 1).bit_length() if worth > 0 else 0
    return tuple(
        min(count, worth) if variant.role is Role.FALLBACK else count
        for variant, count in zip(policy.variants, highest, strict=True)
    )
