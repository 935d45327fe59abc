"""On a real API server: targets and pods are seen as they are, and scaled only as decided."""

import asyncio
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.adapters.clock import SystemClock
from controller.adapters.directory import Entry
from controller.adapters.kubernetes.client import Kubernetes
from controller.adapters.kubernetes.errors import AnotherWriter
from controller.adapters.kubernetes.pods import PodCache, PodSink
from controller.adapters.kubernetes.reflector import Reflector
from controller.adapters.kubernetes.scaling import KubernetesActuator
from controller.adapters.kubernetes.target import Kind, TargetKey
from controller.adapters.kubernetes.targets import TargetCache
from controller.adapters.kubernetes.workloads import KubernetesWorkloads
from controller.api.conversion.policy import to_policy
from controller.api.prices import REFERENCE_PRICES
from controller.api.v1alpha1 import parse
from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import (
    Missing,
    MissingReason,
    Observation,
    VariantObservation,
)
from controller.core.domain.policy import Mode, ObjectKey
from controller.ports import (
    Conflict,
    Planned,
    PortError,
    TargetForbidden,
    TargetNotFound,
    Workload,
)
from controlplane.cluster import ControlPlane
from controlplane.kwok import READY_SECONDS, GpuNodes
from controlplane.waiting import until
from controlplane.workloads import deployment

pytestmark = pytest.mark.cluster

SAMPLE = yaml.safe_load(
    (Path(__file__).parents[2] / "manifests/samples/interactive-chat.yaml").read_text()
)
DEPLOYMENT = Kind("apps/v1", "Deployment")


@dataclass
class Routes:
    """Says what it is told to, and keeps when it was asked."""

    answer: PortError | None = None
    asked: list[tuple[int, ...]] = field(default_factory=list)

    async def weigh(self, entry: Entry, planned: Planned, now: float) -> PortError | None:
        """Keep the allocation."""
        del entry, now
        self.asked.append(planned.decision.allocation)
        return self.answer

    def keep(self, keys: set[ObjectKey]) -> None:
        """Nothing is remembered."""


