"""Guarding: the recommendation goes through every guard, and the trail of what each did is kept."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite

from controller.core.domain.decision import Allocation, DecisionStep, Reason, Stage
from controller.core.domain.observation import Missing, Observation, Traffic
from controller.core.domain.policy import Policy
from controller.core.guards import (
    behavior,
    blindness,
    bounds,
    hold,
    pause,
    reactive,
    replacement,
    saturation,
    schedules,
)
from controller.core.guards.context import Guard, GuardContext, PresentLoad, Verdict
from controller.core.history import History
from controller.core.outlook import Outlook
from controller.core.settings import PlannerSettings

#: Without a new sample for no longer than this, a decision may just fall between two scrapes.
BETWEEN_SCRAPES_SECONDS = 90.0

#: Over the recommendation, in the order they run.
_GUARDS: tuple[Guard, ...] = (
    hold.restart,
    behavior.stabilization,
    replacement.replacement,
)
#: Last of all: what no other guard may break.
_BOUNDS: tuple[Guard, ...] = (
    schedules.schedule_floor,
    schedules.schedule_ceiling,
    bounds.minimum,
    bounds.cost_limit,
    bounds.gpu_limit,
    bounds.maximum,
    pause.pause,
)


@dataclass(slots=True)
class Trail:
    """The allocation under decision and the steps that led to it."""

    allocation: Allocation
    steps: list[DecisionStep]

    def apply(self, stage: Stage, verdict: Verdict) -> None:
        """Take a verdict over, and note it if it changed anything."""
        if verdict.allocation != self.allocation:
            self.steps.append(
                DecisionStep(stage, verdict.reason, self.allocation, verdict.allocation)
            )
            self.allocation = verdict.allocation

    def guard(self, context: GuardContext, guards: Iterable[Guard]) -> None:
        """Let guards have their say, one after the other."""
        for guard in guards:
            self.apply(Stage.GUARD, guard(context, self.allocation))


def guard_context(
    policy: Policy,
    observation: Observation,
    history: History,
    now: float,
    outlook: Outlook | None,
    cold_starts_p90: tuple[float, ...],
) -> GuardContext:
    """What the guards may look at. The hold is the whole lead: cold start and two ticks.

    What happens between a sample and the decision on it would otherwise be unprotected (azure-2023
    with a perfect forecast: 97.7 % of requests good with the cold start alone, 99.7 % so).
    """
    load = None
    if (
        outlook is not None
        and isinstance(observation.traffic, Traffic)
        and isfinite(outlook.recent_rate)
    ):
        load = PresentLoad(outlook.recent_rate, outlook.carries)
    return GuardContext(
        policy=policy,
        observation=observation,
        now=now,
        current=tuple(variant.desired for variant in observation.variants),
        hold_seconds=tuple(cold + 2.0 * policy.tick_seconds for cold in cold_starts_p90),
        seen_since_seconds=history.seen_since_seconds or now,
        recommended=history.recommended,
        load=load,
    )


def blind_start(context: GuardContext) -> Trail:
    """Nothing was ever seen: keep what there is, within bounds, and heed the gauges."""
    current = context.current
    step = DecisionStep(Stage.OBSERVE, Reason.METRICS_MISSING, current, current)
    trail = Trail(current, [step])
    trail.guard(context, (saturation.saturation, *_BOUNDS))
    return trail


def guarded(
    trail: Trail,
    context: GuardContext,
    history: History,
    outlook: Outlook,
    settings: PlannerSettings,
) -> History:
    """Run the guards over the recommendation, and remember it and what came of it.

    A decision that falls between two scrapes judges nothing: what it keeps is no recommendation, or
    the hold would begin anew with each (scrapes of 30 s against ticks of 15 s: a fifth dearer).
    """
    judged = True
    if isinstance(context.observation.traffic, Missing):
        blind_seconds = context.now - (history.traffic_at_seconds or context.now)
        judged = blind_seconds > BETWEEN_SCRAPES_SECONDS
        verdict = blindness.blind(
            context,
            trail.allocation,
            blind_seconds,
            forecast_trusted=outlook.forecast.trust.trusted,
        )
        trail.apply(Stage.GUARD, verdict)
        trail.guard(context, (saturation.saturation,))
    elif settings.reactive_floor:
        trail.guard(context, (reactive.reactive_floor,))
    recommended = trail.allocation
    if settings.hold:
        trail.guard(context, (hold.hold,))
    trail.guard(context, _GUARDS)
    trail.apply(Stage.GUARD, behavior.rate(context, trail.allocation, history.changes))
    trail.guard(context, _BOUNDS)
    return _remembered(history, context, recommended if judged else None, trail.allocation)


def _remembered(
    history: History, context: GuardContext, recommended: Allocation | None, decided: Allocation
) -> History:
    """Append the recommendation, if any, and the changes; forget what no window reaches."""
    now, block = context.now, context.policy.behavior
    window = max(context.hold_seconds)
    period = 0
    if block is not None:
        for rules in (block.scale_up, block.scale_down):
            if rules is not None:
                window = max(window, rules.stabilization_window_seconds)
                period = max([period] + [p.period_seconds for p in rules.policies])
    kept = tuple(entry for entry in history.recommended if entry[0] > now - window)
    changes = tuple(entry for entry in history.changes if entry[0] > now - period)
    if block is not None:
        changes += tuple(
            (now, v, after - before)
            for v, (before, after) in enumerate(zip(context.current, decided, strict=True))
            if after != before
        )
    if recommended is not None:
        kept = (*kept, (now, recommended))
    return replace(history, recommended=kept, changes=changes)
