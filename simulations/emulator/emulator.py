"""Many model servers on one emulated clock: pods come and go, requests find their replica."""

from collections.abc import Iterator

import numpy as np

from simulations.emulator.replica import Refusal, Replica, Request, Ticket
from simulations.emulator.view import (
    Balancing,
    ClusterView,
    Door,
    DoorKind,
    PodSpec,
    RouteSpec,
    ServiceSpec,
)


class UnknownDoor(LookupError):  # noqa: N818 - named after what it is
    """No pod, Service or route of that name."""


class Pod:
    """A pod whose replica runs."""

    def __init__(self, spec: PodSpec, replica: Replica) -> None:
        self.spec = spec
        self.replica = replica

    @property
    def routable(self) -> bool:
        """Whether a Service would send it requests."""
        return self.spec.ready and not self.spec.terminating


class _Service:
    """A Service's pods, in order of their start, and whose turn it is."""

    def __init__(self, spec: ServiceSpec, endpoints: list[Pod]) -> None:
        self.spec = spec
        self.endpoints = endpoints
        self.turn = 0


class Emulator:
    """Plays the model servers of a cluster.

    Times are emulated seconds that never go back. It reads no clock: who drives it says what
    time it is, so that a test, a replay at any speed and a live server are the same.
    """

    def __init__(self, *, client_timeout_seconds: float | None = None, seed: int = 0) -> None:
        self._client_timeout_seconds = client_timeout_seconds
        self._random = np.random.default_rng(seed)
        self._now = 0.0
        self._view = ClusterView()
        self._pods: dict[tuple[str, str], Pod] = {}
        self._leaving: list[Pod] = []
        self._services: dict[tuple[str, str], _Service] = {}
        self._routes: dict[tuple[str, str], RouteSpec] = {}

    # --- reading -------------------------------------------------------------------------------

    @property
    def now_seconds(self) -> float:
        """How far the emulator has advanced."""
        return self._now

    @property
    def pods(self) -> tuple[Pod, ...]:
        """Pods of the view whose replicas run, in order of their start."""
        return tuple(self._pods.values())

    @property
    def outstanding(self) -> int:
        """Requests that have been taken and not ended, those of pods that are gone included."""
        return sum(pod.replica.outstanding for pod in self._running())

    @property
    def next_news_seconds(self) -> float:
        """When a listener may next hear something; infinite when nobody listens."""
        return min((p.replica.next_news_seconds for p in self._running()), default=np.inf)

    def pod(self, namespace: str, name: str) -> Pod:
        """Return a pod whose replica runs.

        Raises:
            UnknownDoor: there is none.
        """
        found = self._pods.get((namespace, name))
        if found is None:
            raise UnknownDoor(f"pod {name} in namespace {namespace} serves no model")
        return found

    def door_at(self, address: str) -> Door | None:
        """Return the pod or Service that has an IP address; a pod without one, if it is alone."""
        for pod in self._pods.values():
            if pod.spec.address == address:
                return Door(DoorKind.POD, pod.spec.namespace, pod.spec.name)
        for service in self._services.values():
            if service.spec.address == address:
                return Door(DoorKind.SERVICE, service.spec.namespace, service.spec.name)
        if len(self._view.pods) == 1 and self._view.pods[0].address is None:
            return Door(DoorKind.POD, *self._view.pods[0].key)
        return None

    def served_models(self, door: Door) -> tuple[str, ...]:
        """Return the names under which the pods behind a door serve."""
        return tuple(dict.fromkeys(pod.spec.served_model_name for pod in self._behind(door)))

    # --- changing ------------------------------------------------------------------------------

    def apply(self, view: ClusterView, at_seconds: float) -> None:
        """Take the cluster as it is now: start, drain and remove replicas.

        A replica starts when its pod is Ready. One whose pod is terminating, or no longer Ready,
        takes nothing new; one whose pod is gone has no address any more and ends once it is empty;
        one whose container restarted has lost what it was serving.
        """
        if view is self._view:
            return
        self.advance(at_seconds)
        self._view = view
        wanted = {spec.key: spec for spec in view.pods}
        for key, pod in list(self._pods.items()):
            spec = wanted.get(key)
            if spec is None or spec.uid != pod.spec.uid:
                self._leaving.append(self._pods.pop(key))
            elif spec.restarts != pod.spec.restarts:
                self._pods.pop(key).replica.crash(self._now)
            else:
                pod.spec = spec
        for key, spec in wanted.items():
            if key not in self._pods and spec.ready and not spec.terminating:
                self._pods[key] = Pod(spec, self._start(spec))
        self._routes = {(route.namespace, route.name): route for route in view.routes}
        turns = {key: service.turn for key, service in self._services.items()}
        self._services = {}
        for service_spec in view.services:
            service = _Service(service_spec, self._endpoints(service_spec))
            key = (service_spec.namespace, service_spec.name)
            service.turn = turns.get(key, 0)
            self._services[key] = service
        self._forget_empty()

    def advance(self, at_seconds: float) -> None:
        """Carry out what is due up to ``at_seconds``; a time that is past changes nothing."""
        self._now = max(self._now, at_seconds)
        for pod in self._running():
            pod.replica.hear(at_seconds)
        if self._leaving:
            self._forget_empty()

    def send(
        self,
        door: Door,
        request: Request,
        at_seconds: float,
    ) -> tuple[Pod | None, Ticket | Refusal]:
        """Route a request that arrives at ``at_seconds``; tells which pod took or refused it.

        Raises:
            UnknownDoor: there is no such pod, Service or route.
        """
        at = self._now = max(self._now, at_seconds)
        overflow: str | None = None
        if door.kind is DoorKind.POD:
            pod: Pod | None = self.pod(door.namespace, door.name)
        else:
            route = self._route(door) if door.kind is DoorKind.ROUTE else None
            if route is None:
                pod = self._pick(self._service(door.namespace, door.name), at)
            else:
                overflow = route.overflow
                pod = self._pick(self._backend(door.namespace, self._draw(route)), at)
        answer = self._submit(pod, request, at)
        if overflow is not None and answer in {Refusal.QUEUE_FULL, Refusal.NO_ENDPOINT}:
            pod = self._pick(self._backend(door.namespace, overflow), at)
            answer = self._submit(pod, request, at)
        return pod, answer

    # --- inside --------------------------------------------------------------------------------

    def _running(self) -> Iterator[Pod]:
        yield from self._pods.values()
        yield from self._leaving

    def _forget_empty(self) -> None:
        self._leaving = [pod for pod in self._leaving if pod.replica.outstanding]

    def _start(self, spec: PodSpec) -> Replica:
        return Replica(
            spec.profile,
            self._now,
            queue_limit=spec.queue_limit,
            max_model_len=spec.max_model_len,
            speed=spec.speed,
            client_timeout_seconds=self._client_timeout_seconds,
        )

    def _endpoints(self, service: ServiceSpec) -> list[Pod]:
        wanted = service.selector.items()
        return [
            pod
            for pod in self._pods.values()
            if pod.routable
            and pod.spec.namespace == service.namespace
            and wanted <= pod.spec.labels.items()
        ]

    def _service(self, namespace: str, name: str) -> _Service:
        service = self._services.get((namespace, name))
        if service is None:
            raise UnknownDoor(f"no Service {name} in namespace {namespace}")
        return service

    def _backend(self, namespace: str, name: str | None) -> _Service | None:
        """Return a route's Service; what a gateway sends to one that is not there gets a 503."""
        return None if name is None else self._services.get((namespace, name))

    def _route(self, door: Door) -> RouteSpec:
        route = self._routes.get((door.namespace, door.name))
        if route is None:
            raise UnknownDoor(f"no route {door.name} in namespace {door.namespace}")
        return route

    def _behind(self, door: Door) -> list[Pod]:
        if door.kind is DoorKind.POD:
            return [self.pod(door.namespace, door.name)]
        if door.kind is DoorKind.ROUTE:
            route = self._route(door)
            names = [name for name, _ in route.weights]
            names += [] if route.overflow is None else [route.overflow]
            backends = [self._backend(door.namespace, name) for name in names]
            return [pod for backend in backends if backend for pod in backend.endpoints]
        return self._service(door.namespace, door.name).endpoints

    def _draw(self, route: RouteSpec) -> str | None:
        """Draw a Service by weight, whether or not it has pods: as a gateway does."""
        draw = self._random.random() * sum(weight for _, weight in route.weights)
        for name, weight in route.weights:
            draw -= weight
            if draw < 0.0:
                return name
        return None  # all weights are 0

    def _pick(self, service: _Service | None, at: float) -> Pod | None:
        """Fewest outstanding, ties to the first in cyclic order after the last one picked."""
        endpoints = [] if service is None else service.endpoints
        count = len(endpoints)
        if service is None or count == 0:
            return None
        if service.spec.balancing is Balancing.RANDOM:
            return endpoints[int(self._random.integers(count))]
        turn = service.turn % count
        best, least = turn, -1
        for step in range(count):
            place = (turn + step) % count
            replica = endpoints[place].replica
            replica.advance(at)
            if least < 0 or replica.outstanding < least:
                best, least = place, replica.outstanding
        service.turn = best + 1
        return endpoints[best]

    @staticmethod
    def _submit(pod: Pod | None, request: Request, at: float) -> Ticket | Refusal:
        return Refusal.NO_ENDPOINT if pod is None else pod.replica.submit(request, at)
