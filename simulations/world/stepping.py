"""Runs a coroutine that never suspends, without an event loop and so without hidden time."""

from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


def step(coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run ``coroutine`` to its end and return its result.

    Raises:
        RuntimeError: a simulated port suspended, which would let real time into the simulation.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: ResultT = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a simulated port suspended; simulated ports must answer at once")
