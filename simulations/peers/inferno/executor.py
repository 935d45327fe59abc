"""What carries a desired count out: an HPA on the metric that the solver exports.

The chart's HPA (b08b1c7): External metric of desired replicas, AverageValue 1, 240 s of
stabilization both ways and at most 10 pods per 150 s. So the HPA's own tolerance of 10 % applies:
of 20 replicas, 21 desired changes nothing.
"""

from controller.core.domain.observation import VariantObservation
from controller.core.domain.policy import RatePolicy, ScalingRules, SelectPolicy
from controller.core.domain.variant import Variant
from simulations.peers.hpa.behavior import HpaBehavior
from simulations.peers.hpa.law import HpaHistory, HpaOutcome, HpaSpec, sync
from simulations.peers.hpa.metrics import Tolerance, external_average_proposal

#: The chart's stabilization window, up and down.
WINDOW_SECONDS = 240
#: The chart's only rate policy, in both directions.
PODS_PER_PERIOD = 10
PERIOD_SECONDS = 150


def executor(window_seconds: int = WINDOW_SECONDS) -> HpaBehavior:
    """The chart's behavior block, with another window where users set one."""
    rules = ScalingRules(
        stabilization_window_seconds=window_seconds,
        select_policy=SelectPolicy.MAX,
        policies=(RatePolicy(percent=False, value=PODS_PER_PERIOD, period_seconds=PERIOD_SECONDS),),
    )
    return HpaBehavior(scale_up=rules, scale_down=rules)


def created() -> HpaHistory:
    """An HPA on a target that it may wake: one at zero counts as sent there by the HPA itself."""
    return HpaHistory(scaled_to_zero=True)


def carried_out(
    behavior: HpaBehavior,
    variant: Variant,
    seen: VariantObservation,
    desired: int,
    memory: HpaHistory,
    now: float,
) -> tuple[HpaOutcome, HpaHistory]:
    """One sync of a variant's HPA; the variant's minimum of 0 is the HPA's."""
    spec = HpaSpec(
        min_replicas=variant.min_replicas, max_replicas=variant.max_replicas, behavior=behavior
    )
    proposal = external_average_proposal(
        1000 * desired, 1000, seen.ready + len(seen.starting_since_seconds), Tolerance()
    )
    return sync(spec, memory, seen.desired, [proposal], now)
