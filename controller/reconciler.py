"""One cycle over every object: observe, plan, actuate, report. Level-triggered and idempotent.

The planner is injected, so a peer autoscaler runs through the same cycle. A port's failure is
contained: it is collected and told, the next cycle is the retry, and no other object is touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias

from controller.core.domain.decision import Decision
from controller.core.domain.observation import Observation
from controller.core.domain.policy import Mode, ObjectKey, Policy
from controller.core.domain.variant import PerformanceProfile, Role
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

#: What a history depends on of each variant.
_Served: TypeAlias = tuple[tuple[str, Role, PerformanceProfile], ...]


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
    _served: dict[ObjectKey, _Served] = field(default_factory=dict)
    _unseeded: set[ObjectKey] = field(default_factory=set)

    async def cycle(self, policies: Sequence[Policy], now: float) -> Sequence[Failure]:
        """Reconcile every policy once at Unix time ``now`` and return what failed.

        What cannot be observed at all is not decided on: blind means hold.
        """
        self._forget_all_but(policies)
        try:
            observations = await self.observer.observe(policies, now)
        except PortError as error:
            return [Failure(None, error)]
        failures: list[Failure] = []
        planned = []
        for policy, observation in zip(policies, observations, strict=True):
            if isinstance(observation, PortError):
                failures.append(Failure(policy.key, observation))
                continue
            try:
                unseeded = await self._prepare(policy, now)
                if unseeded is not None:
                    failures.append(Failure(policy.key, unseeded))
                decision = self._decision(policy, observation, now)
            except Exception as error:  # noqa: BLE001 - one object's defect stops no other; it is told
                failures.append(Failure(policy.key, error))
            else:
                planned.append(Planned(policy=policy, observation=observation, decision=decision))
        return [*failures, *await self._carried_out(planned, now)]

    def _decision(self, policy: Policy, observation: Observation, now: float) -> Decision:
        history = self._histories[policy.key]
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

    async def _prepare(self, policy: Policy, now: float) -> PortError | None:
        """See to it that this object has a history, seeded from the archive when it is new.

        A history is by variant and reckons work by the profile of one of them: with other variants
        it begins anew. Until the archive can tell the past, the object is decided on without it, so
        that a user's bounds and the reactive floor hold meanwhile; returns why it could not.
        """
        served = tuple((v.name, v.role, v.profile) for v in policy.variants)
        known = self._served.get(policy.key) == served
        if known and policy.key not in self._unseeded:
            return None
        try:
            past = await self.archive.past(policy, now)
        except PortError as error:
            if not known:
                self._histories[policy.key] = self.planner.initial(policy, None)
            self._unseeded.add(policy.key)
            self._served[policy.key] = served
            return error
        self._histories[policy.key] = self.planner.initial(policy, past)
        self._unseeded.discard(policy.key)
        self._served[policy.key] = served
        return None

    def _forget_all_but(self, policies: Sequence[Policy]) -> None:
        """Drop the histories of objects that are gone."""
        kept = {policy.key for policy in policies}
        if self._histories.keys() - kept:
            self._histories = {k: h for k, h in self._histories.items() if k in kept}
            self._served = {k: s for k, s in self._served.items() if k in kept}
            self._unseeded &= kept
