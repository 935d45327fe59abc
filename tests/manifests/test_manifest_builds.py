"""What kustomize makes of manifests/ is whole, consistent and accepted by the API server."""

import re
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client.rest import ApiException

from controller.adapters.prices import read_prices
from controller.api.conditions import ConditionReason
from controller.api.prices import REFERENCE_PRICES
from controller.settings import Settings, load
from controlplane.cluster import ControlPlane
from kubernetes import client

ROOT = Path(__file__).parents[2]
OVERLAYS = ("cluster-wide", "single-namespace", "recommend-only")
BUILDS = (*OVERLAYS, "kind-operator", "kind-prometheus", "kind-serving")

Objects = tuple[dict[str, Any], ...]
Builds = Mapping[str, Objects]


def of_kind(objects: Objects, kind: str, name: str | None = None) -> Objects:
    """Objects of one kind, and of one name where given."""
    return tuple(
        one for one in objects if one["kind"] == kind and name in (None, one["metadata"]["name"])
    )


def pod_specs(objects: Objects) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and pod spec of every Deployment."""
    for one in of_kind(objects, "Deployment"):
        yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def operator_container(objects: Objects) -> dict[str, Any]:
    """The operator's own container."""
    (deployment,) = of_kind(objects, "Deployment", "steelyard")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(container)


