"""Pods that come and go, and how requests find them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from simulations.emulator.emulator import Emulator, UnknownDoor
from simulations.emulator.replayer import Replayer, inject
from simulations.emulator.replica import Refusal, Request, Ticket
from simulations.emulator.view import (
    Balancing,
    ClusterView,
    Door,
    DoorKind,
    RouteSpec,
    ServiceSpec,
    StaticCluster,
)
from simulations.traces.request_trace import RequestTrace
from simulations.traces.trace import Arrivals

#: A fixture that makes things.
Make = Callable[..., Any]

LLAMA = Door(DoorKind.SERVICE, "serving", "llama")


def names_of_pods_that_take(emulator: Emulator, door: Door, requests: int) -> list[str | None]:
    """Send requests at once and tell who took each."""
    taken = []
    for _ in range(requests):
        pod, answer = emulator.send(door, Request(10, 10), emulator.now_seconds)
        taken.append(pod.spec.name if pod is not None and isinstance(answer, Ticket) else None)
    return taken


class Ear:
    """Hears how a request ends."""

    def __init__(self) -> None:
        self.tokens = 0
        self.finished: bool | None = None

    def on_tokens(self, tokens: int, at_seconds: float) -> None:  # noqa: ARG002 - a protocol's
        """Count."""
        self.tokens += tokens

    def on_end(self, at_seconds: float, *, finished: bool) -> None:  # noqa: ARG002 - likewise
        """Note the end."""
        self.finished = finished


def test_a_replica_starts_when_its_pod_is_ready(pod_spec: Make, cluster_view: Make) -> None:
    """A pod that is not Ready serves nothing, and its clock starts with its readiness."""
    emulator = Emulator()
    emulator.apply(cluster_view(pod_spec("a", ready=False)), 1.0)
    _, answer = emulator.send(LLAMA, Request(10, 10), 1.0)
    assert answer is Refusal.NO_ENDPOINT
    with pytest.raises(UnknownDoor, match="pod a"):
        emulator.pod("serving", "a")
    emulator.apply(cluster_view(pod_spec("a")), 7.0)
    assert emulator.pod("serving", "a").replica.started_seconds == 7.0
    assert names_of_pods_that_take(emulator, LLAMA, 1) == ["a"]


@pytest.mark.parametrize("change", [{"terminating": True}, {"ready": False}])
def test_a_pod_that_leaves_its_service_finishes_what_it_has(
    pod_spec: Make, cluster_view: Make, change: dict[str, bool]
) -> None:
    """Terminating and unready pods take nothing new, run on, and keep their counts."""
    emulator = Emulator()
    emulator.apply(cluster_view(pod_spec("a"), pod_spec("b")), 0.0)
    assert set(names_of_pods_that_take(emulator, LLAMA, 4)) == {"a", "b"}
    emulator.apply(cluster_view(pod_spec("a", **change), pod_spec("b")), 0.01)
    assert set(names_of_pods_that_take(emulator, LLAMA, 4)) == {"b"}
    emulator.advance(100.0)
    assert emulator.pod("serving", "a").replica.counts.finished == 2


def test_a_pod_that_is_gone_still_finishes_what_it_has(pod_spec: Make, cluster_view: Make) -> None:
    """A deleted pod has no address, but its running requests end as they would have."""
    emulator, ear = Emulator(), Ear()
    emulator.apply(cluster_view(pod_spec("a")), 0.0)
    emulator.send(LLAMA, Request(100, 20, listener=ear), 0.0)
    emulator.apply(cluster_view(), 0.05)
    with pytest.raises(UnknownDoor):
        emulator.pod("serving", "a")
    assert emulator.outstanding == 1
    emulator.advance(50.0)
    assert (ear.tokens, ear.finished) == (20, True)
    assert emulator.outstanding == 0
    assert emulator.next_news_seconds == np.inf


@pytest.mark.parametrize(("again", "finished"), [({"uid": "2"}, True), ({"restarts": 1}, False)])
def test_a_new_run_of_a_pod_counts_from_zero(
    pod_spec: Make, cluster_view: Make, again: dict[str, Any], *, finished: bool
) -> None:
    """A new pod of the same name, or a restarted container, begins all series anew.

    The deleted pod finishes what it had; a container that died does not.
    """
    emulator, ear = Emulator(), Ear()
    emulator.apply(cluster_view(pod_spec("a-0", uid="1")), 0.0)
    names_of_pods_that_take(emulator, LLAMA, 3)
    emulator.advance(20.0)
    before = emulator.pod("serving", "a-0").replica
    emulator.send(LLAMA, Request(100, 200, listener=ear), 20.0)
    emulator.apply(cluster_view(pod_spec("a-0", **{"uid": "1", **again})), 20.5)
    after = emulator.pod("serving", "a-0").replica
    assert before.counts.finished == 3
    assert after.counts.finished == after.counts.prompt_tokens == 0
    assert after.started_seconds == 20.5
    emulator.advance(60.0)
    assert ear.finished is finished
    assert (ear.tokens == 200) is finished
    assert emulator.outstanding == 0
    assert emulator.next_news_seconds == np.inf


def test_the_same_requests_end_as_in_the_pure_simulation(
    traffic: Make, simulate: Make, pod_spec: Make, cluster_view: Make
) -> None:
    """Behind a least-outstanding Service, three pods give the simulation's very latencies."""
    work, emulator = traffic(400, 30.0), Emulator()
    emulator.apply(cluster_view(*(pod_spec(name) for name in "abc")), 0.0)
    tickets, slots = [], []
    for arrival, prompt, output in work.rows():
        pod, ticket = emulator.send(LLAMA, Request(prompt, output), arrival)
        tickets.append(ticket)
        slots.append("abc".index(pod.spec.name))
    emulator.advance(1e4)
    expected = simulate(work, 3)
    assert slots == expected["slot"].tolist()
    first = [ticket.first_token_seconds for ticket in tickets]
    assert first == pytest.approx(expected["first"].tolist(), abs=1e-9)
    seconds = sum(pod.replica.counts.end_to_end.total for pod in emulator.pods)
    assert seconds == pytest.approx(float(np.sum(expected["end"] - expected["arrival"])))


