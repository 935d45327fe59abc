"""The cluster behind a Kubernetes API: objects become pods, Services and routes that are played."""

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from simulations.emulator.kubernetes_cluster import KubernetesCluster
from simulations.emulator.kubernetes_objects import (
    PREFIX,
    InvalidAnnotation,
    pod_spec,
    route_spec,
    service_spec,
)
from simulations.emulator.view import Balancing

PODS = "/api/v1/pods"
SERVICES = "/api/v1/services"
ROUTES = "/apis/gateway.networking.k8s.io/v1/httproutes"


def pod(name: str, *, ready: bool = True, version: int = 1, **notes: str) -> dict[str, Any]:
    """Make a pod as the API server shows it."""
    annotations = {PREFIX + note.replace("_", "-"): text for note, text in notes.items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "serving",
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
            "labels": {"app": "llama"},
            "annotations": annotations,
        },
        "status": {
            "podIP": "10.244.0.5",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"restartCount": 2}],
        },
    }


def named(name: str, **fields: Any) -> dict[str, Any]:
    """Make any other object of the namespace."""
    metadata = {"namespace": "serving", "name": name, "resourceVersion": "1"}
    return {"metadata": {**metadata, **fields.pop("metadata", {})}, **fields}


def test_an_annotated_pod_is_played_as_it_says() -> None:
    """Profile, names, limits and speed come from annotations; readiness from the status."""
    spec = pod_spec(
        pod(
            "a",
            profile="llama-8b-fp8-h100",
            served_model_name="llama",
            queue_limit="64",
            max_model_len="4096",
            speed="0.5",
        )
    )
    assert spec is not None
    assert (spec.namespace, spec.name, spec.address) == ("serving", "a", "10.244.0.5")
    assert spec.profile.t0_milliseconds == pytest.approx(4.66)
    assert spec.served_model_name == "llama"
    assert (spec.queue_limit, spec.max_model_len, spec.speed) == (64, 4096, 0.5)
    assert (spec.uid, spec.restarts) == ("uid-a", 2)
    assert spec.ready
    assert not spec.terminating


def test_pods_that_do_not_ask_for_it_are_not_played() -> None:
    """Without the annotation a pod is none of the emulator's business."""
    assert pod_spec(pod("a")) is None


def test_a_deleted_pod_is_terminating_and_an_unready_one_not_ready() -> None:
    """The deletion time and the Ready condition are told apart."""
    leaving = pod("a", profile="llama-8b-fp8-h100")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    spec = pod_spec(leaving)
    assert spec is not None
    assert spec.terminating
    assert spec.ready
    starting = pod_spec(pod("a", ready=False, profile="llama-8b-fp8-h100"))
    assert starting is not None
    assert not starting.ready


@pytest.mark.parametrize(
    "notes",
    [
        {"profile": "gpt"},
        {"profile": "llama-8b-fp8-h100", "queue_limit": "many"},
        {"profile": "llama-8b-fp8-h100", "max_model_len": "0"},
        {"profile": "llama-8b-fp8-h100", "speed": "-1"},
        {"profile": "llama-8b-fp8-h100", "speed": "fast"},
    ],
)
def test_wrong_annotations_are_named(notes: dict[str, str]) -> None:
    """An annotation that cannot be read is refused by its name."""
    wrong = list(notes)[-1].replace("_", "-")
    with pytest.raises(InvalidAnnotation, match=PREFIX + wrong):
        pod_spec(pod("a", **notes))


