"""The peers by name: what a user can choose, and how each is set up for a scenario."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from controller.core.domain.policy import Policy, RoutingLaw
from controller.core.domain.variant import Role
from controller.ports import Planner
from simulations.peers.aibrix.law import Strategy
from simulations.peers.aibrix.planner import kv_autoscaler, queue_autoscaler
from simulations.peers.hpa.setups import queue_hpa, waiting_hpa
from simulations.peers.keda.setups import queue_keda, waiting_keda
from simulations.peers.knative.planner import concurrency_kpa
from simulations.peers.ray.planner import queue_ray
from simulations.peers.static import static_peak


class UnknownPeer(ValueError):  # noqa: N818 - named after what happened, as users read it
    """No peer has this name."""


class NotApplicable(ValueError):  # noqa: N818 - named after what happened, as users read it
    """This peer cannot be set up on this scenario; the message names the field and the fix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFacts:
    """What a careful user knows of a scenario when setting a peer up.

    ``policy`` carries the queue limits in force. ``knees`` are the outstanding requests per
    replica at capacity at the SLO, per variant in the policy's order (after a load test).
    ``peak_replicas`` are the Primary replicas that serve the trace's peak.
    """

    policy: Policy
    knees: tuple[float, ...]
    peak_replicas: int


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer policy. ``setup`` raises ``NotApplicable`` where the scenario does not fit it."""

    name: str
    description: str
    setup: Callable[[PeerFacts], Planner[Any]]


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


def _static_peak(facts: PeerFacts) -> Planner[Any]:
    return static_peak(facts.policy, facts.peak_replicas)


def _hpa_queue(facts: PeerFacts) -> Planner[Any]:
    return queue_hpa(facts.policy, facts.knees)


def _hpa_waiting(facts: PeerFacts) -> Planner[Any]:
    return waiting_hpa(facts.policy)


def _hpa_queue_surge(facts: PeerFacts) -> Planner[Any]:
    policy = facts.policy
    if policy.routing.law is not RoutingLaw.OVERFLOW:
        raise NotApplicable(
            "hpa-queue-surge needs spec.routing.type Overflow (refused requests retried onto the "
            f"fallback); it is {policy.routing.law}"
        )
    if not policy.indices(Role.FALLBACK):
        raise NotApplicable("hpa-queue-surge needs a variant with role Fallback in spec.variants")
    return queue_hpa(policy, facts.knees, roles=frozenset(Role))


def _keda_queue(facts: PeerFacts) -> Planner[Any]:
    return queue_keda(facts.policy, facts.knees)


def _keda_waiting(facts: PeerFacts) -> Planner[Any]:
    return waiting_keda(facts.policy)


def _kpa_knative(facts: PeerFacts) -> Planner[Any]:
    return concurrency_kpa(facts.policy, facts.knees)


def _aibrix_apa(facts: PeerFacts) -> Planner[Any]:
    return kv_autoscaler(facts.policy, Strategy.APA)


def _aibrix_apa_queue(facts: PeerFacts) -> Planner[Any]:
    return queue_autoscaler(facts.policy, facts.knees, Strategy.APA)


def _aibrix_kpa(facts: PeerFacts) -> Planner[Any]:
    return kv_autoscaler(facts.policy, Strategy.KPA)


def _ray_serve(facts: PeerFacts) -> Planner[Any]:
    return queue_ray(facts.policy, facts.knees)


_PEERS = (
    Peer(
        "static-peak",
        "As many Primary replicas as the trace's peak needs, all the time",
        _static_peak,
    ),
    Peer(
        "hpa-queue",
        "HPA v2 on waiting + running per replica, target 0.8 of the knee, API-default behavior",
        _hpa_queue,
    ),
    Peer(
        "hpa-waiting",
        "HPA v2 on waiting requests per replica, target 5 as in vLLM's tutorials",
        _hpa_waiting,
    ),
    Peer(
        "hpa-queue-surge",
        "hpa-queue, and a second HPA on the fallback that takes what the Primary refuses",
        _hpa_queue_surge,
    ),
    Peer(
        "keda-queue",
        "KEDA on waiting + running per replica, target 0.8 of the knee, KEDA's defaults",
        _keda_queue,
    ),
    Peer(
        "keda-waiting",
        "KEDA on waiting requests per replica, target 5, KEDA's defaults as in tutorials",
        _keda_waiting,
    ),
    Peer(
        "kpa-knative",
        "Knative KPA on waiting + running per replica, target 0.7 of the knee, Knative's defaults",
        _kpa_knative,
    ),
    Peer(
        "aibrix-apa",
        "AIBrix APA on KV use, target 0.5 as in its samples, its cooldown as written",
        _aibrix_apa,
    ),
    Peer(
        "aibrix-apa-queue",
        "AIBrix APA on waiting + running per pod, target 0.8 of the knee",
        _aibrix_apa_queue,
    ),
    Peer(
        "aibrix-kpa-as-written",
        "AIBrix KPA on KV use, target 0.5, with its code's defects",
        _aibrix_kpa,
    ),
    Peer(
        "ray-serve",
        "Ray Serve on ongoing requests per replica, target 0.8 of the knee, delays 30 s and 600 s",
        _ray_serve,
    ),
)
