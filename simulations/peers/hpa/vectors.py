"""Our law beside the answers of the peer's own code."""

from simulations.peers.vectors import VectorSet

VECTORS: tuple[VectorSet, ...] = ()
