"""The machine's clocks: the only place where time is read."""

import time


class SystemClock:
    """Unix time for what is compared with samples, steady time for how long something took."""

    def now(self) -> float:
        """Unix time in seconds; see ``ports.Clock``."""
        return time.time()  # noqa: TID251 - this is the adapter that reads the clock

    def steady(self) -> float:
        """Seconds that only ever grow, from an arbitrary start."""
        return time.monotonic()  # noqa: TID251 - this is the adapter that reads the clock
