"""The operator around the simplest cluster side there is, as a program of its own.

It shows what the operator itself promises (watch, store, cycle, probes) against a real API server,
apart from what the adapters promise. Who leads holds the lock of the file STANDIN_LOCK, which the
kernel takes from a process that is killed.
"""

import asyncio
import fcntl
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubernetes import client, config

from controller.adapters.existing import existing_uids
from controller.api.conversion.status import to_status
from controller.api.status import Status
from controller.api.v1alpha1 import GROUP, VERSION
from controller.core.domain.policy import ObjectKey, Policy
from controller.operator import logs, wiring
from controller.operator.cluster import ClusterSide
from controller.operator.handlers import PLURAL
from controller.operator.store import ObjectStore
from controller.ports import Planned, PortError, Replica, Report, TargetNotFound, Workload
from controller.settings import Settings, load

SECONDS = 5.0


class Cluster:
    """Reads and writes Deployments one by one, with nothing kept."""

    def __init__(self, settings: Settings, store: ObjectStore) -> None:
        self.store, self.namespaces = store, settings.namespaces
        self.api = api = config.new_client_from_config()
        api.configuration.retries = False
        self.apps, self.core = client.AppsV1Api(api), client.CoreV1Api(api)
        self.objects = client.CustomObjectsApi(api)
        self.lock = Path(os.environ["STANDIN_LOCK"]).open("w")  # noqa: SIM115 - held until the end

    def held(self) -> bool:
        """Whether this process has the lock."""
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def targets(self, policy: Policy) -> list[str]:
        """The Deployment of every variant."""
        return [v.target_ref.name for v in self.store.entry(policy.key).deployment.spec.variants]

    async def read(
        self, policies: Sequence[Policy], now: float
    ) -> Sequence[Sequence[Workload | PortError]]:
        """See ``ports.Workloads``."""
        del now
        return [
            [
                await asyncio.to_thread(self.workload, policy.namespace, name)
                for name in self.targets(policy)
            ]
            for policy in policies
        ]

    def workload(self, namespace: str, name: str) -> Workload | PortError:
        """One Deployment and its pods."""
        try:
            scale = self.apps.read_namespaced_deployment_scale(
                name, namespace, _request_timeout=SECONDS
            )
        except client.ApiException as error:
            return TargetNotFound(f"{name}: {error.reason}")
        pods = self.core.list_namespaced_pod(
            namespace, label_selector=scale.status.selector, _request_timeout=SECONDS
        )
        return Workload(
            desired=scale.spec.replicas or 0, replicas=tuple(replica(pod) for pod in pods.items)
        )

    async def actuate(self, planned: Sequence[Planned], now: float) -> Sequence[PortError | None]:
        """See ``ports.Actuator``."""
        del now
        for one in planned:
            rows = zip(
                self.targets(one.policy),
                one.decision.allocation,
                one.observation.variants,
                strict=True,
            )
            for name, wanted, seen in rows:
                if wanted != seen.desired:
                    await asyncio.to_thread(
                        self.apps.patch_namespaced_deployment_scale,
                        name,
                        one.policy.namespace,
                        {"spec": {"replicas": wanted}},
                        _request_timeout=SECONDS,
                    )
        return [None] * len(planned)

    async def report(self, reports: Sequence[Report], now: float) -> Sequence[PortError | None]:
        """See ``ports.Reporter``."""
        for report in reports:
            planned = report.planned
            entry = self.store.entry(planned.policy.key)
            status = to_status(
                planned.policy,
                planned.observation,
                planned.decision,
                now=now,
                generation=entry.deployment.metadata.generation,
                previous=entry.status,
            )
            if status != entry.status:
                await self.write(planned.policy.key, status)
        return [None] * len(reports)

    async def write(self, key: ObjectKey, status: Status) -> None:
        """See ``cycle.StatusWriter``."""
        await asyncio.to_thread(
            self.objects.patch_namespaced_custom_object_status,
            GROUP,
            VERSION,
            key.namespace,
            PLURAL,
            key.name,
            {"status": status.as_document()},
            _request_timeout=SECONDS,
        )

    def existing(self) -> set[str]:
        """All uids."""
        return existing_uids(self.api, self.namespaces, SECONDS)


def replica(pod: Any) -> Replica:
    """One pod."""
    ready = [c for c in pod.status.conditions or [] if c.type == "Ready" and c.status == "True"]
    return Replica(
        name=pod.metadata.name,
        created_at_seconds=pod.metadata.creation_timestamp.timestamp(),
        ready_since_seconds=ready[0].last_transition_time.timestamp() if ready else None,
        scheduled=bool(pod.spec.node_name),
        draining=pod.metadata.deletion_timestamp is not None,
    )


def connect(settings: Settings, store: ObjectStore, time: object) -> ClusterSide:
    """The cluster side."""
    del time
    cluster = Cluster(settings, store)
    return ClusterSide(
        workloads=cluster,
        actuator=cluster,
        reporter=cluster,
        status_writer=cluster,
        leadership=cluster,
        existing=cluster.existing,
        pod_gpus=lambda _: {},
        observed_by=lambda _: None,
        parts=(),
        close=cluster.lock.close,
    )


async def main() -> int:
    """Run as ``python -m controller`` does."""
    settings = load(os.environ)
    logs.configure(settings.log_format, settings.log_level)
    return await wiring.build(settings, connect).run()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
