"""The predictive HPA as peers."""

from simulations.peers.peer import Peer

PEERS: tuple[Peer, ...] = ()