def test_a_replayed_trace_ends_as_in_the_pure_simulation(
    traffic: Make, simulate: Make, pod_spec: Make, cluster_view: Make
) -> None:
    """Injected in slices of any length, a trace keeps its times, and none is lost."""
    work, emulator = traffic(300, 20.0), Emulator()
    trace = RequestTrace(
        "made",
        Arrivals(
            seconds=work.seconds,
            prompt_tokens=work.prompt_tokens,
            output_tokens=work.output_tokens,
        ),
        chunk_seconds=3.0,
    )
    emulator.apply(cluster_view(pod_spec("a"), pod_spec("b")), 0.0)
    replayer = Replayer(trace, LLAMA)
    for at in np.arange(0.0, 40.0, 0.37):
        inject([replayer], emulator, float(at))
        emulator.advance(float(at))
    assert replayer.done
    assert (replayer.sent, replayer.refused, replayer.lost) == (300, 0, 0)
    emulator.advance(1e4)
    expected = simulate(work, 2)
    replicas = [pod.replica for pod in emulator.pods]
    waited = sum(replica.counts.time_to_first_token.total for replica in replicas)
    assert waited == pytest.approx(float(np.sum(expected["first"] - expected["arrival"])))


def test_traces_are_merged_by_time(traffic: Make, pod_spec: Make, cluster_view: Make) -> None:
    """Two traces played at once keep all their times, as one trace of both would."""
    work = traffic(200, 20.0)

    def trace(part: slice, chunk_seconds: float) -> RequestTrace:
        columns = (work.seconds, work.prompt_tokens, work.output_tokens)
        names = ("seconds", "prompt_tokens", "output_tokens")
        parts = {name: column[part] for name, column in zip(names, columns, strict=True)}
        return RequestTrace("part", Arrivals(**parts), chunk_seconds=chunk_seconds)

    def waited(*parts: RequestTrace) -> float:
        emulator = Emulator()
        emulator.apply(cluster_view(pod_spec("a")), 0.0)
        replayers = [Replayer(part, LLAMA) for part in parts]
        for at in (1.0, 2.5, 100.0):
            inject(replayers, emulator, at)
            emulator.advance(at)
        emulator.advance(1e4)
        return emulator.pod("serving", "a").replica.counts.time_to_first_token.total

    whole = waited(trace(slice(None), 5.0))
    assert waited(trace(slice(0, None, 2), 2.0), trace(slice(1, None, 2), 3.0)) == whole


def test_arrivals_at_a_service_that_is_not_there_are_lost(traffic: Make) -> None:
    """A trace whose Service is missing does not stop the emulator; the loss is counted."""
    work = traffic(20, 20.0)
    arrivals = Arrivals(
        seconds=work.seconds, prompt_tokens=work.prompt_tokens, output_tokens=work.output_tokens
    )
    replayer = Replayer(RequestTrace("made", arrivals), LLAMA)
    inject([replayer], Emulator(), 1e3)
    assert (replayer.sent, replayer.lost, replayer.done) == (20, 20, True)


def variants(pod_spec: Make, *, limit: int | None = None) -> dict[str, Any]:
    """Two variants, each behind a Service of its own."""
    return {
        "pods": (
            pod_spec("p", labels={"app": "fp8"}, queue_limit=limit),
            pod_spec("f", labels={"app": "int4"}),
        ),
        "services": tuple(
            ServiceSpec(namespace="serving", name=name, selector={"app": name})
            for name in ("fp8", "int4")
        ),
    }


