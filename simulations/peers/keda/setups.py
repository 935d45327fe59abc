"""KEDA as users set it up for served models. The HPA it creates has no behavior block."""

from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role
from simulations.peers.hpa.planner import ExternalAverage, Signal
from simulations.peers.hpa.setups import KNEE_SHARE, WAITING_TARGET, outstanding_target
from simulations.peers.keda.planner import KedaPlanner, ScaledObject


def queue_keda(
    policy: Policy, knees: tuple[float, ...], *, share: float = KNEE_SHARE
) -> KedaPlanner:
    """A trigger on the outstanding requests of every Primary variant; knees in policy order."""
    return KedaPlanner(
        tuple(
            ScaledObject(
                triggers=(
                    ExternalAverage(
                        signal=Signal.OUTSTANDING, target=outstanding_target(variant, knee, share)
                    ),
                )
            )
            if variant.role is Role.PRIMARY
            else None
            for variant, knee in zip(policy.variants, knees, strict=True)
        )
    )


def waiting_keda(policy: Policy, *, target: float = WAITING_TARGET) -> KedaPlanner:
    """A trigger on the waiting requests of every Primary variant, as tutorials have it."""
    scaled = ScaledObject(triggers=(ExternalAverage(signal=Signal.WAITING, target=target),))
    return KedaPlanner(
        tuple(scaled if variant.role is Role.PRIMARY else None for variant in policy.variants)
    )