def test_services_and_routes_are_read() -> None:
    """Selectors, addresses, balancing, weights and overflow come from the objects."""
    notes = {"annotations": {f"{PREFIX}balancing": "Random"}}
    spec = {"selector": {"app": "llama"}, "clusterIP": "10.96.0.7"}
    service = service_spec(named("llama", metadata=notes, spec=spec))
    assert service is not None
    assert service.balancing is Balancing.RANDOM
    assert (service.selector, service.address) == ({"app": "llama"}, "10.96.0.7")
    assert service_spec(named("outside", spec={})) is None
    with pytest.raises(InvalidAnnotation, match="balancing"):
        service_spec(
            named("x", metadata={"annotations": {f"{PREFIX}balancing": "Best"}}, spec=spec)
        )
    backends = [{"name": "fp8", "weight": 9}, {"name": "int4", "weight": 0}, {"name": "new"}]
    overflow = {"annotations": {f"{PREFIX}overflow": "int4"}}
    route = route_spec(named("r", metadata=overflow, spec={"rules": [{"backendRefs": backends}]}))
    assert route is not None
    assert route.weights == (("fp8", 9), ("int4", 0), ("new", 1))
    assert route.overflow == "int4"
    assert route_spec(named("empty", spec={"rules": []})) is None


class FakeApi:
    """As much of an API server as a list and a watch need."""

    def __init__(self) -> None:
        self.items: dict[str, list[dict[str, Any]]] = {PODS: [], SERVICES: [], ROUTES: []}
        self.watches: dict[str, asyncio.Queue[dict[str, Any] | None]] = {}
        self.lists = dict.fromkeys(self.items, 0)
        self.watched_from: list[tuple[str, str]] = []
        self.unknown: set[str] = set()

    def application(self) -> web.Application:
        """Build the server."""
        app = web.Application()
        for path in self.items:
            app.router.add_get(path, self._answer)
        return app

    def tell(self, path: str, change: str, item: dict[str, Any]) -> None:
        """Send a change to whoever watches."""
        self.watches[path].put_nowait({"type": change, "object": item})

    def hang_up(self, path: str) -> None:
        """End the watch, as an API server does after its time."""
        self.watches[path].put_nowait(None)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path in self.unknown:
            return web.Response(text="404 page not found", status=404)  # as a real one says it
        if "watch" not in request.query:
            self.lists[path] += 1
            version = {"resourceVersion": str(100 * self.lists[path])}
            return web.json_response({"metadata": version, "items": self.items[path]})
        changes = self.watches[path] = asyncio.Queue()
        self.watched_from.append((path, request.query["resourceVersion"]))
        response = web.StreamResponse()
        await response.prepare(request)
        while (change := await changes.get()) is not None:
            await response.write(json.dumps(change).encode() + b"\n")
        return response


@pytest.fixture
def follow(tmp_path: Path) -> Callable[..., None]:
    """Follow a fake API server while a scenario changes it."""

    def run(
        scenario: Callable[[FakeApi, KubernetesCluster], Coroutine[Any, Any, None]],
        api: FakeApi,
    ) -> None:
        async def main() -> None:
            async with TestServer(api.application()) as server:
                kubeconfig = tmp_path / "kubeconfig"
                cluster = {"server": str(server.make_url(""))}
                kubeconfig.write_text(
                    yaml.safe_dump(
                        {
                            "current-context": "c",
                            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                            "clusters": [{"name": "c", "cluster": cluster}],
                            "users": [{"name": "u", "user": {"token": "t"}}],
                        }
                    )
                )
                followed = KubernetesCluster(kubeconfig)
                following = asyncio.create_task(followed.run())
                try:
                    await scenario(api, followed)
                finally:
                    following.cancel()
                    await asyncio.gather(following, return_exceptions=True)
                    for path in api.watches:
                        api.hang_up(path)

        asyncio.run(main())

    return run


async def until(condition: Callable[[], bool]) -> None:
    """Let everything else run until a condition holds."""
    while not condition():  # noqa: ASYNC110 - no event tells of what lies on the wire
        await asyncio.sleep(0)


