"""Whoever else sets the replicas of a target is told, with what to do about it."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.adapters.clock import SystemClock
from controller.adapters.directory import Entry
from controller.adapters.kubernetes import writers as module
from controller.adapters.kubernetes.client import Document, Kubernetes
from controller.adapters.kubernetes.errors import AnotherWriter, Forbidden, NotFound, Unanswered
from controller.adapters.kubernetes.reflector import Sink
from controller.adapters.kubernetes.writers import Writers, WriterUnknown
from controller.api.conversion.policy import to_policy
from controller.api.prices import REFERENCE_PRICES
from controller.api.v1alpha1 import parse
from controller.core.domain.policy import Mode
from controlplane.cluster import ControlPlane
from controlplane.waiting import until
from controlplane.workloads import deployment

SAMPLE = yaml.safe_load(
    (Path(__file__).parents[2] / "manifests/samples/interactive-chat.yaml").read_text()
)
HPA = "horizontalpodautoscalers"
KEDA = "scaledobjects"

#: As little of KEDA as the watch needs.
KEDA_CRD: Document = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "scaledobjects.keda.sh"},
    "spec": {
        "group": "keda.sh",
        "scope": "Namespaced",
        "names": {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


def entry_of(
    namespace: str = "serving",
    name: str = "llama",
    *,
    mode: Mode = Mode.AUTO,
    created: str = "2026-01-01T00:00:00Z",
    targets: Sequence[Document] = ({"name": "llama-bf16"}, {"name": "llama-fp8"}),
) -> Entry:
    """The sample with variants bf16 and fp8, whose workloads are ``targets``."""
    document = copy.deepcopy(SAMPLE)
    document["metadata"] = {"name": name, "namespace": namespace, "creationTimestamp": created}
    document["spec"]["mode"] = mode.value
    for variant, target in zip(document["spec"]["variants"], targets, strict=True):
        variant["targetRef"] = dict(target)
    parsed = parse(document)
    policy = to_policy(parsed, REFERENCE_PRICES, 15.0)
    return Entry(deployment=parsed, policy=policy, resource_version="1", status=None)


def scaler_of(
    name: str = "llama",
    target: Document | None = None,
    *,
    namespace: str = "serving",
    owner: tuple[str, str] | None = None,
) -> Document:
    """The body of an HPA or ScaledObject; without ``target`` one that scales llama-fp8."""
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama-fp8"}
    metadata: Document = {"name": name, "namespace": namespace}
    if owner is not None:
        metadata["ownerReferences"] = [
            {"kind": "Elsewhere", "name": "x"},
            {"kind": owner[0], "name": owner[1], "controller": True},
        ]
    return {
        "metadata": metadata,
        "spec": {"scaleTargetRef": ref if target is None else target, "maxReplicas": 3},
    }


def writers_of(*namespaces: str, listed: bool = True) -> Writers:
    """Without a watch; HPAs are known."""
    writers = Writers(
        kubernetes=cast("Kubernetes", None), namespaces=namespaces, steady=lambda: 0.0
    )
    for reflector in writers.reflectors:
        reflector.listed = listed
    return writers


def sink_of(writers: Writers, plural: str, namespace: str = "") -> Sink:
    """What the watch of a kind fills."""
    inside = f"/namespaces/{namespace}/" if namespace else "/"
    (found,) = (r.sink for r in writers.reflectors if r.path.endswith(inside + plural))
    return found


def told(writers: Writers, entry: Entry, **owners: str) -> str:
    """What is told of it, or nothing."""
    other = writers.of(entry, owners)
    return "" if other is None else str(other)


def test_collections_are_those_of_the_namespaces() -> None:
    """Of each one, or of the cluster where none is named."""
    assert [r.path for r in writers_of().reflectors] == [
        "/apis/keda.sh/v1alpha1/scaledobjects",
        "/apis/autoscaling/v2/horizontalpodautoscalers",
    ]
    assert [r.path for r in writers_of("a", "b").reflectors] == [
        "/apis/keda.sh/v1alpha1/namespaces/a/scaledobjects",
        "/apis/keda.sh/v1alpha1/namespaces/b/scaledobjects",
        "/apis/autoscaling/v2/namespaces/a/horizontalpodautoscalers",
        "/apis/autoscaling/v2/namespaces/b/horizontalpodautoscalers",
    ]


@pytest.mark.parametrize(
    ("target", "same"),
    [
        ({"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama-fp8"}, True),
        ({"apiVersion": "apps/v1beta2", "kind": "Deployment", "name": "llama-fp8"}, True),
        ({"name": "llama-fp8"}, True),
        ({"apiVersion": "argoproj.io/v1", "kind": "Deployment", "name": "llama-fp8"}, False),
        ({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "llama-fp8"}, False),
        ({"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}, False),
        ({}, False),
    ],
)
def test_a_target_is_a_group_a_kind_and_a_name(target: Document, *, same: bool) -> None:
    """Whatever the version says, and in this namespace only."""
    writers = writers_of()
    sink_of(writers, HPA).put(scaler_of("llama-hpa", target))
    expected = "delete HPA llama-hpa: it scales Deployment llama-fp8 too" if same else ""
    assert told(writers, entry_of()) == expected
    assert told(writers, entry_of("elsewhere")) == ""


def test_a_scaled_object_is_told_and_not_the_hpa_it_made() -> None:
    """That would be made again; and it is known from the HPA where only that one is seen."""
    writers = writers_of()
    made = scaler_of("keda-hpa-llama", owner=("ScaledObject", "llama-queue"))
    sink_of(writers, HPA).put(made)
    expected = "delete ScaledObject llama-queue: it scales Deployment llama-fp8 too"
    assert told(writers, entry_of()) == expected
    paused = scaler_of("llama-queue")
    paused["metadata"]["annotations"] = {"autoscaling.keda.sh/paused": "true"}
    sink_of(writers, KEDA).put(paused)
    assert told(writers, entry_of()) == expected
    sink_of(writers, HPA).drop(made)
    assert told(writers, entry_of()) == expected


def test_an_hpa_that_a_controller_made_is_told_with_it() -> None:
    """To delete it would help for a moment only."""
    writers = writers_of()
    sink_of(writers, HPA).put(scaler_of("llama", owner=("InferenceService", "chat")))
    assert told(writers, entry_of()) == (
        "switch autoscaling off in InferenceService chat, which made HPA llama: "
        "it scales Deployment llama-fp8 too"
    )


def test_an_owner_of_the_target_is_told() -> None:
    """By what to name in its place."""
    assert told(writers_of(), entry_of(), fp8="LeaderWorkerSet/llama") == (
        "name LeaderWorkerSet/llama in targetRef, if it can be scaled: it owns Deployment llama-fp8"
    )
    assert told(writers_of(), entry_of(), other="LeaderWorkerSet/llama") == ""


def test_the_first_variants_problem_is_told() -> None:
    """In the order of the variants, and of several HPAs on a target the first by name."""
    writers = writers_of()
    hpas = sink_of(writers, HPA)
    hpas.put(scaler_of("b"))
    hpas.put(scaler_of("a"))
    assert "HPA a:" in told(writers, entry_of())
    hpas.put(scaler_of("z", {"name": "llama-bf16"}))
    assert "HPA z:" in told(writers, entry_of())


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": {"name": "x", "namespace": "serving"}},
        {"metadata": {"name": "x", "namespace": "serving"}, "spec": 3},
        {"metadata": {"name": "x", "namespace": "serving"}, "spec": {"scaleTargetRef": ["y"]}},
        {
            "metadata": {"name": "x", "namespace": "serving", "ownerReferences": ["y"]},
            "spec": {"scaleTargetRef": {"name": 5, "kind": None}},
        },
    ],
)
def test_a_body_that_breaks_its_schema_ends_no_watch(body: Document) -> None:
    """It scales nothing that anybody has."""
    writers = writers_of()
    sink_of(writers, KEDA).replace([body])
    assert told(writers, entry_of()) == ""


names, spaces = st.sampled_from("abc"), st.sampled_from(["serving", "other"])
bodies = st.builds(
    lambda name, space, target: scaler_of(name, {"name": target}, namespace=space),
    names,
    spaces,
    st.sampled_from(["llama-bf16", "llama-fp8", "x"]),
)
changes = st.one_of(
    st.tuples(st.just("put"), bodies),
    st.tuples(st.just("drop"), bodies),
    st.tuples(st.just("replace"), spaces, st.lists(bodies, max_size=4)),
)


@settings(deadline=None)
@given(changes=st.lists(changes, max_size=25))
def test_what_is_known_is_what_there_is(changes: list[tuple[Any, ...]]) -> None:
    """After any changes and listings, of two namespaces that are watched apart."""
    writers = writers_of("serving", "other")
    there: dict[tuple[str, str], str] = {}

    def where(body: Document) -> tuple[str, str]:
        return body["metadata"]["namespace"], body["metadata"]["name"]

    for what, *arguments in changes:
        if what == "replace":
            space, listed = arguments
            listed = [body for body in listed if where(body)[0] == space]
            sink_of(writers, HPA, space).replace(listed)
            there = {key: target for key, target in there.items() if key[0] != space}
            there |= {where(body): body["spec"]["scaleTargetRef"]["name"] for body in listed}
            continue
        (body,) = arguments
        sink = sink_of(writers, HPA, where(body)[0])
        if what == "put":
            sink.put(body)
            there[where(body)] = body["spec"]["scaleTargetRef"]["name"]
        else:
            sink.drop(body)
            there.pop(where(body), None)
        for target in ("llama-bf16", "llama-fp8"):
            on_it = [key[1] for key, t in there.items() if key[0] == "serving" and t == target]
            if on_it:
                expected = f"delete HPA {min(on_it)}: it scales Deployment {target} too"
                assert told(writers, entry_of()) == expected
                break
        else:
            assert told(writers, entry_of()) == ""


objects = st.lists(
    st.tuples(
        st.sampled_from(list(Mode)),
        st.integers(0, 2),  # its age
        st.sampled_from(["x", "y", "z"]),  # the target of bf16; that of fp8 is its own
    ),
    max_size=6,
)


@settings(deadline=None)
@given(objects=objects)
def test_of_all_that_name_a_target_the_eldest_that_writes_keeps_it(
    objects: list[tuple[Mode, int, str]],
) -> None:
    """By creation, then by name; what does not write is nobody's rival and has none."""
    entries = [
        entry_of(
            name=f"object-{i}",
            mode=mode,
            created=f"2026-01-0{1 + age}T00:00:00Z",
            targets=({"name": target}, {"name": f"own-{i}"}),
        )
        for i, (mode, age, target) in enumerate(objects)
    ]
    writers = writers_of()
    writers.note(entries)
    for i, (mode, _, target) in enumerate(objects):
        rivals = [
            (age, j) for j, (m, age, t) in enumerate(objects) if m is Mode.AUTO and t == target
        ]
        if mode is not Mode.AUTO or min(rivals)[1] == i:
            assert told(writers, entries[i]) == ""
        else:
            assert told(writers, entries[i]) == (
                f"name another target: ModelDeployment object-{min(rivals)[1]} is older and scales "
                f"Deployment {target}"
            )


