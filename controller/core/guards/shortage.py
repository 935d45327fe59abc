"""GPU shortage: what cannot be scheduled is asked for once, and the fallback fills the gap.

A variant with replicas that have waited for a GPU is capped at what it has plus one, so that the
request stays open and the moment GPUs come is seen, while the optimiser looks for capacity
among the other variants.
"""

from controller.core.domain.decision import Allocation
from controller.core.domain.observation import VariantObservation
from controller.core.domain.policy import Policy

#: Seconds a replica may wait for a GPU before its variant counts as short.
PATIENCE_SECONDS = 30.0


def reachable(policy: Policy, variants: tuple[VariantObservation, ...], now: float) -> Allocation:
    """Highest allocation that the GPUs there are can hold, as far as it has shown itself."""
    ceiling = []
    for variant, seen in zip(policy.variants, variants, strict=True):
        patient = all(now - since < PATIENCE_SECONDS for since in seen.starting_since_seconds)
        if seen.unschedulable == 0 or patient:
            ceiling.append(variant.max_replicas)
            continue
        placed = seen.ready + len(seen.starting_since_seconds) - seen.unschedulable
        ceiling.append(min(variant.max_replicas, max(placed + 1, variant.min_replicas)))
    return tuple(ceiling)
