"""Plays a trace against the emulator within its own process.

A request over HTTP costs this process far more than the engine behind it, so arrivals of high
rates are handed to the routers directly, at exactly the times of the trace. The metrics cannot
tell the difference; only the HTTP stack is left out.
"""

from simulations.emulator.emulator import Emulator, UnknownDoor
from simulations.emulator.replica import Refusal, Request
from simulations.emulator.view import Door
from simulations.traces.trace import Arrivals, Trace


class Replayer:
    """Sends the arrivals of one trace through one door, from ``start_seconds`` of emulated time."""

    def __init__(self, trace: Trace, door: Door, start_seconds: float = 0.0) -> None:
        self.door = door
        self.sent = 0
        self.refused = 0
        self.lost = 0
        self._trace = trace
        self._start = start_seconds
        self._chunk = 0
        self._place = 0
        self._arrivals: Arrivals | None = None

    @property
    def done(self) -> bool:
        """Whether all arrivals have been sent."""
        return self._arrivals is None and self._next_chunk_begins() >= self._trace.duration_seconds

    def inject(self, emulator: Emulator, until_seconds: float) -> None:
        """Send what arrives up to ``until_seconds``; what finds no such door is lost."""
        while not self.done:
            if self._arrivals is None:
                if self._start + self._next_chunk_begins() > until_seconds:
                    return
                self._arrivals = self._trace.chunk(self._chunk)
                self._place = 0
            if not self._send(emulator, self._arrivals, until_seconds):
                return
            self._arrivals = None
            self._chunk += 1

    def _next_chunk_begins(self) -> float:
        return self._chunk * self._trace.chunk_seconds

    def _send(self, emulator: Emulator, arrivals: Arrivals, until: float) -> bool:
        """Send the chunk's arrivals up to ``until``; tells whether all of it is sent."""
        begin, end = self._place, int(arrivals.seconds.searchsorted(until - self._start, "right"))
        requests = zip(
            arrivals.seconds[begin:end].tolist(),
            arrivals.prompt_tokens[begin:end].tolist(),
            arrivals.output_tokens[begin:end].tolist(),
            strict=True,
        )
        for seconds, prompt, output in requests:
            self._place += 1
            self.sent += 1
            try:
                _, answer = emulator.send(self.door, Request(prompt, output), self._start + seconds)
            except UnknownDoor:
                self.lost += 1
            else:
                self.refused += isinstance(answer, Refusal)
        return self._place == len(arrivals)
