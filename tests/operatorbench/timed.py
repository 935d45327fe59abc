"""The operator as `python -m controller` runs it, with a clock on every port of its cycle.

It adds some looks at clocks to every call of a port and of the planner, and appends one JSON object
a cycle to the file ``OPERATORBENCH_PARTS`` names. ``OPERATORBENCH_CORE`` is the core it keeps to;
``OPERATORBENCH_PROFILE`` names a file for a profile of the cycle's thread (which slows it down).
"""

import cProfile
import json
import os
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from controller import __main__ as operator
from controller.adapters.prometheus.session import PrometheusClient
from controller.core.domain.policy import Policy
from controller.observer import ClusterObserver
from controller.operator import wiring
from controller.operator.reporting import Reporters
from controller.ports import HistoryT
from controller.reconciler import Failure, Reconciler


class Parts:
    """Seconds by part of the cycle that runs: of the clock, and of this thread's processor.

    A part that awaits others' answers takes longer than its thread runs.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.processor_seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def within(self, part: str) -> Iterator[None]:
        """Add what passes to a part."""
        began, began_processor = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - began
            self.processor_seconds[part] += time.thread_time() - began_processor

    def clocked(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call``, whose time is added to a part."""

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.within(part):
                return call(*arguments, **named)

        return timed

    def awaited(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same of a coroutine function."""

        async def timed(*arguments: Any, **named: Any) -> Any:
            with self.within(part):
                return await call(*arguments, **named)

        return timed


class Clocked:
    """A port whose methods named ``awaited`` or ``clocked`` (by part) are timed."""

    def __init__(
        self, port: Any, parts: Parts, *, awaited: dict[str, str], clocked: dict[str, str]
    ) -> None:
        self._port = port
        for method, part in awaited.items():
            setattr(self, method, parts.awaited(part, getattr(port, method)))
        for method, part in clocked.items():
            setattr(self, method, parts.clocked(part, getattr(port, method)))

    def __getattr__(self, name: str) -> Any:
        """Everything else is the port's."""
        return getattr(self._port, name)


class ClockedReconciler(Reconciler[HistoryT]):
    """A reconciler all of whose ports are timed."""

    def __init__(self, **ports: Any) -> None:
        super().__init__(**ports)
        parts = self.parts = Parts()

        def on(port: Any, *, clocked: dict[str, str] | None = None, **awaited: str) -> Any:
            return Clocked(port, parts, awaited=awaited, clocked=clocked or {})

        self.planner = on(self.planner, clocked={"plan": "plan", "initial": "history"})
        self.archive = on(self.archive, past="history")
        self.actuator = on(self.actuator, actuate="actuate")
        if isinstance(self.observer, ClusterObserver):
            # One observer serves all reconcilers that follow one another.
            observer = self.observer
            if not isinstance(observer.workloads, Clocked):
                observer.workloads = on(observer.workloads, read="workloads")
                observer.metrics = on(observer.metrics, read="metrics")
                PrometheusClient.query = parts.awaited(  # type: ignore[method-assign]
                    "prometheus", PrometheusClient.query
                )
        self.observer = on(self.observer, observe="observe")
        if isinstance(self.reporter, Reporters):
            self.reporter = Reporters(
                tuple(
                    on(one, report=f"report {type(one).__name__}")
                    for one in self.reporter.reporters
                )
            )
        self.reporter = on(self.reporter, report="report")
        path = os.environ.get("OPERATORBENCH_PROFILE")
        self._profile_file, self._profile = (
            path,
            cProfile.Profile(time.thread_time) if path else None,
        )

    async def cycle(self, policies: Sequence[Policy], now: float) -> Sequence[Failure]:
        """See ``Reconciler``."""
        self.parts.clear()
        if self._profile is not None:
            self._profile.enable()
        try:
            with self.parts.within("all"):
                return await super().cycle(policies, now)
        finally:
            if self._profile is not None:
                self._profile.disable()
                self._profile.dump_stats(self._profile_file or "")
            told = {
                "objects": len(policies),
                "seconds": self.parts.seconds,
                "processorSeconds": self.parts.processor_seconds,
                "threads": _threads(),
                "waitedSeconds": int(_schedule(threading.current_thread())[1]) / 1e9,
            }
            _append(Path(os.environ["OPERATORBENCH_PARTS"]), json.dumps(told))


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(f"{line}\n")


def _threads() -> dict[str, float]:
    """Processor seconds since the start of the threads that run now, those of a pool together."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for thread in threading.enumerate():
        with suppress(OSError):
            seconds[re.sub(r"[_-]\d+( .*)?$", "", thread.name)] += int(_schedule(thread)[0]) / 1e9
    return seconds


def _schedule(thread: threading.Thread) -> list[str]:
    """Nanoseconds that a thread ran, and those that it waited for a processor."""
    return Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(os.environ["OPERATORBENCH_CORE"])})
    wiring.Reconciler = ClockedReconciler  # type: ignore[misc]
    sys.exit(operator.main([]))
