"""Ray Serve's autoscaler on a ModelDeployment's variants as a planner.

Ray's loop runs every 0.1 s on samples pushed every 10 s; here it runs once per plan call, on the
outstanding requests last scraped. Its delays are wall-clock times and so keep their meaning.
"""

from dataclasses import dataclass

from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import Measured, Observation, PastTraffic
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role, Variant
from simulations.peers.account import peer_decision
from simulations.peers.hpa.setups import KNEE_SHARE, outstanding_target
from simulations.peers.ray.law import RayHistory, RaySpec, decide
from simulations.peers.ray.requests import Merge, ongoing_requests

#: Ray's look_back_period_s.
LOOK_BACK_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RayDeployment:
    """A Serve deployment on a variant; the replica range is the variant's."""

    target_ongoing_requests: float
    upscale_delay_seconds: float = 30.0
    downscale_delay_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class RayPlannerHistory:
    """Memory of one deployment: its delay, and (seconds, ongoing) within the look-back."""

    delay: RayHistory = RayHistory()  # noqa: RUF009 - frozen, without state
    samples: tuple[tuple[float, float], ...] = ()


class RayPlanner:
    """Every variant as a Serve deployment; one without (None) stays at its minimum."""

    def __init__(self, deployments: tuple[RayDeployment | None, ...]) -> None:
        self._deployments = deployments

    def initial(self, policy: Policy, past: PastTraffic | None) -> tuple[RayPlannerHistory, ...]:
        """Nothing is remembered at the start."""
        del past
        if len(self._deployments) != len(policy.variants):
            raise ValueError(
                f"deployments: {len(self._deployments)} entries for {len(policy.variants)} "
                f"variants of {policy.namespace}/{policy.name}; give one per variant, None for none"
            )
        return (RayPlannerHistory(),) * len(self._deployments)

    def plan(
        self,
        policy: Policy,
        observation: Observation,
        history: tuple[RayPlannerHistory, ...],
        now: float,
    ) -> tuple[Decision, tuple[RayPlannerHistory, ...]]:
        """Run every deployment's loop once; without a sample in the look-back nothing changes."""
        observed = tuple(variant.desired for variant in observation.variants)
        wanted = [variant.min_replicas for variant in policy.variants]
        remembered = list(history)
        blind = False
        for position, deployment in enumerate(self._deployments):
            if deployment is None:
                continue
            seen = observation.variants[position]
            samples = tuple(
                sample
                for sample in history[position].samples
                if sample[0] > now - LOOK_BACK_SECONDS
            )
            if isinstance(seen.waiting, Measured) and isinstance(seen.running, Measured):
                samples = (*samples, (now, seen.waiting.value + seen.running.value))
            delay = history[position].delay
            wanted[position] = seen.desired
            if samples:
                ongoing = ongoing_requests([samples], Merge.MEAN, now)
                spec = _spec(deployment, policy.variants[position])
                wanted[position], delay = decide(
                    spec, delay, ongoing, seen.ready, seen.desired, now
                )
            blind = blind or not samples
            remembered[position] = RayPlannerHistory(delay, samples)
        decision = peer_decision(
            policy,
            observed,
            tuple(wanted),
            kept_for=Reason.METRICS_MISSING if blind else None,
        )
        return decision, tuple(remembered)


def queue_ray(
    policy: Policy,
    knees: tuple[float, ...],
    *,
    share: float = KNEE_SHARE,
    upscale_delay_seconds: float = 30.0,
    downscale_delay_seconds: float = 600.0,
) -> RayPlanner:
    """A deployment per Primary variant, its target a share of the knee; Ray's default delays.

    ``knees`` are in the policy's order.
    """
    return RayPlanner(
        tuple(
            RayDeployment(
                target_ongoing_requests=outstanding_target(variant, knee, share),
                upscale_delay_seconds=upscale_delay_seconds,
                downscale_delay_seconds=downscale_delay_seconds,
            )
            if variant.role is Role.PRIMARY
            else None
            for variant, knee in zip(policy.variants, knees, strict=True)
        )
    )


def _spec(deployment: RayDeployment, variant: Variant) -> RaySpec:
    return RaySpec(
        min_replicas=max(1, variant.min_replicas),
        max_replicas=variant.max_replicas,
        target_ongoing_requests=deployment.target_ongoing_requests,
        upscale_delay_seconds=deployment.upscale_delay_seconds,
        downscale_delay_seconds=deployment.downscale_delay_seconds,
    )