def test_a_rival_that_is_gone_is_one_no_more() -> None:
    """What was noted last counts, by group and kind as with all others."""
    writers, younger = writers_of(), entry_of(name="b", created="2026-01-02T00:00:00Z")
    elder = entry_of(targets=({"name": "x"}, {"apiVersion": "apps/v1beta2", "name": "llama-fp8"}))
    writers.note([younger, elder])
    assert "ModelDeployment llama is older" in told(writers, younger)
    assert told(writers, elder) == ""
    elsewhere = replace(elder, deployment=entry_of("elsewhere").deployment)
    writers.note([younger, elsewhere])
    assert told(writers, younger) == ""


@pytest.mark.parametrize("same", [False, True], ids=["own", "one"])
def test_the_work_grows_with_the_objects_and_no_faster(
    monkeypatch: pytest.MonkeyPatch, *, same: bool
) -> None:
    """Of 5,000, each with targets of its own or all with the same: each is looked at once.

    Nothing of an object that was noted is worked out again, neither when it is asked for nor in
    the next cycle.
    """
    count = Counter[str]()

    def counted(name: str) -> None:
        work = getattr(module, name)

        def wrapped(*arguments: Any) -> Any:
            count[name] += 1
            return work(*arguments)

        monkeypatch.setattr(module, name, wrapped)

    counted("target_keys")
    counted("_age")
    one = entry_of()
    entries = [
        replace(
            one,
            deployment=one.deployment if same else _moved(one, f"space-{i}").deployment,
            policy=replace(one.policy, name=f"llama-{i:04}"),
        )
        for i in range(5000)
    ]
    writers = writers_of()
    writers.note(entries)
    problems = [told(writers, entry) for entry in entries]
    writers.note(entries)
    assert sum(problem == "" for problem in problems) == (1 if same else 5000)
    assert count["target_keys"] == 5000
    assert count["_age"] <= 2 * 2 * 2 * 5000  # two compared, of two targets, noted twice


