"""SkyServe as peers."""

from collections.abc import Callable
from typing import Any

from controller.core.domain.policy import RoutingLaw
from controller.core.domain.variant import Role
from controller.ports import Planner
from simulations.peers.load_test import carried_per_replica
from simulations.peers.peer import Knob, NotApplicable, Peer, PeerFacts, Settings
from simulations.peers.skyserve.planner import SkyPlanner, SkyService

_TARGET_SHARE = Knob(
    name="target_qps_share",
    default=0.8,
    values=(0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    least=0.01,
    most=2.0,
)
_UPSCALE_DELAY = Knob(
    name="upscale_delay_seconds", default=300.0, values=(20.0, 60.0, 120.0, 300.0), most=86_400.0
)
_DOWNSCALE_DELAY = Knob(
    name="downscale_delay_seconds",
    default=1200.0,
    values=(120.0, 300.0, 600.0, 1200.0),
    most=86_400.0,
)


def _service(facts: PeerFacts, settings: Settings, **more: Any) -> Planner[Any]:
    share = settings["target_qps_share"]
    return SkyPlanner(
        SkyService(
            target_qps=tuple(
                share * carried_per_replica(facts, v) for v in range(len(facts.policy.variants))
            ),
            upscale_delay_seconds=settings["upscale_delay_seconds"],
            downscale_delay_seconds=settings["downscale_delay_seconds"],
            **more,
        )
    )


def _rate(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return _service(facts, settings, primaries=facts.policy.indices(Role.PRIMARY)[:1])


def _fallback(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    policy = facts.policy
    fallbacks = policy.indices(Role.FALLBACK)
    if not fallbacks:
        raise NotApplicable("skyserve-fallback needs a variant with role Fallback in spec.variants")
    if policy.routing.law is RoutingLaw.SEPARATE:
        raise NotApplicable(
            "skyserve-fallback lets a fallback stand in for the Primary, which spec.routing.type "
            "Separate rules out; choose Shared, Weighted or Overflow"
        )
    return _service(
        facts, settings, primaries=policy.indices(Role.PRIMARY)[:1], standin=fallbacks[0]
    )


def _instance_aware(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return _service(
        facts, settings, primaries=facts.policy.indices(Role.PRIMARY), instance_aware=True
    )


def _peer(
    name: str, description: str, setup: Callable[[PeerFacts, Settings], Planner[Any]]
) -> Peer:
    return Peer(
        name=name,
        family="skyserve",
        description=f"{description}; SkyServe 0.14.1, delays 300 s and 1200 s",
        setup=setup,
        knobs=(_TARGET_SHARE, _UPSCALE_DELAY, _DOWNSCALE_DELAY),
    )


PEERS: tuple[Peer, ...] = (
    _peer(
        "skyserve",
        "requests/s over 60 s against 0.8 of what a replica carries, on the Primary",
        _rate,
    ),
    _peer(
        "skyserve-fallback",
        "skyserve, and its on-demand mix: the fallback fills the gap until Primaries are Ready",
        _fallback,
    ),
    _peer(
        "skyserve-instance-aware",
        "skyserve with a target of its own for the replicas of every Primary",
        _instance_aware,
    ),
)
