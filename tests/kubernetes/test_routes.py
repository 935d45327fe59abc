"""Route weights: what a decision asks for is written to what is Ready, seldom, and to ours only."""

import asyncio
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.adapters.directory import Entry
from controller.adapters.kubernetes.client import Document, Kubernetes
from controller.adapters.kubernetes.errors import Forbidden, NotFound, Refused
from controller.adapters.kubernetes.routes import Routes
from controller.adapters.kubernetes.weights import (
    DWELL_SECONDS,
    HYSTERESIS,
    whole_weights,
    worth_writing,
)
from controller.api.conversion.policy import to_policy
from controller.api.prices import REFERENCE_PRICES
from controller.api.v1alpha1 import parse
from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import (
    Missing,
    MissingReason,
    Observation,
    VariantObservation,
)
from controller.core.domain.policy import ObjectKey, RoutingLaw
from controller.ports import Conflict, Planned, PortError
from controlplane.cluster import ControlPlane, KubectlFailed
from controlplane.waiting import until

SAMPLE = yaml.safe_load(
    (Path(__file__).parents[2] / "manifests/samples/cost-first.yaml").read_text()
)

#: A weight that the tests' API server does not let anybody write.
UNLUCKY = 13


def _with(name: str, schema: Document) -> Document:
    """The schema of an object of which one field is checked."""
    return {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "properties": {name: schema},
    }


_WEIGHT: Document = {"type": "integer", "not": {"enum": [UNLUCKY]}}
_BACKENDS: Document = {"type": "array", "items": _with("weight", _WEIGHT)}
_WEIGHED: Document = {"type": "array", "items": _with("backendRefs", _BACKENDS)}

#: As little of Gateway API as the adapter's requests need.
CRD: Document = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "httproutes.gateway.networking.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
    },
    "spec": {
        "group": "gateway.networking.k8s.io",
        "scope": "Namespaced",
        "names": {"plural": "httproutes", "singular": "httproute", "kind": "HTTPRoute"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": _with("spec", _with("rules", _WEIGHED)),
                },
            }
        ],
    },
}

BF16 = {"name": "llama-70b-bf16", "port": 8000}
FP8 = {"name": "llama-70b-fp8", "port": 8000}
CANARY = {"name": "canary", "port": 8000, "weight": 25}


def entry_of(namespace: str = "serving", **changes: Any) -> Entry:
    """The sample with variants bf16 and fp8, in this namespace; ``changes`` are of its routing."""
    document = copy.deepcopy(SAMPLE)
    document["metadata"] = {"name": changes.pop("object_name", "llama"), "namespace": namespace}
    document["spec"]["routing"]["httpRouteRef"] |= changes
    deployment = parse(document)
    return Entry(
        deployment=deployment,
        policy=to_policy(deployment, REFERENCE_PRICES, 15.0),
        resource_version="1",
        status=None,
    )


def planned_of(
    entry: Entry,
    weights: Sequence[float] | None,
    *,
    allocation: Sequence[int] = (4, 4),
    ready: Sequence[int] = (4, 4),
    desired: Sequence[int] | None = None,
) -> Planned:
    """A decision on so many Ready replicas; ``desired`` ones are the Ready ones where not told."""
    missing = Missing(MissingReason.ABSENT)
    observation = Observation(
        workloads_at_seconds=0.0,
        variants=tuple(
            VariantObservation(desired=asked, ready=now)
            for asked, now in zip(desired or ready, ready, strict=True)
        ),
        traffic=missing,
        outcomes=missing,
    )
    decision = Decision(
        allocation=tuple(allocation),
        weights=None if weights is None else tuple(weights),
        steps=(),
        binding=Reason.CHEAPEST_WITHIN_BUDGETS,
    )
    return Planned(policy=entry.policy, observation=observation, decision=decision)