class World:
    """One ModelDeployment with targets bf16 and fp8, seen through the adapter."""

    def __init__(self, kubernetes: Kubernetes, plane: ControlPlane, namespace: str) -> None:
        self.kubernetes, self.plane, self.namespace = kubernetes, plane, namespace
        document = copy.deepcopy(SAMPLE)
        document["metadata"] = {"name": "llama", "namespace": namespace}
        document["spec"]["mode"] = "Auto"
        self.read_from(document)
        steady = SystemClock().steady
        self.pods = PodCache()
        path = f"/api/v1/namespaces/{namespace}/pods"
        self.reflector = Reflector(
            kubernetes=kubernetes, path=path, sink=PodSink(self.pods, namespace), steady=steady
        )
        self.targets = TargetCache(
            kubernetes=kubernetes, watching=kubernetes, namespaces=(namespace,), steady=steady
        )
        self.workloads = KubernetesWorkloads(
            directory=self,
            targets=self.targets,
            pods=self.pods,
            pod_reflectors=(self.reflector,),
        )
        self.routes = Routes()
        self.other: AnotherWriter | None = None
        self.actuator = KubernetesActuator(
            directory=self, targets=self.targets, routes=self.routes, others=lambda _: self.other
        )
        self.reflector.start()

    def read_from(self, document: dict[str, Any]) -> None:
        """This is the object now."""
        deployment = parse(document)
        policy = to_policy(deployment, REFERENCE_PRICES, 15.0)
        self.the_entry = Entry(
            deployment=deployment, policy=policy, resource_version="1", status=None
        )

    def entry(self, key: ObjectKey) -> Entry:
        """See ``Directory``."""
        if key.name != "llama":
            raise KeyError(key)
        return self.the_entry

    def stop(self) -> None:
        """End the watches."""
        for reflector in (self.reflector, *self.targets.reflectors()):
            reflector.stop()

    def read(self) -> Sequence[Workload | PortError]:
        """The workloads of both variants."""
        (row,) = asyncio.run(self.workloads.read([self.the_entry.policy], 0.0))
        return row

    def reads(self, wanted: Callable[[Sequence[Workload | PortError]], object]) -> Any:
        """Wait for a reading that is as wanted; returns it."""

        def look() -> Any:
            try:
                row = self.read()
            except PortError:
                return None
            return row if wanted(row) else None

        return until(look, "the workloads to be seen")

    def planned(self, seen: Sequence[int], wanted: Sequence[int]) -> Planned:
        """A decision for ``wanted`` replicas made where ``seen`` were desired."""
        missing = Missing(MissingReason.ABSENT)
        observation = Observation(
            workloads_at_seconds=0.0,
            variants=tuple(VariantObservation(desired=n, ready=n) for n in seen),
            traffic=missing,
            outcomes=missing,
        )
        decision = Decision(
            allocation=tuple(wanted),
            weights=None,
            steps=(),
            binding=Reason.CHEAPEST_WITHIN_BUDGETS,
        )
        return Planned(policy=self.the_entry.policy, observation=observation, decision=decision)

    def actuate(self, seen: Sequence[int], wanted: Sequence[int]) -> PortError | None:
        """Carry such a decision out."""
        (outcome,) = asyncio.run(self.actuator.actuate([self.planned(seen, wanted)], 0.0))
        return outcome

    def replicas(self) -> tuple[int, int]:
        """What the Deployments say."""
        both = [
            int(
                self.kubernetes.get(
                    f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}/scale"
                )["spec"].get("replicas", 0)
            )
            for name in ("llama-bf16", "llama-fp8")
        ]
        return both[0], both[1]

    def apply(self, **replicas: int) -> None:
        """Make the Deployments."""
        for variant, number in replicas.items():
            made = deployment(f"llama-{variant}", replicas=number, annotations={READY_SECONDS: "1"})
            self.plane.apply(made, namespace=self.namespace)

    def scaled_by_hand(self, name: str, replicas: int) -> None:
        """As somebody does with kubectl."""
        self.plane.kubectl(
            "scale", "deployment", name, f"--replicas={replicas}", "-n", self.namespace
        )


@pytest.fixture
def world(control_plane: ControlPlane, kubernetes: Kubernetes, namespace: str) -> Iterator[World]:
    """Not a Deployment there yet."""
    made = World(kubernetes, control_plane, namespace)
    yield made
    made.stop()


def all_known(row: Sequence[Workload | PortError]) -> bool:
    """Whether both targets are there."""
    return all(isinstance(one, Workload) for one in row)


def all_missing(row: Sequence[Workload | PortError]) -> bool:
    """Whether it is known that neither target is there."""
    return all(isinstance(one, TargetNotFound) for one in row)


def test_targets_and_their_pods_are_seen(world: World, gpu_nodes: GpuNodes) -> None:
    """Desired replicas and Ready pods, each as soon as it is so."""
    gpu_nodes.add(1)
    world.reads(all_missing)
    world.apply(bf16=2, fp8=0)
    bf16, fp8 = world.reads(
        lambda row: (
            all_known(row) and sum(r.ready_since_seconds is not None for r in row[0].replicas) == 2
        )
    )
    assert bf16.desired == 2
    assert (fp8.desired, fp8.replicas) == (0, ())
    assert all(replica.scheduled for replica in bf16.replicas)


def test_a_pod_without_room_is_not_scheduled(world: World) -> None:
    """There is no node: the pod is seen, and waits."""
    world.apply(bf16=1, fp8=0)
    bf16, _ = world.reads(lambda row: all_known(row) and row[0].replicas)
    assert [r.scheduled for r in bf16.replicas] == [False]


