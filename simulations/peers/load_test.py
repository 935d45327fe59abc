"""What a load test of a scenario's replicas shows, as users of requests/s targets need it."""

from simulations.peers.peer import NotApplicable, PeerFacts


def carried_per_replica(facts: PeerFacts, variant: int) -> float:
    """Requests/s per replica within the SLO, of a load test with the peak's replicas.

    Raises ``NotApplicable`` where the test carries nothing.
    """
    replicas = max(1, facts.peak_replicas)
    only = tuple(replicas if v == variant else 0 for v in range(len(facts.policy.variants)))
    carried = facts.capacity.capacity(only)
    if not carried > 0.0:
        raise NotApplicable(
            f"a load test of {facts.policy.variants[variant].name!r} carries nothing within "
            "spec.slo; relax the objectives, or give the variant a faster profile"
        )
    return carried / replicas