def route_of(*rules: Sequence[Document], name: str = "llama-70b") -> Document:
    """An HTTPRoute with the backends of each rule."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"rules": [{"backendRefs": [dict(each) for each in rule]} for rule in rules]},
    }


class Memory:
    """Routes in memory, asked as the API server is; every request counts."""

    def __init__(self, *routes: Document) -> None:
        self.routes = {route["metadata"]["name"]: copy.deepcopy(route) for route in routes}
        self.version = 0
        self.gets = 0
        self.patches: list[Sequence[Document]] = []

    async def run(self, call: Callable[..., Document], *arguments: Any) -> Document:
        """Without a thread."""
        return call(*arguments)

    def get(self, path: str) -> Document:
        """Read."""
        self.gets += 1
        return self._answer(path)

    def patch(self, path: str, operations: Sequence[Document]) -> Document:
        """Patch, all or none."""
        self.patches.append(operations)
        route = copy.deepcopy(self.routes[path.rpartition("/")[2]])
        for operation in operations:
            *inside, last = operation["path"].strip("/").split("/")
            at: Any = route
            for part in inside:
                at = at[int(part)] if isinstance(at, list) else at[part]
            if operation["op"] == "add":
                at[last] = operation["value"]
            elif at.get(last) != operation["value"]:
                raise Refused(422, "the server rejected our request")
        self.routes[path.rpartition("/")[2]] = route
        return self._answer(path)

    def _answer(self, path: str) -> Document:
        self.version += 1
        route = copy.deepcopy(self.routes[path.rpartition("/")[2]])
        route["metadata"]["resourceVersion"] = str(self.version)
        return route

    def weights(self, rule: int = 0, name: str = "llama-70b") -> list[int]:
        """Those of a rule."""
        return weights_in(self.routes[name], rule)


def weights_in(route: Document, rule: int = 0) -> list[int]:
    """The weights of a rule's backends; 1 where none is told, says Gateway API."""
    return [int(each.get("weight", 1)) for each in route["spec"]["rules"][rule]["backendRefs"]]


def routes_on(memory: Memory) -> Routes:
    """An adapter that asks it."""
    return Routes(kubernetes=cast("Kubernetes", memory))


def weigh(routes: Routes, entry: Entry, planned: Planned, now: float = 0.0) -> PortError | None:
    """Carry a decision out."""
    return asyncio.run(routes.weigh(entry, planned, now))


