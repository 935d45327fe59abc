"""The cycle: every object each tick, while this operator leads, whatever fails."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from controller.api.errors import InvalidModelDeployment
from controller.api.status import Status
from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import Observation, PastTraffic
from controller.core.domain.policy import Mode, ObjectKey, Policy
from controller.operator.cycle import CycleRecord, CycleTask, NotLeading, WhileLeading
from controller.operator.store import Identity, Invalid
from controller.ports import Conflict, MetricsUnavailable, Planned, PortError, Report
from controller.reconciler import Reconciler

TICK = 15.0
MakeReport = Callable[..., Report]


@dataclass
class World:
    """Everything around a cycle, in one: time that only moves when told, ports and a lease."""

    policy: Policy
    observation: Observation
    clock: float = 1000.0
    leads: bool = True
    cycle_takes: float = 0.0
    hangs: bool = False
    raises: Exception | None = None
    log: list[str] = field(default_factory=list)
    records: list[CycleRecord] = field(default_factory=list)
    bad: list[Invalid] = field(default_factory=list)
    written: dict[ObjectKey, Status] = field(default_factory=dict)
    loses_lease_while_observing: bool = False

    def now(self) -> float:
        """Unix time."""
        return 1_743_465_600.0 + self.clock

    def steady(self) -> float:
        """Time to measure with."""
        return self.clock

    def held(self) -> bool:
        """The lease."""
        return self.leads

    def policies(self, now: float) -> Sequence[Policy]:
        """One object."""
        assert now == self.now()
        return [self.policy]

    def invalid(self) -> Sequence[Invalid]:
        """The ones that cannot be used."""
        return self.bad

    async def write(self, key: ObjectKey, status: Status) -> None:
        """Keep what is written, as the watch would bring it back."""
        self.log.append(f"write {key.name}")
        if self.raises is not None:
            raise self.raises
        self.written[key] = status

    def cycle_done(self, record: CycleRecord) -> None:
        """Keep it."""
        self.records.append(record)

    def standing_by(self) -> None:
        """Write it down."""
        self.log.append("standby")

    async def observe(self, policies: Sequence[Policy], now: float) -> Sequence[Observation]:
        """Take the time that was set, or for ever."""
        del now
        self.log.append("observe")
        self.clock += self.cycle_takes
        if self.hangs:
            await asyncio.Event().wait()
        if self.raises is not None:
            raise self.raises
        if self.loses_lease_while_observing:
            self.leads = False
        return [self.observation] * len(policies)

    async def past(self, policy: Policy, now: float) -> PastTraffic | None:
        """Nothing."""
        del policy, now

    def initial(self, policy: Policy, past: PastTraffic | None) -> int:
        """A history that begins."""
        del policy, past
        self.log.append("initial")
        return 0

    def plan(
        self, policy: Policy, observation: Observation, history: int, now: float
    ) -> tuple[Decision, int]:
        """The same every time."""
        del policy, observation, now
        self.log.append("plan")
        return (
            Decision(allocation=(5, 0), weights=None, steps=(), binding=Reason.PEER_LAW),
            history + 1,
        )

    async def actuate(self, planned: Sequence[Planned], now: float) -> Sequence[PortError | None]:
        """Write it down."""
        del now
        self.log += ["actuate"] * bool(planned)
        return [None] * len(planned)

    async def report(self, reports: Sequence[Report], now: float) -> Sequence[PortError | None]:
        """Write it down."""
        del now
        self.log += ["report"] * bool(reports)
        return [None] * len(reports)

    def reconciler(self) -> Reconciler[int]:
        """A new one around this world."""
        return Reconciler(
            planner=self,
            observer=self,
            archive=self,
            actuator=WhileLeading(self, self),
            reporter=self,
        )


@pytest.fixture
def world(make_report: MakeReport) -> World:
    """An object in mode Auto; everything works."""
    planned = make_report().planned
    return World(replace(planned.policy, mode=Mode.AUTO), planned.observation)


def a_task(world: World, **changes: Any) -> CycleTask:
    """The task under test."""
    settings = {"tick_seconds": TICK, "deadline_seconds": TICK, **changes}
    return CycleTask(
        objects=world,
        leadership=world,
        new_reconciler=world.reconciler,
        status_writer=world,
        recorder=world,
        time=world,
        **settings,
    )


def run(task: CycleTask, world: World, cycles: int) -> list[float]:
    """Run the loop that many times; returns the pauses, each of which passes at once."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        world.clock += seconds

    asyncio.run(task.run(lambda: len(pauses) >= cycles, pause))
    return pauses


def test_a_cycle_begins_each_tick_however_long_it_takes(world: World) -> None:
    """The pause is what is left of the tick, so that cycles do not drift."""
    world.cycle_takes = 4.0
    assert run(a_task(world), world, 3) == [11.0, 11.0, 11.0]
    assert [record.now - world.records[0].now for record in world.records] == [0.0, 15.0, 30.0]
    assert [record.seconds for record in world.records] == [4.0] * 3
    assert not any(record.overrun or record.lag_seconds for record in world.records)


