"""Weights of HTTPRoutes (Gateway API), where an object's routing is Weighted.

A backend of ours is found in its rule by kind, name and port, and patched alone: what belongs to no
variant keeps the weight its owner gave it, in proportion to ours, which add up to 100.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from controller.adapters.directory import Entry
from controller.adapters.kubernetes.client import Document, Kubernetes
from controller.adapters.kubernetes.errors import Forbidden, NotFound, Refused
from controller.api.routing import HttpRouteRef
from controller.api.variants import BackendRef
from controller.core.domain.observation import VariantObservation
from controller.core.domain.policy import ObjectKey, RoutingLaw
from controller.ports import Conflict, Planned, PortError

#: What the weights of an object's variants add up to.
WHOLE: Final = 100

#: Weights are left as they are while none is off by so much, and for so long after a change.
HYSTERESIS: Final = 5
DWELL_SECONDS: Final = 60.0

#: A route that seems right is read again after this, for somebody else may have written it.
_LOOK_AGAIN_SECONDS: Final = 60.0

#: HTTP's and JSON patch's "what was tested is not so", as the API server answers it.
_UNPROCESSABLE: Final = 422

#: Kind, name and port of a backend.
_Backend: TypeAlias = tuple[str, str, int | None]


@dataclass(slots=True)
class _Seen:
    """An object's backends in its rule: at which position each is, and with which weight."""

    positions: tuple[int, ...]
    weights: tuple[int, ...]
    read_at: float
    written_at: float = float("-inf")


@dataclass(slots=True, kw_only=True)
class Routes:
    """Writes route weights."""

    kubernetes: Kubernetes
    _seen: dict[ObjectKey, _Seen] = field(default_factory=dict)

    async def weigh(self, entry: Entry, planned: Planned, now: float) -> PortError | None:
        """Bring an object's route to the decision.

        Once it returned None, what is to have no replicas, or has none Ready, has weight 0; unless
        nothing is Ready at all, for then the weights are nobody's matter.
        """
        routing = entry.deployment.spec.routing
        ref = routing.http_route_ref if routing is not None else None
        if ref is None or planned.policy.routing.law is not RoutingLaw.WEIGHTED:
            return None
        wanted = weights_for(planned)
        if wanted is None:
            return None
        try:
            await self._brought(entry, ref, wanted, now)
        except PortError as error:
            self._seen.pop(entry.policy.key, None)
            return error
        return None

    def keep(self, keys: set[ObjectKey]) -> None:
        """Forget the routes of all other objects."""
        if self._seen.keys() - keys:
            self._seen = {key: seen for key, seen in self._seen.items() if key in keys}

    async def _brought(
        self, entry: Entry, ref: HttpRouteRef, wanted: tuple[int, ...], now: float
    ) -> None:
        key = entry.policy.key
        path = (
            f"/apis/gateway.networking.k8s.io/v1/namespaces/{key.namespace}/httproutes/{ref.name}"
        )
        seen = self._seen.get(key)
        fresh = seen is not None and now - seen.read_at < _LOOK_AGAIN_SECONDS
        if seen is not None and fresh and not _due(seen, wanted, now):
            return
        route = await self._asked(ref, self.kubernetes.get, path)
        before = seen.written_at if seen is not None else float("-inf")
        seen = self._seen[key] = _read(entry, ref, route, now)
        seen.written_at = before
        if not _due(seen, wanted, now):
            return
        operations = _operations(entry, ref, seen, wanted)
        try:
            await self._asked(ref, self.kubernetes.patch, path, operations)
        except Refused as error:
            if error.code == _UNPROCESSABLE:
                raise Conflict(f"HTTPRoute {ref.name} was changed meanwhile: read anew") from error
            raise
        seen.weights, seen.written_at = wanted, now

    async def _asked(self, ref: HttpRouteRef, call: Any, *arguments: Any) -> Document:
        """Run a call, and say what to do where the route cannot be had."""
        try:
            answer: Document = await self.kubernetes.run(call, *arguments)
        except NotFound as error:
            raise PortError(f"create HTTPRoute {ref.name} in this namespace: {error}") from error
        except Forbidden as error:
            raise PortError(
                "let steelyard get and patch httproutes: bind it to ClusterRole steelyard-routes"
            ) from error
        return answer


