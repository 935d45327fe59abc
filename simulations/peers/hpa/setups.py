"""HPAs as users set them up for served models, by the targets that documentation gives.

*Outstanding* (waiting + running) against a share of the knee is the strongest simple signal: it
speaks before a queue forms. *Running* alone is what guides call concurrency; it stands still once
every slot is taken. *Waiting* alone is what tutorials copy; a continuously batching engine shows no
queue until it is saturated, so it acts late. *Requests/s* against what a replica carried in a load
test knows nothing of the tokens that come with them.
"""

from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role, Variant
from simulations.peers.hpa.behavior import default_behavior
from simulations.peers.hpa.planner import ExternalAverage, HpaPlanner, Signal, VariantHpa

#: Share of the knee (outstanding per replica at capacity at the SLO) used as the target.
KNEE_SHARE = 0.8
#: Waiting requests per replica: vLLM production-stack's autoscaling tutorial; GKE starts at 3 to 5.
WAITING_TARGET = 5.0
#: The API's default down-window.
DOWN_WINDOW_SECONDS = 300


def outstanding_target(variant: Variant, knee: float, share: float = KNEE_SHARE) -> float:
    """Target of outstanding requests per replica.

    Where a queue limit below the knee keeps the outstanding from ever reaching it, the limit takes
    the knee's place: with .8 of the knee against a limit at .85 of it, the ratio would stay within
    the HPA's own tolerance of 10 % however many requests are refused, and nothing would scale.
    """
    if not knee > 0.0:
        raise ValueError(f"knee: outstanding per replica of {variant.name} must be > 0, got {knee}")
    reachable = knee if variant.queue_limit is None else min(knee, float(variant.queue_limit))
    return share * reachable


def queue_hpa(
    policy: Policy,
    knees: tuple[float, ...],
    *,
    roles: frozenset[Role] = frozenset({Role.PRIMARY}),
    share: float = KNEE_SHARE,
    down_window_seconds: int = DOWN_WINDOW_SECONDS,
) -> HpaPlanner:
    """One HPA on the outstanding requests of every variant with one of ``roles``.

    ``knees`` are in the policy's order. With both roles under the Overflow law this is the surge
    as a user sets it up: the gateway retries what a full Primary refuses onto the fallback, whose
    own HPA (at least 1 replica) follows its own outstanding; neither HPA knows of the other.
    """
    behavior = default_behavior(down_window_seconds)
    return HpaPlanner(
        tuple(
            VariantHpa(
                metrics=(
                    ExternalAverage(
                        signal=Signal.OUTSTANDING, target=outstanding_target(variant, knee, share)
                    ),
                ),
                behavior=behavior,
            )
            if variant.role in roles
            else None
            for variant, knee in zip(policy.variants, knees, strict=True)
        )
    )


def waiting_hpa(
    policy: Policy,
    *,
    target: float = WAITING_TARGET,
    down_window_seconds: int = DOWN_WINDOW_SECONDS,
) -> HpaPlanner:
    """One HPA on the waiting requests of every Primary variant."""
    hpa = VariantHpa(
        metrics=(ExternalAverage(signal=Signal.WAITING, target=target),),
        behavior=default_behavior(down_window_seconds),
    )
    return HpaPlanner(
        tuple(hpa if variant.role is Role.PRIMARY else None for variant in policy.variants)
    )


def concurrency_hpa(
    policy: Policy,
    knees: tuple[float, ...],
    *,
    share: float = KNEE_SHARE,
    down_window_seconds: int = DOWN_WINDOW_SECONDS,
) -> HpaPlanner:
    """One HPA on the running requests of every Primary variant; ``knees`` in the policy's order."""
    behavior = default_behavior(down_window_seconds)
    return HpaPlanner(
        tuple(
            VariantHpa(
                metrics=(
                    ExternalAverage(
                        signal=Signal.RUNNING, target=running_target(variant, knee, share)
                    ),
                ),
                behavior=behavior,
            )
            if variant.role is Role.PRIMARY
            else None
            for variant, knee in zip(policy.variants, knees, strict=True)
        )
    )


def running_target(variant: Variant, knee: float, share: float = KNEE_SHARE) -> float:
    """Target of running requests per replica: of the knee, or of the slots where they are fewer."""
    slots = float(variant.profile.max_running)
    return min(outstanding_target(variant, knee, share), share * slots)


def rps_hpa(
    policy: Policy,
    carried_per_second: float,
    *,
    share: float = KNEE_SHARE,
    down_window_seconds: int = DOWN_WINDOW_SECONDS,
) -> HpaPlanner:
    """One HPA on the first Primary: all requests/s, of which a replica carried so many in a test.

    The gateway counts for the whole model, so that a second HPA on it would scale for the same
    requests again.
    """
    hpa = VariantHpa(
        metrics=(ExternalAverage(signal=Signal.ARRIVALS, target=share * carried_per_second),),
        behavior=default_behavior(down_window_seconds),
    )
    first = policy.indices(Role.PRIMARY)[0]
    return HpaPlanner(tuple(hpa if v == first else None for v in range(len(policy.variants))))
