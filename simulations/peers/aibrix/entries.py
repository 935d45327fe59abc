"""AIBrix's pod autoscalers as peers."""

from typing import Any

from controller.core.domain.policy import RoutingLaw
from controller.ports import Planner
from simulations.peers.aibrix.law import Strategy
from simulations.peers.aibrix.optimizer_planner import OptimizerPlanner
from simulations.peers.aibrix.optimizer_profile import PERCENTILE
from simulations.peers.aibrix.optimizer_program import PARTS
from simulations.peers.aibrix.planner import KV_TARGET, kv_autoscaler, queue_autoscaler
from simulations.peers.hpa.entries import TARGET_SHARE
from simulations.peers.peer import Knob, NotApplicable, Peer, PeerFacts, Settings

_KV_TARGET = Knob(
    name="target_kv_use",
    default=KV_TARGET,
    values=(0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
    least=0.01,
    most=1.0,
)

#: The optimizer's metric is in hundredths of a replica, and its samples set targetValue 100.
_TARGET_PARTS = Knob(
    name="target_hundredths",
    default=float(PARTS),
    values=(30.0, 40.0, 50.0, 60.0, 80.0, 100.0),
    least=10.0,
    most=200.0,
)
#: gen_profile offers 50, 90 and 99, or the mean; the published profiles are of 99.
_PROFILE_PERCENTILE = Knob(
    name="profile_percentile",
    default=PERCENTILE,
    values=(50.0, 90.0, 99.0),
    least=50.0,
    most=99.9,
)


def _apa(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return kv_autoscaler(facts.policy, Strategy.APA, target=settings["target_kv_use"])


def _apa_queue(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return queue_autoscaler(facts.policy, facts.knees, Strategy.APA, share=settings["target_share"])


def _kpa(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return kv_autoscaler(facts.policy, Strategy.KPA, target=settings["target_kv_use"])


def _optimizer(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return _optimizer_planner(facts, settings, autoscaled=True)


def _optimizer_direct(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    return _optimizer_planner(facts, settings, autoscaled=False)


def _optimizer_planner(
    facts: PeerFacts, settings: Settings, *, autoscaled: bool
) -> OptimizerPlanner:
    policy = facts.policy
    if policy.routing.law is RoutingLaw.SEPARATE and len(policy.variants) > 1:
        raise NotApplicable(
            "the GPU optimizer spreads one load over all variants; spec.routing.type Separate "
            "gives each clients of its own: use another type, or one variant"
        )
    return OptimizerPlanner(
        facts.capacity.variants,
        target_parts=settings["target_hundredths"],
        percentile=settings["profile_percentile"],
        autoscaled=autoscaled,
    )


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
    Peer(
        name="aibrix-gpu-optimizer",
        family="aibrix",
        description="AIBrix GPU optimizer (e3e10f9e): cheapest mix of all variants by ILP over "
        "240 s of request sizes, carried out by AIBrix's KPA with targetValue 100, as written",
        setup=_optimizer,
        knobs=(_TARGET_PARTS, _PROFILE_PERCENTILE),
    ),
    Peer(
        name="aibrix-gpu-optimizer-direct",
        family="aibrix",
        description="aibrix-gpu-optimizer whose replicas are set at once, without the KPA",
        setup=_optimizer_direct,
        knobs=(_TARGET_PARTS, _PROFILE_PERCENTILE),
    ),
)
