"""One cycle: observe, plan, actuate, report; a failure stays where it happened."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import pytest

from controller.core.domain.decision import Decision, DecisionStep, Reason, Stage
from controller.core.domain.observation import Observation, PastTraffic
from controller.core.domain.policy import Mode, ObjectKey, Policy
from controller.ports import (
    Conflict,
    MetricsUnavailable,
    Planned,
    PortError,
    Report,
    TargetNotFound,
)
from controller.reconciler import Failure, Reconciler

NOW = 1_743_465_600.0
MakePolicy: TypeAlias = Callable[..., Policy]
MakeObservation: TypeAlias = Callable[..., Observation]


class CountingPlanner:
    """Its history is the number of ticks it saw; it asks for one replica more each tick."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def initial(self, policy: Policy, past: PastTraffic | None) -> int:
        """Nothing was seen yet."""
        assert past is None
        self.log.append(f"initial {policy.name}")
        return 0

    def plan(
        self, policy: Policy, observation: Observation, history: int, now: float
    ) -> tuple[Decision, int]:
        """One more than the ticks before."""
        del now
        self.log.append(f"plan {policy.name} {history}")
        before = tuple(variant.desired for variant in observation.variants)
        after = (history + 1,)
        step = DecisionStep(Stage.OPTIMISE, Reason.PEER_LAW, before, after)
        decision = Decision(allocation=after, weights=None, steps=(step,), binding=Reason.PEER_LAW)
        return decision, history + 1


@dataclass
class Outside:
    """All ports in one, each writing down what it was asked and failing where it is told to."""

    log: list[str]
    observation: Observation
    failing: dict[str, PortError] = field(default_factory=dict)

    def _called(self, what: str) -> None:
        self.log.append(what)
        if what in self.failing:
            raise self.failing[what]

    async def observe(
        self, policies: Sequence[Policy], now: float
    ) -> Sequence[Observation | PortError]:
        """The same observation for every object."""
        del now
        self._called("observe")
        return [self.failing.get(f"observe {p.name}", self.observation) for p in policies]

    async def past(self, policy: Policy, now: float) -> PastTraffic | None:
        """Nothing is kept."""
        del now
        self._called(f"past {policy.name}")

    def _problems(self, what: str, planned: Sequence[Planned]) -> Sequence[PortError | None]:
        problems: list[PortError | None] = []
        for one in planned:
            call = f"{what} {one.policy.name} {one.decision.allocation[0]}"
            self.log.append(call)
            problems.append(self.failing.get(call))
        return problems

    async def actuate(self, planned: Sequence[Planned], now: float) -> Sequence[PortError | None]:
        """Written down with what was decided."""
        del now
        return self._problems("actuate", planned)

    async def report(self, reports: Sequence[Report], now: float) -> Sequence[PortError | None]:
        """Written down with what was decided, and whether it was carried out."""
        del now
        self.log += [f"problem {r.planned.policy.name}" for r in reports if r.problem]
        return self._problems("report", [report.planned for report in reports])


@dataclass
class Cycles:
    """A reconciler between a planner and an outside that share one log."""

    outside: Outside
    reconciler: Reconciler[int]

    def run(self, *policies: Policy, now: float = NOW) -> Sequence[Failure]:
        """One cycle over these objects; the log holds that cycle only."""
        self.outside.log.clear()
        return asyncio.run(self.reconciler.cycle(policies, now))

    @property
    def log(self) -> list[str]:
        """What was called in the last cycle, in order."""
        return list(self.outside.log)


@pytest.fixture
def cycles(make_observation: MakeObservation) -> Cycles:
    """A reconciler with nothing failing."""
    log: list[str] = []
    outside = Outside(log, make_observation(NOW, (1,), 10.0))
    reconciler = Reconciler(
        planner=CountingPlanner(log),
        observer=outside,
        archive=outside,
        actuator=outside,
        reporter=outside,
    )
    return Cycles(outside, reconciler)


@pytest.fixture
def two(make_policy: MakePolicy) -> tuple[Policy, Policy]:
    """Two objects."""
    return make_policy(name="a"), make_policy(name="b")


def test_a_cycle_observes_plans_actuates_and_reports_in_this_order(
    cycles: Cycles, two: tuple[Policy, Policy]
) -> None:
    """All objects are observed at once, each is planned; all are actuated, then reported."""
    assert cycles.run(*two) == []
    assert cycles.log == [
        "observe",
        *("past a", "initial a", "plan a 0"),
        *("past b", "initial b", "plan b 0"),
        *("actuate a 1", "actuate b 1"),
        *("report a 1", "report b 1"),
    ]


def test_history_goes_from_cycle_to_cycle(cycles: Cycles, two: tuple[Policy, Policy]) -> None:
    """The archive is asked once for an object; after that its history is handed on."""
    cycles.run(two[0])
    cycles.run(two[0])
    assert cycles.log == ["observe", "plan a 1", "actuate a 2", "report a 2"]


def test_an_object_is_decided_on_without_its_past_until_it_is_told(
    cycles: Cycles, two: tuple[Policy, Policy]
) -> None:
    """While the archive cannot tell, the history starts empty and goes on; then it is seeded."""
    error = MetricsUnavailable("no archive")
    cycles.outside.failing = {"past a": error}
    assert cycles.run(*two) == [Failure(ObjectKey("serving", "a"), error)]
    assert cycles.log[:6] == [
        *("observe", "past a", "initial a", "plan a 0"),
        *("past b", "initial b"),
    ]
    assert cycles.run(two[0]) == [Failure(ObjectKey("serving", "a"), error)]
    assert cycles.log[:3] == ["observe", "past a", "plan a 1"]
    cycles.outside.failing = {}
    assert cycles.run(two[0]) == []
    assert cycles.log[:4] == ["observe", "past a", "initial a", "plan a 0"]
    cycles.run(two[0])
    assert cycles.log[:2] == ["observe", "plan a 1"]


