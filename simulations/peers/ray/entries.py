"""Ray Serve as a peer."""

from typing import Any

from controller.ports import Planner
from simulations.peers.hpa.entries import TARGET_SHARE
from simulations.peers.peer import Knob, Peer, PeerFacts, Settings
from simulations.peers.ray.planner import queue_ray

_UPSCALE_DELAY = Knob(name="upscale_delay_seconds", default=30.0, values=(10.0, 30.0), most=3600.0)
_DOWNSCALE_DELAY = Knob(
    name="downscale_delay_seconds", default=600.0, values=(120.0, 300.0, 600.0), most=86_400.0
)


def _ongoing(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return queue_ray(
        facts.policy,
        facts.knees,
        share=settings["target_share"],
        upscale_delay_seconds=settings["upscale_delay_seconds"],
        downscale_delay_seconds=settings["downscale_delay_seconds"],
    )


PEERS = (
    Peer(
        name="ray-serve",
        family="ray",
        description="Ray Serve on ongoing requests per replica, target 0.8 of the knee, delays "
        "30 s and 600 s",
        setup=_ongoing,
        knobs=(TARGET_SHARE, _UPSCALE_DELAY, _DOWNSCALE_DELAY),
    ),
)
