"""A fingerprint of the code behind a figure, so that figures of other code are made anew."""

from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path

from simulations.own import OWN
from simulations.peers.registry import peer

_ROOT = Path(__file__).parents[2]
#: What every replay stands on: capacity, profiles and the words, the engine and its world.
_WORLD: tuple[str, ...] = (
    "controller/core/domain",
    "controller/core/performance",
    "controller/reconciler.py",
    "controller/api",
    "simulations/engine",
    "simulations/traces",
    "simulations/world",
    "simulations/queue_limit.py",
    "simulations/scenario.py",
    "simulations/setup.py",
)
#: What several peers share: the account of a decision, and the HPA that carries most of them out.
_PEERS = (
    "simulations/peers/account.py",
    "simulations/peers/load_test.py",
    "simulations/peers/promql.py",
    "simulations/peers/static.py",
    "simulations/peers/hpa",
    "simulations/policies.py",
)
#: Files of a peer that no replay reads: settings are part of what a row is told apart by.
_NO_FIGURES = ("vectors.py", "entries.py")
_OWN = ("controller/core", "simulations/own.py", "simulations/foresight.py")
_PLAN = ("simulations/reference", "simulations/clairvoyant.py")


@cache
def fingerprint(policy: str) -> str:
    """Sixteen hex digits of what the figures of a policy's name depend on."""
    if policy in OWN:
        parts = (*_WORLD, *_OWN)
    else:
        module = peer(policy).setup.__module__.split(".")
        parts = (
            *_WORLD,
            "/".join(module[:3]) if len(module) > 3 else "simulations/peers/static.py",
        )
    return _digest(parts)


@lru_cache(maxsize=1)
def plan_fingerprint() -> str:
    """Likewise of the reference plan and the lower bound."""
    return _digest((*_WORLD, *_PLAN))


@cache
def _digest(parts: tuple[str, ...]) -> str:
    digest = sha256()
    for part in parts:
        path = _ROOT / part
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            if file.name in _NO_FIGURES:
                continue
            digest.update(str(file.relative_to(_ROOT)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
