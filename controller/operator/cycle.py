"""The one task that reconciles every object, each tick, only while this operator leads.

It lives in a thread and an event loop of its own: thousands of decisions a tick would else keep the
watch and the lease waiting.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from controller.api.conversion.status import invalid_status
from controller.api.status import Status
from controller.core.domain.policy import ObjectKey, Policy
from controller.operator.store import Invalid
from controller.ports import Actuator, Planned, PortError
from controller.reconciler import Failure, Reconciler

_LOG: Final = logging.getLogger("steelyard.cycle")

#: A standby looks this often whether it leads now.
STANDBY_SECONDS: Final = 1.0


class NotLeading(PortError):  # noqa: N818 - named after what happened, as users read it
    """The lease was lost while the cycle ran: what it decided is not carried out."""


class Time(Protocol):
    """Unix time, and steady time to measure with."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...

    def steady(self) -> float:
        """Seconds from an arbitrary start that never go back."""
        ...


class Leadership(Protocol):
    """Whether this operator is the one that decides; asked from any thread."""

    def held(self) -> bool:
        """Whether the lease is held now, and not about to be someone else's."""
        ...


class Objects(Protocol):
    """The objects that are reconciled."""

    def policies(self, now: float) -> Sequence[Policy]:
        """The policies of the valid ones."""
        ...

    def invalid(self) -> Sequence[Invalid]:
        """The others."""
        ...


class StatusWriter(Protocol):
    """Writes the status of objects that nothing is decided about."""

    async def write(self, key: ObjectKey, status: Status) -> None:
        """Write it; raises ``PortError``."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleRecord:
    """How a cycle went: ``lag_seconds`` is how much later it began than it was due."""

    now: float
    seconds: float
    lag_seconds: float
    valid: int
    invalid: int
    cut_off: bool
    overrun: bool
    failures: tuple[Failure, ...]


class Recorder(Protocol):
    """Is told of every cycle, and of the times without any."""

    def cycle_done(self, record: CycleRecord) -> None:
        """A cycle ended."""
        ...

    def standing_by(self) -> None:
        """This operator does not lead: what it knew of the objects is not told any more."""
        ...


@dataclass(frozen=True, slots=True)
class WhileLeading:
    """An actuator that writes nothing once the lease is gone.

    A cycle that was delayed may carry its decisions out after another operator took over.
    """

    actuator: Actuator
    leadership: Leadership

    async def actuate(self, planned: Sequence[Planned], now: float) -> Sequence[PortError | None]:
        """See ``ports.Actuator``."""
        if not self.leadership.held():
            return [NotLeading("the lease was lost; its new holder decides")] * len(planned)
        return await self.actuator.actuate(planned, now)


@dataclass(slots=True, kw_only=True)
class CycleTask:
    """Reconciles all objects each ``tick_seconds`` and survives whatever a cycle raises.

    ``new_reconciler`` makes one without any history: an operator that leads anew has not seen what
    happened meanwhile. ``beat_at_seconds`` is the steady time of the last sign of life.
    """

    objects: Objects
    leadership: Leadership
    new_reconciler: Callable[[], Reconciler[Any]]
    status_writer: StatusWriter
    recorder: Recorder
    time: Time
    tick_seconds: float
    deadline_seconds: float
    beat_at_seconds: float = field(init=False)
    _reconciler: Reconciler[Any] | None = None

    def __post_init__(self) -> None:
        """Begin alive."""
        self.beat_at_seconds = self.time.steady()

    async def run(
        self, stopped: Callable[[], bool], pause: Callable[[float], Awaitable[None]]
    ) -> None:
        """Cycle until ``stopped``; ``pause`` waits that many seconds, or less when stopped.

        A cycle that takes longer than a tick delays the next one; none is made up for.
        """
        due = self.time.steady()
        while not stopped():
            started = self.time.steady()
            self.beat_at_seconds = started
            if await self.once(lag_seconds=max(started - due, 0.0)):
                due = max(due + self.tick_seconds, self.time.steady())
            else:
                due = self.time.steady() + min(STANDBY_SECONDS, self.tick_seconds)
            self.beat_at_seconds = self.time.steady()
            await pause(max(due - self.beat_at_seconds, 0.0))

    async def once(self, *, lag_seconds: float = 0.0) -> bool:
        """Run one cycle if this operator leads; returns whether it does."""
        if not self.leadership.held():
            self._reconciler = None
            self.recorder.standing_by()
            return False
        if self._reconciler is None:
            self._reconciler = self.new_reconciler()
        now, started = self.time.now(), self.time.steady()
        policies, invalid = self.objects.policies(now), self.objects.invalid()
        failures: list[Failure] = []
        cut_off = False
        try:
            async with asyncio.timeout(self.deadline_seconds):
                failures.extend(await self._reconciler.cycle(policies, now))
                failures.extend(await self._tell_invalid(invalid, now))
        except TimeoutError:
            cut_off = True
        except Exception as error:  # noqa: BLE001 - a defect ends no operator; it is logged and told
            _LOG.exception("a cycle failed; the next one is its retry")
            failures.append(Failure(None, error))
        seconds = self.time.steady() - started
        self.recorder.cycle_done(
            CycleRecord(
                now=now,
                seconds=seconds,
                lag_seconds=lag_seconds,
                valid=len(policies),
                invalid=len(invalid),
                cut_off=cut_off,
                overrun=seconds > self.tick_seconds,
                failures=tuple(failures),
            )
        )
        return True

    async def _tell_invalid(self, invalid: Sequence[Invalid], now: float) -> Sequence[Failure]:
        """Write the status of what cannot be used, where it does not say so already."""
        failures = []
        for one in invalid:
            key = one.identity.key
            status = invalid_status(
                one.error, now=now, generation=one.identity.generation, previous=one.status
            )
            if status == one.status:
                continue
            try:
                await self.status_writer.write(key, status)
            except PortError as error:
                failures.append(Failure(key, error))
        return failures