def test_only_what_differs_is_written(world: World, control_plane: ControlPlane) -> None:
    """One patch of one scale, by our field manager; the same again writes nothing."""
    world.apply(bf16=1, fp8=0)
    world.reads(all_known)
    before = control_plane.audit.position()
    assert world.actuate((1, 0), (3, 0)) is None
    assert world.actuate((3, 0), (3, 0)) is None
    assert world.replicas() == (3, 0)
    written = [
        (request.verb, request.what, request.name)
        for request in control_plane.audit.requests(since=before)
        if request.namespace == world.namespace
        and request.resource == "deployments"
        and "steelyard" in request.path
    ]
    assert written == [("patch", "deployments/scale", "llama-bf16")]
    bf16, _ = world.reads(lambda row: all_known(row) and row[0].desired == 3)
    assert bf16.desired == 3
    key = TargetKey(DEPLOYMENT, world.namespace, "llama-bf16")
    until(lambda: world.targets.last_seen(key).set_by == "steelyard", "our name as manager")


def test_what_somebody_set_meanwhile_is_not_overwritten(world: World) -> None:
    """The decision was made on other replicas: a conflict, also where the watch is behind."""
    world.apply(bf16=1, fp8=0)
    world.reads(all_known)
    world.scaled_by_hand("llama-bf16", 5)
    assert isinstance(world.actuate((1, 0), (2, 0)), Conflict)
    assert world.replicas() == (5, 0)
    world.reads(lambda row: all_known(row) and row[0].desired == 5)
    assert isinstance(world.actuate((1, 0), (2, 0)), Conflict)
    assert world.actuate((5, 0), (2, 0)) is None
    assert world.replicas() == (2, 0)


def test_a_change_of_its_status_alone_is_no_conflict(world: World, gpu_nodes: GpuNodes) -> None:
    """The version that was seen is outdated, the replicas are not: written all the same."""
    world.apply(bf16=1, fp8=0)
    world.reads(all_known)
    world.stop()
    gpu_nodes.add(1)
    path = f"/apis/apps/v1/namespaces/{world.namespace}/deployments/llama-bf16"
    until(
        lambda: (world.kubernetes.get(path).get("status") or {}).get("readyReplicas") == 1,
        "the status to change",
    )
    assert world.actuate((1, 0), (2, 0)) is None
    assert world.replicas() == (2, 0)


def test_a_deleted_target_is_told_and_the_other_still_scaled(world: World) -> None:
    """The message says what to create; the variant that is there follows."""
    world.apply(bf16=1, fp8=0)
    world.reads(all_known)
    world.plane.kubectl("delete", "deployment", "llama-bf16", "-n", world.namespace)
    world.reads(lambda row: isinstance(row[0], TargetNotFound))
    problem = world.actuate((0, 0), (1, 2))
    assert isinstance(problem, TargetNotFound)
    assert "create Deployment llama-bf16" in str(problem)
    assert str(world.workloads.problem(world.the_entry)) == str(problem)
    path = f"/apis/apps/v1/namespaces/{world.namespace}/deployments/llama-fp8/scale"
    assert world.kubernetes.get(path)["spec"]["replicas"] == 2


def test_nothing_is_written_beside_another_writer(world: World) -> None:
    """It is told in place of the write."""
    world.apply(bf16=1, fp8=0)
    world.reads(all_known)
    world.other = AnotherWriter("delete HPA llama")
    assert world.actuate((1, 0), (2, 0)) is world.other
    assert world.replicas() == (1, 0)


def test_nothing_is_written_of_an_object_switched_off_meanwhile(world: World) -> None:
    """The user's word counts from when it is seen, though a cycle is under way."""
    world.apply(bf16=1, fp8=0)
    world.reads(all_known)
    planned = world.planned((1, 0), (2, 0))
    policy = replace(world.the_entry.policy, mode=Mode.RECOMMEND)
    world.the_entry = replace(world.the_entry, policy=policy)
    assert asyncio.run(world.actuator.actuate([planned], 0.0)) == [None]
    assert world.replicas() == (1, 0)


def test_more_comes_before_the_route_and_none_after_it(world: World) -> None:
    """While the route cannot be written, a variant is not scaled to 0, and others still grow."""
    world.apply(bf16=1, fp8=1)
    world.reads(all_known)
    world.routes.answer = PortError("no such route")
    assert world.actuate((1, 1), (2, 0)) is world.routes.answer
    assert world.replicas() == (2, 1)
    world.routes.answer = None
    assert world.actuate((2, 1), (2, 0)) is None
    assert world.replicas() == (2, 0)


