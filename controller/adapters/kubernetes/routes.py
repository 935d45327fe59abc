"""Weights of HTTPRoutes (Gateway API), where an object's routing is Weighted.

The weights of an object's variants add up to 100 in its rule, whatever they were before. A backend
of that rule which belongs to no variant keeps the weight its owner gave it, and so gets
``weight / (100 + weight)`` of the traffic (of several such backends each its part): a share that
the owner can choose with one number, and that no decision of ours moves. A scale that followed the
foreign weights would have to be worked out anew whenever either side wrote.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from controller.adapters.directory import Entry
from controller.adapters.kubernetes.client import Document, Kubernetes
from controller.adapters.kubernetes.errors import Forbidden, NotFound, Refused
from controller.adapters.kubernetes.weights import whole_weights, worth_writing
from controller.api.routing import HttpRouteRef
from controller.api.variants import BackendRef
from controller.core.domain.policy import ObjectKey, RoutingLaw
from controller.ports import Conflict, Planned, PortError

_VERSION: Final = "gateway.networking.k8s.io/v1"

#: A route is read again after this, for somebody else may have written it.
_READ_SECONDS: Final = 60.0

#: Namespace and name of a route.
_Place: TypeAlias = tuple[str, str]


class _Backend(NamedTuple):
    """A backendRef of a rule; None is what was left out."""

    group: str | None
    kind: str | None
    namespace: str | None
    name: str
    port: int | None
    weight: int

    def is_of(self, ref: BackendRef, namespace: str) -> bool:
        """Whether it is what a variant's ``backendRef`` names.

        Gateway API's defaults: a Service of the core group, in the route's namespace. Only a
        Service has a port there.
        """
        service = (self.kind or "Service") == "Service"
        return (
            (self.kind or "Service") == ref.kind
            and self.name == ref.name
            and (self.namespace or namespace) == namespace
            and service is not bool(self.group)
            and (not service or self.port == ref.port)
        )


class _Route(NamedTuple):
    """A route as it was last read: the backends of every rule."""

    rules: tuple[tuple[_Backend, ...], ...]
    version: int
    read_at: float


@dataclass(slots=True)
class _Use:
    """Which route an object's weights are in, and when they were last written."""

    place: _Place
    written_at: float = float("-inf")


@dataclass(slots=True, kw_only=True)
class Routes:
    """Writes route weights; called from one event loop."""

    kubernetes: Kubernetes
    _uses: dict[ObjectKey, _Use] = field(default_factory=dict)
    _routes: dict[_Place, _Route] = field(default_factory=dict)

    async def weigh(self, entry: Entry, planned: Planned, now: float) -> PortError | None:
        """Bring an object's route to its decision; returns what kept it from that.

        After None, a variant that is to have no replica, or has none Ready, has weight 0. The route
        is left as it is where no weight could help: while nothing is Ready, and where no variant is
        to keep a replica (then the first one to come back serves as soon as it is Ready). A
        decision without weights changes none, but for those of a variant that goes.
        """
        routing = entry.deployment.spec.routing
        ref = routing.http_route_ref if routing is not None else None
        if ref is None or planned.policy.routing.law is not RoutingLaw.WEIGHTED:
            self._uses.pop(entry.policy.key, None)
            return None
        if planned.decision.weights is None and not _going(planned):
            return None
        place = (entry.policy.namespace, ref.name)
        use = self._uses.get(entry.policy.key)
        if use is None or use.place != place:
            use = self._uses[entry.policy.key] = _Use(place)
        try:
            await self._brought(entry, ref, planned, use, now)
        except PortError as error:
            self._routes.pop(place, None)
            return error
        return None

    def keep(self, keys: set[ObjectKey]) -> None:
        """Forget all other objects, and the routes that only they name."""
        if self._uses.keys() - keys:
            self._uses = {key: use for key, use in self._uses.items() if key in keys}
        named = {use.place for use in self._uses.values()}
        if self._routes.keys() - named:
            self._routes = {place: r for place, r in self._routes.items() if place in named}

    async def _brought(
        self, entry: Entry, ref: HttpRouteRef, planned: Planned, use: _Use, now: float
    ) -> None:
        known = self._routes.get(use.place)
        # Before replicas go for good it is not enough that the route was right a minute ago.
        if known is not None and not _going(planned) and not _read_due(known, use.place, now):
            wanted = _Wanted.of(entry, ref, known, planned)
            if not wanted.is_due(now - use.written_at):
                return
        path = _path(use.place)
        document = await self._asked(ref, self.kubernetes.get, path)
        wanted = _Wanted.of(entry, ref, self._remember(use.place, ref, document, now), planned)
        if wanted.is_due(now - use.written_at):
            document = await self._asked(ref, self.kubernetes.patch, path, wanted.operations())
            use.written_at = now
            self._remember(use.place, ref, document, now)

    def _remember(self, place: _Place, ref: HttpRouteRef, document: Document, now: float) -> _Route:
        """Keep what was read; an answer that another one overtook is older than what is known."""
        try:
            read = _route(document, now)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PortError(f"HTTPRoute {ref.name} cannot be read: {error!r}") from error
        known = self._routes.get(place)
        if known is not None and known.version > read.version:
            return known
        self._routes[place] = read
        return read

    async def _asked(self, ref: HttpRouteRef, call: Any, *arguments: Any) -> Document:
        """Run a call; raises ``PortError`` with the fix where the route cannot be had."""
        try:
            answer: Document = await self.kubernetes.run(call, *arguments)
        except NotFound as error:
            # Of a kind that is not served, the API server says nothing by name.
            if f'"{ref.name}"' not in str(error):
                text = f"install Gateway API: the API server serves no HTTPRoutes in {_VERSION}"
            else:
                text = f"create HTTPRoute {ref.name} in this namespace, or correct httpRouteRef"
            raise NotFound(error.code, text) from error
        except Forbidden as error:
            if "cannot " not in str(error):  # by an admission webhook, which has its own words
                raise
            text = f"let steelyard get and patch httproutes (docs/operations.md, Rights): {error}"
            raise Forbidden(error.code, text) from error
        except Refused as error:
            if error.test_failed:
                raise Conflict(f"HTTPRoute {ref.name} was changed meanwhile: read anew") from error
            raise
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What a rule's backends of one object are to weigh; ``weights`` None leaves them as is."""

    rule: int
    positions: tuple[int, ...]
    backends: tuple[_Backend, ...]
    weights: tuple[int, ...] | None

    @classmethod
    def of(cls, entry: Entry, ref: HttpRouteRef, route: _Route, planned: Planned) -> "_Wanted":
        """What a decision asks for in this route.

        Raises:
            PortError: the rule or a backend is not there, or what is to go serves alone.
        """
        found = _found(entry, ref, route)
        backends = tuple(backend for _, backend in found)
        kept = planned.decision.allocation
        ready = tuple(seen.ready for seen in planned.observation.variants)
        shares = planned.decision.weights
        if shares is None:
            shares = tuple(float(backend.weight) for backend in backends)
        weights = whole_weights(shares, kept, ready)
        if weights is None and any(kept):
            for variant, goes, serves in zip(
                entry.deployment.spec.variants, _goes(planned), ready, strict=True
            ):
                if goes and serves:
                    raise PortError(
                        f"wait: {variant.name} serves until what is to stay has a Ready replica"
                    )
        return cls(
            rule=ref.rule,
            positions=tuple(position for position, _ in found),
            backends=backends,
            weights=weights,
        )

    def is_due(self, seconds_since_written: float) -> bool:
        """Whether they are to be written now."""
        weights = tuple(backend.weight for backend in self.backends)
        return self.weights is not None and worth_writing(
            weights, self.weights, seconds_since_written
        )

    def operations(self) -> Sequence[Document]:
        """A patch that fails as a whole where a backend is not at its position any more."""
        tests: list[Document] = []
        weights: list[Document] = []
        rows = zip(self.positions, self.backends, self.weights or (), strict=True)
        for position, backend, weight in rows:
            at = f"/spec/rules/{self.rule}/backendRefs/{position}"
            told = {"name": backend.name, "kind": backend.kind, "port": backend.port}
            tests += [
                {"op": "test", "path": f"{at}/{part}", "value": value}
                for part, value in told.items()
                if value is not None
            ]
            weights.append({"op": "add", "path": f"{at}/weight", "value": weight})
        return [*tests, *weights]


