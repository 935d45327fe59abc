"""Moves the emulator along with the clock."""

import asyncio
import contextlib
from collections.abc import Sequence

from simulations.emulator.clock import Clock
from simulations.emulator.emulator import Emulator
from simulations.emulator.replayer import Replayer, inject
from simulations.emulator.view import ClusterSource

#: Real time between looks at the cluster and the traces; nobody sees finer than a scrape.
_TICK_SECONDS = 0.02
#: Tokens that come closer together than this, in real time, are told together.
_SHORTEST_WAIT_SECONDS = 0.001


class Driver:
    """Keeps one emulator at the clock's time, its pods those of the source, its traces playing."""

    def __init__(
        self,
        emulator: Emulator,
        source: ClusterSource,
        clock: Clock,
        replayers: Sequence[Replayer] = (),
    ) -> None:
        self.emulator = emulator
        self.clock = clock
        self.replayers = list(replayers)
        self._source = source
        self._wake = asyncio.Event()
        # What is there from the first is there before the first arrival.
        emulator.apply(source.view(), emulator.now_seconds)

    def tick(self) -> float:
        """Bring the emulator to the clock's time, which is returned.

        Arrivals keep the times of their traces; a change of the cluster counts from when it is
        seen, hence after them.
        """
        now = self.clock.emulated_seconds()
        inject(self.replayers, self.emulator, now)
        self.emulator.apply(self._source.view(), now)
        self.emulator.advance(now)
        return now

    def wake(self) -> None:
        """Look anew when the next token comes: a request has been taken."""
        self._wake.set()

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            self.tick()
            news = self.clock.delay_seconds(self.emulator.next_news_seconds)
            wait = max(_SHORTEST_WAIT_SECONDS, min(news, _TICK_SECONDS))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            self._wake.clear()
