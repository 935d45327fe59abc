"""What the operator needs of the cluster, as one value: made by ``connect``, or by a test."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from controller.observer import ClusterObserver
from controller.operator.cycle import Leadership, StatusWriter
from controller.operator.health import Check
from controller.operator.store import PodGpus
from controller.ports import Actuator, Reporter, Workloads


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSide:
    """The Kubernetes adapters.

    ``parts`` run beside the rest until the end, by name; the end of one ends the operator.
    ``existing`` lists the uids of the objects that are to be watched; it blocks. ``ready`` are
    checks of what must be seen before this operator could take over. ``observed_by`` is told who
    joins workloads and metrics, whose findings are reported.
    """

    workloads: Workloads
    actuator: Actuator
    reporter: Reporter
    status_writer: StatusWriter
    leadership: Leadership
    existing: Callable[[], set[str]]
    pod_gpus: PodGpus
    observed_by: Callable[[ClusterObserver], None]
    parts: tuple[tuple[str, Callable[[], Awaitable[None]]], ...]
    close: Callable[[], None]
    ready: Mapping[str, Check] = field(default_factory=lambda: MappingProxyType({}))
