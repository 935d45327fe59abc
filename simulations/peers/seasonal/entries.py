"""Simple forecasts in front of an HPA as peers."""

from simulations.peers.peer import Peer

PEERS: tuple[Peer, ...] = ()