def test_a_weighted_route_follows_its_weights(pod_spec: Make) -> None:
    """Services get their share; a weight of 0 gets nothing; an empty Service still draws its."""
    door = Door(DoorKind.ROUTE, "serving", "r")

    def shares(*weights: int, **fields: Any) -> dict[str | None, int]:
        route = RouteSpec(
            namespace="serving",
            name="r",
            weights=tuple(zip(("fp8", "int4"), weights, strict=True)),
        )
        emulator = Emulator(seed=1)
        emulator.apply(ClusterView(**{**variants(pod_spec), **fields}, routes=(route,)), 0.0)
        taken = names_of_pods_that_take(emulator, door, 2000)
        return {name: taken.count(name) for name in set(taken)}

    assert shares(3, 1)["f"] / 2000 == pytest.approx(0.25, abs=0.04)
    assert shares(1, 0) == {"p": 2000}
    assert shares(0, 0) == {None: 2000}
    no_services = variants(pod_spec)["services"][:1]
    assert shares(1, 1, services=no_services)[None] / 2000 == pytest.approx(0.5, abs=0.05)
    only_primary = variants(pod_spec)["pods"][:1]
    assert shares(1, 1, pods=only_primary)[None] / 2000 == pytest.approx(0.5, abs=0.05)


def test_what_the_primary_refuses_overflows(pod_spec: Make) -> None:
    """A route with an overflow sends refused requests on, once, and the refusal is counted."""
    route = RouteSpec(namespace="serving", name="r", weights=(("fp8", 1),), overflow="int4")
    emulator = Emulator()
    emulator.apply(ClusterView(**variants(pod_spec, limit=2), routes=(route,)), 0.0)
    taken = names_of_pods_that_take(emulator, Door(DoorKind.ROUTE, "serving", "r"), 5)
    assert taken == ["p", "p", "f", "f", "f"]
    assert emulator.pod("serving", "p").replica.counts.rejected == 3


def test_random_balancing_reaches_every_pod(pod_spec: Make, cluster_view: Make) -> None:
    """A Service that balances at random spreads requests evenly, whatever is outstanding."""
    view = cluster_view(*(pod_spec(name) for name in "abcd"))
    service = ServiceSpec(
        namespace="serving",
        name="llama",
        selector={"app": "llama"},
        balancing=Balancing.RANDOM,
    )
    emulator = Emulator(seed=3)
    emulator.apply(ClusterView(pods=view.pods, services=(service,)), 0.0)
    taken = names_of_pods_that_take(emulator, LLAMA, 800)
    assert all(taken.count(name) / 800 == pytest.approx(0.25, abs=0.06) for name in "abcd")


def test_services_select_by_namespace_and_all_labels(pod_spec: Make, cluster_view: Make) -> None:
    """Pods of another namespace, or without the selector's labels, are no endpoints."""
    emulator = Emulator()
    view = cluster_view(
        pod_spec("a", namespace="other"),
        pod_spec("b", labels={"app": "else"}),
        pod_spec("c", labels={"app": "llama", "more": "x"}),
    )
    emulator.apply(view, 0.0)
    assert set(names_of_pods_that_take(emulator, LLAMA, 6)) == {"c"}


def test_addresses_lead_to_pods_and_services(pod_spec: Make) -> None:
    """A dialled address is a pod's or a Service's, or nobody's."""
    emulator = Emulator()
    service = ServiceSpec(
        namespace="serving", name="llama", selector={"app": "llama"}, address="10.96.0.7"
    )
    emulator.apply(
        ClusterView(pods=(pod_spec("a", address="10.244.0.5"),), services=(service,)), 0.0
    )
    assert emulator.door_at("10.244.0.5") == Door(DoorKind.POD, "serving", "a")
    assert emulator.door_at("10.96.0.7") == LLAMA
    assert emulator.door_at("10.0.0.1") is None


def test_a_door_is_written_as_its_path() -> None:
    """Doors are read from KIND/NAMESPACE/NAME; anything else is refused with the form."""
    assert Door.parse("/services/serving/llama/") == LLAMA
    for wrong in ("llama", "services/llama", "jobs/serving/llama", "services//llama"):
        with pytest.raises(ValueError, match="KIND/NAMESPACE/NAME"):
            Door.parse(wrong)


def test_a_view_that_has_not_changed_is_not_applied_again(
    pod_spec: Make, cluster_view: Make
) -> None:
    """Only a new view costs anything; a static cluster shows what it was set to."""
    source, emulator = StaticCluster(cluster_view(pod_spec("a"))), Emulator()
    emulator.apply(source.view(), 0.0)
    replica = emulator.pod("serving", "a").replica
    emulator.apply(source.view(), 1.0)
    assert emulator.now_seconds == 0.0
    source.set(cluster_view(pod_spec("a"), pod_spec("b")))
    emulator.apply(source.view(), 2.0)
    assert [pod.spec.name for pod in emulator.pods] == ["a", "b"]
    assert emulator.pod("serving", "a").replica is replica