def selected(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels carry all of a selector."""
    return selector.items() <= labels.items()


@pytest.mark.parametrize("build", BUILDS)
def test_no_object_is_there_twice(builds: Builds, build: str) -> None:
    """Every build is a set of objects with a kind, a name and, where it has one, a namespace."""
    keys = [
        (one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
        for one in builds[build]
    ]
    assert len(keys) > 3
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("build", OVERLAYS)
def test_every_overlay_is_a_whole_install(builds: Builds, build: str) -> None:
    """An overlay alone brings all that two replicas of the operator need."""
    kinds = {one["kind"] for one in builds[build]}
    assert kinds >= {
        "ConfigMap",
        "CustomResourceDefinition",
        "Deployment",
        "Namespace",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Role",
        "RoleBinding",
        "Service",
        "ServiceAccount",
    }
    (deployment,) = of_kind(builds[build], "Deployment", "steelyard")
    assert deployment["spec"]["replicas"] == 2
    (budget,) = of_kind(builds[build], "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("build", OVERLAYS)
def test_the_crd_is_the_generated_one(builds: Builds, build: str) -> None:
    """The CRD of a build is crds/modeldeployments.yaml, but for the labels of the install."""
    (built,) = of_kind(builds[build], "CustomResourceDefinition")
    built["metadata"].pop("labels", None)
    assert built == yaml.safe_load((ROOT / "crds/modeldeployments.yaml").read_text())


@pytest.mark.parametrize("build", BUILDS)
def test_pods_meet_the_restricted_profile(builds: Builds, build: str) -> None:
    """Every container runs as nobody, with nothing to gain and nowhere to write but its volumes."""
    for name, spec in pod_specs(builds[build]):
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] is True, name
        assert pod["runAsUser"] >= 10_000, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert not [volume for volume in spec.get("volumes", ()) if "hostPath" in volume], name
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert not own.get("privileged", False), name


@pytest.mark.parametrize("build", BUILDS)
def test_images_have_a_fixed_tag(builds: Builds, build: str) -> None:
    """No image is `latest`, and the operator's is this version's (`kind` where built there)."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, spec in pod_specs(builds[build]):
        for container in spec["containers"]:
            image, tag = container["image"].rsplit(":", 1)
            assert tag == ("kind" if build.startswith("kind-") else version), (name, image)
            # A tag that kind has loaded is nowhere to be pulled from.
            assert container["imagePullPolicy"] == "IfNotPresent", name


@pytest.mark.parametrize("build", OVERLAYS)
def test_the_operator_has_probes_and_resources(builds: Builds, build: str) -> None:
    """Probes go to a declared port, memory is bounded, and the CPU is not throttled."""
    container = operator_container(builds[build])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    paths = {
        probe: container[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    assert all(container[probe]["httpGet"]["port"] in ports for probe in paths)
    defaults = Settings.model_fields
    assert ports["health"] == defaults["health_listen_port"].default
    assert ports["metrics"] == defaults["metrics_listen_port"].default
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert set(container["resources"]["limits"]) == {"memory"}


@pytest.mark.parametrize("build", OVERLAYS)
def test_selectors_find_the_operator(builds: Builds, build: str) -> None:
    """Service, disruption budget and network policy select the operator's pods."""
    objects = builds[build]
    (deployment,) = of_kind(objects, "Deployment", "steelyard")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    selectors += [one["spec"]["selector"] for one in of_kind(objects, "Service")]
    selectors += [
        one["spec"]["selector"]["matchLabels"] for one in of_kind(objects, "PodDisruptionBudget")
    ]
    selectors += [
        one["spec"]["podSelector"]["matchLabels"] for one in of_kind(objects, "NetworkPolicy")
    ]
    assert len(selectors) == 4
    assert all(selected(selector, labels) for selector in selectors)


@pytest.mark.parametrize("build", OVERLAYS)
def test_every_reference_of_the_pod_is_in_the_build(builds: Builds, build: str) -> None:
    """ConfigMaps and ServiceAccount that the pod names are there, in its namespace."""
    objects = builds[build]
    (deployment,) = of_kind(objects, "Deployment", "steelyard")
    spec = deployment["spec"]["template"]["spec"]
    space = deployment["metadata"]["namespace"]
    (container,) = spec["containers"]
    named = {source["configMapRef"]["name"] for source in container["envFrom"]}
    named |= {v["configMap"]["name"] for v in spec["volumes"] if "configMap" in v}
    there = {
        one["metadata"]["name"]
        for one in of_kind(objects, "ConfigMap")
        if one["metadata"]["namespace"] == space
    }
    assert len(named) == 2
    assert named == there
    (account,) = of_kind(objects, "ServiceAccount")
    assert account["metadata"] | {"labels": None} == {
        "name": spec["serviceAccountName"],
        "namespace": space,
        "labels": None,
    }


@pytest.mark.parametrize("build", OVERLAYS)
def test_the_settings_are_the_operators(builds: Builds, build: str, tmp_path: Path) -> None:
    """The pod's variables are settings that the operator takes, and name its own Lease."""
    objects = builds[build]
    container = operator_container(objects)
    (plain,) = [
        one
        for one in of_kind(objects, "ConfigMap")
        if one["metadata"]["name"] == container["envFrom"][0]["configMapRef"]["name"]
    ]
    (prices,) = [one for one in of_kind(objects, "ConfigMap") if "prices.yaml" in one["data"]]
    file = tmp_path / "prices.yaml"
    file.write_text(prices["data"]["prices.yaml"])
    of_the_pod = {"metadata.name": "steelyard-1", "metadata.namespace": "steelyard-system"}
    environment = plain["data"] | {
        one["name"]: one["value"]
        if "value" in one
        else of_the_pod[one["valueFrom"]["fieldRef"]["fieldPath"]]
        for one in container["env"]
    }
    assert environment["STEELYARD_PRICE_TABLE_FILE"] == "/etc/steelyard/prices.yaml"
    known = {f"STEELYARD_{name.upper()}" for name in Settings.model_fields}
    assert environment.keys() <= known
    settings = load(environment | {"STEELYARD_PRICE_TABLE_FILE": str(file)})
    assert settings.identity == "steelyard-1"
    assert settings.namespaces == (("serving",) if build == "single-namespace" else ())
    (lease,) = of_kind(objects, "Role", "steelyard-lease")
    assert lease["metadata"]["namespace"] == settings.lease_namespace
    assert [settings.lease_name] in [rule.get("resourceNames") for rule in lease["rules"]]


def test_the_price_table_is_the_reference(tmp_path: Path) -> None:
    """The shipped table reads as the operator's built-in one."""
    file = tmp_path / "prices.yaml"
    file.write_text((ROOT / "manifests/base/prices.yaml").read_text())
    assert read_prices(file) == REFERENCE_PRICES


@pytest.mark.parametrize("build", OVERLAYS)
def test_nothing_but_what_is_needed_reaches_the_operator(builds: Builds, build: str) -> None:
    """The network policy closes both directions and opens named ports, none to everyone inwards."""
    (policy,) = of_kind(builds[build], "NetworkPolicy")
    spec = policy["spec"]
    assert sorted(spec["policyTypes"]) == ["Egress", "Ingress"]
    assert all(rule["ports"] for rule in (*spec["ingress"], *spec["egress"]))
    assert all(rule["from"] for rule in spec["ingress"])
    opened = {port["port"] for rule in spec["egress"] for port in rule["ports"]}
    assert opened == {53, 443, 6443, 9090}
    assert {port["port"] for rule in spec["ingress"] for port in rule["ports"]} == {
        "metrics",
        "health",
    }


def test_a_watched_namespace_is_named_once(builds: Builds) -> None:
    """Whoever changes watched-namespace.yaml changes Role, RoleBinding and setting, and no more."""
    written = (ROOT / "manifests/overlays/single-namespace/watched-namespace.yaml").read_text()
    name = yaml.safe_load(written)["data"]["name"]
    objects = builds["single-namespace"]
    places = {
        (one["kind"], one["metadata"]["name"])
        for one in objects
        if one["metadata"].get("namespace") == name
    }
    assert places == {("Role", "steelyard"), ("RoleBinding", "steelyard")}
    assert not of_kind(objects, "ConfigMap", "watched-namespace")


@pytest.mark.parametrize("build", BUILDS)
def test_the_api_server_accepts_every_object(
    builds: Builds, build: str, control_plane: ControlPlane
) -> None:
    """Each object passes a server-side dry run, field by field, without a warning."""
    core = client.CoreV1Api(control_plane.api)
    for space in ("monitoring", "serving", "steelyard-system"):
        # A dry run needs the namespaces that the builds bring, to exist.
        try:
            core.create_namespace({"metadata": {"name": space}})
        except ApiException as error:
            assert error.status == 409  # noqa: PT017 - there already, which is as good
    said = control_plane.kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "--warnings-as-errors",
        "-f",
        "-",
        stdin=yaml.safe_dump_all(builds[build]),
    )
    assert len(said.splitlines()) == len(builds[build])


def test_dependencies_of_the_images_are_those_of_the_tests() -> None:
    """The images' locks pin what requirements.lock pins, a part of it, each by hash."""
    pin = re.compile(
        r"^(\S+==\S+(?: ; [^\\]+?)?) \\$((?:\n    --hash=sha256:\S+(?: \\)?$)+)", re.MULTILINE
    )
    whole = dict(pin.findall((ROOT / "requirements.lock").read_text()))
    for name in ("requirements-runtime.lock", "requirements-emulator.lock"):
        text = (ROOT / name).read_text()
        part = dict(pin.findall(text))
        assert len(part) == sum(not line.startswith(" ") for line in text.splitlines())
        assert part.items() <= whole.items()
    assert "numba" not in (ROOT / "requirements-runtime.lock").read_text()


@pytest.mark.parametrize("dockerfile", ["Dockerfile", "simulations/emulator/Dockerfile"])
def test_images_are_pinned_and_run_as_nobody(dockerfile: str) -> None:
    """An image installs by hash only, can be built on another base, and does not run as root."""
    text = (ROOT / dockerfile).read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE_IMAGE}", "${BASE_IMAGE}"]
    assert text.count("pip install") == text.count("--require-hashes") == 1
    user, group = re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)[-1]
    assert min(int(user), int(group)) > 10_000
    assert not re.search(r"^ADD ", text, re.MULTILINE)


