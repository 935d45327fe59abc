"""Whether memory stays flat in the length of a trace."""

import resource
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from simulations.bench.isolation import isolated
from simulations.bench.replay import DAY_SECONDS, SCENARIO, SCENARIOS, generated, simulated
from simulations.scenario import load


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFigures:
    """Peak resident memory of replays of generated traffic, each in its own process."""

    one_day_mebibytes: float
    seven_days_mebibytes: float
    seven_days_over_one: float


def memory() -> MemoryFigures:
    """Replay one day and seven days and compare the peaks."""
    one, seven = (isolated(partial(peak_of_replay, days)) for days in (1.0, 7.0))
    return MemoryFigures(
        one_day_mebibytes=one, seven_days_mebibytes=seven, seven_days_over_one=seven / one
    )


def peak_of_replay(days: float) -> float:
    """Peak resident memory, in MiB, of this process after replaying so many generated days.

    To be called in a process of its own: the peak never falls.
    """
    shipped = load(SCENARIOS / f"{SCENARIO}.yaml")
    simulated(shipped.model_copy(update={"trace": generated(days)}), days * DAY_SECONDS, 4.0)
    return _peak_resident_mebibytes()


def _peak_resident_mebibytes() -> float:
    """High-water mark of this process's memory.

    Linux keeps one for the program that runs now; ``getrusage`` also counts what the parent held
    when it forked.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return float(line.split()[1]) / 1024.0
    # Kibibytes on Linux, bytes on macOS.
    unit = 1024.0**2 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
