"""The operator's rights: what it needs, and nothing beside."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from controlplane.cluster import ControlPlane, user_of
from controlplane.waiting import until
from kubernetes import client

OVERLAYS = ("cluster-wide", "single-namespace", "recommend-only")
ACCOUNT = {"kind": "ServiceAccount", "name": "steelyard", "namespace": "steelyard-system"}
TELLING = {
    ("steelyard.dev", "modeldeployments/status", "patch"),
    ("", "events", "create"),
    ("coordination.k8s.io", "leases", "create"),
    ("coordination.k8s.io", "leases", "update"),
}
ACTING = {
    ("apps", "deployments/scale", "patch"),
    ("apps", "statefulsets/scale", "patch"),
    ("gateway.networking.k8s.io", "httproutes", "patch"),
}
READING = {"get", "list", "watch"}

Objects = tuple[dict[str, Any], ...]
Builds = Mapping[str, Objects]
Right = tuple[str, str, str]


def rules_of(objects: Objects, reference: Mapping[str, str], space: str | None) -> list[Any]:
    """Rules of the role that a binding names, with what is aggregated into it."""
    (role,) = [
        one
        for one in objects
        if one["kind"] == reference["kind"]
        and one["metadata"]["name"] == reference["name"]
        and (one["kind"] == "ClusterRole" or one["metadata"]["namespace"] == space)
    ]
    rules = list(role.get("rules") or ())
    for selector in role.get("aggregationRule", {}).get("clusterRoleSelectors", ()):
        wanted = selector["matchLabels"].items()
        for one in objects:
            labels = one["metadata"].get("labels") or {}
            if one["kind"] == "ClusterRole" and wanted <= labels.items():
                rules += one["rules"]
    return rules


def granted(objects: Objects) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Namespace (None: all) and rule of everything that the operator's account is bound to."""
    for one in objects:
        if one["kind"] in {"ClusterRoleBinding", "RoleBinding"} and ACCOUNT in one["subjects"]:
            space = one["metadata"].get("namespace")
            for rule in rules_of(objects, one["roleRef"], space):
                yield space, rule


def rights(objects: Objects) -> set[Right]:
    """Group, resource and verb of everything that the operator may do somewhere."""
    return {
        (group, resource, verb)
        for _, rule in granted(objects)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("build", OVERLAYS)
def test_nothing_is_granted_by_wildcard(builds: Builds, build: str) -> None:
    """No rule of any role of a build, bound or not, has a star, a non-resource path or Secrets."""
    rules = [
        rule
        for one in builds[build]
        if one["kind"] in {"Role", "ClusterRole"}
        for rule in one.get("rules") or ()
    ]
    assert rules
    for rule in rules:
        assert "nonResourceURLs" not in rule
        every = (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
        assert not [word for word in every if "*" in word]
        assert "secrets" not in rule["resources"]
        assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])


@pytest.mark.parametrize("build", OVERLAYS)
def test_the_operator_writes_exactly_what_it_must(builds: Builds, build: str) -> None:
    """Beyond reading there are status, Events, the Lease and, to act, scale and routes."""
    writes = {right for right in rights(builds[build]) if right[2] not in READING}
    assert writes == (TELLING if build == "recommend-only" else TELLING | ACTING)


@pytest.mark.parametrize("build", OVERLAYS)
def test_the_operator_reads_exactly_what_it_must(builds: Builds, build: str) -> None:
    """What is watched can be listed and watched; scales and routes are read one by one."""
    reads: dict[tuple[str, str], set[str]] = {}
    for group, resource, verb in rights(builds[build]):
        if verb in READING:
            reads.setdefault((group, resource), set()).add(verb)
    assert reads == {
        ("steelyard.dev", "modeldeployments"): {"list", "watch"},
        ("", "pods"): {"list", "watch"},
        ("apps", "deployments"): {"list", "watch"},
        ("apps", "deployments/scale"): {"get"},
        ("apps", "statefulsets"): {"list", "watch"},
        ("apps", "statefulsets/scale"): {"get"},
        ("autoscaling", "horizontalpodautoscalers"): {"list", "watch"},
        ("keda.sh", "scaledobjects"): {"list", "watch"},
        ("gateway.networking.k8s.io", "httproutes"): {"get"},
        ("coordination.k8s.io", "leases"): {"get"},
    }


def test_the_lease_is_in_the_operators_namespace(builds: Builds) -> None:
    """Leases are written in one namespace, and but for their creation by one name."""
    for build in OVERLAYS:
        found = [(s, rule) for s, rule in granted(builds[build]) if "leases" in rule["resources"]]
        assert {space for space, _ in found} == {"steelyard-system"}
        for _, rule in found:
            assert rule["verbs"] == ["create"] or rule["resourceNames"] == ["steelyard-controller"]