def test_an_object_with_other_variants_begins_anew(
    cycles: Cycles, two: tuple[Policy, Policy]
) -> None:
    """A history is by variant; other bounds of the same variants change nothing about it."""
    variant = two[0].variants[0]
    cycles.run(*two)
    cycles.run(replace(two[0], variants=(replace(variant, max_replicas=7),)), two[1])
    assert "plan a 1" in cycles.log
    cycles.run(replace(two[0], variants=(replace(variant, name="another"),)), two[1])
    assert cycles.log[1:4] == ["past a", "initial a", "plan a 0"]
    assert "plan b 2" in cycles.log


def test_what_could_not_be_carried_out_is_reported(
    cycles: Cycles, two: tuple[Policy, Policy]
) -> None:
    """A write that failed stops no other, and users are told of it."""
    error = Conflict("changed since it was read")
    cycles.outside.failing = {"actuate a 1": error}
    assert cycles.run(*two) == [Failure(ObjectKey("serving", "a"), error)]
    assert cycles.log[-5:] == [
        *("actuate a 1", "actuate b 1"),
        *("problem a", "report a 1", "report b 1"),
    ]


def test_a_report_that_failed_is_told(cycles: Cycles, two: tuple[Policy, Policy]) -> None:
    """Both are reported, and the failure of one is handed back."""
    error = TargetNotFound("gone")
    cycles.outside.failing = {"report a 1": error}
    assert cycles.run(*two) == [Failure(ObjectKey("serving", "a"), error)]
    assert cycles.log[-2:] == ["report a 1", "report b 1"]


def test_an_object_that_cannot_be_planned_does_not_touch_another(
    cycles: Cycles, two: tuple[Policy, Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planner that fails on one object's figures still plans the others."""
    planner = cycles.reconciler.planner
    plan = planner.plan

    def picky(
        policy: Policy, observation: Observation, history: int, now: float
    ) -> tuple[Decision, int]:
        if policy.name == "a":
            raise ValueError("figures no model can have")
        return plan(policy, observation, history, now)

    monkeypatch.setattr(planner, "plan", picky)
    cycles.run(*two)
    assert cycles.log[-3:] == ["plan b 0", "actuate b 1", "report b 1"]


def test_the_next_cycle_is_the_retry(cycles: Cycles, two: tuple[Policy, Policy]) -> None:
    """What was planned before the failure is remembered; what was not is done then."""
    cycles.outside.failing = {"actuate a 1": Conflict("changed"), "past b": PortError("down")}
    cycles.run(*two)
    cycles.outside.failing = {}
    assert cycles.run(*two) == []
    assert cycles.log == [
        *("observe", "plan a 1", "past b", "initial b", "plan b 0"),
        *("actuate a 2", "actuate b 1", "report a 2", "report b 1"),
    ]


def test_a_blind_cycle_actuates_nothing(cycles: Cycles, two: tuple[Policy, Policy]) -> None:
    """When nothing can be observed, nothing is planned, written or reported; histories stay."""
    cycles.run(*two)
    error = MetricsUnavailable("Prometheus does not answer")
    cycles.outside.failing = {"observe": error}
    assert cycles.run(*two) == [Failure(None, error)]
    assert cycles.log == ["observe"]
    cycles.outside.failing = {}
    cycles.run(*two)
    assert "plan a 1" in cycles.log


def test_an_object_that_is_not_seen_is_left_as_it_is(
    cycles: Cycles, two: tuple[Policy, Policy]
) -> None:
    """It is not planned, written or reported, and its history stays; the others go on."""
    cycles.run(*two)
    error = PortError("deployments are not listed yet")
    cycles.outside.failing = {"observe a": error}
    assert cycles.run(*two) == [Failure(two[0].key, error)]
    assert cycles.log == ["observe", "plan b 1", "actuate b 2", "report b 2"]
    cycles.outside.failing = {}
    cycles.run(*two)
    assert "plan a 1" in cycles.log


@pytest.mark.parametrize("mode", [Mode.RECOMMEND, Mode.OFF])
def test_only_auto_actuates(cycles: Cycles, two: tuple[Policy, Policy], mode: Mode) -> None:
    """Recommend and Off are planned and reported, never carried out."""
    cycles.run(replace(two[0], mode=mode), two[1])
    assert cycles.log == [
        *("observe", "past a", "initial a", "plan a 0", "past b", "initial b", "plan b 0"),
        *("actuate b 1", "report a 1", "report b 1"),
    ]


def test_histories_of_objects_that_are_gone_are_forgotten(
    cycles: Cycles, two: tuple[Policy, Policy]
) -> None:
    """An object that comes back is a new one, as is one of the same name elsewhere."""
    cycles.run(*two)
    cycles.run(two[0])
    cycles.run(two[0], two[1])
    assert "initial b" in cycles.log
    assert "initial a" not in cycles.log
    cycles.run(two[0], replace(two[1], namespace="elsewhere"))
    assert "initial b" in cycles.log


def test_an_object_replaced_by_another_is_forgotten(
    cycles: Cycles, two: tuple[Policy, Policy]
) -> None:
    """As many objects as before does not mean the same ones."""
    cycles.run(two[0])
    cycles.run(two[1])
    cycles.run(two[0])
    assert "initial a" in cycles.log


def test_no_objects_is_a_cycle_too(cycles: Cycles) -> None:
    """With nothing to reconcile nothing fails."""
    assert cycles.run() == []
