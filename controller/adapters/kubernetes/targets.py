"""The workloads that variants name, of whatever kinds, kept by watches."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from controller.adapters.kubernetes.client import FIELD_MANAGER, Document, Kubernetes
from controller.adapters.kubernetes.errors import Forbidden, NotFound
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.kubernetes.target import (
    BUILT_IN,
    Kind,
    Target,
    TargetKey,
    target,
    with_scale,
)
from controller.ports import PortError, TargetForbidden, TargetNotFound

#: What was seen longer ago than this is not decided on.
STALE_SECONDS: Final = 60.0

#: Time between two looks whether a kind that was not there has come.
_LOOK_AGAIN_SECONDS: Final = 10.0


@dataclass(slots=True, kw_only=True)
class _Watched:
    """One kind: where it is served, and who watches it; ``problem`` while that is not known."""

    plural: str = ""
    reflectors: dict[str, Reflector] = field(default_factory=dict)
    problem: PortError | None = None
    looked_at: float = 0.0


@dataclass(slots=True)
class _Sink:
    """A ``Sink`` that fills the cache from one namespace, or from all where it is empty."""

    cache: "TargetCache"
    kind: Kind
    namespace: str

    def replace(self, objects: Iterable[Document]) -> None:
        """See ``Sink``."""
        seen = set()
        for body in objects:
            self.put(body)
            seen.add(self._key(body))
        self.cache.keep(self.kind, self.namespace, seen)

    def put(self, body: Document) -> None:
        """See ``Sink``."""
        self.cache.put(self._key(body), target(self.kind, body))

    def drop(self, body: Document) -> None:
        """See ``Sink``."""
        self.cache.drop(self._key(body), body["metadata"]["uid"])

    def _key(self, body: Document) -> TargetKey:
        return TargetKey(self.kind, body["metadata"]["namespace"], body["metadata"]["name"])


@dataclass(slots=True, kw_only=True)
class TargetCache:
    """Workloads by key, asked from any thread; a kind is watched from when it is first named.

    ``watching`` is the connection of the watches, which hold theirs for minutes.
    """

    kubernetes: Kubernetes
    watching: Kubernetes
    namespaces: Sequence[str]
    steady: Callable[[], float]
    _kinds: dict[Kind, _Watched] = field(default_factory=dict)
    _targets: dict[TargetKey, Target] = field(default_factory=dict)
    _others: dict[TargetKey, str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def watch(self, kind: Kind) -> None:
        """See to it that a kind is watched; returns at once."""
        with self._lock:
            known = self._kinds.get(kind)
            if known is None:
                known = self._kinds[kind] = _Watched(problem=PortError("not looked for yet"))
            elif known.plural or self.steady() - known.looked_at < _LOOK_AGAIN_SECONDS:
                return
            known.looked_at = self.steady()
        self.kubernetes.pool.submit(self._look_for, kind, known)

    def find(self, key: TargetKey) -> Target | PortError:
        """The workload as it was last seen, or why it is not known.

        ``TargetNotFound`` where it does not exist, ``TargetForbidden`` where it may not be read.
        """
        with self._lock:
            watched, found = self._kinds.get(key.kind), self._targets.get(key)
        if watched is None or watched.problem is not None:
            return (watched and watched.problem) or PortError(f"{key} is not watched yet")
        reflector = watched.reflectors.get(key.namespace) or watched.reflectors.get("")
        if reflector is None:
            return PortError(f"namespace {key.namespace} is not watched")
        if (unknown := self._unknown(reflector, watched.plural)) is not None:
            return unknown
        return found or TargetNotFound(
            f"create {key}, or name another in targetRef: namespace {key.namespace} has none"
        )

    def last_seen(self, key: TargetKey) -> Target | None:
        """The workload as it was last seen, however long ago."""
        with self._lock:
            return self._targets.get(key)

    def edited_by(self, key: TargetKey) -> str:
        """The field manager, other than ours, that was last seen to have set the replicas."""
        with self._lock:
            return self._others.get(key, "")

    def path(self, key: TargetKey) -> str:
        """Where its scale is; the kind must have been found."""
        plural = self._kinds[key.kind].plural
        return f"{key.kind.root}/namespaces/{key.namespace}/{plural}/{key.name}/scale"

    def read_scale(self, key: TargetKey) -> Document:
        """Read and keep a workload's scale; blocks; raises ``PortError``."""
        return self._kept(key, lambda: self.kubernetes.get(self.path(key)))

    def write_scale(self, key: TargetKey, replicas: int, resource_version: str) -> Document:
        """Set the replicas of a workload that is still of this version; blocks.

        Raises:
            Conflict: it has changed since.
            TargetNotFound: it is gone.
            TargetForbidden: the operator may not scale it; the text says the fix.
            PortError: anything else.
        """
        change = {
            "metadata": {"resourceVersion": resource_version},
            "spec": {"replicas": replicas},
        }
        return self._kept(
            key, lambda: self.kubernetes.merge(self.path(key), change), set_by=FIELD_MANAGER
        )

    def put(self, key: TargetKey, new: Target) -> None:
        """Keep a workload, unless a later version of it is known."""
        with self._lock:
            # Kept apart: our next write puts our own name in its place.
            if new.set_by not in {"", FIELD_MANAGER}:
                self._others[key] = new.set_by
            known = self._targets.get(key)
            if known is None or new.newer_than(known):
                self._targets[key] = new

    def drop(self, key: TargetKey, uid: str) -> None:
        """Forget a workload, unless another of its name is there already."""
        with self._lock:
            known = self._targets.get(key)
            if known is not None and known.uid == uid:
                del self._targets[key]
                self._others.pop(key, None)

    def keep(self, kind: Kind, namespace: str, keys: set[TargetKey]) -> None:
        """Forget those of a kind in ``namespace`` (or all of it) that are not in ``keys``."""
        with self._lock:
            for key in [k for k in self._targets if k.kind == kind and k not in keys]:
                if namespace in {"", key.namespace}:
                    del self._targets[key]
                    self._others.pop(key, None)

    def reflectors(self) -> Sequence[Reflector]:
        """The watches that have begun."""
        with self._lock:
            return [r for w in self._kinds.values() for r in w.reflectors.values() if r.begun]

    def unlisted(self) -> str | None:
        """Say so while a kind that is named was not listed and may be soon: a readiness check."""
        with self._lock:
            waiting = [
                kind.name
                for kind, watched in self._kinds.items()
                if not isinstance(watched.problem, TargetNotFound)
                and not all(
                    each.listed or isinstance(each.problem, NotFound | Forbidden)
                    for each in watched.reflectors.values()
                )
            ]
        return f"{', '.join(waiting)}: not listed yet" if waiting else None

    def _unknown(self, reflector: Reflector, plural: str) -> PortError | None:
        problem = reflector.problem
        if isinstance(problem, Forbidden):
            return TargetForbidden(
                f"let steelyard get, list and watch {plural}: add them to ClusterRole "
                "steelyard-targets (docs/operations.md)"
            )
        if isinstance(problem, NotFound):
            return TargetNotFound(f"the API server no longer serves {plural}")
        if not reflector.listed:
            return problem or PortError(f"{plural} are not listed yet")
        age = self.steady() - reflector.seen_at
        if problem is not None and age > STALE_SECONDS:
            return PortError(f"{plural} were last seen {age:.0f} s ago: {problem}")
        return None

    def _kept(
        self, key: TargetKey, ask: Callable[[], Document], set_by: str | None = None
    ) -> Document:
        plural = self._kinds[key.kind].plural
        try:
            scale = ask()
        except NotFound as error:
            raise TargetNotFound(f"{key}: {error}") from error
        except Forbidden as error:
            raise TargetForbidden(
                f"let steelyard get and patch {plural}/scale: add it to ClusterRole "
                "steelyard-targets (docs/operations.md)"
            ) from error
        with self._lock:
            known = self._targets.get(key)
            if known is not None:
                try:
                    new = with_scale(known, scale, set_by=set_by)
                except (KeyError, ValueError, TypeError) as error:
                    raise PortError(f"{key} has a scale that cannot be read: {error}") from error
                if not known.newer_than(new):
                    self._targets[key] = new
        return scale

    def _look_for(self, kind: Kind, watched: _Watched) -> None:
        """Find out where a kind is served, and begin to watch it; runs in the pool."""
        try:
            plural = BUILT_IN.get(kind) or self._discovered(kind)
        except PortError as error:
            watched.problem = error
            return
        with self._lock:
            watched.plural, watched.problem = plural, None
            for namespace in self.namespaces or ("",):
                inside = f"/namespaces/{namespace}" if namespace else ""
                watched.reflectors[namespace] = Reflector(
                    kubernetes=self.watching,
                    path=f"{kind.root}{inside}/{plural}",
                    sink=_Sink(self, kind, namespace),
                    steady=self.steady,
                )
        for reflector in watched.reflectors.values():
            reflector.start()

    def _discovered(self, kind: Kind) -> str:
        try:
            served = self.kubernetes.get(kind.root).get("resources") or ()
        except NotFound as error:
            raise TargetNotFound(
                f"no {kind.api_version} is served here: correct targetRef, or install it"
            ) from error
        names = {each["name"] for each in served}
        for each in served:
            if each.get("kind") == kind.name and "/" not in each["name"]:
                if f"{each['name']}/scale" in names:
                    return str(each["name"])
                raise TargetNotFound(f"{kind.name} of {kind.api_version} cannot be scaled")
        raise TargetNotFound(f"{kind.api_version} has no kind {kind.name}: correct targetRef")
