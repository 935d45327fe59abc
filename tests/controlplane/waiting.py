"""The one place that waits: servers live in real time, and there is no event to wait for."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Long enough for a machine ten times as slow as ours; a test that passes never waits for it.
PATIENCE_SECONDS = 120.0
_PAUSE_SECONDS = 0.05


def seconds_now() -> float:
    """Return a clock that only ever advances, for measuring how long something took."""
    return time.monotonic()  # noqa: TID251 - child processes live in real time


def pause(seconds: float = _PAUSE_SECONDS) -> None:
    """Let the servers work."""
    time.sleep(seconds)  # noqa: TID251 - child processes live in real time


def until(
    condition: Callable[[], T | None],
    what: str,
    *,
    seconds: float = PATIENCE_SECONDS,
    detail: Callable[[], object] = lambda: "",
) -> T:
    """Return the first truthy answer of ``condition``, asked again and again.

    Raises:
        TimeoutError: naming ``what`` was awaited, with ``detail()`` of how things stood.
    """
    deadline = seconds_now() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if seconds_now() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}; {detail()}")
        pause()
