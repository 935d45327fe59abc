"""The operator runs with exactly the rights that the manifests give it."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.cluster import ControlPlane, user_of
from controlplane.waiting import until
from kubernetes import client
from running.model import Model
from running.operator import Process, Start

pytestmark = pytest.mark.cluster

OVERLAYS = Path(__file__).parents[2] / "manifests" / "overlays"
SPACE = "steelyard-system"
USER = user_of("steelyard", SPACE)

#: Kinds of the manifests that give rights.
RIGHTS = {
    "Namespace",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
}

#: What is used in cases that do not come up here: KEDA, a StatefulSet as target, a route, and
#: reading a scale again after a conflict.
SPECIAL = {
    ("scaledobjects", "watch"),
    ("statefulsets", "list"),
    ("statefulsets", "watch"),
    ("statefulsets/scale", "get"),
    ("statefulsets/scale", "patch"),
    ("deployments/scale", "get"),
    ("httproutes", "get"),
    ("httproutes", "patch"),
}


def rights_of(overlay: str, plane: ControlPlane) -> list[dict[str, Any]]:
    """The objects of an overlay that give rights."""
    text = plane.kubectl("kustomize", str(OVERLAYS / overlay))
    return [one for one in yaml.safe_load_all(text) if one["kind"] in RIGHTS]


@pytest.fixture
def granted(control_plane: ControlPlane) -> Iterator[list[dict[str, Any]]]:
    """A cluster-wide install's rights, there for the test."""
    objects = rights_of("cluster-wide", control_plane)
    control_plane.kubectl(
        *("apply", "--server-side", "--force-conflicts", "-f", "-"),
        stdin=yaml.safe_dump_all(objects),
    )
    yield objects
    roles = yaml.safe_dump_all([o for o in objects if o["kind"] != "Namespace"])
    control_plane.kubectl("delete", "--ignore-not-found", "-f", "-", stdin=roles)
    control_plane.kubectl("delete", "lease", "--all", "-n", SPACE)


@pytest.fixture
def as_installed(control_plane: ControlPlane, start: Start, granted: Any) -> Start:
    """Start operators with the ServiceAccount of the manifests, over every namespace."""
    del granted
    kubeconfig = control_plane.kubeconfig_for("steelyard", SPACE)
    settings = {"NAMESPACES": "", "LEASE_NAMESPACE": SPACE}
    return lambda: start(kubeconfig=kubeconfig, settings=settings)


def statuses(model: Model, kind: str) -> Any:
    """A condition's reason, or None."""
    status = model.get("modeldeployment/llama-chat").get("status") or {}
    return next((c["reason"] for c in status.get("conditions", ()) if c["type"] == kind), None)


def test_every_right_is_used_and_none_is_missing(
    control_plane: ControlPlane, model: Model, as_installed: Start, granted: list[dict[str, Any]]
) -> None:
    """What it asks for is granted, and what is granted is asked for; Secrets are out of reach."""
    since = control_plane.audit.position()
    model.apply(2)
    process = as_installed()
    model.wait_replicas(2, process)
    until(lambda: statuses(model, "Ready") == "SpecValid", "a status", detail=process.said)
    until(lambda: "Scaled" in events(model), "an Event", detail=process.said)
    # A second renewal of the Lease, after its creation.
    until(
        lambda: "update" in control_plane.audit.verbs(USER, since=since).get("leases", set()),
        "a renewal",
        detail=process.said,
    )
    requests = [r for r in control_plane.audit.requests(USER, since=since) if r.resource]
    assert [r for r in requests if r.code == 403] == []
    used = {(r.what, r.verb) for r in requests}
    allowed = {
        (resource, verb)
        for one in granted
        if one["kind"] in {"Role", "ClusterRole"} and is_the_operators(one)
        for rule in one.get("rules") or ()
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert used - allowed == set()
    assert allowed - used <= SPECIAL
    poor = control_plane.client_for(control_plane.kubeconfig_for("steelyard", SPACE))
    for namespace in (SPACE, model.namespace):
        with pytest.raises(client.ApiException, match="403"):
            client.CoreV1Api(poor).list_namespaced_secret(namespace)
    poor.close()


def is_the_operators(role: dict[str, Any]) -> bool:
    """Whether a role is bound to the operator, and not to people."""
    name = role["metadata"]["name"]
    return not name.startswith(("steelyard-modeldeployments-", "steelyard-explain"))


def events(model: Model) -> str:
    """The Events of the namespace, as text."""
    return model.plane.kubectl("get", "events", "-n", model.namespace, "-o", "wide")


def without(role: dict[str, Any], resource: str, verb: str) -> dict[str, Any]:
    """The role with one verb less."""
    less = copy.deepcopy(role)
    for rule in less["rules"]:
        if resource in rule["resources"]:
            rule["verbs"] = [v for v in rule["verbs"] if v != verb]
            assert rule["verbs"]
    return less


def role_named(granted: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """One role."""
    (role,) = [one for one in granted if one["metadata"]["name"] == name and "rules" in one]
    return role


@pytest.mark.parametrize(
    ("resource", "verb", "said"),
    [
        ("deployments/scale", "patch", "patch deployments/scale"),
        ("deployments", "list", "list and watch deployments"),
    ],
)
def test_a_verb_less_and_it_is_said(
    control_plane: ControlPlane,
    model: Model,
    as_installed: Start,
    granted: list[dict[str, Any]],
    resource: str,
    verb: str,
    said: str,
) -> None:
    """The object's condition names the missing right; its replicas stay; given, it goes on."""
    whole = role_named(granted, "steelyard-targets-apps")
    control_plane.apply(without(whole, resource, verb))
    user = client.AuthorizationV1Api(control_plane.api)
    name, _, sub = resource.partition("/")
    asked = {"verb": verb, "group": "apps", "resource": name, "subresource": sub}
    review = {"spec": {"user": USER, "resourceAttributes": asked | {"namespace": model.namespace}}}
    until(lambda: not user.create_subject_access_review(review).status.allowed, "the right to go")
    model.apply(3)
    process = as_installed()
    until(
        lambda: statuses(model, "AbleToScale") == "TargetForbidden",
        "the condition",
        detail=process.said,
    )
    described = control_plane.kubectl("describe", "md", "llama-chat", "-n", model.namespace)
    assert said in described
    assert model.get("deployment/llama-bf16")["spec"]["replicas"] == 1
    control_plane.apply(whole)
    model.wait_replicas(3, process)


def test_a_verb_less_of_what_it_cannot_do_without(
    control_plane: ControlPlane,
    model: Model,
    as_installed: Start,
    granted: list[dict[str, Any]],
) -> None:
    """Without pods it is alive and not ready, decides nothing, and says why in its log."""
    control_plane.apply(without(role_named(granted, "steelyard-observer"), "pods", "list"))
    model.apply(3)
    process: Process = as_installed()
    until(lambda: "/pods" in process.said() and "forbidden" in process.said(), "the log to say so")
    assert not process.ready()
    assert process.get(process.health, "/healthz") == "ok\n"
    assert model.get("deployment/llama-bf16")["spec"]["replicas"] == 1
