"""One cycle over every object: observe, plan, actuate, report. Level-triggered and idempotent.

The planner is injected, so a peer autoscaler runs through the same cycle. A port's failure is
contained: it is collected and told, the next cycle is the retry, and no other object is touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic

from controller.core.domain.decision import Decision
from controller.core.domain.observation import Observation
from controller.core.domain.policy import Mode, ObjectKey, Policy
from controller.ports import (
    Actuator,
    HistoryT,
    Observer,
    Planned,
    Planner,
    PortError,
    Report,
    Reporter,
    TrafficArchive,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed in a cycle; ``key`` is None when it concerned every object."""

    key: ObjectKey | None
    error: Exception


@dataclass(slots=True, kw_only=True)
class Reconciler(Generic[HistoryT]):
    """Drives every ModelDeployment towards its planner's decision, one cycle at a time."""

    planner: Planner[HistoryT]
    observer: Observer
    archive: TrafficArchive
    actuator: Actuator
    reporter: Reporter
    _histories: dict[ObjectKey, HistoryT] = field(default_factory=dict)

    async def cycle(self, policies: Sequence[Policy], now: float) -> Sequence[Failure]:
        """Reconcile every policy once at Unix time ``now`` and return what failed.

        When nothing at all can be observed nothing is decided: blind means hold.
        """
        self._forget_all_but(policies)
        try:
            observations = await self.observer.observe(policies, now)
        except PortError as error:
            return [Failure(None, error)]
        failures: list[Failure] = []
        planned = []
        for policy, observation in zip(policies, observations, strict=True):
            try:
                decision = await self._decision(policy, observation, now)
            except Exception as error:  # noqa: BLE001 - one object's defect stops no other; it is told
                failures.append(Failure(policy.key, error))
            else:
                planned.append(Planned(policy=policy, observation=observation, decision=decision))
        return [*failures, *await self._carried_out(planned, now)]

    async def _decision(self, policy: Policy, observation: Observation, now: float) -> Decision:
        history = await self._history(policy, now)
        decision, self._histories[policy.key] = self.planner.plan(policy, observation, history, now)
        return decision

    async def _carried_out(self, planned: Sequence[Planned], now: float) -> Sequence[Failure]:
        """Actuate what is to be, report everything, and return what failed."""
        binding = [one for one in planned if one.policy.mode is Mode.AUTO]
        outcomes = await self.actuator.actuate(binding, now)
        problems = {one.policy.key: problem for one, problem in zip(binding, outcomes, strict=True)}
        reports = [Report(planned=one, problem=problems.get(one.policy.key)) for one in planned]
        silent = await self.reporter.report(reports, now)
        return [
            Failure(report.planned.policy.key, error)
            for report, unreported in zip(reports, silent, strict=True)
            for error in (report.problem, unreported)
            if error is not None
        ]

    async def _history(self, policy: Policy, now: float) -> HistoryT:
        """History of this object, seeded from the archive when it is new."""
        if policy.key not in self._histories:
            past = await self.archive.past(policy, now)
            self._histories[policy.key] = self.planner.initial(policy, past)
        return self._histories[policy.key]

    def _forget_all_but(self, policies: Sequence[Policy]) -> None:
        """Drop the histories of objects that are gone."""
        kept = {policy.key for policy in policies}
        if self._histories.keys() - kept:
            self._histories = {k: h for k, h in self._histories.items() if k in kept}
