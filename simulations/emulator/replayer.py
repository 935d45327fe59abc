"""Plays traces against the emulator within its own process.

A request over HTTP costs this process far more than the engine behind it, so arrivals of high
rates are handed to the routers directly, at exactly the times of the trace. The metrics cannot
tell the difference; only the HTTP stack is left out.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from simulations.emulator.emulator import Emulator, UnknownDoor
from simulations.emulator.replica import Refusal, Request
from simulations.emulator.view import Door
from simulations.traces.trace import Trace


class Replayer:
    """Sends the arrivals of one trace through one door, from ``start_seconds`` of emulated time.

    ``next_seconds`` is the emulated time of the next arrival, infinite after the last one.
    """

    def __init__(self, trace: Trace, door: Door, start_seconds: float = 0.0) -> None:
        self.name = trace.name
        self.door = door
        self.sent = 0
        self.refused = 0
        self.lost = 0
        self._arrivals = _arrivals(trace, start_seconds)
        self._next = next(self._arrivals, _NONE)

    @property
    def next_seconds(self) -> float:
        """Emulated time of the next arrival; infinite after the last one."""
        return self._next[0]

    @property
    def done(self) -> bool:
        """Whether all arrivals have been sent."""
        return self._next is _NONE

    def send(self, emulator: Emulator) -> None:
        """Send the next arrival; one that finds no such door is lost."""
        at, prompt, output = self._next
        self._next = next(self._arrivals, _NONE)
        self.sent += 1
        try:
            _, answer = emulator.send(self.door, Request(prompt, output), at)
        except UnknownDoor:
            self.lost += 1
        else:
            self.refused += isinstance(answer, Refusal)


def inject(replayers: Sequence[Replayer], emulator: Emulator, until_seconds: float) -> None:
    """Send what arrives up to ``until_seconds``, in order of time over all traces."""
    while replayers:
        earliest = min(replayers, key=lambda replayer: replayer.next_seconds)
        if earliest.done or earliest.next_seconds > until_seconds:
            return
        earliest.send(emulator)


_Arrival = tuple[float, int, int]
_NONE: _Arrival = (np.inf, 0, 0)


def _arrivals(trace: Trace, start: float) -> Iterator[_Arrival]:
    """Emulated time, prompt and output tokens of each request; chunks are made as they come."""
    chunk = 0
    while chunk * trace.chunk_seconds < trace.duration_seconds:
        arrivals = trace.chunk(chunk)
        yield from zip(
            (start + arrivals.seconds).tolist(),
            arrivals.prompt_tokens.tolist(),
            arrivals.output_tokens.tolist(),
            strict=True,
        )
        chunk += 1
