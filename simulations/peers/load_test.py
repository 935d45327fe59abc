"""What a load test of a scenario's replicas shows, as users of requests/s targets need it."""

from simulations.peers.peer import PeerFacts


def carried_per_replica(facts: PeerFacts, variant: int) -> float:
    """Requests/s per replica within the SLO, of a load test with as many as the peak needs.

    A fleet carries more per replica than one alone, so that a test of one would waste some.
    """
    replicas = max(1, facts.peak_replicas)
    only = tuple(replicas if v == variant else 0 for v in range(len(facts.policy.variants)))
    return facts.capacity.capacity(only) / replicas
