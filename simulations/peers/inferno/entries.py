"""The inferno queueing solver as peers."""

from simulations.peers.peer import Peer

PEERS: tuple[Peer, ...] = ()
