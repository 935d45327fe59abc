"""What no vector holds: peers without recorded answers, said as openly as the agreements."""

from collections.abc import Iterator
from importlib import import_module
from typing import Final

from simulations.peers.registry import peers
from simulations.trust.golden import BY_FOLDER

_NO_RECORD: Final = "no answers of its own code are recorded: held by hand-made cases only"
#: Peers with another reason; those of a folder with vectors whose own law is in none of its files.
_REASONS: Final = {
    "static-peak": "no law: a constant",
    "static-p95": "no law: a constant",
    "aibrix-gpu-optimizer": "its clusters and its integer programme are held by tests against "
    "scikit-learn and SciPy, not by answers of its own code; the KPA that carries it out has some",
    "aibrix-gpu-optimizer-direct": "as aibrix-gpu-optimizer, without the KPA",
}


def unchecked_peers() -> Iterator[tuple[str, str]]:
    """Name of each peer whose law has no vectors, and why."""
    recorded = {
        peer.name
        for folder, sets in BY_FOLDER.items()
        if sets
        for peer in import_module(f"simulations.peers.{folder}.entries").PEERS
    }
    for peer in peers():
        if peer.name in _REASONS:
            yield peer.name, _REASONS[peer.name]
        elif peer.name not in recorded:
            yield peer.name, _NO_RECORD
