"""Runs the benchmarks, all or those named, and prints one JSON document.

``python -m simulations.bench [NAME ...]``. Each benchmark runs in a process of its own, one after
the other, so that none finds another's tables computed or its memory in use. Progress goes to
standard error. How good the models are, not how fast, is measured by ``capacity_model``,
``forecast`` and ``overload`` of this package, each run by itself.
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from os import cpu_count
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np
from pydantic.alias_generators import to_camel

from simulations.bench.engine import engine, start_up
from simulations.bench.isolation import isolated
from simulations.bench.memory import memory
from simulations.bench.planning import planning
from simulations.bench.replay import replay


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on one figure: at most ``limit``, or at least it."""

    figure: str
    limit: float
    at_least: bool = False

    def met(self, figures: Mapping[str, Any]) -> bool:
        """Whether the figure keeps to the bound."""
        value = float(figures[self.figure])
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Something to measure: a picklable function that returns a dataclass of figures."""

    measure: Callable[[], Any]
    targets: tuple[Target, ...]


BENCHMARKS: Final[Mapping[str, Benchmark]] = {
    "engine-20": Benchmark(partial(engine, 20), (Target("requestsPerSecond", 3e6, at_least=True),)),
    "engine-100": Benchmark(
        partial(engine, 100), (Target("requestsPerSecond", 2e6, at_least=True),)
    ),
    "engine-start": Benchmark(start_up, ()),
    "plan-2x32": Benchmark(partial(planning, 2, 32), (Target("meanMilliseconds", 0.4),)),
    "plan-3x64": Benchmark(partial(planning, 3, 64), (Target("p99Milliseconds", 5.0),)),
    "replay-l40s": Benchmark(
        partial(replay, "nvidia-l40s", 14.0, 20.0), (Target("wallSeconds", 120.0),)
    ),
    "replay-a100": Benchmark(
        partial(replay, "nvidia-a100", 14.0, 20.0), (Target("wallSeconds", 240.0),)
    ),
    # What is recorded of every tick for the report is all that may grow.
    "memory": Benchmark(memory, (Target("sevenDaysOverOne", 1.15),)),
}


def _run(benchmark: Benchmark) -> dict[str, Any]:
    figures = {to_camel(name): value for name, value in asdict(isolated(benchmark.measure)).items()}
    targets = [
        {
            "figure": target.figure,
            "atLeast" if target.at_least else "atMost": target.limit,
            "met": target.met(figures),
        }
        for target in benchmark.targets
    ]
    return {"figures": figures, "targets": targets}


def _machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def main() -> None:
    """Run what the command line names and print the document."""
    parser = argparse.ArgumentParser(prog="python -m simulations.bench", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}; default: all"
    )
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    results = {}
    for name in names:
        start = perf_counter()
        results[name] = _run(BENCHMARKS[name])
        sys.stderr.write(f"{name}: {perf_counter() - start:.1f} s\n")
    document = {"machine": _machine(), "benchmarks": results}
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
