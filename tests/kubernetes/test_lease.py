"""One leads at a time: leases on a real API server, clocks in the tests' hands."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from controller.adapters.clock import SystemClock
from controller.adapters.kubernetes.client import Kubernetes
from controller.adapters.kubernetes.lease import Lease
from controlplane.cluster import ControlPlane
from controlplane.waiting import until

pytestmark = pytest.mark.cluster


class Clock:
    """A machine's clocks: far from any other's, and moved by the test."""

    def __init__(self, unix: float, steady: float) -> None:
        self.unix, self.at = unix, steady

    def now(self) -> float:
        """Unix time, as wrong as it is."""
        return self.unix + self.at

    def steady(self) -> float:
        """Steady time."""
        return self.at


class Candidate:
    """One operator and its clock."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, identity: str, unix: float) -> None:
        self.clock = Clock(unix, 1000.0 * len(identity))
        self.lease = Lease(
            kubernetes=kubernetes,
            namespace=namespace,
            name="steelyard-controller",
            identity=identity,
            duration_seconds=10,
            renew_seconds=2.0,
            time=self.clock,
        )

    def tries(self, after: float = 0.0) -> bool:
        """Try once, so many seconds later; returns whether it leads then."""
        self.clock.at += after
        self.lease.try_once()
        return self.lease.held()


Stand = Callable[[str], Candidate]


@pytest.fixture
def stand(kubernetes: Kubernetes, namespace: str) -> Stand:
    """Make candidates whose clocks are years apart."""
    years = iter((0.0, 1e9, 2e9))
    return lambda identity: Candidate(kubernetes, namespace, identity, next(years))


def test_the_first_to_come_leads_and_goes_on(stand: Stand) -> None:
    """The other watches, however often it tries."""
    a, b = stand("a"), stand("bb")
    assert a.tries()
    for _ in range(20):
        assert not b.tries(after=2.0)
        assert a.tries(after=2.0)


def test_what_is_silent_is_replaced_within_fifteen_seconds(stand: Stand) -> None:
    """Once the lease has not changed for its duration; its holder has stopped before."""
    a, b = stand("a"), stand("bb")
    assert a.tries()
    assert not b.tries()
    waited = 0.0
    while not b.tries(after=2.0):
        waited += 2.0
    assert waited + 2.0 < 15.0
    a.clock.at += waited
    assert not a.lease.held()


def test_a_holder_stops_before_another_may_begin(stand: Stand) -> None:
    """By its own clock, without asking anybody."""
    a, b = stand("a"), stand("bb")
    assert a.tries()
    assert not b.tries()
    a.clock.at += 8.1
    assert not a.lease.held()
    assert not b.tries(after=8.1)


def test_who_was_replaced_comes_back_as_a_standby(stand: Stand) -> None:
    """It sees the other's name, and does not take the lease back."""
    a, b = stand("a"), stand("bb")
    a.tries()
    b.tries()
    assert b.tries(after=10.0)
    assert not a.tries(after=60.0)
    assert b.tries(after=2.0)


def test_what_is_given_up_is_taken_at_once(stand: Stand) -> None:
    """A clean end costs no time."""
    a, b = stand("a"), stand("bb")
    a.tries()
    b.tries()
    a.lease.release()
    assert not a.lease.held()
    assert b.tries(after=0.1)


def test_who_does_not_lead_gives_nothing_up(stand: Stand) -> None:
    """A standby's end leaves the leader's lease."""
    a, b = stand("a"), stand("bb")
    a.tries()
    b.tries()
    b.lease.release()
    assert a.tries(after=2.0)


def test_of_many_that_try_at_once_one_leads(kubernetes: Kubernetes, namespace: str) -> None:
    """At the creation, and at each take-over."""
    many = [Candidate(kubernetes, namespace, f"{i:02}", float(i)) for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(Candidate.tries, many)) == 1
        for each in many:
            each.tries()
        (leader,) = [each for each in many if each.lease.held()]
        others = [each for each in many if each is not leader]
        for _ in range(3):
            assert sum(pool.map(lambda c: c.tries(after=10.0), others)) == 1
            for each in others:
                each.tries()
            (new,) = [each for each in others if each.lease.held()]
            others = [each for each in others if each is not new]


