"""The cluster's side of a real cluster: every Kubernetes adapter, put together."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from controller.adapters.clock import SystemClock
from controller.adapters.directory import Entry
from controller.adapters.existing import existing_uids
from controller.adapters.kubernetes.client import Kubernetes, Rate, new_api
from controller.adapters.kubernetes.errors import AnotherWriter
from controller.adapters.kubernetes.events import EventWriter
from controller.adapters.kubernetes.lease import Lease
from controller.adapters.kubernetes.pods import PodCache, PodSink
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.kubernetes.reporting import KubernetesReporter
from controller.adapters.kubernetes.routes import Routes
from controller.adapters.kubernetes.scaling import KubernetesActuator
from controller.adapters.kubernetes.status import StatusWriter
from controller.adapters.kubernetes.targets import TargetCache
from controller.adapters.kubernetes.workloads import KubernetesWorkloads, target_keys
from controller.adapters.kubernetes.writers import Writers
from controller.core.domain.policy import ObjectKey, Policy
from controller.observer import ClusterObserver
from controller.operator.cluster import ClusterSide
from controller.operator.store import ObjectStore
from controller.ports import PortError, Workload
from controller.settings import Settings

#: Share of the requests a cycle may send that is for figures of statuses alone.
_FOR_STATUS: Final = 0.25

#: How often it is looked whether the threads of the watches still run.
_LOOK_SECONDS: Final = 5.0


def connect(settings: Settings, store: ObjectStore, time: SystemClock) -> ClusterSide:
    """Make the adapters; nothing is read or written before their parts run.

    Raises:
        ValueError: no API server is known.
    """
    timeout = settings.kubernetes_timeout_seconds
    kubernetes = _kubernetes(settings, time, settings.kubernetes_concurrency, timeout)
    # Renewals wait behind no batch of writes, and of those that hang several fit into a lease.
    renewal = min(timeout, settings.lease_duration_seconds / 4.0)
    for_lease = _kubernetes(settings, time, 2, renewal)
    # Watches hold their connections for minutes.
    for_watches = _kubernetes(settings, time, settings.kubernetes_concurrency, timeout)
    identity = f"{settings.identity or socket.gethostname()}_{uuid4().hex[:8]}"
    lease = Lease(
        kubernetes=for_lease,
        namespace=settings.lease_namespace,
        name=settings.lease_name,
        identity=identity,
        duration_seconds=settings.lease_duration_seconds,
        renew_seconds=settings.lease_renew_seconds,
        time=time,
    )
    pods = PodCache()
    pod_reflectors = [
        Reflector(
            kubernetes=for_watches,
            path=f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods",
            sink=PodSink(pods, namespace),
            steady=time.steady,
        )
        for namespace in settings.namespaces or ("",)
    ]
    targets = TargetCache(
        kubernetes=kubernetes,
        watching=for_watches,
        namespaces=settings.namespaces,
        steady=time.steady,
    )
    workloads = KubernetesWorkloads(
        directory=store, targets=targets, pods=pods, pod_reflectors=pod_reflectors
    )
    writers = Writers(kubernetes=for_watches, namespaces=settings.namespaces, steady=time.steady)

    def another(entry: Entry) -> AnotherWriter | None:
        return writers.of(entry, workloads.owners(entry))

    findings = _Findings()
    status = StatusWriter(
        kubernetes=kubernetes,
        writes_per_cycle=max(1, int(settings.kubernetes_qps * settings.tick_seconds * _FOR_STATUS)),
    )
    reporter = KubernetesReporter(
        directory=store,
        status=status,
        events=EventWriter(
            kubernetes=kubernetes,
            identity=identity,
            edited_by=lambda key, variant: _edited_by(store, targets, key, variant),
        ),
        finding=lambda key: findings().get(key, ""),
        unable=lambda entry: workloads.problem(entry) or another(entry),
        leads=lease.held,
    )
    watches = _Watches((*pod_reflectors, *writers.reflectors), targets)
    api = kubernetes.api

    def close() -> None:
        lease.release()
        watches.stop()
        for connection in (kubernetes, for_lease, for_watches):
            connection.close()

    return ClusterSide(
        workloads=_NotingRivals(workloads, writers, store),
        actuator=KubernetesActuator(
            directory=store, targets=targets, routes=Routes(kubernetes=kubernetes), others=another
        ),
        reporter=reporter,
        status_writer=status,
        leadership=lease,
        existing=lambda: existing_uids(
            api, settings.namespaces, settings.kubernetes_timeout_seconds
        ),
        pod_gpus=workloads.pod_gpus,
        observed_by=findings.of,
        parts=(("lease", lease.run), ("watches", watches.run)),
        close=close,
        ready={
            "pods": lambda: _unlisted(pod_reflectors),
            "targets": targets.unlisted,
            "writers": writers.unlisted,
        },
    )


@dataclass(slots=True)
class _Findings:
    """What the metrics have to say to people, once it is known who reads them."""

    observer: ClusterObserver | None = None

    def __call__(self) -> Mapping[ObjectKey, str]:
        return self.observer.findings if self.observer is not None else {}

    def of(self, observer: ClusterObserver) -> None:
        self.observer = observer


@dataclass(frozen=True, slots=True)
class _NotingRivals:
    """Workloads that tell, each cycle, which objects there are: two may name the same target."""

    workloads: KubernetesWorkloads
    writers: Writers
    store: ObjectStore

    async def read(
        self, policies: Sequence[Policy], now: float
    ) -> Sequence[Sequence[Workload | PortError]]:
        """See ``ports.Workloads``; raises ``PortError`` while other writers are not known."""
        if (waiting := self.writers.unlisted()) is not None:
            raise PortError(waiting)
        self.writers.note(self.store.entries())
        return await self.workloads.read(policies, now)


@dataclass(slots=True)
class _Watches:
    """The threads of the watches: the end of one is a defect that ends the operator."""

    first: Sequence[Reflector]
    targets: TargetCache

    async def run(self) -> None:
        """Start them, and look after them."""
        for reflector in self.first:
            reflector.start()
        while True:
            for reflector in (*self.first, *self.targets.reflectors()):
                if not reflector.alive():
                    raise RuntimeError(f"the watch of {reflector.path} ended")
            await asyncio.sleep(_LOOK_SECONDS)

    def stop(self) -> None:
        """End them."""
        for reflector in (*self.first, *self.targets.reflectors()):
            reflector.stop()


def _kubernetes(
    settings: Settings, time: SystemClock, concurrency: int, timeout_seconds: float
) -> Kubernetes:
    return Kubernetes(
        api=new_api(concurrency),
        rate=Rate(per_second=settings.kubernetes_qps, steady=time.steady),
        timeout_seconds=timeout_seconds,
        pool=ThreadPoolExecutor(concurrency, thread_name_prefix="kubernetes"),
    )


def _unlisted(reflectors: Sequence[Reflector]) -> str | None:
    return None if all(one.listed for one in reflectors) else "not listed yet"


def _edited_by(store: ObjectStore, targets: TargetCache, key: ObjectKey, variant: int) -> str:
    """Who else last set the replicas of a variant's target, as its field manager's name."""
    try:
        keys = target_keys(store.entry(key).deployment)
    except KeyError:
        return ""
    return targets.edited_by(keys[variant]) if variant < len(keys) else ""
