"""Reports become statuses and Events, of what is still as it was when it was decided."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from controller.adapters.directory import Entry
from controller.adapters.kubernetes.client import Kubernetes
from controller.adapters.kubernetes.errors import AnotherWriter, Unanswered
from controller.adapters.kubernetes.events import EventWriter
from controller.adapters.kubernetes.reporting import KubernetesReporter
from controller.adapters.kubernetes.status import StatusWriter
from controller.core.domain.policy import Mode, ObjectKey
from controller.ports import Conflict, PortError, Report, TargetForbidden, TargetNotFound
from deciding.objects import NOW, Ports, named, planned


@dataclass
class World:
    """What the reporter is told of, and what it wrote."""

    server: Ports = field(default_factory=Ports)
    entries: dict[ObjectKey, Entry] = field(default_factory=dict)
    found: str = ""
    unable: PortError | None = None
    leads: bool = True

    def __post_init__(self) -> None:
        """Begin as a process that has just started."""
        kubernetes = cast("Kubernetes", self.server)
        self.reporter = KubernetesReporter(
            directory=self,
            status=StatusWriter(kubernetes=kubernetes, writes_per_cycle=100),
            events=EventWriter(
                kubernetes=kubernetes, identity="steelyard-0", edited_by=lambda _key, _variant: ""
            ),
            finding=lambda _: self.found,
            unable=lambda _: self.unable,
            leads=lambda: self.leads,
        )

    def entry(self, key: ObjectKey) -> Entry:
        """See ``Directory``."""
        return self.entries[key]

    def tell(
        self, of: Entry, problem: PortError | None = None, **options: Any
    ) -> dict[str, tuple[str, str, str]] | None:
        """Report a decision; returns the conditions written, by type, or None if none were."""
        before = len(self.server.patches)
        report = Report(planned=planned(of, **options), problem=problem)
        self.outcomes = asyncio.run(self.reporter.report([report], NOW))
        if len(self.server.patches) == before:
            return None
        _, operations = self.server.patches[-1]
        return {
            one["type"]: (one["status"], one["reason"], one["message"])
            for one in operations[-1]["value"]["conditions"]
        }


@pytest.fixture
def world() -> World:
    """One object, of which nothing was told yet."""
    of = named()
    return World(entries={of.policy.key: of})


PROBLEMS = pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (TargetNotFound("create it"), "TargetNotFound"),
        (TargetForbidden("let steelyard read it"), "TargetForbidden"),
        (AnotherWriter("delete HPA x"), "AnotherWriter"),
        (Conflict("set to 9 meanwhile"), "TargetConflict"),
        (Unanswered("no answer"), "WriteFailed"),
        (PortError("add a backend"), "WriteFailed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, PortError) else None,
)


@PROBLEMS
def test_why_a_decision_was_not_carried_out_is_said(
    world: World, problem: PortError, reason: str
) -> None:
    """With a reason that alerts can be written on, and the words of the problem."""
    told = world.tell(named(), problem)
    assert told is not None
    assert told["AbleToScale"] == ("False", reason, str(problem))


@PROBLEMS
def test_it_is_said_without_a_write_too(world: World, problem: PortError, reason: str) -> None:
    """In mode Recommend nothing is tried: what is known of the targets is said."""
    of = world.entries[named().policy.key]
    of = replace(of, policy=replace(of.policy, mode=Mode.RECOMMEND))
    world.entries[of.policy.key] = of
    world.unable = problem
    told = world.tell(of)
    assert told is not None
    assert told["AbleToScale"] == ("False", reason, str(problem))


def test_what_the_metrics_say_is_shown_where_they_are_missing(world: World) -> None:
    """Instead of that they are missing."""
    world.found = "the scrape of pod-1 fails"
    told = world.tell(named(), blind=True)
    assert told is not None
    assert told["MetricsAvailable"] == ("False", "MetricsStale", "the scrape of pod-1 fails")


def test_an_slo_that_cannot_be_measured_is_said(world: World) -> None:
    """It is the SLO's matter; the metrics are there."""
    world.found = "SloNotMeasurable: TTFT 900 ms read at 800 ms; set --buckets"
    told = world.tell(named())
    assert told is not None
    assert told["SloAtRisk"] == (
        "Unknown",
        "SloNotMeasurable",
        "TTFT 900 ms read at 800 ms; set --buckets",
    )
    assert told["MetricsAvailable"][0] == "True"


def _deleted(world: World) -> None:
    world.entries.clear()


def _edited(world: World) -> None:
    (key,) = world.entries
    of = world.entries[key]
    first, *others = of.policy.variants
    lowered = replace(first, max_replicas=1)
    world.entries[key] = replace(of, policy=replace(of.policy, variants=(lowered, *others)))


def _taken_over(world: World) -> None:
    world.leads = False


@pytest.mark.parametrize("meanwhile", [_deleted, _edited, _taken_over])
def test_what_is_no_longer_so_is_not_said(world: World, meanwhile: Callable[[World], None]) -> None:
    """The object is gone or asks for something else, or another operator decides."""
    meanwhile(world)
    assert world.tell(named(), wanted=(6, 0), seen=(4, 0)) is None
    assert world.outcomes == [None]
    assert world.server.created == []


def test_a_write_that_failed_is_told_of_its_object(world: World) -> None:
    """The Events are posted all the same."""
    down = Unanswered("no answer")
    world.server.refuses = lambda path: down if path.endswith("/status") else None
    assert world.tell(named(), wanted=(6, 0), seen=(4, 0)) is None
    assert world.outcomes == [down]
    assert [event["reason"] for event in world.server.created] == ["ScaledUp"]