def _moved(entry: Entry, namespace: str) -> Entry:
    """The same in another namespace, without reading it anew."""
    metadata = entry.deployment.metadata.model_copy(update={"namespace": namespace})
    deployment = entry.deployment.model_copy(update={"metadata": metadata})
    return replace(entry, deployment=deployment)


def test_what_is_gone_takes_no_room() -> None:
    """HPAs come and go on targets of ever new names."""
    writers = writers_of()
    hpas = sink_of(writers, HPA)
    for i in range(100):
        body = scaler_of(f"hpa-{i}", {"name": f"llama-{i}"})
        hpas.put(body)
        hpas.drop(body)
    assert (writers._hpas._known, writers._hpas._by_target) == ({}, {})


def test_while_hpas_are_not_known_one_is_assumed() -> None:
    """No answer, or no right to ask; a cluster without the kind has none, KEDA's or not."""
    writers = writers_of(listed=False)
    hpas = next(r for r in writers.reflectors if r.path.endswith(HPA))
    for problem, begin in (
        (Unanswered("no answer"), "wait: horizontalpodautoscalers are not listed yet: no answer"),
        (Forbidden(403, "no"), "let steelyard list and watch horizontalpodautoscalers (docs/"),
    ):
        hpas.problem = problem
        assert isinstance(writers.of(entry_of(), {}), WriterUnknown)
        assert told(writers, entry_of()).startswith(begin)
        assert (writers.unlisted() is None) == isinstance(problem, Forbidden)
    hpas.problem = NotFound(404, "not found")
    assert (told(writers, entry_of()), writers.unlisted()) == ("", None)
    hpas.problem, hpas.listed = Unanswered("it broke"), True
    assert (told(writers, entry_of()), writers.unlisted()) == ("", None)