def test_without_the_api_server_it_runs_out_and_comes_back(
    stand: Stand, control_plane: ControlPlane
) -> None:
    """Nothing is raised meanwhile; no other can have taken it."""
    a = stand("a")
    assert a.tries()
    control_plane.stop_apiserver()
    try:
        assert a.tries(after=2.0)
        assert not a.tries(after=6.5)
    finally:
        control_plane.start_apiserver()
    assert a.tries(after=2.0)


def test_the_record_is_readable(stand: Stand, kubernetes: Kubernetes, namespace: str) -> None:
    """Holder, duration, times and transitions are as Kubernetes' own components write them."""
    a, b = stand("a"), stand("bb")
    a.tries()
    b.tries()
    b.tries(after=10.0)
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/steelyard-controller"
    spec = kubernetes.get(path)["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == ("bb", 10)
    assert spec["leaseTransitions"] == 1
    assert spec["acquireTime"] == spec["renewTime"]


def test_of_two_one_leads_while_the_api_server_restarts(
    kubernetes: Kubernetes, namespace: str, control_plane: ControlPlane
) -> None:
    """The lease runs out meanwhile; afterwards one of them leads again, never both."""
    pair = [
        Candidate(kubernetes, namespace, name, unix) for name, unix in (("a", 0.0), ("bb", 1e9))
    ]

    def leading(seconds: float) -> int:
        found = []
        for _ in range(int(seconds)):
            for each in pair:
                for one in pair:
                    one.clock.at += 0.5
                each.lease.try_once()
                found.append(sum(one.lease.held() for one in pair))
        assert max(found) <= 1
        return found[-1]

    assert leading(3) == 1
    control_plane.stop_apiserver()
    try:
        assert leading(30) == 0
    finally:
        control_plane.start_apiserver()
    assert leading(15) == 1


def test_it_is_renewed_as_time_goes_by_and_taken_from_who_is_silent(
    connect_as: Callable[[], Kubernetes], namespace: str
) -> None:
    """With the machine's own clock: a second takes it once the first has stopped."""

    def real(identity: str) -> Lease:
        return Lease(
            kubernetes=connect_as(),
            namespace=namespace,
            name="steelyard-controller",
            identity=identity,
            duration_seconds=3,
            renew_seconds=0.5,
            time=SystemClock(),
        )

    async def play() -> None:
        first, second = real("first"), real("second")
        tasks = [asyncio.create_task(first.run())]
        try:
            await asyncio.to_thread(until, first.held, "the first to lead")
            tasks.append(asyncio.create_task(second.run()))
            # Longer than its duration: it leads by being renewed.
            await asyncio.to_thread(until, renewed_often(first), "eight renewals")
            assert first.held()
            assert not second.held()
            tasks[0].cancel()
            await asyncio.to_thread(until, second.held, "the second to lead")
            assert not first.held()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def renewed_often(lease: Lease) -> Callable[[], bool]:
        seen: set[str] = set()

        def look() -> bool:
            path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{lease.name}"
            seen.add(lease.kubernetes.get(path)["spec"]["renewTime"])
            return len(seen) > 8

        return look

    asyncio.run(play())


def test_what_is_forbidden_is_told_once_with_the_fix(
    connect_as: Callable[..., Kubernetes],
    namespace: str,
    control_plane: ControlPlane,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names the Role; nobody leads."""
    nobody = connect_as(control_plane.kubeconfig_for("nobody", namespace))
    candidate = Candidate(nobody, namespace, "a", 0.0)
    for _ in range(3):
        assert not candidate.tries(after=2.0)
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "steelyard-lease" in told
    assert "cannot get" in told


def test_the_role_of_the_manifests_is_enough(
    connect_as: Callable[..., Kubernetes], namespace: str, control_plane: ControlPlane
) -> None:
    """Create, get and update on the one lease: made, renewed, given up and taken again."""
    folder = Path(__file__).parents[2] / "manifests" / "base"
    role, binding = yaml.safe_load_all((folder / "lease-role.yaml").read_text())
    binding["subjects"][0]["namespace"] = namespace
    account = connect_as(control_plane.kubeconfig_for("steelyard", namespace))
    control_plane.apply(role, binding, namespace=namespace)
    a = Candidate(account, namespace, "a", 0.0)
    until(a.tries, "the Role to be in force")
    assert a.tries(after=2.0)
    a.lease.release()
    assert not a.tries(after=2.0)
    assert Candidate(account, namespace, "bb", 1e9).tries()
