"""Workloads and metrics of every object are joined into observations; nothing missing is zero."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from controller.core.domain.observation import Measured, Missing, MissingReason, Observation
from controller.core.domain.policy import Policy
from controller.observer import ClusterObserver
from controller.ports import (
    MetricsQuestion,
    MetricsReading,
    PortError,
    Replica,
    TargetNotFound,
    Workload,
)

NOW = 1_743_465_600.0
ABSENT = Missing(MissingReason.ABSENT)


def pod(name: str, ready_after: float | None = 100.0, *, placed: bool = True) -> Replica:
    """A pod created at NOW - 300 that was Ready so many seconds later."""
    created = NOW - 300.0
    return Replica(
        name=name,
        created_at_seconds=created,
        ready_since_seconds=None if ready_after is None else created + ready_after,
        scheduled=placed,
        draining=False,
    )


class Outside:
    """Both ports, answering what they were told to."""

    def __init__(self) -> None:
        self.targets: list[Workload | PortError] = []
        self.reading = MetricsReading(traffic=ABSENT, outcomes=ABSENT, gauges=())
        self.asked: Sequence[MetricsQuestion] = ()

    def observer(self) -> ClusterObserver:
        """An observer of this outside."""
        outside = self

        class Answers:
            async def read(
                self, policies: Sequence[Policy], now: float
            ) -> Sequence[Sequence[Workload | PortError]]:
                """The same targets for every object."""
                del now
                return [outside.targets for _ in policies]

        class Metrics:
            async def read(
                self, questions: Sequence[MetricsQuestion], now: float
            ) -> Sequence[MetricsReading]:
                """The same reading for every object."""
                del now
                outside.asked = questions
                return [outside.reading for _ in questions]

        return ClusterObserver(workloads=Answers(), metrics=Metrics())


@pytest.fixture
def outside() -> Outside:
    """Two Ready pods of one variant, no metrics."""
    made = Outside()
    made.targets = [Workload(desired=2, replicas=(pod("a"), pod("b")))]
    made.reading = MetricsReading(traffic=ABSENT, outcomes=ABSENT, gauges=((ABSENT,) * 3,))
    return made


@pytest.fixture
def look(make_policy: Callable[..., Policy]) -> Callable[..., Observation]:
    """One look of an observer at the one object."""

    def go(observer: ClusterObserver) -> Observation:
        (observation,) = asyncio.run(observer.observe([make_policy()], NOW))
        assert isinstance(observation, Observation)
        return observation

    return go


def test_replicas_are_counted_by_what_they_do(
    outside: Outside, look: Callable[..., Observation]
) -> None:
    """Ready, starting, waiting for a GPU and draining are told apart."""
    leaving = replace(pod("d"), draining=True)
    pods = (pod("a"), pod("b", None), pod("c", None, placed=False), leaving)
    outside.targets = [Workload(desired=3, replicas=pods)]
    (seen,) = look(outside.observer()).variants
    assert (seen.desired, seen.ready, seen.unschedulable, seen.draining) == (3, 1, 1, 1)
    assert seen.starting_since_seconds == (NOW - 300.0,) * 2
    assert outside.asked[0].replicas == (pods,)


def test_a_cold_start_is_told_once_and_not_of_pods_found_ready(
    outside: Outside, look: Callable[..., Observation]
) -> None:
    """What was Ready before the first look may have been restarted; what becomes so is measured."""
    observer = outside.observer()
    assert look(observer).variants[0].ready_after_seconds == ()
    outside.targets = [Workload(desired=3, replicas=(pod("a"), pod("b"), pod("c", 90.0)))]
    assert look(observer).variants[0].ready_after_seconds == (90.0,)
    assert look(observer).variants[0].ready_after_seconds == ()


def test_a_replica_that_is_ready_again_did_not_start(
    outside: Outside, look: Callable[..., Observation]
) -> None:
    """A readiness probe that failed for a while is no cold start."""
    observer = outside.observer()
    look(observer)
    outside.targets = [Workload(desired=2, replicas=(pod("a", None), pod("b")))]
    assert look(observer).variants[0].ready == 1
    outside.targets = [Workload(desired=2, replicas=(pod("a", 290.0), pod("b")))]
    assert look(observer).variants[0].ready_after_seconds == ()


def test_a_target_that_is_not_there_has_no_replicas(
    outside: Outside, look: Callable[..., Observation]
) -> None:
    """The others are observed all the same; who scales it says what is wrong."""
    outside.targets = [TargetNotFound("serving/llama")]
    (seen,) = look(outside.observer()).variants
    assert (seen.desired, seen.ready) == (0, 0)


def test_a_target_that_is_not_known_is_not_taken_for_none(
    outside: Outside, make_policy: Callable[..., Policy]
) -> None:
    """The object cannot be decided on, metrics are not asked for it; what it knew is kept."""
    observer = outside.observer()
    asyncio.run(observer.observe([make_policy()], NOW))
    known = list(outside.targets)
    unknown = PortError("deployments were last seen 70 s ago")
    outside.targets = [unknown]
    assert asyncio.run(observer.observe([make_policy()], NOW)) == [unknown]
    assert outside.asked == []
    outside.targets = known
    (seen,) = asyncio.run(observer.observe([make_policy()], NOW))
    assert isinstance(seen, Observation)
    assert seen.variants[0].ready_after_seconds == ()


def test_readings_are_handed_on_as_they_are(
    outside: Outside, look: Callable[..., Observation], make_policy: Callable[..., Policy]
) -> None:
    """Missing stays missing with its reason, and what is wrong is kept for people."""
    stale = Missing(MissingReason.STALE)
    gauges = (Measured(3.0, NOW), stale, ABSENT)
    outside.reading = MetricsReading(
        traffic=stale, outcomes=ABSENT, gauges=(gauges,), finding="no series for llama"
    )
    observer = outside.observer()
    seen = look(observer)
    assert seen.traffic is stale
    assert (seen.variants[0].running, seen.variants[0].waiting) == gauges[:2]
    assert observer.findings == {make_policy().key: "no series for llama"}
