"""The operator's process: started, asked, and what the kernel says of it."""

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests

from controlplane.processes import Server

_ROOT: Final = Path(__file__).parents[2]
_TICKS: Final = os.sysconf("SC_CLK_TCK")

#: What is asked for by name costs the operator next to nothing; all of it a share of a cycle.
_CHEAP: Final = (
    "steelyard_cycle_seconds_sum",
    "steelyard_cycle_seconds_count",
    "steelyard_objects",
    "steelyard_cycles_cut_off_total",
)


@dataclass(frozen=True, slots=True)
class Cycles:
    """How many cycles there were since the start, their seconds, and the last one's objects."""

    count: int
    seconds: float
    valid: int
    cut_off: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator, pinned to a core."""

    server: Server
    metrics: str
    """Address (host:port) of its metrics."""
    parts: Path

    @classmethod
    def made(
        cls,
        folder: Path,
        ports: tuple[int, int],
        core: int,
        settings: Mapping[str, str],
        profile: Path | None,
    ) -> "Operator":
        """Make one that is not started yet; ``ports`` are for health and metrics."""
        health, metrics = ports
        parts = folder / "parts.jsonl"
        environment = {
            "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'tests'}",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "OPERATORBENCH_CORE": str(core),
            "OPERATORBENCH_PARTS": str(parts),
            "STEELYARD_LISTEN_ADDRESS": "127.0.0.1",
            "STEELYARD_HEALTH_LISTEN_PORT": str(health),
            "STEELYARD_METRICS_LISTEN_PORT": str(metrics),
            **settings,
        }
        if profile is not None:
            environment["OPERATORBENCH_PROFILE"] = str(profile.resolve())
        server = Server(
            "operator",
            [sys.executable, "-m", "operatorbench.timed"],
            folder,
            lambda: _get(f"http://127.0.0.1:{health}/healthz") is not None,
            environment,
        )
        return cls(server=server, metrics=f"127.0.0.1:{metrics}", parts=parts)

    def cycles(self) -> Cycles:
        """Ask how many cycles there were; none while it does not answer."""
        query = "&".join(f"name[]={name}" for name in _CHEAP)
        text = _get(f"http://{self.metrics}/metrics?{query}") or ""
        return Cycles(
            count=int(_value(text, "steelyard_cycle_seconds_count")),
            seconds=_value(text, "steelyard_cycle_seconds_sum"),
            valid=int(_value(text, 'steelyard_objects{state="valid"}')),
            cut_off=int(_value(text, "steelyard_cycles_cut_off_total")),
        )

    def failures(self) -> dict[str, float]:
        """Ask what failed since the start, by kind of error."""
        text = _get(f"http://{self.metrics}/metrics?name[]=steelyard_failures_total") or ""
        found = re.findall(r'^steelyard_failures_total\{kind="(\w+)"\} (\S+)$', text, re.MULTILINE)
        return {kind: float(count) for kind, count in found}

    def processor_seconds(self) -> float:
        """Time that its threads ran since the start."""
        # The name in brackets may hold blanks; what follows it does not.
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_mebibytes(self) -> tuple[float, float]:
        """Memory now, and the most there ever was."""
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        now, most = (
            int(re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)[1])  # type: ignore[index]
            for name in ("VmRSS", "VmHWM")
        )
        return now / 1024.0, most / 1024.0

    def parts_from(self, position: int) -> list[dict[str, Any]]:
        """Seconds by part of every cycle after the first ``position``."""
        if not self.parts.exists():
            return []
        return [json.loads(line) for line in self.parts.read_text().splitlines()[position:]]

    def log_position(self) -> int:
        """Where its log ends now."""
        return self.server.log.stat().st_size

    def decisions_since(self, position: int) -> list[dict[str, Any]]:
        """The decisions that it told as changed after that position of its log."""
        with self.server.log.open("rb") as log:
            log.seek(position)
            lines = [line for line in log if line.startswith(b"{")]
        told = [json.loads(line) for line in lines if line.endswith(b"}\n")]
        return [one for one in told if one.get("logger") == "steelyard.decision"]


def _get(url: str) -> str | None:
    """Return what answers there with 200."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.get(url, timeout=30)
        except requests.RequestException:
            return None
        return answer.text if answer.ok else None


def _value(text: str, series: str) -> float:
    """Value of one series of an exposition; 0 while it is not there."""
    for line in text.splitlines():
        if line.startswith(f"{series} "):
            return float(line.rpartition(" ")[2])
    return 0.0
