"""Dynamo's classic SLA planner (up to 1.0) on a ModelDeployment."""

from simulations.peers.peer import Peer

CLASSIC_PEERS: tuple[Peer, ...] = ()
