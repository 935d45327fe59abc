"""The pods that exist, as far as replicas are concerned: a few words of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any, Final, TypeAlias

from controller.adapters.kubernetes.client import Document
from controller.adapters.kubernetes.selectors import Selector
from controller.ports import Replica

#: Phases of pods that run no more: an evicted one stays as an object, and is no replica.
_OVER: Final = frozenset({"Succeeded", "Failed"})

#: Namespace, label and value.
_Place: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Pod:
    labels: Mapping[str, str]
    replica: Replica


@dataclass(slots=True)
class PodCache:
    """Replicas by label; asked from any thread."""

    _pods: dict[tuple[str, str], _Pod] = field(default_factory=dict)
    _by_label: dict[_Place, set[str]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def put(self, body: Document) -> None:
        """Keep what matters of a pod."""
        pod = None if _over(body) else _Pod(_labels(body), replica(body))
        where = _where(body)
        with self._lock:
            self._forget(where)
            if pod is not None:
                self._pods[where] = pod
                for label, value in pod.labels.items():
                    self._by_label.setdefault((where[0], label, value), set()).add(where[1])

    def drop(self, body: Document) -> None:
        """Forget a pod."""
        with self._lock:
            self._forget(_where(body))

    def keep(self, namespace: str, names: set[tuple[str, str]]) -> None:
        """Forget the pods of ``namespace`` (of all where it is empty) that are not in ``names``."""
        with self._lock:
            for where in [w for w in self._pods if w not in names]:
                if not namespace or where[0] == namespace:
                    self._forget(where)

    def replicas(self, namespace: str, selector: Selector) -> tuple[Replica, ...]:
        """The pods of one workload, by name."""
        pair = selector.pair
        with self._lock:
            if pair is not None:
                names: Iterable[str] = self._by_label.get((namespace, *pair), ())
            else:
                names = [name for place, name in self._pods if place == namespace]
            found = [self._pods[namespace, name] for name in sorted(names)]
        return tuple(pod.replica for pod in found if selector.matches(pod.labels))

    def _forget(self, where: tuple[str, str]) -> None:
        known = self._pods.pop(where, None)
        if known is None:
            return
        namespace, name = where
        for label, value in known.labels.items():
            names = self._by_label[namespace, label, value]
            names.discard(name)
            if not names:
                del self._by_label[namespace, label, value]


@dataclass(slots=True)
class PodSink:
    """A ``Sink`` that fills a ``PodCache`` from one namespace, or from all where it is empty."""

    cache: PodCache
    namespace: str

    def replace(self, objects: Iterable[Document]) -> None:
        """See ``Sink``."""
        seen = set()
        for body in objects:
            seen.add(_where(body))
            self.cache.put(body)
        self.cache.keep(self.namespace, seen)

    def put(self, body: Document) -> None:
        """See ``Sink``."""
        self.cache.put(body)

    def drop(self, body: Document) -> None:
        """See ``Sink``."""
        self.cache.drop(body)


def replica(body: Document) -> Replica:
    """What a pod's body tells."""
    metadata, status = body["metadata"], body.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    ready = conditions.get("Ready", {})
    since = ready.get("lastTransitionTime")
    created = _seconds(metadata["creationTimestamp"])
    return Replica(
        name=metadata["name"],
        created_at_seconds=created,
        ready_since_seconds=(_seconds(since) if since else created)
        if ready.get("status") == "True"
        else None,
        scheduled=bool((body.get("spec") or {}).get("nodeName")),
        draining=metadata.get("deletionTimestamp") is not None,
    )


def _over(body: Document) -> bool:
    return (body.get("status") or {}).get("phase") in _OVER


def _labels(body: Document) -> Mapping[str, str]:
    return dict(body["metadata"].get("labels") or {})


def _where(body: Document) -> tuple[str, str]:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _seconds(text: Any) -> float:
    return datetime.fromisoformat(text).timestamp()
