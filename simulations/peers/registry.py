"""The peers by name: what a user can choose."""

from itertools import chain

from simulations.peers.aibrix import entries as aibrix
from simulations.peers.crane import entries as crane
from simulations.peers.dynamo import entries as dynamo
from simulations.peers.hpa import entries as hpa
from simulations.peers.inferno import entries as inferno
from simulations.peers.keda import entries as keda
from simulations.peers.knative import entries as knative
from simulations.peers.peer import Peer
from simulations.peers.phpa import entries as phpa
from simulations.peers.ray import entries as ray
from simulations.peers.seasonal import entries as seasonal
from simulations.peers.skyserve import entries as skyserve
from simulations.peers.static_entries import PEERS as STATIC
from simulations.peers.wva import entries as wva


class UnknownPeer(ValueError):  # noqa: N818 - named after what happened, as users read it
    """No peer has this name."""


_PEERS: tuple[Peer, ...] = (
    *STATIC,
    *chain.from_iterable(
        part.PEERS
        for part in (
            hpa, keda, knative, ray, aibrix, skyserve, crane, phpa, seasonal, wva, inferno, dynamo,
        )
    ),
)  # fmt: skip


def peers() -> tuple[Peer, ...]:
    """All peers, in the order in which they are listed."""
    return _PEERS


def peer(name: str) -> Peer:
    """Look a peer up by its name; raises ``UnknownPeer``."""
    for known in _PEERS:
        if known.name == name:
            return known
    names = ", ".join(known.name for known in _PEERS)
    raise UnknownPeer(f"policy {name!r} is not known; choose from {names}")
