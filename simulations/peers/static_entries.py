"""Fixed fleets as peers."""

from typing import Any

from controller.ports import Planner
from simulations.peers.peer import Peer, PeerFacts, Settings
from simulations.peers.static import static_peak


def _peak(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    del settings
    return static_peak(facts.policy, facts.peak_replicas)


def _p95(facts: PeerFacts, settings: Settings) -> Planner[Any]:
    del settings
    return static_peak(facts.policy, facts.p95_replicas)


PEERS = (
    Peer(
        name="static-peak",
        family="static",
        description="As many Primary replicas as the trace's peak minute needs, all the time",
        setup=_peak,
    ),
    Peer(
        name="static-p95",
        family="static",
        description="As many Primary replicas as 95 % of the trace's minutes need, all the time",
        setup=_p95,
    ),
)
