"""One cycle over every object: observe, plan, actuate, report. Level-triggered and idempotent.

The planner is injected, so a peer autoscaler runs through the same cycle. A port's failure is
contained: it is collected and told, the next cycle is the retry, and no other object is touched.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic

from controller.core.domain.policy import Mode, Policy
from controller.ports import (
    Actuator,
    HistoryT,
    Observer,
    Planner,
    PortError,
    Reporter,
    TrafficArchive,
)


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """Identity of a ModelDeployment."""

    namespace: str
    name: str


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
        failures = []
        for policy, observation in zip(policies, observations, strict=True):
            key = ObjectKey(policy.namespace, policy.name)
            try:
                history = await self._history(key, policy, now)
                decision, self._histories[key] = self.planner.plan(
                    policy, observation, history, now
                )
                if policy.mode is Mode.AUTO:
                    await self.actuator.actuate(policy, decision, now)
                await self.reporter.report(policy, observation, decision, now)
            except Exception as error:  # noqa: BLE001 - one object's defect stops no other; it is told
                failures.append(Failure(key, error))
        return failures

    async def _history(self, key: ObjectKey, policy: Policy, now: float) -> HistoryT:
        """History of this object, seeded from the archive when it is new."""
        if key not in self._histories:
            past = await self.archive.past(policy, now)
            self._histories[key] = self.planner.initial(policy, past)
        return self._histories[key]

    def _forget_all_but(self, policies: Sequence[Policy]) -> None:
        """Drop the histories of objects that are gone."""
        kept = {ObjectKey(policy.namespace, policy.name) for policy in policies}
        if self._histories.keys() - kept:
            self._histories = {k: h for k, h in self._histories.items() if k in kept}
