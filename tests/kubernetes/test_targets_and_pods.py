"""What is kept of workloads and pods is what their bodies say, and no older."""

from typing import Any

import pytest

from controller.adapters.kubernetes.pods import PodCache, PodSink, replica
from controller.adapters.kubernetes.selectors import from_text
from controller.adapters.kubernetes.target import Kind, TargetKey, target, with_scale
from controller.adapters.kubernetes.targets import TargetCache

DEPLOYMENT = Kind("apps/v1", "Deployment")
LLAMA = from_text("app=llama")

#: A connection for what is not to ask.
NEVER_ASKED: Any = None


def pod(name: str, **changes: Any) -> dict[str, Any]:
    """A Ready pod of app=llama, 90 s old when it became so."""
    body: dict[str, Any] = {
        "metadata": {
            "name": name,
            "namespace": "serving",
            "labels": {"app": "llama"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"nodeName": "node-1"},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:30Z"}
            ],
        },
    }
    for part, values in changes.items():
        body[part] |= values
    return body


def test_a_ready_pod_tells_its_cold_start() -> None:
    """From its creation to the time it became Ready."""
    seen = replica(pod("a"))
    assert seen.ready_since_seconds is not None
    assert seen.ready_since_seconds - seen.created_at_seconds == 90.0
    assert seen.scheduled
    assert not seen.draining


def test_a_pod_that_waits_or_goes() -> None:
    """Without a node it is not scheduled, without the condition not Ready, deleted it drains."""
    waiting = replica(pod("a", spec={"nodeName": None}, status={"conditions": []}))
    assert (waiting.scheduled, waiting.ready_since_seconds) == (False, None)
    assert replica(pod("a", metadata={"deletionTimestamp": "2026-01-01T00:02:00Z"})).draining


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_is_over_is_no_replica(phase: str) -> None:
    """An evicted pod stays as an object, and serves nothing."""
    cache = PodCache()
    cache.put(pod("a"))
    cache.put(pod("a", status={"phase": phase}))
    assert cache.replicas("serving", LLAMA) == ()


def test_pods_are_found_by_what_selects_them() -> None:
    """By namespace and labels, also once a pod's labels have changed, or it is gone."""
    cache = PodCache()
    for name in ("b", "a"):
        cache.put(pod(name))
    cache.put(pod("c", metadata={"labels": {"app": "qwen"}}))
    cache.put(pod("d", metadata={"namespace": "other"}))
    names = [one.name for one in cache.replicas("serving", LLAMA)]
    assert names == ["a", "b"]
    assert [r.name for r in cache.replicas("serving", from_text("app!=llama"))] == ["c"]
    cache.put(pod("a", metadata={"labels": {"app": "qwen"}}))
    cache.drop(pod("b"))
    assert cache.replicas("serving", LLAMA) == ()


def test_a_new_listing_of_one_namespace_leaves_the_others() -> None:
    """What it does not hold is gone from its own namespace only."""
    cache = PodCache()
    PodSink(cache, "serving").replace([pod("a"), pod("b")])
    PodSink(cache, "other").replace([pod("c", metadata={"namespace": "other"})])
    PodSink(cache, "serving").replace([pod("b")])
    assert [r.name for r in cache.replicas("serving", LLAMA)] == ["b"]
    assert [r.name for r in cache.replicas("other", LLAMA)] == ["c"]


def body(**spec: Any) -> dict[str, Any]:
    """A workload's body."""
    return {
        "metadata": {
            "uid": "u",
            "resourceVersion": "7",
            "ownerReferences": [{"kind": "Set", "name": "big", "controller": True}],
            "managedFields": [
                {"manager": "kubectl", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {}}},
                {
                    "manager": "hand",
                    "time": "2026-01-01T00:00:00Z",
                    "fieldsV1": {"f:spec": {"f:replicas": {}}},
                },
            ],
        },
        "spec": spec,
    }


def containers(*limits: dict[str, str]) -> dict[str, Any]:
    """A pod template."""
    return {"spec": {"containers": [{"resources": {"limits": each}} for each in limits]}}


def test_a_deployment_tells_all_of_its_scale() -> None:
    """Replicas, selector, owner, and who set the replicas last."""
    seen = target(DEPLOYMENT, body(replicas=3, selector={"matchLabels": {"app": "llama"}}))
    assert seen.desired == 3
    assert seen.selector == LLAMA
    assert (seen.owner, seen.set_by) == ("Set/big", "hand")
    assert target(DEPLOYMENT, body(selector={})).desired == 1


@pytest.mark.parametrize(
    ("spec", "gpus"),
    [
        ({"template": containers({"nvidia.com/gpu": "2"}, {"cpu": "1"})}, 2),
        ({"template": containers({"amd.com/gpu": "1"}, {"amd.com/gpu": "1"})}, 2),
        ({"template": containers({"nvidia.com/mig-3g.40gb": "1"})}, 1),
        ({"template": containers({"cpu": "8", "memory": "1Gi"})}, 0),
        ({}, 0),
        (
            {
                "leaderWorkerTemplate": {
                    "size": 4,
                    "leaderTemplate": containers({"nvidia.com/gpu": "1"}),
                    "workerTemplate": containers({"nvidia.com/gpu": "8"}),
                }
            },
            25,
        ),
        (
            {
                "leaderWorkerTemplate": {
                    "size": 2,
                    "workerTemplate": containers({"nvidia.com/gpu": "8"}),
                }
            },
            16,
        ),
    ],
)
def test_gpus_of_a_replica_are_read_off_its_template(spec: dict[str, Any], gpus: int) -> None:
    """Of a group of pods they are those of all its pods."""
    assert target(Kind("x/v1", "Any"), body(**spec)).gpus == gpus


def test_another_kind_is_known_once_its_scale_is_read() -> None:
    """Replicas and selector are those of the scale; the version is the later one."""
    before = target(Kind("x/v1", "Any"), body(replicas=9))
    assert (before.desired, before.selector) == (None, None)
    scale = {
        "metadata": {"resourceVersion": "8"},
        "spec": {"replicas": 2},
        "status": {"selector": "app=llama"},
    }
    seen = with_scale(before, scale)
    assert (seen.desired, seen.selector, seen.resource_version) == (2, LLAMA, "8")
    assert not before.newer_than(seen)


def test_who_else_set_the_replicas_is_kept_beyond_our_next_write() -> None:
    """An edit is told after it was put right: by then the object carries our name."""
    cache = TargetCache(
        kubernetes=NEVER_ASKED, watching=NEVER_ASKED, namespaces=(), steady=lambda: 0.0
    )
    key = TargetKey(DEPLOYMENT, "serving", "llama")
    cache.put(key, target(DEPLOYMENT, body(replicas=9)))
    ours = body(replicas=3)
    ours["metadata"] |= {"resourceVersion": "8"}
    ours["metadata"]["managedFields"][1]["manager"] = "steelyard"
    cache.put(key, target(DEPLOYMENT, ours))
    seen = cache.last_seen(key)
    assert seen is not None
    assert (seen.desired, seen.set_by, cache.edited_by(key)) == (3, "steelyard", "hand")
    cache.drop(key, "u")
    assert (cache.last_seen(key), cache.edited_by(key)) == (None, "")


def test_a_key_is_written_as_people_do() -> None:
    """Kind and name."""
    assert str(TargetKey(DEPLOYMENT, "serving", "llama")) == "Deployment llama"