def test_an_overrun_delays_the_next_cycle_and_none_is_made_up_for(world: World) -> None:
    """After 40 s the next cycle begins at once; missed ticks are not run in a burst."""
    world.cycle_takes = 40.0
    assert run(a_task(world), world, 2) == [0.0, 0.0]
    assert all(record.overrun for record in world.records)
    world.cycle_takes = 0.0
    assert run(a_task(world), world, 1) == [TICK]


def test_lag_is_how_late_a_cycle_begins(world: World) -> None:
    """A machine that slept shows as lag, not as a long cycle."""
    pauses: list[float] = []

    async def oversleep(seconds: float) -> None:
        pauses.append(seconds)
        world.clock += seconds + 3.0

    asyncio.run(a_task(world).run(lambda: len(pauses) >= 2, oversleep))
    assert [record.lag_seconds for record in world.records] == [0.0, 3.0]


def test_a_cycle_that_hangs_is_cut_off_and_the_next_one_works(world: World) -> None:
    """One hard deadline for all of it; what was remembered stays."""
    task = a_task(world, deadline_seconds=0.01)
    world.hangs = True
    assert asyncio.run(task.once())
    world.hangs = False
    assert asyncio.run(task.once())
    assert [record.cut_off for record in world.records] == [True, False]
    assert world.log == ["observe", "observe", "initial", "plan", "actuate", "report"]


@pytest.mark.parametrize("error", [MetricsUnavailable("down"), ZeroDivisionError("a defect")])
def test_whatever_a_cycle_raises_the_next_one_comes(world: World, error: Exception) -> None:
    """The failure is told, and nothing was written."""
    task = a_task(world)
    world.raises = error
    asyncio.run(task.once())
    assert [failure.error for failure in world.records[0].failures] == [error]
    assert world.log == ["observe"]
    world.raises = None
    asyncio.run(task.once())
    assert world.log[-2:] == ["actuate", "report"]


def test_a_standby_does_nothing_but_look_often_whether_it_leads(world: World) -> None:
    """It takes over within a second of holding the lease."""
    world.leads = False
    assert run(a_task(world), world, 3) == [1.0, 1.0, 1.0]
    assert world.log == ["standby"] * 3
    assert world.records == []


def test_who_leads_anew_has_no_history(world: World) -> None:
    """What happened while another led was not seen: the hold begins again."""
    task = a_task(world)
    for leads in (True, True, False, True):
        world.leads = leads
        asyncio.run(task.once())
    assert world.log.count("initial") == 2


def test_a_lease_lost_in_a_cycle_stops_its_writes(world: World) -> None:
    """What was decided is reported as not carried out, and the targets are left to the other."""
    world.loses_lease_while_observing = True
    asyncio.run(a_task(world).once())
    assert "actuate" not in world.log
    (failure,) = world.records[0].failures
    assert isinstance(failure.error, NotLeading)


def test_an_invalid_object_is_told_once(world: World) -> None:
    """Its status says what is wrong; the same is not written again, a new generation is."""
    identity = Identity(key=ObjectKey("serving", "bad"), uid="1", generation=3, resource_version="")
    error = InvalidModelDeployment("spec.variants[0].maxReplicas: found 0")
    world.bad = [Invalid(identity=identity, error=error, status=None)]
    task = a_task(world)
    asyncio.run(task.once())
    status = world.written[identity.key]
    assert status.observed_generation == 3
    assert status.conditions[0].reason == "SpecInvalid"
    assert "maxReplicas" in status.conditions[0].message
    world.bad = [Invalid(identity=identity, error=error, status=status)]
    world.clock += TICK
    asyncio.run(task.once())
    assert world.log.count("write bad") == 1
    other = InvalidModelDeployment("spec.slo: missing")
    world.bad = [Invalid(identity=identity, error=other, status=status)]
    asyncio.run(task.once())
    assert world.log.count("write bad") == 2


def test_an_invalid_object_that_cannot_be_told_stops_nothing(world: World) -> None:
    """The failure is counted against that object; the others were reconciled before."""
    identity = Identity(key=ObjectKey("serving", "bad"), uid="1", generation=3, resource_version="")
    world.bad = [Invalid(identity=identity, error=InvalidModelDeployment("x"), status=None)]
    task = a_task(world)

    async def refuse(key: ObjectKey, status: Status) -> None:
        del key, status
        raise Conflict("changed since it was read")

    world.write = refuse  # type: ignore[method-assign]  # this one write fails
    asyncio.run(task.once())
    (failure,) = world.records[0].failures
    assert failure.key == identity.key
    assert world.log[-2:] == ["actuate", "report"]


def test_signs_of_life_are_given_by_every_turn_of_the_loop(world: World) -> None:
    """Standby or leader: the beat is never older than one pause."""
    task = a_task(world)
    run(task, world, 1)
    assert world.clock - task.beat_at_seconds == TICK
