"""Who else sets the replicas of a target: it is told with the fix, and not fought.

HorizontalPodAutoscalers and KEDA's ScaledObjects are watched; a controller that owns the target is
known from the target; and of two ModelDeployments that name one target the elder keeps it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, NamedTuple, TypeAlias

from controller.adapters.directory import Entry
from controller.adapters.kubernetes.client import Document, Kubernetes
from controller.adapters.kubernetes.errors import AnotherWriter, Forbidden, NotFound
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.kubernetes.target import TargetKey
from controller.adapters.kubernetes.workloads import target_keys
from controller.api.v1alpha1 import ModelDeployment
from controller.core.domain.policy import Mode, ObjectKey

#: Namespace, API group, kind and name of a target: its version may be written in several ways.
_Place: TypeAlias = tuple[str, str, str, str]

#: An object, and its variants' targets in their order.
_Places: TypeAlias = tuple[ModelDeployment, tuple[_Place, ...]]

#: Where they are served, and what people call them.
_SCALED_OBJECTS: Final = ("/apis/keda.sh/v1alpha1", "scaledobjects", "ScaledObject")
_HPAS: Final = ("/apis/autoscaling/v2", "horizontalpodautoscalers", "HPA")


class WriterUnknown(AnotherWriter):
    """It is not known whether something else sets the replicas: until it is, that is assumed."""


class _Scaler(NamedTuple):
    """An object with a ``scaleTargetRef``; ``owner`` is its controller as (kind, name), if any."""

    namespace: str
    name: str
    place: _Place
    owner: tuple[str, str] | None


@dataclass(slots=True)
class _Scalers:
    """Objects of one kind, by the target they scale; several threads fill it, any thread asks.

    Whether KEDA paused one is not looked at: it still sets the replicas that its pause asks for.
    """

    word: str
    _known: dict[tuple[str, str], _Scaler] = field(default_factory=dict)
    _by_target: dict[_Place, dict[str, _Scaler]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def put(self, scaler: _Scaler) -> None:
        """Keep this one as it is now."""
        with self._lock:
            self._forget((scaler.namespace, scaler.name))
            self._known[scaler.namespace, scaler.name] = scaler
            self._by_target.setdefault(scaler.place, {})[scaler.name] = scaler

    def drop(self, namespace: str, name: str) -> None:
        """Forget this one."""
        with self._lock:
            self._forget((namespace, name))

    def keep(self, namespace: str, seen: set[tuple[str, str]]) -> None:
        """Forget those of ``namespace`` (of all where it is empty) that are not in ``seen``."""
        with self._lock:
            for where in [w for w in self._known if w not in seen]:
                if namespace in {"", where[0]}:
                    self._forget(where)

    def of(self, place: _Place) -> _Scaler | None:
        """What scales this target; the first by name of several."""
        if place not in self._by_target:  # almost always: one look-up needs no lock
            return None
        with self._lock:
            scalers = self._by_target.get(place)
            return scalers[min(scalers)] if scalers else None

    def _forget(self, where: tuple[str, str]) -> None:
        known = self._known.pop(where, None)
        if known is not None:
            scalers = self._by_target[known.place]
            del scalers[known.name]
            if not scalers:
                del self._by_target[known.place]


@dataclass(slots=True)
class _Sink:
    """A ``Sink`` that fills one kind from one namespace, or from all where it is empty."""

    scalers: _Scalers
    namespace: str

    def replace(self, objects: Iterable[Document]) -> None:
        """See ``Sink``."""
        seen = set()
        for body in objects:
            self.put(body)
            seen.add(_where(body))
        self.scalers.keep(self.namespace, seen)

    def put(self, body: Document) -> None:
        """See ``Sink``."""
        self.scalers.put(_scaler(body))

    def drop(self, body: Document) -> None:
        """See ``Sink``."""
        self.scalers.drop(*_where(body))


class Writers:
    """Tells whether something else sets the replicas of an object's targets.

    ``reflectors`` are to be started and stopped by whoever made this.
    """

    def __init__(
        self, *, kubernetes: Kubernetes, namespaces: Sequence[str], steady: Callable[[], float]
    ) -> None:
        self._scaled_objects, self._hpas = _Scalers(_SCALED_OBJECTS[2]), _Scalers(_HPAS[2])
        #: Who may set the replicas of the targets that several objects in mode Auto name.
        self._keepers: Mapping[_Place, ObjectKey] = {}
        self._places: Mapping[ObjectKey, _Places] = {}

        def watching(kind: tuple[str, str, str], scalers: _Scalers) -> dict[str, Reflector]:
            root, plural, _ = kind
            return {
                namespace: Reflector(
                    kubernetes=kubernetes,
                    path=f"{root}/namespaces/{namespace}/{plural}"
                    if namespace
                    else f"{root}/{plural}",
                    sink=_Sink(scalers, namespace),
                    steady=steady,
                )
                for namespace in namespaces or ("",)
            }

        self._hpa_reflectors = watching(_HPAS, self._hpas)
        self.reflectors: Sequence[Reflector] = (
            *watching(_SCALED_OBJECTS, self._scaled_objects).values(),
            *self._hpa_reflectors.values(),
        )

    def note(self, entries: Sequence[Entry]) -> None:
        """Learn which objects there are: of two in mode Auto on one target the elder keeps it."""
        found: dict[ObjectKey, _Places] = {}
        keepers: dict[_Place, Entry] = {}
        contested: dict[_Place, Entry] = {}
        for entry in entries:
            key = entry.policy.key
            found[key] = self._looked_up(key, entry)
            if entry.policy.mode is Mode.AUTO:
                for place in found[key][1]:
                    known = keepers.setdefault(place, entry)
                    if known is not entry:
                        contested[place] = keepers[place] = min(known, entry, key=_age)
        self._places = found
        self._keepers = {place: entry.policy.key for place, entry in contested.items()}

    def of(self, entry: Entry, owners: Mapping[str, str]) -> AnotherWriter | None:
        """Another writer of one of the object's targets, and what to do about it.

        ``owners`` has, by variant, the controller that owns its target as ``Kind/name``.
        """
        own = entry.policy.key
        _, places = self._looked_up(own, entry)
        for variant, place in zip(entry.deployment.spec.variants, places, strict=True):
            _, _, kind, name = place
            for scalers in (self._scaled_objects, self._hpas):
                if (scaler := scalers.of(place)) is not None:
                    end = _end(scalers.word, scaler)
                    return AnotherWriter(f"{end}: it scales {kind} {name} too")
            if owner := owners.get(variant.name):
                return AnotherWriter(
                    f"name {owner} in targetRef, if it can be scaled: it owns {kind} {name}"
                )
            keeper = self._keepers.get(place) if entry.policy.mode is Mode.AUTO else None
            if keeper is not None and keeper != own:
                return AnotherWriter(
                    f"name another target: ModelDeployment {keeper.name} is older and scales "
                    f"{kind} {name}"
                )
        return self._unknown(own.namespace)

    def unlisted(self) -> str | None:
        """Say so while HPAs were not listed and may be soon: a readiness check."""
        waiting = any(
            not one.listed and not isinstance(one.problem, NotFound | Forbidden)
            for one in self._hpa_reflectors.values()
        )
        return "horizontalpodautoscalers: not listed yet" if waiting else None

    def _looked_up(self, key: ObjectKey, entry: Entry) -> _Places:
        """The targets of an object, worked out once until it is edited."""
        known = self._places.get(key)
        if known is not None and known[0] is entry.deployment:
            return known
        return entry.deployment, tuple(_place(key) for key in target_keys(entry.deployment))

    def _unknown(self, namespace: str) -> WriterUnknown | None:
        """Why HPAs are not known; ScaledObjects need not be, for KEDA makes an HPA of each."""
        reflector = self._hpa_reflectors.get(namespace) or self._hpa_reflectors.get("")
        if reflector is None:
            return WriterUnknown(f"watch namespace {namespace}: who else scales there is unknown")
        if reflector.listed or isinstance(reflector.problem, NotFound):
            return None
        plural = _HPAS[1]
        if isinstance(reflector.problem, Forbidden):
            return WriterUnknown(
                f"let steelyard list and watch {plural} (docs/operations.md, Rights)"
            )
        return WriterUnknown(f"wait: {plural} are not listed yet: {reflector.problem}")


def _end(word: str, scaler: _Scaler) -> str:
    """What to do about it: what a controller made would only be made again."""
    if scaler.owner is None:
        return f"delete {word} {scaler.name}"
    kind, name = scaler.owner
    if kind == _SCALED_OBJECTS[2]:
        return f"delete {kind} {name}"
    return f"switch autoscaling off in {kind} {name}, which made {word} {scaler.name}"


def _age(entry: Entry) -> tuple[str, str]:
    """What orders objects by age; times of creation are of one length, and sort as text."""
    return entry.deployment.metadata.creation_timestamp, entry.policy.name


def _place(key: TargetKey) -> _Place:
    return key.namespace, _group(key.kind.api_version), key.kind.name, key.name


def _group(api_version: str) -> str:
    return api_version.rpartition("/")[0]


def _scaler(body: Document) -> _Scaler:
    """Read an object of either kind; what it leaves out is as KEDA has it: a Deployment."""
    namespace, name = _where(body)
    ref = _mapping(_mapping(body.get("spec")).get("scaleTargetRef"))
    version, kind, target = (str(ref.get(part) or "") for part in ("apiVersion", "kind", "name"))
    owners = [_mapping(each) for each in _mapping(body["metadata"]).get("ownerReferences") or ()]
    return _Scaler(
        namespace=namespace,
        name=name,
        place=(namespace, _group(version or "apps/v1"), kind or "Deployment", target),
        owner=next((_named(owner) for owner in owners if owner.get("controller")), None),
    )


def _named(owner: Mapping[str, Any]) -> tuple[str, str]:
    return str(owner.get("kind")), str(owner.get("name"))


def _mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, or an empty one: what breaks its own schema must end no watch."""
    return value if isinstance(value, dict) else {}


def _where(body: Document) -> tuple[str, str]:
    return body["metadata"]["namespace"], body["metadata"]["name"]