def weights_for(planned: Planned) -> tuple[int, ...] | None:
    """The weights that a decision asks for, in whole parts of ``WHOLE``; None to leave all as is.

    Only what keeps a replica and has one Ready gets any. The largest remainders are rounded up.
    """
    shares = planned.decision.weights
    if shares is None:
        return None
    rows = zip(shares, planned.decision.allocation, planned.observation.variants, strict=True)
    served = [_servable(share, kept, seen) for share, kept, seen in rows]
    if not any(served):
        # What is decided on is not Ready yet: what is Ready and stays carries it meanwhile.
        rows = zip(shares, planned.decision.allocation, planned.observation.variants, strict=True)
        served = [float(seen.ready) if kept > 0 else 0.0 for _, kept, seen in rows]
    total = sum(served)
    if total <= 0.0:
        return None
    exact = [WHOLE * share / total for share in served]
    floors = [int(part) for part in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (floors[i] - exact[i], i))
    for i in by_remainder[: WHOLE - sum(floors)]:
        floors[i] += 1
    return tuple(floors)


def _servable(share: float, kept: int, seen: VariantObservation) -> float:
    return share if kept > 0 and seen.ready > 0 else 0.0


def _due(seen: _Seen, wanted: Sequence[int], now: float) -> bool:
    """Whether the weights are to be written now."""
    pairs = list(zip(seen.weights, wanted, strict=True))
    if any((old > 0) != (new > 0) for old, new in pairs):
        return True
    off = max(abs(old - new) for old, new in pairs)
    return off >= HYSTERESIS and now - seen.written_at >= DWELL_SECONDS


def _read(entry: Entry, ref: HttpRouteRef, route: Document, now: float) -> _Seen:
    """Find the backends of an object's variants in its rule; raises ``PortError``."""
    rules = (route.get("spec") or {}).get("rules") or ()
    if ref.rule >= len(rules):
        raise PortError(
            f"correct httpRouteRef.rule: HTTPRoute {ref.name} has {len(rules)} rules, "
            f"and {ref.rule} counts from 0"
        )
    backends = rules[ref.rule].get("backendRefs") or ()
    places = {_backend(each): position for position, each in enumerate(backends)}
    positions = []
    for variant in entry.deployment.spec.variants:
        wanted = _wanted(variant.backend_ref)
        if wanted not in places:
            raise PortError(
                f"add backend {wanted[0]} {wanted[1]}:{wanted[2]} of {variant.name} "
                f"to rule {ref.rule} of HTTPRoute {ref.name}"
            )
        positions.append(places[wanted])
    # A weight that is left out is 1, says Gateway API.
    weights = tuple(int(backends[position].get("weight", 1)) for position in positions)
    return _Seen(tuple(positions), weights, now)


def _operations(
    entry: Entry, ref: HttpRouteRef, seen: _Seen, wanted: Sequence[int]
) -> list[Document]:
    """A patch that fails as a whole where a backend is not at its position any more."""
    operations: list[Document] = []
    rows = zip(entry.deployment.spec.variants, seen.positions, wanted, strict=True)
    for variant, position, weight in rows:
        place = f"/spec/rules/{ref.rule}/backendRefs/{position}"
        _, name, port = _wanted(variant.backend_ref)
        operations.append({"op": "test", "path": f"{place}/name", "value": name})
        if port is not None:
            operations.append({"op": "test", "path": f"{place}/port", "value": port})
        operations.append({"op": "add", "path": f"{place}/weight", "value": weight})
    return operations


def _backend(ref: Mapping[str, Any]) -> _Backend:
    kind = ref.get("kind") or "Service"
    return kind, ref.get("name") or "", ref.get("port") if kind == "Service" else None


def _wanted(ref: BackendRef | None) -> _Backend:
    if ref is None:
        raise PortError("Weighted routing needs a backendRef on every variant")
    return ref.kind, ref.name, ref.port if ref.kind == "Service" else None
