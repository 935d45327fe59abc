"""One sync of the controller: proposals in, replicas out, with what it remembers in between."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from simulations.peers.hpa.behavior import (
    HpaBehavior,
    Limit,
    Move,
    Recommendation,
    ScaleEvents,
    legacy_limited,
    legacy_stabilized,
    rate_limited,
    stabilized,
)
from simulations.peers.hpa.metrics import combined_proposal

#: The controller's own downscale window (--horizontal-pod-autoscaler-downscale-stabilization).
CONTROLLER_WINDOW_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaSpec:
    """An HPA object without its metrics. ``behavior`` None: the block is absent.

    ``zero_metric`` says that a metric of type External or Object is among them, which
    ``min_replicas`` 0 requires.
    """

    min_replicas: int
    max_replicas: int
    behavior: HpaBehavior | None
    zero_metric: bool = True
    controller_window_seconds: float = CONTROLLER_WINDOW_SECONDS

    @property
    def memory_seconds(self) -> float:
        """Age from which no window looks at a recommendation."""
        if self.behavior is None:
            return self.controller_window_seconds
        up, down = self.behavior.scale_up, self.behavior.scale_down
        return max(up.stabilization_window_seconds, down.stabilization_window_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaHistory:
    """What the controller keeps in memory of one HPA, and the object's ScaledToZero condition.

    ``recommendations`` None: never synced, so the first sync records the replicas it finds.
    """

    recommendations: tuple[Recommendation, ...] | None = None
    events: ScaleEvents = field(default_factory=ScaleEvents)
    scaled_to_zero: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaOutcome:
    """What one sync came to. ``proposal`` None: the metrics were not read, or failed.

    ``stabilized`` is the recommendation after the windows, before limits.
    """

    proposal: int | None
    stabilized: int
    desired: int
    limit: Limit
    active: bool


def sync(
    spec: HpaSpec,
    history: HpaHistory,
    replicas: int,
    proposals: Sequence[int | None],
    now: float,
) -> tuple[HpaOutcome, HpaHistory]:
    """Decide from spec.replicas and one proposal per metric, and remember the step."""
    if history.recommendations is None:
        first = (Recommendation(now, replicas),)
        history = replace(history, recommendations=first)
    if replicas == 0 and not history.scaled_to_zero:
        # Zero replicas that the controller did not set itself mean: switched off by hand.
        return _idle(replicas), history
    if replicas > spec.max_replicas:
        return _forced(spec, history, replicas, Limit.TOO_MANY, now)
    if 0 < replicas < spec.min_replicas:
        return _forced(spec, history, replicas, Limit.TOO_FEW, now)
    proposal = combined_proposal(proposals, replicas)
    if proposal is None:
        return _idle(replicas), history
    outcome = _measured(spec, history, replicas, proposal, now)
    history = _remembered(spec, history, proposal, now)
    return outcome, _scaled(spec, history, replicas, outcome.desired, now)


def _idle(replicas: int) -> HpaOutcome:
    return HpaOutcome(
        proposal=None,
        stabilized=replicas,
        desired=replicas,
        limit=Limit.WITHIN_RANGE,
        active=False,
    )


def _forced(
    spec: HpaSpec, history: HpaHistory, replicas: int, limit: Limit, now: float
) -> tuple[HpaOutcome, HpaHistory]:
    """Move into the replica range at once, without reading the metrics."""
    bound = spec.max_replicas if limit is Limit.TOO_MANY else spec.min_replicas
    outcome = HpaOutcome(
        proposal=None, stabilized=replicas, desired=bound, limit=limit, active=True
    )
    return outcome, _scaled(spec, history, replicas, bound, now)


def _measured(
    spec: HpaSpec, history: HpaHistory, replicas: int, proposal: int, now: float
) -> HpaOutcome:
    past = history.recommendations or ()
    if spec.behavior is None:
        calm = legacy_stabilized(past, proposal, spec.controller_window_seconds, now)
    else:
        calm = stabilized(spec.behavior, past, replicas, proposal, now)
    low = spec.min_replicas
    move = Move(replicas=replicas, wanted=calm, min_replicas=low, max_replicas=spec.max_replicas)
    if spec.behavior is None:
        desired, limit = legacy_limited(move)
    else:
        desired, limit = rate_limited(spec.behavior, history.events, move, now)
    if replicas == 0 and desired < low:
        # The minimum was raised while the controller held the target at zero.
        desired = low
    return HpaOutcome(proposal=proposal, stabilized=calm, desired=desired, limit=limit, active=True)


def _remembered(spec: HpaSpec, history: HpaHistory, proposal: int, now: float) -> HpaHistory:
    """Add the raw proposal and forget what no window can see again."""
    since = now - spec.memory_seconds
    past = history.recommendations or ()
    forgotten = 0
    while forgotten < len(past) and past[forgotten].at_seconds < since:
        forgotten += 1
    return HpaHistory(
        recommendations=(*past[forgotten:], Recommendation(now, proposal)),
        events=history.events,
        scaled_to_zero=history.scaled_to_zero,
    )


def _scaled(spec: HpaSpec, history: HpaHistory, before: int, after: int, now: float) -> HpaHistory:
    """Record a scaling event, and whether the controller itself went to zero."""
    if after == before:
        return history
    events = history.events
    if spec.behavior is not None:
        events = events.recorded(spec.behavior, before, after, now)
    to_zero = after == 0 and spec.min_replicas == 0 and spec.zero_metric
    return replace(history, events=events, scaled_to_zero=to_zero)
