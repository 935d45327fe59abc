"""What the emulator knows of its cluster: pods, and the doors by which requests reach them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from controller.core.domain.variant import PerformanceProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpec:
    """One pod that serves a model.

    ``uid`` tells pods of one name apart, ``restarts`` the runs of a pod's containers: each counts
    from 0 again. ``terminating`` pods take nothing new; ``ready`` ones have passed their readiness
    probe.
    """

    namespace: str
    name: str
    profile: PerformanceProfile
    served_model_name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    uid: str = ""
    restarts: int = 0
    address: str | None = None
    queue_limit: int | None = None
    max_model_len: int = 131_072
    speed: float = 1.0
    ready: bool = True
    terminating: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name


class Balancing(Enum):
    """How a Service picks among its Ready pods."""

    LEAST_OUTSTANDING = "LeastOutstanding"
    RANDOM = "Random"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """A Service: the Ready pods of its namespace that carry all labels of ``selector``."""

    namespace: str
    name: str
    selector: Mapping[str, str]
    address: str | None = None
    balancing: Balancing = Balancing.LEAST_OUTSTANDING


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteSpec:
    """A gateway's route: Services of its namespace by weight.

    What the Service drawn refuses is sent to ``overflow`` once, where that is set.
    """

    namespace: str
    name: str
    weights: tuple[tuple[str, int], ...]
    overflow: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """All that the emulator plays, at one instant."""

    pods: tuple[PodSpec, ...] = ()
    services: tuple[ServiceSpec, ...] = ()
    routes: tuple[RouteSpec, ...] = ()


class ClusterSource(Protocol):
    """Where pods come from."""

    def view(self) -> ClusterView:
        """Return the cluster now; the same object as long as nothing has changed."""
        ...


class StaticCluster:
    """A cluster that is what it was last set to."""

    def __init__(self, view: ClusterView) -> None:
        self._view = view

    def view(self) -> ClusterView:
        """Return what was set."""
        return self._view

    def set(self, view: ClusterView) -> None:
        """Replace the cluster."""
        self._view = view


class StartingCluster:
    """A cluster whose pods become Ready once a cold start is over."""

    def __init__(
        self, view: ClusterView, cold_start_seconds: float, now: Callable[[], float]
    ) -> None:
        self._ready = view
        self._starting = replace(view, pods=tuple(replace(pod, ready=False) for pod in view.pods))
        self._cold_start_seconds = cold_start_seconds
        self._now = now

    def view(self) -> ClusterView:
        """Return the cluster as it is by now."""
        return self._starting if self._now() < self._cold_start_seconds else self._ready


class DoorKind(Enum):
    """What a request is addressed to; the value is its part of the path."""

    POD = "pods"
    SERVICE = "services"
    ROUTE = "routes"


@dataclass(frozen=True, slots=True)
class Door:
    """One pod, Service or route of the cluster."""

    kind: DoorKind
    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "Door":
        """Read ``services/NAMESPACE/NAME`` and the like.

        Raises:
            ValueError: the text has another form.
        """
        parts = text.strip("/").split("/")
        kinds = {kind.value: kind for kind in DoorKind}
        if len(parts) != 3 or parts[0] not in kinds or not all(parts):
            raise ValueError(
                f"{text!r}: write KIND/NAMESPACE/NAME with KIND one of {', '.join(kinds)}"
            )
        return cls(kinds[parts[0]], parts[1], parts[2])