def test_pods_are_followed_from_their_list_on(follow: Callable[..., None]) -> None:
    """What is listed, added, changed and deleted shows in the view; the rest does not."""
    api = FakeApi()
    api.items[PODS] = [pod("a", profile="llama-8b-fp8-h100"), pod("other")]
    api.items[SERVICES] = [named("llama", spec={"selector": {"app": "llama"}})]
    api.items[ROUTES] = [named("r", spec={"rules": [{"backendRefs": [{"name": "llama"}]}]})]

    async def scenario(api: FakeApi, cluster: KubernetesCluster) -> None:
        def names() -> list[tuple[str, bool]]:
            return [(spec.name, spec.ready) for spec in cluster.view().pods]

        await until(lambda: len(api.watches) == 3)
        assert names() == [("a", True)]
        assert [s.name for s in cluster.view().services] == ["llama"]
        assert [r.weights for r in cluster.view().routes] == [(("llama", 1),)]
        before = cluster.view()
        api.tell(PODS, "ADDED", pod("more", version=5))
        api.tell(PODS, "ADDED", pod("b", ready=False, version=6, profile="llama-8b-fp8-h100"))
        await until(lambda: len(names()) == 2)
        assert cluster.view() is not before
        assert names() == [("a", True), ("b", False)]
        api.tell(PODS, "MODIFIED", pod("b", version=7, profile="llama-8b-fp8-h100"))
        await until(lambda: names()[1] == ("b", True))
        api.tell(PODS, "DELETED", pod("a", version=8))
        await until(lambda: names() == [("b", True)])

    follow(scenario, api)


def test_a_watch_goes_on_where_it_ended(follow: Callable[..., None]) -> None:
    """After its time is over a watch begins again at the last version seen, without a list."""

    async def scenario(api: FakeApi, cluster: KubernetesCluster) -> None:
        await until(lambda: len(api.watches) == 3)
        api.tell(PODS, "BOOKMARK", {"metadata": {"resourceVersion": "777"}})
        api.hang_up(PODS)
        await until(lambda: (PODS, "777") in api.watched_from)
        assert api.lists[PODS] == 1
        assert cluster.view().pods == ()

    follow(scenario, FakeApi())


def test_a_version_that_is_too_old_leads_to_a_new_list(follow: Callable[..., None]) -> None:
    """After 410 Gone all is listed anew, and what has gone meanwhile is dropped."""
    api = FakeApi()
    api.items[PODS] = [pod("a", profile="llama-8b-fp8-h100")]

    async def scenario(api: FakeApi, cluster: KubernetesCluster) -> None:
        await until(lambda: len(api.watches) == 3)
        assert len(cluster.view().pods) == 1
        api.items[PODS] = [pod("b", profile="llama-8b-fp8-h100")]
        gone = {"code": 410, "reason": "Expired", "message": "too old", "status": "Failure"}
        api.tell(PODS, "ERROR", gone)
        await until(lambda: api.lists[PODS] == 2)
        await until(lambda: [spec.name for spec in cluster.view().pods] == ["b"])

    follow(scenario, api)


def test_a_cluster_without_the_gateway_api_is_followed(
    follow: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Where HTTPRoutes are unknown, pods and Services are played, and nobody is warned of it."""
    api = FakeApi()
    api.unknown = {ROUTES}
    api.items[PODS] = [pod("a", profile="llama-8b-fp8-h100")]

    async def scenario(api: FakeApi, cluster: KubernetesCluster) -> None:
        await until(lambda: len(api.watches) == 2)
        assert [spec.name for spec in cluster.view().pods] == ["a"]
        assert cluster.view().routes == ()

    follow(scenario, api)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_wrong_pod_is_said_once_and_leaves_the_others(
    follow: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """One bad annotation is logged with the pod's name; the rest is played."""
    api = FakeApi()
    api.items[PODS] = [pod("bad", profile="gpt"), pod("a", profile="llama-8b-fp8-h100")]

    async def scenario(api: FakeApi, cluster: KubernetesCluster) -> None:
        await until(lambda: len(api.watches) == 3)
        assert [spec.name for spec in cluster.view().pods] == ["a"]
        api.tell(PODS, "MODIFIED", pod("bad", version=9, profile="gpt"))
        api.tell(PODS, "ADDED", pod("c", version=10, profile="llama-8b-fp8-h100"))
        await until(lambda: len(cluster.view().pods) == 2)

    follow(scenario, api)
    said = [record.getMessage() for record in caplog.records if "bad" in record.getMessage()]
    assert len(said) == 1
    assert "unknown performance profile 'gpt'" in said[0]
