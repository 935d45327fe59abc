"""Who else sets the replicas of a target: it is told with the fix, and not fought.

HorizontalPodAutoscalers and KEDA's ScaledObjects are watched; a controller that owns the target is
known from the target; and of two ModelDeployments that name one target the elder keeps it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, TypeAlias

from controller.adapters.directory import Entry
from controller.adapters.kubernetes.client import Document, Kubernetes
from controller.adapters.kubernetes.errors import AnotherWriter
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.kubernetes.target import TargetKey
from controller.adapters.kubernetes.workloads import target_keys
from controller.core.domain.policy import Mode, ObjectKey

#: Namespace, API group, kind and name of a target: its version may be written in several ways.
_Place: TypeAlias = tuple[str, str, str, str]

#: Where they are served, and what people call them. A kind that is not there is looked for again.
_KINDS: Final = (
    ("/apis/keda.sh/v1alpha1", "scaledobjects", "ScaledObject"),
    ("/apis/autoscaling/v2", "horizontalpodautoscalers", "HPA"),
)


@dataclass(slots=True)
class _Scalers:
    """A ``Sink`` of one kind of object with a ``scaleTargetRef``, by target."""

    word: str
    _targets: dict[tuple[str, str], _Place] = field(default_factory=dict)
    _by_target: dict[_Place, set[str]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def put(self, body: Document) -> None:
        """See ``Sink``."""
        where, place = _where(body), _scaled(body)
        with self._lock:
            self._forget(where)
            self._targets[where] = place
            self._by_target.setdefault(place, set()).add(where[1])

    def drop(self, body: Document) -> None:
        """See ``Sink``."""
        with self._lock:
            self._forget(_where(body))

    def keep(self, namespace: str, seen: set[tuple[str, str]]) -> None:
        """Forget those of ``namespace`` (of all where it is empty) that are not in ``seen``."""
        with self._lock:
            for where in [w for w in self._targets if w not in seen]:
                if namespace in {"", where[0]}:
                    self._forget(where)

    def of(self, place: _Place) -> str | None:
        """The name of the one that scales this target."""
        with self._lock:
            return min(self._by_target.get(place, ()), default=None)

    def _forget(self, where: tuple[str, str]) -> None:
        place = self._targets.pop(where, None)
        if place is not None:
            names = self._by_target[place]
            names.discard(where[1])
            if not names:
                del self._by_target[place]


@dataclass(slots=True)
class _Sink:
    """The part of ``_Scalers`` that one watch fills."""

    scalers: _Scalers
    namespace: str

    def replace(self, objects: Iterable[Document]) -> None:
        """See ``Sink``."""
        seen = set()
        for body in objects:
            self.scalers.put(body)
            seen.add(_where(body))
        self.scalers.keep(self.namespace, seen)

    def put(self, body: Document) -> None:
        """See ``Sink``."""
        self.scalers.put(body)

    def drop(self, body: Document) -> None:
        """See ``Sink``."""
        self.scalers.drop(body)


class Writers:
    """Tells whether something else sets the replicas of an object's targets.

    ``reflectors`` are to be started and stopped by whoever made this.
    """

    def __init__(
        self, kubernetes: Kubernetes, namespaces: Sequence[str], steady: Callable[[], float]
    ) -> None:
        self._scalers = []
        self._rivals: Mapping[_Place, ObjectKey] = {}
        self.reflectors: list[Reflector] = []
        for root, plural, word in _KINDS:
            scalers = _Scalers(word)
            self._scalers.append(scalers)
            for namespace in namespaces or ("",):
                inside = f"/namespaces/{namespace}" if namespace else ""
                self.reflectors.append(
                    Reflector(
                        kubernetes=kubernetes,
                        path=f"{root}{inside}/{plural}",
                        sink=_Sink(scalers, namespace),
                        steady=steady,
                    )
                )

    def note(self, entries: Sequence[Entry]) -> None:
        """Learn which objects there are: of two in mode Auto on one target the elder keeps it."""
        keepers: dict[_Place, Entry] = {}
        for entry in entries:
            if entry.policy.mode is Mode.AUTO:
                for key in target_keys(entry.deployment):
                    known = keepers.get(_place(key))
                    if known is None or _age(entry) < _age(known):
                        keepers[_place(key)] = entry
        self._rivals = {place: entry.policy.key for place, entry in keepers.items()}

    def of(self, entry: Entry, owners: Mapping[str, str]) -> AnotherWriter | None:
        """Another writer of one of the object's targets, and what to do about it.

        ``owners`` has, by variant, the controller that owns its target as ``Kind/name``.
        """
        keys = target_keys(entry.deployment)
        for variant, key in zip(entry.deployment.spec.variants, keys, strict=True):
            place = _place(key)
            for scalers in self._scalers:
                if (name := scalers.of(place)) is not None:
                    return AnotherWriter(f"delete {scalers.word} {name}: it scales {key} too")
            if owner := owners.get(variant.name):
                return AnotherWriter(
                    f"name {owner} in targetRef: it owns {key} and sets its replicas"
                )
            rival = self._rivals.get(place, entry.policy.key)
            if rival != entry.policy.key and entry.policy.mode is Mode.AUTO:
                return AnotherWriter(
                    f"name another targetRef: ModelDeployment {rival.name} scales {key} too"
                )
        return None


def _age(entry: Entry) -> tuple[str, str]:
    """What orders objects by age; times of creation are of one length, and sort as text."""
    return entry.deployment.metadata.creation_timestamp, entry.policy.name


def _place(key: TargetKey) -> _Place:
    return key.namespace, _group(key.kind.api_version), key.kind.name, key.name


def _scaled(body: Document) -> _Place:
    ref = (body.get("spec") or {}).get("scaleTargetRef") or {}
    # KEDA's defaults: a Deployment of apps/v1.
    version = ref.get("apiVersion") or "apps/v1"
    kind = ref.get("kind") or "Deployment"
    return body["metadata"]["namespace"], _group(version), kind, ref.get("name") or ""


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _where(body: Document) -> tuple[str, str]:
    return body["metadata"]["namespace"], body["metadata"]["name"]
