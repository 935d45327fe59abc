"""The targets of many objects and their pods, from caches that watches keep."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.adapters.directory import Directory, Entry
from controller.adapters.kubernetes.pods import PodCache
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.kubernetes.target import Kind, Target, TargetKey
from controller.adapters.kubernetes.targets import STALE_SECONDS, TargetCache
from controller.api.v1alpha1 import ModelDeployment
from controller.core.domain.policy import Policy
from controller.ports import PortError, TargetNotFound, Workload


def target_keys(deployment: ModelDeployment) -> tuple[TargetKey, ...]:
    """The target of every variant, in their order."""
    return tuple(
        TargetKey(
            Kind(variant.target_ref.api_version, variant.target_ref.kind),
            deployment.metadata.namespace,
            variant.target_ref.name,
        )
        for variant in deployment.spec.variants
    )


def same_variants(deployment: ModelDeployment, policy: Policy) -> bool:
    """Whether ``policy`` is of these variants, and not of those before an edit."""
    return [v.name for v in deployment.spec.variants] == [v.name for v in policy.variants]


@dataclass(slots=True, kw_only=True)
class KubernetesWorkloads:
    """Implements ``ports.Workloads``."""

    directory: Directory
    targets: TargetCache
    pods: PodCache
    pod_reflectors: Sequence[Reflector]

    async def read(
        self, policies: Sequence[Policy], now: float
    ) -> Sequence[Sequence[Workload | PortError]]:
        """See ``ports.Workloads``; raises ``PortError`` while pods are not known."""
        del now
        for reflector in self.pod_reflectors:
            if (unknown := _unknown(reflector)) is not None:
                raise unknown
        keys = [self._keys(policy) for policy in policies]
        found = await self._found([key for row in keys if isinstance(row, tuple) for key in row])
        return [
            [self._workload(key, found[key]) for key in row]
            if isinstance(row, tuple)
            else [row] * len(policy.variants)
            for policy, row in zip(policies, keys, strict=True)
        ]

    def pod_gpus(self, deployment: ModelDeployment) -> Mapping[str, int]:
        """GPUs of a replica, by variant, where a pod template tells them.

        This is how the kinds that an object names come to be watched, by a standby too.
        """
        found = {}
        for variant, key in zip(deployment.spec.variants, target_keys(deployment), strict=True):
            self.targets.watch(key.kind)
            seen = self.targets.last_seen(key)
            if seen is not None and seen.gpus:
                found[variant.name] = seen.gpus
        return found

    def owners(self, entry: Entry) -> Mapping[str, str]:
        """The controller that owns a variant's target, as ``Kind/name``, where there is one."""
        names = (variant.name for variant in entry.deployment.spec.variants)
        seen = (self.targets.last_seen(key) for key in target_keys(entry.deployment))
        return {
            name: one.owner
            for name, one in zip(names, seen, strict=True)
            if one is not None and one.owner
        }

    def problem(self, entry: Entry) -> PortError | None:
        """Why a target cannot be scaled, as far as that can be told without trying."""
        for key in target_keys(entry.deployment):
            found = self.targets.find(key)
            if isinstance(found, TargetNotFound):
                return found
        return None

    def _keys(self, policy: Policy) -> tuple[TargetKey, ...] | PortError:
        try:
            deployment = self.directory.entry(policy.key).deployment
        except KeyError:
            return PortError("the ModelDeployment is gone")
        if not same_variants(deployment, policy):
            return PortError("the ModelDeployment has other variants now")
        keys = target_keys(deployment)
        for key in keys:
            self.targets.watch(key.kind)
        return keys

    async def _found(self, keys: Sequence[TargetKey]) -> Mapping[TargetKey, Target | PortError]:
        """The targets; scales that no watch tells are read, and again in the next cycle if not."""
        found = {key: self.targets.find(key) for key in keys}
        unread = [k for k, one in found.items() if isinstance(one, Target) and one.desired is None]
        if unread:
            kubernetes = self.targets.kubernetes
            await asyncio.gather(
                *(kubernetes.run(self.targets.read_scale, key) for key in unread),
                return_exceptions=True,
            )
            found |= {key: self.targets.find(key) for key in unread}
        return found

    def _workload(self, key: TargetKey, found: Target | PortError) -> Workload | PortError:
        if isinstance(found, PortError):
            return found
        if found.desired is None:
            return PortError(f"the scale of {key} was not read")
        if found.selector is None:
            return PortError(f"the scale of {key} has no selector: its pods are not known")
        return Workload(
            desired=found.desired, replicas=self.pods.replicas(key.namespace, found.selector)
        )


def _unknown(reflector: Reflector) -> PortError | None:
    """Why the pods are not known well enough to decide on, if so."""
    problem = reflector.problem
    if not reflector.listed:
        return problem or PortError("pods are not listed yet")
    age = reflector.steady() - reflector.seen_at
    if problem is not None and age > STALE_SECONDS:
        return PortError(f"pods were last seen {age:.0f} s ago: {problem}")
    return None
