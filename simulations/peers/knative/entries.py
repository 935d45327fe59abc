"""Knative's KPA as a peer."""

from typing import Any

from controller.ports import Planner
from simulations.peers.knative.planner import TARGET_UTILIZATION, concurrency_kpa
from simulations.peers.peer import Knob, Peer, PeerFacts, Settings

_UTILIZATION = Knob(
    name="target_utilization",
    default=TARGET_UTILIZATION,
    values=(0.5, 0.6, 0.7, 0.8, 0.9),
    least=0.01,
    most=1.0,
)
_SCALE_DOWN_DELAY = Knob(
    name="scale_down_delay_seconds", default=0.0, values=(0.0, 300.0, 900.0), most=3600.0
)


def _concurrency(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return concurrency_kpa(
        facts.policy,
        facts.knees,
        utilization=settings["target_utilization"],
        scale_down_delay_seconds=settings["scale_down_delay_seconds"],
    )


PEERS = (
    Peer(
        name="kpa-knative",
        family="knative",
        description="Knative KPA on waiting + running per replica, target 0.7 of the knee, "
        "Knative's defaults",
        setup=_concurrency,
        knobs=(_UTILIZATION, _SCALE_DOWN_DELAY),
    ),
)
