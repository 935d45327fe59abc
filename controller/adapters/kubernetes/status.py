"""The status of ModelDeployments: at once where something changed, else seldom, never for noise.

Writes are what an operator costs the API server and etcd: an object has at most twelve an hour that
no change of its replicas asks for.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from zlib import crc32

from controller.adapters.directory import Entry
from controller.adapters.kubernetes.client import Kubernetes
from controller.adapters.kubernetes.errors import NotFound, Refused
from controller.adapters.kubernetes.judging import Judged, States
from controller.api.conversion.status import to_status
from controller.api.status import Status
from controller.api.v1alpha1 import GROUP, VERSION
from controller.core.domain.policy import ObjectKey
from controller.ports import PortError

#: Time between two writes that only bring figures up to date, and how much more at most.
REFRESH_SECONDS: Final = 300.0
_JITTER: Final = 0.2

#: Writes of an object in any hour that no decision asked for, and those of them that only bring
#: figures up to date: the rest is kept for conditions, so that a change of one need not wait.
HOURLY: Final = 12
_REFRESHES: Final = 9
_HOUR: Final = 3600.0

#: After so long without a report somebody else may have led, and written.
_SILENCE_SECONDS: Final = 60.0

#: Generation, replicas decided on, whether all of them are Ready, and status and reason of every
#: condition.
_Key: TypeAlias = tuple[int | None, tuple[int, ...], bool, States]


@dataclass(slots=True)
class _Written:
    """What an object's status is, as far as we know, and when it was written."""

    uid: str
    key: _Key
    status: Status
    refresh_at: float
    undecided: deque[float] = field(default_factory=deque)


@dataclass(slots=True, kw_only=True)
class StatusWriter:
    """Writes the status of objects, decided on or invalid.

    At most ``writes_per_cycle`` that no decision asks for are sent at once; the others wait for
    their turn.
    """

    kubernetes: Kubernetes
    writes_per_cycle: int
    _written: dict[ObjectKey, _Written] = field(default_factory=dict)
    _told_at: float = float("-inf")

    async def tell(self, judged: Sequence[Judged], now: float) -> Sequence[PortError | None]:
        """Write what is due; returns what failed, in the same order."""
        self._forget(judged, now)
        due: dict[int, tuple[Entry, Status, _Key]] = {}
        waiting = []
        for i, one in enumerate(judged):
            key, known = _key(one), self._known(one.entry, now)
            if key[1] != known.key[1]:
                due[i] = (one.entry, _status(one, known, now), key)
            elif key != known.key or now >= known.refresh_at:
                waiting.append((key == known.key, known.refresh_at, i, key))
        # Conditions before figures, and who has waited longest first.
        turns = self.writes_per_cycle
        for only_figures, _, i, key in sorted(waiting):
            if turns == 0:
                break
            status = self._undecided(judged[i], now, _REFRESHES if only_figures else HOURLY)
            if status is not None:
                due[i] = (judged[i].entry, status, key)
                turns -= 1
        outcomes: list[PortError | None] = [None] * len(judged)
        done = await asyncio.gather(*(self._sent(*one, now) for one in due.values()))
        for i, problem in zip(due, done, strict=True):
            outcomes[i] = problem
        return outcomes

    async def write(self, key: ObjectKey, status: Status) -> None:
        """Write the status of an object that nothing is decided about; raises ``PortError``."""
        with suppress(NotFound):  # deleted since
            await self.kubernetes.run(self._put, key, status, "")
        known = self._written.get(key)
        if known is not None:
            known.key, known.status = _key_of(status), status

    def _forget(self, judged: Sequence[Judged], now: float) -> None:
        """Drop what is gone, and everything once another may have written."""
        if not 0.0 <= now - self._told_at <= _SILENCE_SECONDS:
            self._written.clear()
        self._told_at = now
        if len(self._written) > len(judged):
            kept = {one.entry.policy.key for one in judged}
            self._written = {k: one for k, one in self._written.items() if k in kept}

    def _undecided(self, one: Judged, now: float, hourly: int) -> Status | None:
        """The status to write though no decision asks for it, if the object may have one more."""
        known = self._known(one.entry, now)
        while known.undecided and now - known.undecided[0] >= _HOUR:
            known.undecided.popleft()
        if len(known.undecided) >= hourly:
            return None
        status = _status(one, known, now)
        if status == known.status == (one.entry.status or known.status):
            known.refresh_at = now + _pause(one.entry)
            return None
        return status

    def _known(self, entry: Entry, now: float) -> _Written:
        """What is written; of an object not told of before that is what it carries."""
        uid = entry.deployment.metadata.uid
        known = self._written.get(entry.policy.key)
        if known is None or known.uid != uid:
            status = entry.status or Status()
            first = now if entry.status is None else now + _pause(entry) - REFRESH_SECONDS
            known = self._written[entry.policy.key] = _Written(uid, _key_of(status), status, first)
        return known

    async def _sent(self, entry: Entry, status: Status, key: _Key, now: float) -> PortError | None:
        """Write one; what failed is due again in the next cycle."""
        known = self._known(entry, now)
        decided = key[1] != known.key[1]
        uid = entry.deployment.metadata.uid
        try:
            await self.kubernetes.run(self._put, entry.policy.key, status, uid)
        except NotFound:
            return None  # deleted since
        except Refused as error:
            return None if error.test_failed else error  # deleted, and created anew, since
        except PortError as error:
            return error
        known.key, known.status, known.refresh_at = key, status, now + _pause(entry)
        if not decided:
            known.undecided.append(now)
        return None

    def _put(self, key: ObjectKey, status: Status, uid: str) -> None:
        """Replace the status, so that what is no longer known goes; of this very object only."""
        same: list[dict[str, Any]] = (
            [{"op": "test", "path": "/metadata/uid", "value": uid}] if uid else []
        )
        self.kubernetes.patch(
            f"/apis/{GROUP}/{VERSION}/namespaces/{key.namespace}/modeldeployments/{key.name}/status",
            [*same, {"op": "add", "path": "/status", "value": status.as_document()}],
        )


def _status(one: Judged, known: _Written, now: float) -> Status:
    planned = one.report.planned
    return to_status(
        planned.policy,
        planned.observation,
        planned.decision,
        now=now,
        generation=one.entry.deployment.metadata.generation,
        assessment=one.assessment,
        previous=known.status,
    )


def _key(one: Judged) -> _Key:
    planned = one.report.planned
    decided = planned.decision.allocation
    ready = [variant.ready for variant in planned.observation.variants]
    return (
        one.entry.deployment.metadata.generation,
        decided,
        all(has >= wanted for has, wanted in zip(ready, decided, strict=True)),
        one.states,
    )


def _key_of(status: Status) -> _Key:
    return (
        status.observed_generation,
        tuple(variant.desired for variant in status.variants),
        all(variant.ready >= variant.desired for variant in status.variants),
        tuple([(one.status, one.reason) for one in status.conditions]),
    )


def _pause(entry: Entry) -> float:
    """Time until figures are brought up to date: another for every object, the same each time."""
    uid = entry.deployment.metadata.uid or entry.policy.name
    return REFRESH_SECONDS * (1.0 + _JITTER * (crc32(uid.encode()) % 1000) / 1000.0)