variants = st.lists(
    st.tuples(st.floats(0.0, 1.0), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8
)


@settings(deadline=None)
@given(rows=variants)
def test_weights_are_whole_and_of_what_serves(rows: list[tuple[float, int, int]]) -> None:
    """They add up to 100, and only what keeps a replica and has one Ready gets any."""
    shares, kept, ready = zip(*rows, strict=True)
    weights = whole_weights(shares, kept, ready)
    serving = [stays > 0 and now > 0 for stays, now in zip(kept, ready, strict=True)]
    if weights is None:
        assert not any(serving)
        return
    assert any(serving)
    assert sum(weights) == 100
    assert all(weight >= 0 for weight in weights)
    assert all(weight == 0 for weight, on in zip(weights, serving, strict=True) if not on)


@settings(deadline=None)
@given(rows=variants.filter(lambda rows: sum(row[0] for row in rows) > 1e-3))
def test_weights_are_less_than_one_off(rows: list[tuple[float, int, int]]) -> None:
    """Largest remainder: each is its share of 100, rounded down or up."""
    shares = [row[0] for row in rows]
    weights = whole_weights(shares, [1] * len(rows), [1] * len(rows))
    assert weights is not None
    for weight, share in zip(weights, shares, strict=True):
        assert abs(weight - 100.0 * share / sum(shares)) < 1.0 + 1e-9


def test_the_largest_remainders_are_rounded_up() -> None:
    """Thirds: the first of equal ones gets the point that is left."""
    assert whole_weights((1.0, 1.0, 1.0), (1, 1, 1), (1, 1, 1)) == (34, 33, 33)
    assert whole_weights((0.105, 0.204, 0.691), (1, 1, 1), (1, 1, 1)) == (11, 20, 69)


def test_what_is_ready_carries_what_is_meant_for_others() -> None:
    """All is meant for fp8, which starts: bf16 stays, and serves meanwhile."""
    assert whole_weights((0.0, 1.0), (2, 2), (2, 0)) == (100, 0)


points = st.integers(0, 100)


@settings(deadline=None)
@given(
    pairs=st.lists(st.tuples(points, points), min_size=1, max_size=8),
    seconds=st.floats(0.0, 300.0),
)
def test_the_law_of_hysteresis(pairs: list[tuple[int, int]], seconds: float) -> None:
    """Written where one goes to or from 0, or is 5 points off after 60 s; else never."""
    due = worth_writing([p[0] for p in pairs], [p[1] for p in pairs], seconds)
    crossing = any((old == 0) != (new == 0) for old, new in pairs)
    far = any(abs(old - new) >= HYSTERESIS for old, new in pairs)
    assert due == (crossing or (far and seconds >= DWELL_SECONDS))


replicas = st.sampled_from([2, 2, 1, 0])
moments = st.lists(
    st.tuples(
        st.floats(1.0, 90.0),  # seconds since the last one
        st.one_of(st.floats(0.05, 0.95), st.sampled_from([0.0, 1.0, None])),  # share of bf16
        st.tuples(replicas, replicas),  # allocation
        st.tuples(replicas, replicas),  # Ready
    ),
    min_size=4,
    max_size=30,
)


@settings(deadline=None)
@given(moments=moments)
def test_after_every_cycle_nothing_is_sent_to_what_does_not_serve(
    moments: list[tuple[float, float | None, tuple[int, int], tuple[int, int]]],
) -> None:
    """Whatever was decided before: weights are of what serves, others' are theirs, writes rare."""
    memory = Memory(route_of([BF16, CANARY, FP8]))
    routes, entry = routes_on(memory), entry_of()
    now, written_at = 0.0, float("-inf")
    for pause, share, allocation, ready in moments:
        now += pause
        before = memory.weights()
        weights = None if share is None else (share, 1.0 - share)
        planned = planned_of(entry, weights, allocation=allocation, ready=ready)
        problem = weigh(routes, entry, planned, now)
        after = memory.weights()
        assert after[1] == CANARY["weight"]
        serving = [a > 0 and r > 0 for a, r in zip(allocation, ready, strict=True)]
        goes = [a == 0 and r > 0 for a, r in zip(allocation, ready, strict=True)]
        if not any(serving):
            assert after == before
            assert (problem is not None) == (any(goes) and any(allocation))
            continue
        assert problem is None
        if share is not None or any(goes):
            assert after[0] + after[2] == 100 or before == after
            assert all(
                weight == 0
                for weight, on in zip((after[0], after[2]), serving, strict=True)
                if not on
            )
        if after != before:
            crossing = any((old == 0) != (new == 0) for old, new in zip(before, after, strict=True))
            assert crossing or now - written_at >= DWELL_SECONDS
            written_at = now


def test_a_thousand_objects_read_their_routes_once_a_minute() -> None:
    """And not all at once: no cycle reads much more than its part of them."""
    names = [f"llama-{i}" for i in range(1000)]
    memory = Memory(
        *(route_of([{**BF16, "weight": 50}, {**FP8, "weight": 50}], name=name) for name in names)
    )
    routes = routes_on(memory)
    objects = [
        (entry, planned_of(entry, (0.5, 0.5)))
        for entry in (entry_of(name=name, object_name=name) for name in names)
    ]

    async def cycle(now: float) -> int:
        before = memory.gets
        for entry, planned in objects:
            assert await routes.weigh(entry, planned, now) is None
        return memory.gets - before

    async def reads() -> list[int]:
        return [await cycle(15.0 * i) for i in range(41)]

    first, *later = asyncio.run(reads())
    assert first == 1000
    assert sum(later) == 10 * 1000
    assert max(later) < 350
    assert memory.patches == []


def test_weights_that_somebody_else_changed_are_brought_back() -> None:
    """Within a minute, for the route is read that often."""
    memory = Memory(route_of([BF16, FP8]))
    routes, entry = routes_on(memory), entry_of()
    planned = planned_of(entry, (0.7, 0.3))
    assert weigh(routes, entry, planned, 0.0) is None
    assert memory.weights() == [70, 30]
    memory.routes["llama-70b"] = route_of([{**BF16, "weight": 10}, {**FP8, "weight": 90}])
    weigh(routes, entry, planned, 61.0)
    assert memory.weights() == [70, 30]


def test_a_route_is_read_anew_before_replicas_go() -> None:
    """Somebody gave fp8 a weight since: it is taken away before its replicas are."""
    memory = Memory(route_of([{**BF16, "weight": 100}, {**FP8, "weight": 0}]))
    routes, entry = routes_on(memory), entry_of()
    without = {"allocation": (4, 0), "ready": (4, 2)}
    assert weigh(routes, entry, planned_of(entry, (1.0, 0.0), **without), 0.0) is None
    memory.routes["llama-70b"] = route_of([{**BF16, "weight": 60}, {**FP8, "weight": 40}])
    assert weigh(routes, entry, planned_of(entry, (1.0, 0.0), **without), 0.1) is None
    assert memory.weights() == [100, 0]


def test_a_decision_without_weights_takes_out_what_goes() -> None:
    """Blind, but a limit was lowered: the others share what fp8 had as they did before."""
    memory = Memory(route_of([{**BF16, "weight": 30}, {**FP8, "weight": 70}]))
    routes, entry = routes_on(memory), entry_of()
    assert weigh(routes, entry, planned_of(entry, None)) is None
    assert memory.gets == 0
    assert weigh(routes, entry, planned_of(entry, None, allocation=(4, 0))) is None
    assert memory.weights() == [100, 0]


def test_what_serves_alone_is_kept_until_another_can() -> None:
    """bf16 is to go and fp8 still starts: the weights stay, and bf16's replicas with them."""
    memory = Memory(route_of([{**BF16, "weight": 100}, {**FP8, "weight": 0}]))
    routes, entry = routes_on(memory), entry_of()
    starting = planned_of(entry, (0.0, 1.0), allocation=(0, 2), ready=(2, 0), desired=(2, 2))
    problem = weigh(routes, entry, starting)
    assert str(problem) == "wait: bf16 serves until what is to stay has a Ready replica"
    assert memory.weights() == [100, 0]
    started = planned_of(entry, (0.0, 1.0), allocation=(0, 2), ready=(2, 1), desired=(2, 2))
    assert weigh(routes, entry, started) is None
    assert memory.weights() == [0, 100]


def test_what_serves_nothing_need_not_be_waited_with() -> None:
    """bf16 is to go before it ever was Ready: no traffic is taken from anybody."""
    memory = Memory(route_of([{**BF16, "weight": 100}, {**FP8, "weight": 0}]))
    routes, entry = routes_on(memory), entry_of()
    starting = planned_of(entry, (0.0, 1.0), allocation=(0, 2), ready=(0, 0), desired=(2, 2))
    assert weigh(routes, entry, starting) is None
    assert memory.patches == []


def test_a_weight_that_is_left_out_is_traffic() -> None:
    """It is 1, says Gateway API: fp8 is to get none, so that is written."""
    memory = Memory(route_of([{**BF16, "weight": 100}, FP8]))
    routes, entry = routes_on(memory), entry_of()
    assert weigh(routes, entry, planned_of(entry, (1.0, 0.0), ready=(4, 0))) is None
    assert memory.weights() == [100, 0]


def test_an_answer_that_comes_late_does_not_undo_what_is_known() -> None:
    """Read before another object's write and answered after it: nothing is asked anew for that."""
    memory = Memory(route_of([{**BF16, "weight": 70}, {**FP8, "weight": 30}], [FP8, BF16]))
    routes = routes_on(memory)
    one, other = entry_of(), entry_of(object_name="mini", rule=1)
    alone = planned_of(other, (1.0, 0.0))

    async def interleaved() -> None:
        answered = asyncio.Event()

        async def late(call: Callable[..., Document], *arguments: Any) -> Document:
            memory.run = at_once  # type: ignore[method-assign]  # the first request alone
            answer = call(*arguments)
            await answered.wait()
            return answer

        at_once, memory.run = memory.run, late  # type: ignore[method-assign]  # as above
        first = asyncio.create_task(routes.weigh(one, planned_of(one, (0.7, 0.3)), 0.0))
        await asyncio.sleep(0)
        assert await routes.weigh(other, alone, 0.0) is None
        answered.set()
        assert await first is None

    asyncio.run(interleaved())
    assert (memory.weights(0), memory.weights(1)) == ([70, 30], [0, 100])
    gets = memory.gets
    assert weigh(routes, other, alone, 0.1) is None
    assert memory.gets == gets


def test_all_that_goes_leaves_the_route_as_it_is() -> None:
    """To zero: nobody else could serve, and the first one back must not wait for a write."""
    memory = Memory(route_of([{**BF16, "weight": 80}, {**FP8, "weight": 20}]))
    routes, entry = routes_on(memory), entry_of()
    assert weigh(routes, entry, planned_of(entry, (0.0, 0.0), allocation=(0, 0))) is None
    assert memory.weights() == [80, 20]


def test_a_backend_is_what_its_ref_names_and_nothing_else() -> None:
    """Not one of another namespace, group, kind or port that has the same name."""
    others = [
        {**BF16, "namespace": "elsewhere", "weight": 3},
        {**BF16, "port": 9000, "weight": 4},
        {**BF16, "group": "example.com", "kind": "Service", "weight": 6},
        {"group": "inference.networking.k8s.io", "kind": "InferencePool", "weight": 5}
        | {"name": BF16["name"]},
    ]
    memory = Memory(route_of([*others, FP8, {**BF16, "namespace": "serving", "kind": "Service"}]))
    routes, entry = routes_on(memory), entry_of()
    assert weigh(routes, entry, planned_of(entry, (0.75, 0.25))) is None
    assert memory.weights() == [3, 4, 6, 5, 25, 75]
    (operations,) = memory.patches
    assert {"op": "test", "path": "/spec/rules/0/backendRefs/5/kind", "value": "Service"} in (
        operations
    )


def test_what_was_put_right_is_seen_in_the_next_cycle() -> None:
    """A route that was wrong when it was read is read again, and not after a minute only."""
    memory = Memory(route_of([BF16]))
    routes, entry = routes_on(memory), entry_of()
    planned = planned_of(entry, (0.5, 0.5))
    assert str(weigh(routes, entry, planned, 0.0)).startswith("add Service llama-70b-fp8 port 8000")
    memory.routes["llama-70b"] = route_of([BF16, FP8])
    assert weigh(routes, entry, planned, 0.1) is None
    assert memory.weights() == [50, 50]


def test_a_backend_that_is_named_twice_is_told() -> None:
    """Its two weights would be one variant's, and one of them unseen."""
    memory = Memory(route_of([BF16, FP8, FP8]))
    problem = weigh(routes_on(memory), entry_of(), planned_of(entry_of(), (0.5, 0.5)))
    assert str(problem) == (
        "name Service llama-70b-fp8 port 8000 once: rule 0 of HTTPRoute llama-70b has it 2 times"
    )


@pytest.mark.parametrize("rules", [[{"backendRefs": [3]}], [{"backendRefs": 3}], 3, ["x"]])
def test_a_route_that_cannot_be_read_stops_nothing_else(rules: Any) -> None:
    """It is told as this object's problem."""
    route = route_of()
    route["spec"]["rules"] = rules
    problem = weigh(routes_on(Memory(route)), entry_of(), planned_of(entry_of(), (0.5, 0.5)))
    assert "HTTPRoute llama-70b cannot be read" in str(problem)


def test_routes_that_are_no_longer_used_are_forgotten() -> None:
    """An object that is gone, and one that names another route."""
    memory = Memory(*(route_of([BF16, FP8], name=name) for name in ("a", "b", "c")))
    routes = routes_on(memory)
    objects = [entry_of(name=name, object_name=name) for name in ("a", "b")]
    for entry in objects:
        weigh(routes, entry, planned_of(entry, (0.5, 0.5)))
    moved = entry_of(name="c", object_name="b")
    weigh(routes, moved, planned_of(moved, (0.5, 0.5)))
    routes.keep({ObjectKey("serving", "b")})
    assert (memory.gets, len(memory.patches)) == (3, 3)
    weigh(routes, moved, planned_of(moved, (0.5, 0.5)), 0.1)
    assert memory.gets == 3
    weigh(routes, objects[0], planned_of(objects[0], (0.5, 0.5)), 0.1)
    assert memory.gets == 4


def test_other_routing_laws_touch_no_route() -> None:
    """A route that is named but not asked for is not even read."""
    entry, memory = entry_of(), Memory()
    routing = replace(entry.policy.routing, law=RoutingLaw.SHARED)
    shared = replace(entry, policy=replace(entry.policy, routing=routing))
    assert weigh(routes_on(memory), shared, planned_of(shared, (0.5, 0.5))) is None
    assert memory.gets == 0


class Api:
    """HTTPRoutes of one namespace on the real API server."""

    def __init__(self, plane: ControlPlane, kubernetes: Kubernetes, namespace: str) -> None:
        self.plane, self.kubernetes, self.namespace = plane, kubernetes, namespace
        self.routes = Routes(kubernetes=kubernetes)
        self.entry = entry_of(namespace)

    def apply(self, route: Document) -> None:
        """As a user does."""
        self.plane.apply(route, namespace=self.namespace)

    def read(self, name: str = "llama-70b") -> Document:
        """The route as it is."""
        at = f"/apis/gateway.networking.k8s.io/v1/namespaces/{self.namespace}/httproutes/{name}"
        return self.kubernetes.get(at)

    def weigh(self, shares: Sequence[float], now: float = 0.0, **of: Any) -> PortError | None:
        """Carry a decision of the sample out."""
        return weigh(self.routes, self.entry, planned_of(self.entry, shares, **of), now)


def remove_crd(plane: ControlPlane) -> None:
    """The kind is not served any more."""
    plane.kubectl("delete", "crd", CRD["metadata"]["name"], "--ignore-not-found", "--wait")


@pytest.fixture(scope="module")
def clean_plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """The shared control plane, left to other tests without HTTPRoutes."""
    yield control_plane
    remove_crd(control_plane)


@pytest.fixture
def api(clean_plane: ControlPlane, kubernetes: Kubernetes, namespace: str) -> Api:
    """HTTPRoutes are served."""
    clean_plane.apply(CRD)

    def served() -> bool:
        try:
            clean_plane.kubectl("get", "httproutes.gateway.networking.k8s.io", "-n", namespace)
        except KubectlFailed:
            return False
        return True

    until(served, "HTTPRoutes to be served")
    return Api(clean_plane, kubernetes, namespace)


def test_weights_are_written_to_our_backends_alone(api: Api) -> None:
    """A canary of somebody else's keeps its weight, and everything else of the route its form."""
    route = route_of([CANARY, FP8, BF16])
    route["spec"]["rules"][0]["matches"] = [{"path": {"value": "/v1"}}]
    api.apply(route)
    assert api.weigh((0.7, 0.3)) is None
    after = api.read()
    assert weights_in(after) == [25, 30, 70]
    expected = copy.deepcopy(route["spec"]["rules"][0])
    expected["backendRefs"][1]["weight"] = 30
    expected["backendRefs"][2]["weight"] = 70
    assert after["spec"]["rules"][0] == expected


def test_small_changes_wait_and_great_ones_dwell(api: Api) -> None:
    """Four points are not written, five only a minute after the last ones, the end of one at once.

    What is not written costs no request either.
    """
    api.apply(route_of([BF16, FP8]))
    assert api.weigh((0.7, 0.3), 0.0) is None
    asked = api.kubernetes.requests
    assert api.weigh((0.66, 0.34), 0.1) is None
    assert api.weigh((0.2, 0.8), 0.2) is None
    assert api.kubernetes.requests == asked
    assert api.weigh((0.66, 0.34), 61.0) is None
    assert weights_in(api.read()) == [70, 30]
    assert api.weigh((0.2, 0.8), 62.0) is None
    assert weights_in(api.read()) == [20, 80]
    assert api.weigh((0.2, 0.8), 63.0, ready=(4, 0)) is None
    assert weights_in(api.read()) == [100, 0]


def test_a_list_that_was_reordered_meanwhile_is_not_written(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test of the name fails, nothing is changed, and the next cycle finds them anew."""
    api.apply(route_of([BF16, FP8]))
    read = api.kubernetes.get

    def read_then_reordered(path: str) -> Document:
        document = read(path)
        api.apply(route_of([FP8, BF16]))
        return document

    monkeypatch.setattr(Kubernetes, "get", lambda _, path: read_then_reordered(path))
    problem = api.weigh((0.7, 0.3), 0.0)
    monkeypatch.undo()
    assert isinstance(problem, Conflict)
    assert weights_in(api.read()) == [1, 1]
    assert api.weigh((0.7, 0.3), 0.1) is None
    assert weights_in(api.read()) == [30, 70]


def test_two_objects_in_two_rules_of_a_route(api: Api) -> None:
    """At the same time, and neither overwrites the other's."""
    other = entry_of(api.namespace, object_name="mini", rule=1)
    api.apply(route_of([BF16, FP8], [FP8, BF16]))

    async def both() -> list[PortError | None]:
        return await asyncio.gather(
            api.routes.weigh(api.entry, planned_of(api.entry, (0.7, 0.3)), 0.0),
            api.routes.weigh(other, planned_of(other, (0.1, 0.9)), 0.0),
        )

    assert asyncio.run(both()) == [None, None]
    route = api.read()
    assert (weights_in(route, 0), weights_in(route, 1)) == ([70, 30], [90, 10])
    requests = api.kubernetes.requests
    assert api.weigh((0.7, 0.3), 0.1) is None
    assert api.kubernetes.requests == requests


def test_a_route_that_is_not_there_is_told(api: Api) -> None:
    """And found as soon as it was made."""
    problem = api.weigh((0.7, 0.3))
    assert isinstance(problem, NotFound)
    assert str(problem) == "create HTTPRoute llama-70b in this namespace, or correct httpRouteRef"
    api.apply(route_of([BF16, FP8]))
    assert api.weigh((0.7, 0.3)) is None


def test_a_rule_that_is_not_there_is_told(api: Api) -> None:
    """With how many there are."""
    api.entry = entry_of(api.namespace, rule=2)
    api.apply(route_of([BF16], [FP8]))
    assert str(api.weigh((0.7, 0.3))) == (
        "correct httpRouteRef.rule: 2 does not exist, HTTPRoute llama-70b has 2, counted from 0"
    )


def test_a_backend_that_is_not_there_is_told(api: Api) -> None:
    """With what to add; nothing is written for the others."""
    api.apply(route_of([BF16, {**FP8, "port": 9}]))
    assert str(api.weigh((0.7, 0.3))) == (
        "add Service llama-70b-fp8 port 8000 to rule 0 of HTTPRoute llama-70b, for variant fp8"
    )
    assert weights_in(api.read()) == [1, 1]


def test_a_weight_that_is_not_allowed_is_told_as_that(api: Api) -> None:
    """The API server answers as to a failed test, but this is no conflict that would go by."""
    api.apply(route_of([BF16, FP8]))
    problem = api.weigh((UNLUCKY, 100.0 - UNLUCKY))
    assert isinstance(problem, Refused)
    assert "is invalid" in str(problem)


def test_a_right_that_is_missing_is_told(
    api: Api, connect_as: Callable[..., Kubernetes], namespace: str
) -> None:
    """Who may read but not patch, and who may do neither, are told the same fix."""
    api.apply(route_of([BF16, FP8]))
    account = connect_as(api.plane.kubeconfig_for("steelyard", namespace))
    routes = Routes(kubernetes=account)
    planned = planned_of(api.entry, (0.7, 0.3))
    fix = "let steelyard get and patch httproutes (docs/operations.md, Rights)"
    unread = weigh(routes, api.entry, planned)
    assert isinstance(unread, Forbidden)
    assert str(unread).startswith(fix)
    api.plane.kubectl(
        *("create", "role", "reads", "--verb=get", "-n", namespace),
        "--resource=httproutes.gateway.networking.k8s.io",
    )
    api.plane.kubectl(
        *("create", "rolebinding", "reads", "--role=reads", "-n", namespace),
        f"--serviceaccount={namespace}:steelyard",
    )
    until(lambda: account.writes or weigh(routes, api.entry, planned) is None, "a try to write")
    unwritten = weigh(routes, api.entry, planned)
    assert isinstance(unwritten, Forbidden)
    assert str(unwritten).startswith(fix)
    assert "cannot patch" in str(unwritten)
    assert weights_in(api.read()) == [1, 1]


def test_a_cluster_without_gateway_api_is_told(
    clean_plane: ControlPlane, kubernetes: Kubernetes, namespace: str
) -> None:
    """That it is to be installed, and not that the route is to be made."""
    remove_crd(clean_plane)
    api = Api(clean_plane, kubernetes, namespace)

    def told() -> bool:
        return "install Gateway API" in str(api.weigh((0.7, 0.3)))

    until(told, "the absence of HTTPRoutes to be told")
