"""The command line of the benchmark, and the document it prints."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from controlplane.cluster import ControlPlane
from controlplane.programs import ProgramsUnavailable, find_programs
from operatorbench.measuring import Asked, measured

#: DESIGN section 5: 5,000 objects on one core; fewer than 1,000 may take as long as 1,000, since
#: much of a short cycle is waiting.
_TARGET_OBJECTS: Final = 5_000
_LEAST_OBJECTS: Final = 1_000
_TARGET_SECONDS: Final = {"read": 1.5, "plan": 2.0, "write": 1.0}
_TARGET_CYCLE_SECONDS: Final = 5.0

#: The promises of queries and of writes: writes an hour of an object, and further ones a decision.
_MOST_QUERIES: Final = {False: 14.0, True: 2.0}
_WRITES_AN_HOUR: Final = 12.0
_WRITES_A_DECISION: Final = 2.0

#: Figures whose growth with the number of objects is told.
_GROWING: Final = (
    "startUpSeconds",
    "processorSecondsPerCycle",
    "residentMebibytes",
    "queriesPerCycle",
    "requestsPerCycle",
    "writesPerCycle",
    "writesPerObjectHour",
)

Planes = Callable[[], AbstractContextManager[ControlPlane]]


def main(arguments: Sequence[str], planes: Planes | None = None) -> int:
    """Measure what the command line asks for; returns the exit status.

    ``planes`` gives a control plane per number of objects; without it each is a new one.
    """
    options = _parser().parse_args(arguments)
    try:
        chosen = planes or _new_planes()
    except ProgramsUnavailable as error:
        _say(f"{'=' * 80}\nTHE OPERATOR WAS NOT MEASURED: no control plane: {error}\n{'=' * 80}")
        sys.stdout.write(json.dumps({"skipped": str(error)}) + "\n")
        return 1 if os.environ.get("STEELYARD_REQUIRE_CLUSTER") else 0
    runs = []
    with _aside() as core:
        asked = Asked(
            seconds=options.seconds,
            warm_up_seconds=options.warm_up,
            tick_seconds=options.tick,
            scrape_seconds=options.scrape,
            cold_start_seconds=options.cold_start,
            recording_rules=options.recording_rules,
            seed=options.seed,
            core=core,
            profile=options.profile,
            tidy=planes is not None,
        )
        for objects in options.objects:
            with chosen() as plane:
                figures = measured(plane, objects, asked, _say)
            runs.append(figures | {"targets": _targets(figures, asked)})
    document = {
        "machine": _machine(),
        "settings": {
            "tickSeconds": asked.tick_seconds,
            "scrapeSeconds": asked.scrape_seconds,
            "coldStartSeconds": asked.cold_start_seconds,
            "warmUpSeconds": asked.warm_up_seconds,
            "recordingRules": asked.recording_rules,
            "profiled": asked.profile is not None,
            "seed": asked.seed,
        },
        "runs": runs,
        "ratios": _ratios(runs),
    }
    sys.stdout.write(json.dumps(document, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m operatorbench", description=__doc__)
    default = Asked()
    parser.add_argument("--objects", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--seconds", type=float, default=default.seconds, help="measured time")
    parser.add_argument("--warm-up", type=float, default=default.warm_up_seconds, help="seconds")
    parser.add_argument("--tick", type=float, default=default.tick_seconds, help="seconds")
    parser.add_argument("--scrape", type=float, default=default.scrape_seconds, help="seconds")
    parser.add_argument("--cold-start", type=int, default=default.cold_start_seconds)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--recording-rules", action="store_true", help="load and use our rules")
    parser.add_argument("--profile", type=Path, help="file for a profile of the cycles (pstats)")
    return parser


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _new_planes() -> Planes:
    """Find the programs; raises ``ProgramsUnavailable``."""
    programs = find_programs(_say)

    @contextmanager
    def new() -> Iterator[ControlPlane]:
        plane = ControlPlane.start(programs)
        try:
            plane.apply_crd()
            yield plane
        finally:
            plane.stop()

    return new


@contextmanager
def _aside() -> Iterator[int]:
    """Leave one core to the operator: we, and all we start, keep to the others."""
    ours = os.sched_getaffinity(0)
    *others, core = sorted(ours)
    os.sched_setaffinity(0, others or {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, ours)


def _machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "operatorCores": 1,
        "python": platform.python_version(),
    }


def _targets(figures: Mapping[str, Any], asked: Asked) -> list[dict[str, Any]]:
    share = max(figures["objects"], _LEAST_OBJECTS) / _TARGET_OBJECTS
    allowed = _WRITES_AN_HOUR + _WRITES_A_DECISION * figures["decisionsPerObjectHour"]
    bounds = [
        ("cycleSeconds.median", figures["cycleSeconds"]["median"], _TARGET_CYCLE_SECONDS * share),
        *(
            (f"partSeconds.{part}", figures["partSeconds"][part], seconds * share)
            for part, seconds in _TARGET_SECONDS.items()
        ),
        ("queriesPerCycle", figures["queriesPerCycle"], _MOST_QUERIES[asked.recording_rules]),
        ("writesPerObjectHour", figures["writesPerObjectHour"], allowed),
    ]
    return [
        {"figure": figure, "found": found, "atMost": bound, "met": found <= bound}
        for figure, found, bound in bounds
    ]


def _ratios(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Figures of each run over those of the one before."""
    ratios: dict[str, dict[str, float | None]] = {}
    for before, after in pairwise(runs):
        pairs = {name: (before[name], after[name]) for name in _GROWING}
        pairs["cycleSeconds"] = (before["cycleSeconds"]["median"], after["cycleSeconds"]["median"])
        ratios[f"{after['objects']}/{before['objects']}"] = {
            name: b / a if a else None for name, (a, b) in pairs.items()
        }
    return ratios
