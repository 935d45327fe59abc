"""The thread that the cycle lives in, with an event loop of its own."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Final

from controller.operator.cycle import CycleTask

_LOG: Final = logging.getLogger("steelyard.cycle")


@dataclass(slots=True)
class CycleThread:
    """Runs a ``CycleTask`` until it is stopped; ``on_end`` is called from it when it has ended.

    A thread that ends without having been asked to is a defect: the process is to end, too, so that
    the other operator takes over.
    """

    task: CycleTask
    on_end: Callable[[], None]
    _stopping: Event = field(default_factory=Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _thread: Thread | None = None
    _ended: bool = False

    def start(self) -> None:
        """Begin."""
        self._thread = Thread(target=self._run, name="cycle", daemon=True)
        self._thread.start()

    def stop(self, within_seconds: float) -> None:
        """End after the cycle that runs, or leave it behind when it takes longer."""
        self._stopping.set()
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._woken.set)
        if self._thread is not None:
            self._thread.join(within_seconds)

    def ended_alone(self) -> str | None:
        """Say so where the thread has ended without having been asked to: a health check."""
        return "the thread has ended" if self._ended and not self._stopping.is_set() else None

    def _run(self) -> None:
        try:
            asyncio.run(self._cycle())
        except Exception:  # noqa: BLE001 - told, and by its end the process is told to end
            _LOG.exception("the thread of the cycle has ended")
        finally:
            self._ended = True
            self.on_end()

    async def _cycle(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.task.run(self._stopping.is_set, self._pause)

    async def _pause(self, seconds: float) -> None:
        if self._stopping.is_set():
            return
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except TimeoutError:
            return
