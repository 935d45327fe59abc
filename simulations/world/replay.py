"""Replays a clairvoyant path: every replica is Ready exactly on time, and its start is billed."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from controller.core.domain.decision import Allocation
from simulations.reference.path import Path, PathOutcome
from simulations.results import PolicyResult
from simulations.world.scoring import Scorer
from simulations.world.world import Setup, World

#: Traffic shares for an allocation; None where the routing law takes none.
Weights: TypeAlias = Callable[[Allocation], tuple[float, ...] | None]


def replay_path(
    setup: Setup,
    path: Path,
    name: str = "reference-plan",
    weights: Weights = lambda _: None,
) -> tuple[PolicyResult, PathOutcome]:
    """Replay ``path`` request by request in the scenario's own engine and router.

    A replica that is Ready at t was requested one drawn cold start before t and is billed from
    there. Requests are counted by the bucket in which they end. ``weights`` routes the traffic of
    an allocation where the routing law asks for it.
    """
    world = World(setup, warm=path.at(0.0), scraped=False)
    scorer = Scorer(world, name)
    ticks_per_bucket = max(round(path.bucket_seconds / setup.policy.tick_seconds), 1)
    buckets = len(path.replicas)
    misses, requests = np.zeros(buckets), np.zeros(buckets)
    for tick in range(scorer.ticks):
        if tick % ticks_per_bucket == 0:
            follow(world, path.at(world.seconds), weights)
        bucket = min(tick // ticks_per_bucket, buckets - 1)
        scorer.placed(tick)
        ended, good = scorer.advance(tick)
        requests[bucket] += ended
        misses[bucket] += ended - good
    result = scorer.result([])
    outcome = PathOutcome(
        cost=result.cost,
        attainment=result.attainment,
        degraded_share=result.degraded_share,
        misses=misses,
        requests=requests,
    )
    return result, outcome


def follow(world: World, wanted: Allocation, weights: Weights) -> None:
    """Bring the Ready replicas to ``wanted`` now, and the traffic with them."""
    present = tuple(world.cluster.desired)
    if wanted == present:
        return
    for variant, replicas in enumerate(wanted):
        if replicas > present[variant]:
            world.cluster.place_on_time(variant, replicas - present[variant], world.seconds)
    shares = weights(wanted)
    if shares is not None:
        world.route(shares)
    for variant, replicas in enumerate(wanted):
        if replicas < present[variant]:
            world.cluster.scale(variant, replicas, world.seconds)
