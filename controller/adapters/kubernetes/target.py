"""What is read off the body of a workload that is a variant's target, and off its scale."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from controller.adapters.kubernetes.client import Document
from controller.adapters.kubernetes.selectors import Selector, from_object, from_text


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of workload, such as ``apps/v1`` ``Deployment``."""

    api_version: str
    name: str

    @property
    def root(self) -> str:
        """Where the API server serves its group and version."""
        return (
            f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        )


@dataclass(frozen=True, slots=True)
class TargetKey:
    """One workload."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.kind.name} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A workload as it was last seen.

    ``desired`` and ``selector`` are of its scale: None where that is still to be read, or has none.
    ``gpus`` are those of one replica, 0 where the pod template names none. ``owner`` is the
    controller that owns it as ``Kind/name``, ``set_by`` the field manager that last set the
    replicas; both are empty where there is none.
    """

    uid: str
    resource_version: str
    desired: int | None
    selector: Selector | None
    gpus: int
    owner: str
    set_by: str

    def newer_than(self, other: "Target") -> bool:
        """Whether it was read of a later version of the same object."""
        return self.uid != other.uid or version(self) > version(other)


#: Kinds whose scale follows from their bodies, with their names in paths.
BUILT_IN: Final[Mapping[Kind, str]] = {
    Kind("apps/v1", "Deployment"): "deployments",
    Kind("apps/v1", "StatefulSet"): "statefulsets",
    Kind("apps/v1", "ReplicaSet"): "replicasets",
}


def version(target: Target) -> int:
    """The resource version: a number that grows with every change in the cluster."""
    return int(target.resource_version) if target.resource_version.isdecimal() else 0


def target(kind: Kind, body: Document) -> Target:
    """Read a workload's body; its scale only where its kind is built in."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    known = kind in BUILT_IN
    return Target(
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        desired=int(spec.get("replicas", 1)) if known else None,
        selector=from_object(spec.get("selector") or {}) if known else None,
        gpus=_gpus(spec),
        owner=_owner(metadata),
        set_by=_set_by(metadata),
    )


def with_scale(before: Target, scale: Document, *, set_by: str | None = None) -> Target:
    """The target once its scale was read, or written by ``set_by``; raises ``ValueError``."""
    text = (scale.get("status") or {}).get("selector") or ""
    return replace(
        before,
        resource_version=scale["metadata"]["resourceVersion"],
        desired=int((scale.get("spec") or {}).get("replicas", 0)),
        selector=from_text(text) if text else before.selector,
        set_by=before.set_by if set_by is None else set_by,
    )


def _gpus(spec: Mapping[str, Any]) -> int:
    """GPUs of one replica, which of a LeaderWorkerSet is a group of pods."""
    group = spec.get("leaderWorkerTemplate")
    if not isinstance(group, dict):
        return _pod_gpus(spec.get("template"))
    worker = group.get("workerTemplate")
    leader = group.get("leaderTemplate") or worker
    return _pod_gpus(leader) + (int(group.get("size", 1)) - 1) * _pod_gpus(worker)


def _pod_gpus(template: Any) -> int:
    """Sum over the containers that run at once; sidecars among the init containers included."""
    spec = (template or {}).get("spec") or {}
    running = [
        *(spec.get("containers") or ()),
        *(c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always"),
    ]
    limits = [(c.get("resources") or {}).get("limits") or {} for c in running]
    return sum(
        int(amount)
        for each in limits
        for resource, amount in each.items()
        if _is_gpu(resource) and str(amount).isdecimal()
    )


def _is_gpu(resource: str) -> bool:
    """``nvidia.com/gpu``, ``amd.com/gpu``, or a slice such as ``nvidia.com/mig-3g.40gb``."""
    device = resource.rpartition("/")[2]
    return "/" in resource and (device.startswith(("gpu", "mig-")) or device.endswith("gpu"))


def _owner(metadata: Mapping[str, Any]) -> str:
    for each in metadata.get("ownerReferences") or ():
        if each.get("controller"):
            return f"{each['kind']}/{each['name']}"
    return ""


def _set_by(metadata: Mapping[str, Any]) -> str:
    managers = [
        (str(each.get("time") or ""), str(each.get("manager") or ""))
        for each in metadata.get("managedFields") or ()
        if "f:replicas" in ((each.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    return max(managers)[1] if managers else ""
