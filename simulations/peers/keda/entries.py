"""KEDA as peers: by its triggers."""

from typing import Any

from controller.ports import Planner
from simulations.peers.hpa.entries import TARGET_SHARE
from simulations.peers.hpa.setups import WAITING_TARGET
from simulations.peers.keda.setups import queue_keda, waiting_keda
from simulations.peers.peer import Knob, Peer, PeerFacts, Settings

_WAITING_TARGET = Knob(
    name="target_waiting",
    default=WAITING_TARGET,
    values=(1.0, 2.0, 3.0, 5.0, 10.0),
    least=0.001,
)


def _queue(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return queue_keda(facts.policy, facts.knees, share=settings["target_share"])


def _waiting(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return waiting_keda(facts.policy, target=settings["target_waiting"])


PEERS = (
    Peer(
        name="keda-queue",
        family="keda",
        description="KEDA on waiting + running per replica, target 0.8 of the knee, KEDA's "
        "defaults",
        setup=_queue,
        knobs=(TARGET_SHARE,),
    ),
    Peer(
        name="keda-waiting",
        family="keda",
        description="KEDA on waiting requests per replica, target 5, KEDA's defaults as in "
        "tutorials",
        setup=_waiting,
        knobs=(_WAITING_TARGET,),
    ),
)
