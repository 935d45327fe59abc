"""HPA v2 as peers: by the metric a user gives it."""

from typing import Any

from controller.core.domain.policy import RoutingLaw
from controller.core.domain.variant import Role
from controller.ports import Planner
from simulations.peers.hpa.setups import (
    DOWN_WINDOW_SECONDS,
    KNEE_SHARE,
    WAITING_TARGET,
    concurrency_hpa,
    queue_hpa,
    rps_hpa,
    waiting_hpa,
)
from simulations.peers.load_test import carried_per_replica
from simulations.peers.peer import Knob, NotApplicable, Peer, PeerFacts, Settings

TARGET_SHARE = Knob(
    name="target_share",
    default=KNEE_SHARE,
    values=(0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    least=0.01,
    most=2.0,
)
DOWN_WINDOW = Knob(
    name="down_window_seconds",
    default=float(DOWN_WINDOW_SECONDS),
    values=(0.0, 60.0, 120.0, 300.0, 600.0, 900.0),
    most=3600.0,  # the API's own limit
)
_WAITING_TARGET = Knob(
    name="target_waiting",
    default=WAITING_TARGET,
    values=(1.0, 2.0, 3.0, 5.0, 10.0),
    least=0.001,
)


def _queue(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return queue_hpa(
        facts.policy,
        facts.knees,
        share=settings["target_share"],
        down_window_seconds=round(settings["down_window_seconds"]),
    )


def _queue_surge(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    policy = facts.policy
    if policy.routing.law is not RoutingLaw.OVERFLOW:
        raise NotApplicable(
            "hpa-queue-surge needs spec.routing.type Overflow (refused requests retried onto the "
            f"fallback); it is {policy.routing.law}"
        )
    if not policy.indices(Role.FALLBACK):
        raise NotApplicable("hpa-queue-surge needs a variant with role Fallback in spec.variants")
    return queue_hpa(
        policy,
        facts.knees,
        roles=frozenset(Role),
        share=settings["target_share"],
        down_window_seconds=round(settings["down_window_seconds"]),
    )


def _concurrency(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return concurrency_hpa(
        facts.policy,
        facts.knees,
        share=settings["target_share"],
        down_window_seconds=round(settings["down_window_seconds"]),
    )


def _rps(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    first = facts.policy.indices(Role.PRIMARY)[0]
    return rps_hpa(
        facts.policy,
        carried_per_replica(facts, first),
        share=settings["target_share"],
        down_window_seconds=round(settings["down_window_seconds"]),
    )


def _waiting(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return waiting_hpa(
        facts.policy,
        target=settings["target_waiting"],
        down_window_seconds=round(settings["down_window_seconds"]),
    )


PEERS = (
    Peer(
        name="hpa-queue",
        family="hpa",
        description="HPA v2 on waiting + running per replica, target 0.8 of the knee, "
        "API-default behavior",
        setup=_queue,
        knobs=(TARGET_SHARE, DOWN_WINDOW),
    ),
    Peer(
        name="hpa-waiting",
        family="hpa",
        description="HPA v2 on waiting requests per replica, target 5 as in vLLM's tutorials",
        setup=_waiting,
        knobs=(_WAITING_TARGET, DOWN_WINDOW),
    ),
    Peer(
        name="hpa-concurrency",
        family="hpa",
        description="HPA v2 (1.37.2) on running requests per replica, target 0.8 of the knee, "
        "API-default behavior",
        setup=_concurrency,
        knobs=(TARGET_SHARE, DOWN_WINDOW),
    ),
    Peer(
        name="hpa-rps",
        family="hpa",
        description="HPA v2 (1.37.2) on requests/s over 60 s per replica, target 0.8 of what a "
        "load test carried, API-default behavior",
        setup=_rps,
        knobs=(TARGET_SHARE, DOWN_WINDOW),
    ),
    Peer(
        name="hpa-queue-surge",
        family="hpa-surge",
        description="hpa-queue, and a second HPA on the fallback that takes what the Primary "
        "refuses",
        setup=_queue_surge,
        knobs=(TARGET_SHARE, DOWN_WINDOW),
    ),
)
