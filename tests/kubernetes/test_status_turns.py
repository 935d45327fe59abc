"""Whose status is written when not all can be: conditions first, and nobody waits for ever."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from controller.adapters.kubernetes.client import Kubernetes
from controller.adapters.kubernetes.errors import NotFound, Unanswered
from controller.adapters.kubernetes.judging import Judged
from controller.adapters.kubernetes.status import REFRESH_SECONDS, StatusWriter
from controller.api.conversion.status import invalid_status
from controller.api.errors import InvalidModelDeployment
from controller.api.status import Status, read_status
from controller.ports import PortError
from deciding.objects import NOW, Ports, judged, named

TICK = 15.0
INVALID = InvalidModelDeployment("spec.variants: missing")


@dataclass
class Told:
    """A writer whose clock the test has."""

    writes_per_cycle: int = 1000
    server: Ports = field(default_factory=Ports)
    now: float = NOW

    def __post_init__(self) -> None:
        """Begin as a process that has just started."""
        self.writer = StatusWriter(
            kubernetes=cast("Kubernetes", self.server), writes_per_cycle=self.writes_per_cycle
        )

    def cycle(self, *judgements: Judged, after: float = TICK) -> list[str]:
        """Tell, so many seconds later; returns the names of what was written."""
        self.now += after
        before = len(self.server.patches)
        asyncio.run(self.writer.tell(judgements, self.now))
        return [path.split("/")[-2] for path, _ in self.server.patches[before:]]

    def writes(self, of: Judged, status: Status) -> None:
        """Write the status of what nothing is decided about."""
        asyncio.run(self.writer.write(of.entry.policy.key, status))

    @property
    def written(self) -> Status:
        """The status that was written last."""
        _, operations = self.server.patches[-1]
        return read_status({"status": operations[-1]["value"]})


def noisy(i: int, at: float, *, blind: bool = False) -> Judged:
    """One of many objects; its figures are others each time."""
    return judged(named(f"llama-{i:02}"), blind=blind, attainment=0.991 + (at % 7200.0) * 1e-6)


def test_nobody_waits_for_ever_where_more_is_due_than_can_be_written() -> None:
    """Forty objects, one write a cycle: each gets its turn, the last in the list, too."""
    told = Told(writes_per_cycle=1)
    told.cycle(*(noisy(i, told.now) for i in range(40)))
    names: list[str] = []
    for _ in range(int(REFRESH_SECONDS / TICK) + 40):
        names += told.cycle(*(noisy(i, told.now) for i in range(40)))
    assert len(names) == len(set(names)) == 40


def test_a_change_of_condition_goes_before_figures() -> None:
    """Though its object is the last, and all others' figures are due before."""
    told = Told(writes_per_cycle=1)
    told.cycle(*(noisy(i, told.now) for i in range(20)))
    for _ in range(24):
        told.cycle(*(noisy(i, told.now) for i in range(20)))
    (written,) = told.cycle(*(noisy(i, told.now, blind=i == 19) for i in range(20)))
    assert written == "llama-19"


@pytest.mark.parametrize("name", [f"llama-{i:02}" for i in range(6)])
def test_figures_do_not_use_up_what_is_for_conditions(name: str) -> None:
    """After hours of traffic whose figures are never the same, two changes are told at once."""
    told = Told()
    for i in range(1000):
        told.cycle(judged(named(name), attainment=0.991 + i * 1e-6))
    assert told.cycle(judged(named(name), blind=True)) == [name]
    assert told.cycle(judged(named(name), attainment=0.993)) == [name]


def test_a_clock_that_is_set_back_keeps_nothing_from_being_told() -> None:
    """By a day, and the day's figures are not waited for."""
    told = Told()
    told.cycle(judged(named()))
    shown = replace(named(), status=told.written)
    told.cycle(judged(shown), after=-86_400.0)
    cycles = [
        told.cycle(judged(shown, attainment=0.997)) for _ in range(int(REFRESH_SECONDS / TICK) + 1)
    ]
    assert sum(map(len, cycles)) == 1


def test_an_object_made_invalid_and_valid_again_is_told_of_each_time() -> None:
    """The watch lags behind: what was written last counts, though nothing else has changed."""
    told = Told()
    one = judged(named())
    told.cycle(one)
    ours = told.written
    told.writes(one, invalid_status(INVALID, now=told.now, generation=1, previous=ours))
    assert told.written.conditions[0].reason == "SpecInvalid"
    assert told.cycle(one) == ["llama"]
    assert told.written.conditions[0].reason == "SpecValid"


def test_an_invalid_object_that_is_gone_is_no_failure() -> None:
    """It was deleted since; that the API server does not answer is one."""
    told = Told()
    status = invalid_status(INVALID, now=told.now, generation=1)
    told.server.refuses = lambda _: NotFound(404, "not found")
    told.writes(judged(named()), status)
    told.server.refuses = lambda _: Unanswered("no answer")
    with pytest.raises(PortError):
        told.writes(judged(named()), status)
