"""Carries decisions out: replicas through the scale subresource, and route weights between.

More replicas first, then the weights, then fewer: a variant is taken out of a route before its last
replica goes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from controller.adapters.directory import Directory, Entry
from controller.adapters.kubernetes.errors import AnotherWriter
from controller.adapters.kubernetes.target import Target, TargetKey
from controller.adapters.kubernetes.targets import TargetCache
from controller.adapters.kubernetes.workloads import same_variants, target_keys
from controller.core.domain.policy import Mode, ObjectKey, RoutingLaw
from controller.ports import Conflict, Planned, PortError


class RouteWriter(Protocol):
    """Writes route weights."""

    async def weigh(self, entry: Entry, planned: Planned, now: float) -> PortError | None:
        """Bring an object's route to the decision.

        Once it returned None, what is to have no replicas gets no traffic.
        """
        ...

    def keep(self, keys: set[ObjectKey]) -> None:
        """Forget all other objects."""
        ...


class OtherWriters(Protocol):
    """Knows who else sets the replicas of targets."""

    def __call__(self, entry: Entry) -> AnotherWriter | None:
        """Tell of one of them, and of the fix."""
        ...


@dataclass(frozen=True, slots=True)
class _Change:
    """Replicas to set: of ``key``, from what was observed to what was decided."""

    key: TargetKey
    before: int
    after: int


@dataclass(slots=True, kw_only=True)
class KubernetesActuator:
    """Implements ``ports.Actuator``: writes only what differs, of objects in mode Auto."""

    directory: Directory
    targets: TargetCache
    routes: RouteWriter
    others: OtherWriters

    async def actuate(self, planned: Sequence[Planned], now: float) -> Sequence[PortError | None]:
        """See ``ports.Actuator``."""
        self.routes.keep({one.policy.key for one in planned})
        outcomes: list[PortError | None] = [None] * len(planned)
        todo = [i for i, one in enumerate(planned) if _may_write(one)]
        done = await asyncio.gather(*(self._carried_out(planned[i], now) for i in todo))
        for i, outcome in zip(todo, done, strict=True):
            outcomes[i] = outcome
        return outcomes

    async def _carried_out(self, planned: Planned, now: float) -> PortError | None:
        """Bring one object's targets and route to its decision."""
        try:
            entry = self.directory.entry(planned.policy.key)
        except KeyError:
            return None  # deleted since: nothing of it is to be touched any more
        if entry.policy.mode is not Mode.AUTO or not same_variants(
            entry.deployment, planned.policy
        ):
            return None  # switched off, or made another, since
        if (other := self.others(entry)) is not None:
            return other
        changes = _changes(entry, planned)
        problems = await self._all_scaled([c for c in changes if c.after > c.before])
        unrouted = await self.routes.weigh(entry, planned, now)
        less = [c for c in changes if c.after < c.before and (c.after > 0 or unrouted is None)]
        problems += [unrouted, *await self._all_scaled(less)]
        return next((problem for problem in problems if problem is not None), None)

    async def _all_scaled(self, changes: Sequence[_Change]) -> list[PortError | None]:
        return list(await asyncio.gather(*(self._scaled(change) for change in changes)))

    async def _scaled(self, change: _Change) -> PortError | None:
        found = self.targets.find(change.key)
        if isinstance(found, PortError):
            return found
        if found.desired == change.after:
            return None
        if found.desired != change.before:
            return _edited(change, found.desired)
        try:
            await self.targets.kubernetes.run(self._write, change, found)
        except PortError as error:
            return error
        return None

    def _write(self, change: _Change, found: Target) -> None:
        """Set the replicas; raises ``PortError``.

        A workload's version changes with its status, too. Where only that has changed, the write is
        tried once more; where the replicas have, whoever set them is not overwritten unseen.
        """
        try:
            self.targets.write_scale(change.key, change.after, found.resource_version)
        except Conflict:
            scale = self.targets.read_scale(change.key)
            replicas = int((scale.get("spec") or {}).get("replicas", 0))
            if replicas != change.before:
                raise _edited(change, replicas) from None
            self.targets.write_scale(change.key, change.after, scale["metadata"]["resourceVersion"])


def _may_write(planned: Planned) -> bool:
    """Whether there is anything to look at: most objects are as decided."""
    wanted = planned.decision.allocation
    if planned.policy.routing.law is RoutingLaw.WEIGHTED:
        return True
    return any(
        after != seen.desired
        for after, seen in zip(wanted, planned.observation.variants, strict=True)
    )


def _changes(entry: Entry, planned: Planned) -> list[_Change]:
    keys = target_keys(entry.deployment)
    rows = zip(keys, planned.observation.variants, planned.decision.allocation, strict=True)
    return [_Change(key, seen.desired, after) for key, seen, after in rows if after != seen.desired]


def _edited(change: _Change, found: int | None) -> Conflict:
    return Conflict(
        f"{change.key} was set to {found} replicas meanwhile, from {change.before}: decided anew"
    )