def test_a_single_namespace_install_has_no_right_elsewhere(builds: Builds) -> None:
    """There is no ClusterRole at all, and every right is in the watched or its own namespace."""
    objects = builds["single-namespace"]
    assert not [one for one in objects if one["kind"].startswith("ClusterRole")]
    assert {space for space, _ in granted(objects)} == {"serving", "steelyard-system"}


def test_both_installs_give_the_same_rights(builds: Builds) -> None:
    """A single-namespace install may there what a cluster-wide one may everywhere."""
    assert rights(builds["single-namespace"]) == rights(builds["cluster-wide"])


def test_overlays_can_be_applied_over_each_other(builds: Builds) -> None:
    """What a binding refers to cannot be changed, so one name refers to one role in all of them."""
    refers = {
        (one["kind"], one["metadata"]["name"], one["roleRef"]["name"])
        for overlay in OVERLAYS
        for one in builds[overlay]
        if "roleRef" in one
    }
    assert len({name for _, name, _ in refers}) == len(refers)


def test_no_other_role_widens_a_recommend_only_install(builds: Builds) -> None:
    """Where the operator only recommends, nothing it is bound to is aggregated."""
    objects = builds["recommend-only"]
    for one in objects:
        if one["kind"] == "ClusterRole":
            assert "aggregationRule" not in one
            assert "steelyard.dev/aggregate-to-targets" not in (one["metadata"]["labels"] or {})


@pytest.fixture(scope="module")
def installed(builds: Builds, control_plane: ControlPlane) -> ControlPlane:
    """A control plane with the roles of a cluster-wide install."""
    kinds = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    objects = [
        one for one in builds["cluster-wide"] if one["kind"] in kinds or one["kind"] == "Namespace"
    ]
    control_plane.kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        "-f",
        "-",
        stdin=yaml.safe_dump_all(objects),
    )
    return control_plane


def may(plane: ControlPlane, verb: str, resource: str, namespace: str) -> bool:
    """What the API server's authorizer says of the operator's account."""
    resource, _, subresource = resource.partition("/")
    resource, _, group = resource.partition(".")
    asked = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "namespace": namespace,
    }
    user = user_of("steelyard", "steelyard-system")
    review = client.AuthorizationV1Api(plane.api).create_subject_access_review(
        {"spec": {"user": user, "resourceAttributes": asked}}
    )
    return bool(review.status.allowed)


def test_a_labelled_role_adds_a_kind_of_target(installed: ControlPlane) -> None:
    """Another kind can be scaled once a ClusterRole with the label names it, and not before."""
    resource = "leaderworkersets.leaderworkerset.x-k8s.io/scale"
    assert not may(installed, "patch", resource, "default")
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {
            "name": "steelyard-targets-leaderworkersets",
            "labels": {"steelyard.dev/aggregate-to-targets": "true"},
        },
        "rules": [
            {
                "apiGroups": ["leaderworkerset.x-k8s.io"],
                "resources": ["leaderworkersets/scale"],
                "verbs": ["get", "patch"],
            }
        ],
    }
    installed.apply(role)
    until(lambda: may(installed, "patch", resource, "default"), "the role to be joined")
    installed.kubectl("delete", "clusterrole", role["metadata"]["name"])


@pytest.mark.parametrize(
    ("verb", "resource", "namespace", "answer"),
    [
        ("patch", "deployments.apps/scale", "default", "yes"),
        ("patch", "statefulsets.apps/scale", "default", "yes"),
        ("patch", "deployments.apps", "default", "no"),
        ("update", "deployments.apps/scale", "default", "no"),
        ("delete", "pods", "default", "no"),
        ("list", "pods", "default", "yes"),
        ("patch", "modeldeployments.steelyard.dev/status", "default", "yes"),
        ("patch", "modeldeployments.steelyard.dev", "default", "no"),
        ("get", "secrets", "default", "no"),
        ("list", "secrets", "steelyard-system", "no"),
        ("get", "configmaps", "steelyard-system", "no"),
        ("create", "leases.coordination.k8s.io", "steelyard-system", "yes"),
        ("create", "leases.coordination.k8s.io", "default", "no"),
        ("create", "pods", "steelyard-system", "no"),
    ],
)
def test_the_authorizer_agrees(
    installed: ControlPlane, verb: str, resource: str, namespace: str, answer: str
) -> None:
    """The API server itself grants the operator's account what the roles say, and no more."""
    # What is aggregated is filled in by a controller, a moment later.
    until(
        lambda: may(installed, verb, resource, namespace) == (answer == "yes"),
        f"the answer {answer}",
    )