def test_documented_targets_exist() -> None:
    """Every `make` target and every folder that docs/operations.md names is there."""
    page = (ROOT / "docs/operations.md").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", page, re.MULTILINE))
    assert named >= {"kind", "kind-down"}
    assert named <= targets
    folders = set(re.findall(r"(?:-k|-f) ((?:manifests|crds)[\w/.-]*)", page))
    assert folders >= {f"manifests/overlays/{overlay}" for overlay in OVERLAYS}
    assert [folder for folder in folders if not (ROOT / folder).exists()] == []


def test_the_documented_overlay_builds(
    kustomize: Callable[[Path], Objects], tmp_path: Path
) -> None:
    """An overlay put together from docs/operations.md names image and token as shown."""
    page = (ROOT / "docs/operations.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    shown = {
        next(iter(yaml.safe_load(block))): block for block in blocks if "\nkind: C" not in block
    }
    for folder in ("crds", "manifests"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "kustomization.yaml").write_text(shown["apiVersion"] + shown["patches"])
    built = kustomize(tmp_path)
    container = operator_container(built)
    assert container["image"] == "REGISTRY/steelyard:0.1.0"
    assert container["env"][-1] == {
        "name": "STEELYARD_PROMETHEUS_BEARER_TOKEN_FILE",
        "value": "/var/run/prometheus/token",
    }
    assert {"name": "token", "mountPath": "/var/run/prometheus", "readOnly": True} in container[
        "volumeMounts"
    ]


def test_every_reason_of_trouble_has_its_remedy() -> None:
    """docs/operations.md tells what to do about each reason, and of none that does not exist."""
    page = (ROOT / "docs/operations.md").read_text()
    rows = page.split("## Troubleshooting")[1]
    told = {reason for reason in ConditionReason if f"`{reason.value}`" in rows}
    fine = {
        ConditionReason.SPEC_VALID,
        ConditionReason.METRICS_FRESH,
        ConditionReason.FORECAST_TRUSTED,
        ConditionReason.TARGETS_SCALABLE,
        ConditionReason.WITHIN_LIMITS,
        ConditionReason.WITHIN_SLO,
        ConditionReason.BUDGETS_LEFT,
        ConditionReason.PREFERRED_QUALITY,
        ConditionReason.MODE_AUTO,
        ConditionReason.NOT_MEASURED,
    }
    assert told == set(ConditionReason) - fine
    words = set(re.findall(r"`([A-Z][A-Za-z]+)`", "".join(rows.splitlines(keepends=True)[3:])))
    assert words <= {reason.value for reason in ConditionReason}


def test_every_setting_that_is_documented_exists() -> None:
    """Each STEELYARD_ variable of docs/operations.md is a setting, or a builds' or tests' own."""
    named = set(re.findall(r"STEELYARD_\w+[A-Z]", (ROOT / "docs/operations.md").read_text()))
    assert len(named) > 8
    assert named <= {f"STEELYARD_{name.upper()}" for name in Settings.model_fields}
