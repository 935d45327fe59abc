"""The cluster behind a Kubernetes API: lists, then watches, what the emulator plays."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from aiohttp import ClientError
from kubernetes.aio import client, config, watch

from simulations.emulator.kubernetes_objects import (
    InvalidAnnotation,
    pod_spec,
    route_spec,
    service_spec,
)
from simulations.emulator.view import ClusterView, PodSpec, RouteSpec, ServiceSpec

_LOGGER = logging.getLogger(__name__)

#: The API server ends a watch after so long, so that one whose connection died is noticed.
_WATCH_SECONDS = 120
_RETRY_SECONDS = 2.0
#: Between looks for a kind that the API server does not know (no Gateway API installed).
_UNKNOWN_KIND_SECONDS = 10.0

_Call = Callable[..., Any]
SpecT = TypeVar("SpecT", PodSpec, ServiceSpec, RouteSpec)


class _Kind(Generic[SpecT]):
    """The objects of one kind that are played."""

    def __init__(self, read: Callable[[Mapping[str, Any]], SpecT | None]) -> None:
        self._read: Callable[[Mapping[str, Any]], SpecT | None] = read
        self._complaints: dict[tuple[str, str], str] = {}
        self.specs: dict[tuple[str, str], SpecT] = {}

    def put(self, item: Mapping[str, Any]) -> bool:
        """Take an object as it is now; tells whether anything of interest changed."""
        key = _key(item)
        try:
            spec = self._read(item)
        except InvalidAnnotation as error:
            if self._complaints.get(key) != str(error):
                self._complaints[key] = str(error)
                _LOGGER.warning("%s/%s is not played: %s", *key, error)
            spec = None
        if spec == self.specs.get(key):
            return False
        if spec is None:
            return self.drop(item)
        self.specs[key] = spec
        return True

    def drop(self, item: Mapping[str, Any]) -> bool:
        """Forget an object that is gone."""
        self._complaints.pop(_key(item), None)
        return self.specs.pop(_key(item), None) is not None

    def replace(self, items: list[dict[str, Any]]) -> bool:
        """Take a whole list; what is not in it is gone."""
        listed = {_key(item) for item in items}
        gone = [key for key in self.specs if key not in listed]
        for key in gone:
            del self.specs[key]
        changed = [self.put(item) for item in items]
        return any(changed) or bool(gone)


class KubernetesCluster:
    """Follows pods, Services and HTTPRoutes of all namespaces, or of one."""

    def __init__(self, kubeconfig: Path | None = None, *, namespace: str | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._namespace = namespace
        self._pods = _Kind(pod_spec)
        self._services = _Kind(service_spec)
        self._routes = _Kind(route_spec)
        self._view = ClusterView()

    def view(self) -> ClusterView:
        """Return the cluster as last seen."""
        return self._view

    async def run(self) -> None:
        """Follow until cancelled; without a kubeconfig, as the pod this runs in."""
        if self._kubeconfig is None:
            config.load_incluster_config()  # type: ignore[no-untyped-call]  # the client's own
        else:
            file = str(self._kubeconfig)
            await config.load_kube_config(config_file=file)  # type: ignore[no-untyped-call]  # too
        async with client.ApiClient() as api, asyncio.TaskGroup() as tasks:
            for kind, call, where in self._kinds(api):
                tasks.create_task(self._follow(kind, call, where))

    def _kinds(self, api: client.ApiClient) -> list[tuple[_Kind[Any], _Call, Mapping[str, str]]]:
        """Return what is followed: the kind, the API's function that lists it, and where."""
        core, custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
        routes = {"group": "gateway.networking.k8s.io", "version": "v1", "plural": "httproutes"}
        if self._namespace is None:
            return [
                (self._pods, core.list_pod_for_all_namespaces, {}),
                (self._services, core.list_service_for_all_namespaces, {}),
                (self._routes, custom.list_cluster_custom_object, routes),
            ]
        here = {"namespace": self._namespace}
        return [
            (self._pods, core.list_namespaced_pod, here),
            (self._services, core.list_namespaced_service, here),
            (self._routes, custom.list_namespaced_custom_object, {**routes, **here}),
        ]

    async def _follow(self, kind: _Kind[Any], call: _Call, where: Mapping[str, str]) -> None:
        """List and watch one kind, for ever; what goes wrong is tried again."""
        version: str | None = None
        while True:
            try:
                if version is None:
                    version = await self._list(kind, call, where)
                version = await self._watch(kind, call, where, version)
            except client.ApiException as error:
                version = None
                if error.status == 404:
                    await asyncio.sleep(_UNKNOWN_KIND_SECONDS)
                elif error.status != 410:  # Gone: too old to watch from, so all is listed anew
                    _LOGGER.warning("the API server refuses: %s %s", error.status, error.reason)
                    await asyncio.sleep(_RETRY_SECONDS)
            except (ClientError, TimeoutError, OSError) as error:
                version = None
                _LOGGER.warning("the API server cannot be reached: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _list(self, kind: _Kind[Any], call: _Call, where: Mapping[str, str]) -> str:
        """Take all objects; returns the version to watch from."""
        raw = getattr(call.__self__, f"{call.__name__}_without_preload_content")  # type: ignore[attr-defined]  # a bound method
        response = await raw(**where)
        async with response:
            if response.status != 200:  # a kind that is not served is told in plain text
                raise client.ApiException(status=response.status, reason=await response.text())
            body = await response.json()
        if kind.replace(body["items"]):
            self._publish()
        return str(body["metadata"]["resourceVersion"])

    async def _watch(
        self, kind: _Kind[Any], call: _Call, where: Mapping[str, str], version: str
    ) -> str:
        """Take changes until the API server ends the watch; returns where to go on."""
        follower = watch.Watch(return_type="object")  # type: ignore[no-untyped-call]  # the client's own
        async with follower as events:
            async for event in events.stream(
                call,
                **where,
                resource_version=version,
                timeout_seconds=_WATCH_SECONDS,
                allow_watch_bookmarks=True,
                _request_timeout=_WATCH_SECONDS + 10,
            ):
                item = event["raw_object"]
                version = item["metadata"]["resourceVersion"]
                change = event["type"]
                if change == "BOOKMARK":
                    continue
                if kind.drop(item) if change == "DELETED" else kind.put(item):
                    self._publish()
        return version

    def _publish(self) -> None:
        self._view = ClusterView(
            pods=tuple(self._pods.specs.values()),
            services=tuple(self._services.specs.values()),
            routes=tuple(self._routes.specs.values()),
        )


def _key(item: Mapping[str, Any]) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]
