"""The emulated clock: real time, or faster."""

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells emulated time, which begins at 0."""

    def emulated_seconds(self) -> float:
        """Return the emulated time now."""
        ...

    def unix_seconds(self, emulated_seconds: float) -> float:
        """Return the Unix time at which emulated time was, or will be, so much."""
        ...

    def delay_seconds(self, emulated_seconds: float) -> float:
        """Return the real time until emulated time is so much; at least 0."""
        ...


class RunningClock:
    """Runs ``speed`` times as fast as real time from its making on, in a running event loop."""

    def __init__(self, speed: float = 1.0) -> None:
        if not speed > 0.0:
            raise ValueError(f"speed must be positive, got {speed}")
        self._speed = speed
        self._loop = asyncio.get_running_loop()
        self._start = self._loop.time()
        self._unix = datetime.now(UTC).timestamp()  # noqa: TID251 - the emulator's one look at it

    def emulated_seconds(self) -> float:
        """Return the emulated time now."""
        return (self._loop.time() - self._start) * self._speed

    def unix_seconds(self, emulated_seconds: float) -> float:
        """Return the Unix time at which emulated time was, or will be, so much."""
        return self._unix + emulated_seconds / self._speed

    def delay_seconds(self, emulated_seconds: float) -> float:
        """Return the real time until emulated time is so much; at least 0."""
        return max(0.0, (emulated_seconds - self.emulated_seconds()) / self._speed)