class Cluster:
    """One namespace of the real API server, seen through the adapter."""

    def __init__(self, plane: ControlPlane, namespace: str) -> None:
        self.plane, self.namespace = plane, namespace
        self.entry = entry_of(namespace)

    def watched(self, kubernetes: Kubernetes) -> Writers:
        """Watches begin."""
        writers = Writers(
            kubernetes=kubernetes, namespaces=(self.namespace,), steady=SystemClock().steady
        )
        for reflector in writers.reflectors:
            reflector.start()
        return writers

    def apply(self, kind: str, version: str, body: Document) -> None:
        """Apply an HPA or a ScaledObject."""
        document = {"apiVersion": version, "kind": kind, **copy.deepcopy(body)}
        document["metadata"].pop("namespace")
        self.plane.apply(document, namespace=self.namespace)


@pytest.fixture
def cluster(control_plane: ControlPlane, namespace: str) -> Cluster:
    """Without any autoscaler."""
    return Cluster(control_plane, namespace)


@pytest.fixture
def writers(cluster: Cluster, kubernetes: Kubernetes, short_pauses: None) -> Iterator[Writers]:
    """Watching; HPAs were listed."""
    del short_pauses
    made = cluster.watched(kubernetes)
    until(lambda: made.of(cluster.entry, {}) is None, "HPAs to be listed")
    yield made
    for reflector in made.reflectors:
        reflector.stop()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind that is not served is asked for at once again."""
    monkeypatch.setattr("controller.adapters.kubernetes.reflector._ABSENT_SECONDS", 0.2)


@pytest.fixture
def without_keda(control_plane: ControlPlane) -> Iterator[None]:
    """KEDA is not installed, and taken away again where a test installs it."""

    def remove() -> None:
        name = KEDA_CRD["metadata"]["name"]
        control_plane.kubectl("delete", "crd", name, "--ignore-not-found", "--wait")

    remove()
    yield
    remove()


def test_an_hpa_is_seen_as_it_comes_changes_and_goes(cluster: Cluster, writers: Writers) -> None:
    """On a real API server, as users make it."""
    cluster.plane.apply(deployment("llama-fp8", replicas=0), namespace=cluster.namespace)
    cluster.plane.kubectl(
        *("autoscale", "deployment", "llama-fp8", "--max=3", "--cpu=50%"), "-n", cluster.namespace
    )
    expected = "delete HPA llama-fp8: it scales Deployment llama-fp8 too"
    until(lambda: told(writers, cluster.entry) == expected, "the HPA to be seen")
    ref = '[{"op": "replace", "path": "/spec/scaleTargetRef/name", "value": "llama-bf16"}]'
    at = ("hpa", "llama-fp8", "-n", cluster.namespace)
    cluster.plane.kubectl("patch", *at, "--type=json", "-p", ref)
    moved = expected.replace("Deployment llama-fp8", "Deployment llama-bf16")
    until(lambda: told(writers, cluster.entry) == moved, "the change to be seen")
    cluster.plane.kubectl("delete", *at)
    until(lambda: told(writers, cluster.entry) == "", "its end to be seen")


@pytest.mark.usefixtures("without_keda")
def test_keda_may_come_later(cluster: Cluster, writers: Writers) -> None:
    """Without KEDA nothing is wrong; once it is there, its objects are seen."""
    keda = next(r for r in writers.reflectors if r.path.endswith(KEDA))
    until(lambda: isinstance(keda.problem, NotFound), "its absence to be seen")
    assert told(writers, cluster.entry) == ""
    cluster.plane.apply(KEDA_CRD)
    until(lambda: keda.listed and keda.problem is None, "ScaledObjects to be listed")
    cluster.apply("ScaledObject", "keda.sh/v1alpha1", scaler_of("queue", {"name": "llama-bf16"}))
    expected = "delete ScaledObject queue: it scales Deployment llama-bf16 too"
    until(lambda: told(writers, cluster.entry) == expected, "the ScaledObject to be seen")


@pytest.mark.usefixtures("short_pauses")
def test_a_right_that_is_missing_is_told_until_it_is_given(
    cluster: Cluster, connect_as: Callable[..., Kubernetes]
) -> None:
    """Who may not list HPAs is not to scale, and may as soon as it may list them."""
    account = connect_as(cluster.plane.kubeconfig_for("steelyard", cluster.namespace))
    writers = cluster.watched(account)
    try:
        fix = "let steelyard list and watch horizontalpodautoscalers (docs/operations.md, Rights)"
        until(lambda: told(writers, cluster.entry) == fix, "the refusal to be told")
        assert isinstance(writers.of(cluster.entry, {}), AnotherWriter)
        inside = ("-n", cluster.namespace)
        cluster.plane.kubectl(
            *("create", "role", "lists", "--verb=list,watch", *inside),
            "--resource=horizontalpodautoscalers.autoscaling",
        )
        cluster.plane.kubectl(
            *("create", "rolebinding", "lists", "--role=lists", *inside),
            f"--serviceaccount={cluster.namespace}:steelyard",
        )
        until(lambda: told(writers, cluster.entry) == "", "HPAs to be listed")
    finally:
        for reflector in writers.reflectors:
            reflector.stop()
