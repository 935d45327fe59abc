"""llm-d's workload variant autoscaler as peers."""

from simulations.peers.peer import Peer

PEERS: tuple[Peer, ...] = ()