def _goes(planned: Planned) -> tuple[bool, ...]:
    """Which variants are about to lose their last replica."""
    rows = zip(planned.decision.allocation, planned.observation.variants, strict=True)
    return tuple(kept == 0 and seen.desired > 0 for kept, seen in rows)


def _going(planned: Planned) -> bool:
    return any(_goes(planned))


def _found(entry: Entry, ref: HttpRouteRef, route: _Route) -> list[tuple[int, _Backend]]:
    """Position and state of every variant's backend; raises ``PortError``."""
    if ref.rule >= len(route.rules):
        raise PortError(
            f"correct httpRouteRef.rule: {ref.rule} does not exist, HTTPRoute {ref.name} has "
            f"{len(route.rules)}, counted from 0"
        )
    rule = list(enumerate(route.rules[ref.rule]))
    found = []
    for variant in entry.deployment.spec.variants:
        wanted = variant.backend_ref
        if wanted is None:
            raise PortError(f"give variant {variant.name} a backendRef: routing is Weighted")
        named = [each for each in rule if each[1].is_of(wanted, entry.policy.namespace)]
        where = f"rule {ref.rule} of HTTPRoute {ref.name}"
        if not named:
            raise PortError(f"add {_text(wanted)} to {where}, for variant {variant.name}")
        if len(named) > 1:
            raise PortError(f"name {_text(wanted)} once: {where} has it {len(named)} times")
        found += named
    return found


def _text(ref: BackendRef) -> str:
    return f"{ref.kind} {ref.name}" + (f" port {ref.port}" if ref.kind == "Service" else "")


def _route(document: Document, now: float) -> _Route:
    version = document["metadata"]["resourceVersion"]
    return _Route(
        rules=tuple(
            tuple(
                _Backend(
                    group=each.get("group"),
                    kind=each.get("kind"),
                    namespace=each.get("namespace"),
                    name=each["name"],
                    port=each.get("port"),
                    weight=int(each.get("weight", 1)),  # Gateway API's default
                )
                for each in rule.get("backendRefs") or ()
            )
            for rule in (document.get("spec") or {}).get("rules") or ()
        ),
        version=int(version) if version.isdecimal() else 0,
        read_at=now,
    )


def _read_due(route: _Route, place: _Place, now: float) -> bool:
    """Whether the route's own second of the minute has come since it was read.

    A thousand routes that a new leader reads at once are so not read at once ever after.
    """
    phase = zlib.crc32("/".join(place).encode()) % _READ_SECONDS
    return (now - phase) // _READ_SECONDS != (route.read_at - phase) // _READ_SECONDS


def _path(place: _Place) -> str:
    return f"/apis/{_VERSION}/namespaces/{place[0]}/httproutes/{place[1]}"
