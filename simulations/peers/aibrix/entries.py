"""AIBrix's pod autoscalers as peers."""

from typing import Any

from controller.ports import Planner
from simulations.peers.aibrix.law import Strategy
from simulations.peers.aibrix.planner import KV_TARGET, kv_autoscaler, queue_autoscaler
from simulations.peers.hpa.entries import TARGET_SHARE
from simulations.peers.peer import Knob, Peer, PeerFacts, Settings

_KV_TARGET = Knob(
    name="target_kv_use",
    default=KV_TARGET,
    values=(0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
    least=0.01,
    most=1.0,
)


def _apa(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return kv_autoscaler(facts.policy, Strategy.APA, target=settings["target_kv_use"])


def _apa_queue(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return queue_autoscaler(facts.policy, facts.knees, Strategy.APA, share=settings["target_share"])


def _kpa(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return kv_autoscaler(facts.policy, Strategy.KPA, target=settings["target_kv_use"])


PEERS = (
    Peer(
        name="aibrix-apa",
        family="aibrix",
        description="AIBrix APA on KV use, target 0.5 as in its samples, its cooldown as written",
        setup=_apa,
        knobs=(_KV_TARGET,),
    ),
    Peer(
        name="aibrix-apa-queue",
        family="aibrix",
        description="AIBrix APA on waiting + running per pod, target 0.8 of the knee",
        setup=_apa_queue,
        knobs=(TARGET_SHARE,),
    ),
    Peer(
        name="aibrix-kpa-as-written",
        family="aibrix",
        description="AIBrix KPA on KV use, target 0.5, with its code's defects",
        setup=_kpa,
        knobs=(_KV_TARGET,),
    ),
)
