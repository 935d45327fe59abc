"""Every ModelDeployment as it was last seen: put in by the watch, read by the cycle.

The two are in threads of their own, so every entry is frozen and replaced whole under one lock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from types import MappingProxyType
from typing import Any, Final

from controller.adapters.directory import Entry
from controller.api.conversion.policy import to_policy
from controller.api.conversion.windows import with_windows
from controller.api.errors import InvalidModelDeployment
from controller.api.prices import PriceTable
from controller.api.status import Status, read_status
from controller.api.v1alpha1 import ModelDeployment, parse
from controller.core.domain.policy import ObjectKey, Policy

_DAY: Final = 86_400.0

#: Schedules are expanded for a day before and two after the day's beginning.
_WINDOWS_BACK_SECONDS: Final = _DAY
_WINDOWS_AHEAD_SECONDS: Final = 2.0 * _DAY

_NO_GPUS: Final[Mapping[str, int]] = MappingProxyType({})

#: GPUs of a replica, by variant, as the pod templates of an object's targets tell.
PodGpus = Callable[[ModelDeployment], Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which object, and which of its versions."""

    key: ObjectKey
    uid: str
    generation: int
    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Invalid:
    """An object that cannot be used, and why."""

    identity: Identity
    error: InvalidModelDeployment
    status: Status | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One object.

    ``deployment`` is None where it cannot be parsed, ``policy`` where it cannot be resolved, and
    ``error`` says why. ``policy`` is without the windows of its schedules, ``expanded`` with them.
    """

    identity: Identity
    annotations: Mapping[str, str]
    deployment: ModelDeployment | None
    pod_gpus: Mapping[str, int]
    policy: Policy | None
    error: InvalidModelDeployment | None
    status: Status | None
    expanded: Policy | None = None


@dataclass(slots=True, kw_only=True)
class ObjectStore:
    """The objects that are watched; implements ``Directory``.

    ``pod_gpus`` is asked again each time the policies are, since templates are edited, too.
    """

    prices: PriceTable
    tick_seconds: float
    pod_gpus: PodGpus = field(default=lambda _: _NO_GPUS)
    _seen: dict[ObjectKey, _Seen] = field(default_factory=dict)
    _day: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def put(self, body: Mapping[str, Any]) -> None:
        """Keep an object as the API server shows it. Never raises for what its owner wrote."""
        identity, annotations = _identity(body), dict(body["metadata"].get("annotations") or {})
        status = read_status(body) if body.get("status") else None
        with self._lock:
            before = self._seen.get(identity.key)
        if before is not None and _older(identity, before.identity):
            return
        if before is not None and _same_spec(before, identity, annotations):
            # Most events are our own status writes: nothing else of the object has changed.
            now = replace(before, identity=identity, status=status)
        else:
            now = self._parsed(body, identity, annotations, status)
        with self._lock:
            self._seen[identity.key] = now

    def drop(self, body: Mapping[str, Any]) -> None:
        """Forget an object that was deleted, unless another of its name is there already."""
        identity = _identity(body)
        with self._lock:
            known = self._seen.get(identity.key)
            if known is not None and known.identity.uid == identity.uid:
                del self._seen[identity.key]

    def forget(self, uids: set[str]) -> Sequence[ObjectKey]:
        """Forget the objects with these uids; returns which were there.

        A deletion that happens while the watch is interrupted for long is never told by it.
        """
        with self._lock:
            gone = [key for key, seen in self._seen.items() if seen.identity.uid in uids]
            for key in gone:
                del self._seen[key]
        return gone

    def uids(self) -> set[str]:
        """The uids of all objects that are known, invalid ones included."""
        with self._lock:
            return {seen.identity.uid for seen in self._seen.values()}

    def entry(self, key: ObjectKey) -> Entry:
        """See ``Directory``."""
        with self._lock:
            found = _entry(self._seen[key])
        if found is None:
            raise KeyError(key)
        return found

    def entries(self) -> Sequence[Entry]:
        """All valid objects."""
        with self._lock:
            seen = list(self._seen.values())
        return [found for one in seen if (found := _entry(one)) is not None]

    def policies(self, now: float) -> Sequence[Policy]:
        """The policies of all valid objects at Unix time ``now``, their schedules expanded."""
        self._refresh(now)
        with self._lock:
            return [seen.expanded for seen in self._seen.values() if seen.expanded is not None]

    def invalid(self) -> Sequence[Invalid]:
        """The objects that cannot be used."""
        with self._lock:
            return [
                Invalid(identity=seen.identity, error=seen.error, status=seen.status)
                for seen in self._seen.values()
                if seen.error is not None
            ]

    def _parsed(
        self,
        body: Mapping[str, Any],
        identity: Identity,
        annotations: Mapping[str, str],
        status: Status | None,
    ) -> _Seen:
        seen = _Seen(
            identity=identity,
            annotations=annotations,
            deployment=None,
            pod_gpus=_NO_GPUS,
            policy=None,
            error=None,
            status=status,
        )
        try:
            deployment = parse(body)
        except InvalidModelDeployment as error:
            return replace(seen, error=error)
        return self._resolved(replace(seen, deployment=deployment), self.pod_gpus(deployment))

    def _resolved(self, seen: _Seen, pod_gpus: Mapping[str, int]) -> _Seen:
        """The object with the policy that follows from its spec and its targets' templates."""
        if seen.deployment is None:
            return seen
        try:
            policy = to_policy(seen.deployment, self.prices, self.tick_seconds, pod_gpus=pod_gpus)
        except InvalidModelDeployment as error:
            return replace(seen, pod_gpus=pod_gpus, policy=None, expanded=None, error=error)
        return replace(seen, pod_gpus=pod_gpus, policy=policy, expanded=None, error=None)

    def _refresh(self, now: float) -> None:
        """Expand what is not yet, all anew once a day; resolve anew where templates changed."""
        day = now // _DAY * _DAY
        with self._lock:
            todo = list(self._seen.items())
        for key, before in todo:
            seen = before
            if seen.deployment is not None:
                gpus = self.pod_gpus(seen.deployment)
                if gpus != seen.pod_gpus:
                    seen = self._resolved(seen, gpus)
            if seen.policy is not None and (seen.expanded is None or day != self._day):
                expanded = with_windows(
                    seen.policy, day - _WINDOWS_BACK_SECONDS, day + _WINDOWS_AHEAD_SECONDS
                )
                seen = replace(seen, expanded=expanded)
            if seen is not before:
                with self._lock:
                    # The watch may have put a newer one meanwhile: that is expanded next time.
                    if self._seen.get(key) is before:
                        self._seen[key] = seen
        self._day = day


def _entry(seen: _Seen) -> Entry | None:
    policy = seen.expanded or seen.policy
    if seen.deployment is None or policy is None:
        return None
    return Entry(
        deployment=seen.deployment,
        policy=policy,
        resource_version=seen.identity.resource_version,
        status=seen.status,
    )


def _identity(body: Mapping[str, Any]) -> Identity:
    metadata = body["metadata"]
    return Identity(
        key=ObjectKey(metadata.get("namespace") or "default", metadata["name"]),
        uid=str(metadata.get("uid") or ""),
        generation=int(metadata.get("generation") or 0),
        resource_version=str(metadata.get("resourceVersion") or ""),
    )


def _older(new: Identity, known: Identity) -> bool:
    """Whether an event is overtaken: resource versions of one kind are numbers that only grow."""
    if not (new.resource_version.isdecimal() and known.resource_version.isdecimal()):
        return False
    return int(new.resource_version) < int(known.resource_version)


def _same_spec(before: _Seen, identity: Identity, annotations: Mapping[str, str]) -> bool:
    return (
        identity.uid == before.identity.uid
        and identity.generation == before.identity.generation != 0
        and annotations == before.annotations
    )