def test_the_watch_goes_on_after_the_api_server_restarted(world: World) -> None:
    """What changed meanwhile is seen."""
    world.apply(bf16=1, fp8=0)
    world.reads(all_known)
    world.plane.restart_apiserver()
    world.scaled_by_hand("llama-bf16", 4)
    world.reads(lambda row: all_known(row) and row[0].desired == 4)


CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "groups.tests.steelyard.dev"},
    "spec": {
        "group": "tests.steelyard.dev",
        "scope": "Namespaced",
        "names": {"plural": "groups", "singular": "group", "kind": "Group"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
                "subresources": {
                    "scale": {
                        "specReplicasPath": ".spec.size",
                        "statusReplicasPath": ".status.size",
                        "labelSelectorPath": ".status.selector",
                    },
                    "status": {},
                },
            }
        ],
    },
}


def test_any_kind_with_a_scale_is_followed(world: World, control_plane: ControlPlane) -> None:
    """Its replicas are wherever its definition says: only the scale subresource is used."""
    control_plane.apply(CRD)
    document = copy.deepcopy(SAMPLE)
    document["metadata"] = {"name": "llama", "namespace": world.namespace}
    document["spec"]["mode"] = "Auto"
    ref = {"apiVersion": "tests.steelyard.dev/v1", "kind": "Group", "name": "llama"}
    document["spec"]["variants"][0]["targetRef"] = ref
    group = {**ref, "metadata": {"name": "llama"}, "spec": {"size": 2}}
    group.pop("name")
    until(lambda: control_plane.apply(group, namespace=world.namespace), "the kind to be served")
    path = f"/apis/tests.steelyard.dev/v1/namespaces/{world.namespace}/groups/llama"
    world.kubernetes.merge(f"{path}/status", {"status": {"selector": "app=group", "size": 2}})
    world.apply(fp8=0)
    world.read_from(document)
    group_seen, _ = world.reads(all_known)
    assert group_seen.desired == 2
    assert world.actuate((2, 0), (5, 0)) is None
    assert world.kubernetes.get(path)["spec"]["size"] == 5
    world.reads(lambda row: all_known(row) and row[0].desired == 5)


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ({"apiVersion": "nobody.dev/v1", "kind": "Group"}, "no nobody.dev/v1 is served here"),
        ({"apiVersion": "apps/v1", "kind": "Deploy"}, "apps/v1 has no kind Deploy"),
        ({"apiVersion": "apps/v1", "kind": "DaemonSet"}, "cannot be scaled"),
    ],
)
def test_a_kind_that_cannot_be_a_target_is_told(
    world: World, ref: dict[str, str], said: str
) -> None:
    """The message says what to correct."""
    document = copy.deepcopy(SAMPLE)
    document["metadata"] = {"name": "llama", "namespace": world.namespace}
    document["spec"]["variants"][0]["targetRef"] = {**ref, "name": "llama"}
    world.apply(fp8=0)
    world.read_from(document)
    row = world.reads(
        lambda row: isinstance(row[0], TargetNotFound) and isinstance(row[1], Workload)
    )
    assert said in str(row[0])


def test_without_the_right_it_is_told_which_is_missing(
    control_plane: ControlPlane, connect_as: Callable[..., Kubernetes], namespace: str
) -> None:
    """A ServiceAccount that may see pods but no Deployments: told, with the fix."""
    control_plane.kubectl(
        "create", "role", "pods", "--verb=list,watch", "--resource=pods", "-n", namespace
    )
    kubeconfig = control_plane.kubeconfig_for("poor", namespace)
    control_plane.kubectl(
        "create",
        "rolebinding",
        "pods",
        "--role=pods",
        f"--serviceaccount={namespace}:poor",
        "-n",
        namespace,
    )
    world = World(connect_as(kubeconfig), control_plane, namespace)
    try:
        row = world.reads(lambda row: isinstance(row[0], TargetForbidden))
        assert "get, list and watch deployments" in str(row[0])
    finally:
        world.stop()
