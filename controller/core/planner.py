"""The decision: forecast, then performance, then optimise, then guard. Data flows one way.

``SteelyardPlanner.plan`` is pure: the same arguments give the same answer, and everything it
remembers is in the history it returns.
"""

from dataclasses import replace

from controller.core.domain.decision import Decision, Reason, Stage
from controller.core.domain.observation import Observation, PastTraffic
from controller.core.domain.policy import Mode, Policy
from controller.core.explanation import decided, kept, undecided
from controller.core.guarding import Trail, blind_start, guard_context, guarded
from controller.core.guards.context import Verdict
from controller.core.history import History, cold_start_p90
from controller.core.intake import begun, learned, observed, stagger_share
from controller.core.outlook import outlook
from controller.core.recommendation import recommend
from controller.core.settings import Foresight, PlannerSettings
from controller.core.standing import standing


class SteelyardPlanner:
    """Sets the replicas of every variant so that the SLOs hold at the least cost."""

    def __init__(
        self, settings: PlannerSettings | None = None, foresight: Foresight | None = None
    ) -> None:
        self._settings = settings or PlannerSettings()
        self._foresight = foresight

    def initial(self, policy: Policy, past: PastTraffic | None) -> History:
        """History of an object never seen before, its forecaster fed with ``past``."""
        settings = self._settings
        if settings.prepare_at_once:
            return begun(policy, past, regression=settings.regression)
        delay = settings.spread_seconds * stagger_share(policy.key)
        return begun(
            policy, past, regression=settings.regression, prepare=False, delay_seconds=delay
        )

    def plan(
        self, policy: Policy, observation: Observation, history: History, now: float
    ) -> tuple[Decision, History]:
        """Decide the allocation at Unix time ``now``; see ``controller.ports.Planner``."""
        if policy.mode is Mode.OFF:
            current = tuple(variant.desired for variant in observation.variants)
            return kept(policy, current, Reason.MODE_OFF), history
        history = observed(policy, observation, history, now)
        cold_starts = cold_start_p90(policy, history.cold_starts)
        settings = self._settings
        ahead = outlook(
            policy,
            history,
            cold_starts,
            now,
            none_ready=not any(variant.ready for variant in observation.variants),
            calibrated=settings.calibration,
            foresight=self._foresight,
        )
        context = guard_context(policy, observation, history, now, ahead, cold_starts)
        if ahead is None:
            return undecided(policy, blind_start(context), Reason.METRICS_MISSING), history
        learning = learned(observation, history.learning, ahead.fleet, ahead.recent_rate)
        history = replace(history, learning=learning)
        wanted = recommend(policy, observation, ahead, now, fallback=settings.fallback)
        trail = Trail(context.current, [])
        trail.apply(Stage.OPTIMISE, Verdict(wanted.choice.best.allocation, wanted.choice.reason))
        history = guarded(trail, context, history, ahead, settings)
        stands = standing(policy, observation, history, ahead, cold_starts)
        return decided(policy, trail, wanted, ahead, stands, now), history
