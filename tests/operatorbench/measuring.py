"""One measurement: the operator over some cycles, seen from outside and by its own telemetry."""

import re
import statistics
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests

from controlplane.audit import Request
from controlplane.cluster import ControlPlane
from controlplane.processes import free_ports
from controlplane.waiting import pause, seconds_now, until
from operatorbench.process import Cycles, Operator
from operatorbench.world import Say, World, world

#: Parts of a cycle, by those that are timed.
_PARTS: Final[Mapping[str, Sequence[str]]] = {
    "read": ("observe",),
    "plan": ("plan", "history"),
    "write": ("actuate", "report"),
}
_WRITES: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_START_UP_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How to measure.

    ``seconds`` is rounded to whole ticks: so many cycles are measured, after ``warm_up_seconds``
    of them. ``core`` is the operator's own.
    """

    seconds: float = 150.0
    warm_up_seconds: float = 120.0
    tick_seconds: float = 15.0
    scrape_seconds: float = 15.0
    cold_start_seconds: int = 30
    recording_rules: bool = False
    seed: int = 0
    core: int = 0
    profile: Path | None = None
    tidy: bool = False
    """Leave nothing behind in the cluster: needed where it is not thrown away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """Everything that is counted, at one moment: just after a cycle."""

    at_seconds: float
    cycles: Cycles
    processor_seconds: float
    queries: Counter[str]
    audit: int
    log: int
    failures: Mapping[str, float]


def measured(plane: ControlPlane, models: int, asked: Asked, say: Say) -> dict[str, Any]:
    """Measure with so many ModelDeployments, and return the figures."""
    health, metrics = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="steelyard-operatorbench-") as name:
        folder = Path(name)
        with world(
            plane,
            folder,
            models=models,
            scrape_seconds=asked.scrape_seconds,
            cold_start_seconds=asked.cold_start_seconds,
            operator_metrics=f"127.0.0.1:{metrics}",
            recording_rules=asked.recording_rules,
            seed=asked.seed,
            tidy=asked.tidy,
            say=say,
        ) as made:
            settings = _settings(made, asked)
            operator = Operator.made(folder, (health, metrics), asked.core, settings, asked.profile)
            try:
                return _figures(operator, made, models, asked, say)
            except Exception:
                say(operator.server.last_words())
                raise
            finally:
                operator.server.stop()


def _settings(made: World, asked: Asked) -> dict[str, str]:
    """What the operator is told; the rest is at its defaults."""
    return {
        "KUBECONFIG": str(made.operator_kubeconfig),
        "STEELYARD_NAMESPACES": ",".join(made.watched),
        "STEELYARD_LEASE_NAMESPACE": made.namespaces[0],
        "STEELYARD_PROMETHEUS_URL": made.prometheus.url,
        "STEELYARD_PROMETHEUS_SCRAPE_SECONDS": f"{asked.scrape_seconds:g}",
        "STEELYARD_PROMETHEUS_RECORDING_RULES": str(asked.recording_rules).lower(),
        "STEELYARD_TICK_SECONDS": f"{asked.tick_seconds:g}",
    }


def _figures(
    operator: Operator, made: World, models: int, asked: Asked, say: Say
) -> dict[str, Any]:
    began = seconds_now()
    operator.server.start()
    rest = min(0.5, asked.tick_seconds / 5.0)

    def whole() -> bool:
        pause(rest)
        return operator.cycles().valid == models

    until(
        whole,
        f"a cycle over {models} objects",
        seconds=_START_UP_SECONDS,
        detail=operator.server.last_words,
    )
    start_up = seconds_now() - began
    told = [cycle["objects"] for cycle in operator.parts_from(0)]
    say(f"{models} models: first full cycle after {start_up:.1f} s; objects by cycle: {told}")
    _cycles(operator, round(asked.warm_up_seconds / asked.tick_seconds), rest, asked)
    first = _mark(operator, made)
    each = _cycles(operator, max(round(asked.seconds / asked.tick_seconds), 1), rest, asked)
    last = _mark(operator, made)
    resident, most = operator.resident_mebibytes()
    say(f"{models} models: cycles of {', '.join(f'{seconds:.2f}' for seconds in each)} s")
    queries = last.queries - first.queries
    decisions = operator.decisions_since(first.log)
    changed = sum(one["before"] != one["desired"] for one in decisions)
    parts = operator.parts_from(first.cycles.count)
    hours = (last.at_seconds - first.at_seconds) / 3600.0 * models
    return {
        "objects": models,
        "replicas": int(sum(made.prometheus.values("count(vllm:num_requests_running)"))),
        "startUpSeconds": start_up,
        "cycles": len(each),
        "cycleSeconds": _spread(each),
        "partSeconds": _parts(parts, "seconds"),
        "partProcessorSeconds": _parts(parts, "processorSeconds"),
        "processorSecondsPerCycle": (last.processor_seconds - first.processor_seconds) / len(each),
        "processorSecondsPerCycleByThread": _threads(parts),
        # Time that others had the operator's core: it is in the cycles' seconds.
        "waitedForProcessorSecondsPerCycle": (
            parts[-1]["waitedSeconds"] - parts[0]["waitedSeconds"]
        )
        / max(len(parts) - 1, 1),
        "residentMebibytes": resident,
        "peakResidentMebibytes": most,
        "queriesPerCycle": queries["query"] / len(each),
        "secondsPerQuery": queries["query_milliseconds"] / 1000.0 / max(queries["query"], 1),
        "historyQueriesPerCycle": queries["query_range"] / len(each),
        "queriesFailed": _failed(made, last.at_seconds - first.at_seconds),
        "decisionsPerCycle": changed / len(each),
        "decisionsPerObjectHour": changed / hours,
        "toldPerCycle": len(decisions) / len(each),
        **_requests(made, first, len(each), hours),
        "failures": {
            kind: count - first.failures.get(kind, 0.0)
            for kind, count in last.failures.items()
            if count > first.failures.get(kind, 0.0)
        },
        "cyclesCutOff": last.cycles.cut_off - first.cycles.cut_off,
    }


def _cycles(operator: Operator, count: int, rest: float, asked: Asked) -> list[float]:
    """Wait for so many cycles; return the seconds of each."""
    before = operator.cycles()
    # One may be under way: the first that is counted begins after this.
    each: list[float] = []
    deadline = seconds_now() + _START_UP_SECONDS + 4.0 * count * asked.tick_seconds
    while len(each) < count:
        pause(rest)
        now = operator.cycles()
        more = now.count - before.count
        each += [(now.seconds - before.seconds) / more] * more if more > 0 else []
        before = now
        if seconds_now() > deadline:
            raise TimeoutError(f"{len(each)} of {count} cycles; {operator.server.last_words()}")
    return each


def _mark(operator: Operator, made: World) -> _Mark:
    return _Mark(
        at_seconds=seconds_now(),
        cycles=operator.cycles(),
        processor_seconds=operator.processor_seconds(),
        queries=_queries(made.prometheus.url),
        audit=made.plane.audit.position(),
        log=operator.log_position(),
        failures=operator.failures(),
    )


def _queries(prometheus: str) -> Counter[str]:
    """Queries that Prometheus answered since its start, and milliseconds it took, by handler."""
    with requests.Session() as session:
        session.trust_env = False
        text = session.get(f"{prometheus}/metrics", timeout=30).text
    counted: Counter[str] = Counter()
    for name, unit, factor in (
        ("prometheus_http_requests_total", "", 1.0),
        ("prometheus_http_request_duration_seconds_sum", "_milliseconds", 1000.0),
    ):
        for labels, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.MULTILINE):
            handler = re.search(r'handler="/api/v1/(\w+)"', labels)
            if handler is not None:
                counted[handler[1] + unit] += round(factor * float(value))
    return counted


def _failed(made: World, seconds: float) -> float:
    """Queries without a usable answer in the last ``seconds``, as the operator counts them."""
    series = "steelyard_prometheus_query_errors_total"
    return sum(made.prometheus.values(f"{series} - {series} offset {seconds:.0f}s"))


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": statistics.median(values),
        "mean": statistics.fmean(values),
        "max": max(values),
    }


def _parts(cycles: Sequence[Mapping[str, Mapping[str, float]]], clock: str) -> dict[str, Any]:
    """Median seconds of the parts, then of what was timed within them, by one of the clocks."""
    timed = [cycle[clock] for cycle in cycles]
    names = sorted({name for cycle in timed for name in cycle})
    return {
        **{
            part: statistics.median(sum(cycle.get(name, 0.0) for name in of) for cycle in timed)
            for part, of in _PARTS.items()
        },
        "within": {
            name: statistics.median(cycle.get(name, 0.0) for cycle in timed) for name in names
        },
    }


def _threads(cycles: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """Processor seconds a cycle of what each thread ran, from the first cycle's end to the last's.

    Those that live for one request, such as a scrape, are not in it.
    """
    first, last = cycles[0]["threads"], cycles[-1]["threads"]
    between = max(len(cycles) - 1, 1)
    return {name: (last[name] - first.get(name, 0.0)) / between for name in sorted(last)}


def _requests(made: World, first: _Mark, cycles: int, hours: float) -> dict[str, Any]:
    """Requests to the API server since then, those of the Lease apart: they come with the time."""
    seen = list(made.plane.audit.requests(made.operator_user, since=first.audit))
    ours = [one for one in seen if one.resource != "leases"]
    writes = [one for one in ours if one.verb in _WRITES]
    return {
        "requestsPerCycle": len(ours) / cycles,
        "writesPerCycle": len(writes) / cycles,
        "leaseRequestsPerCycle": (len(seen) - len(ours)) / cycles,
        "requestsPerCycleByKind": {
            kind: count / cycles for kind, count in sorted(Counter(map(_kind, ours)).items())
        },
        "refusedPerCycle": {
            kind: count / cycles
            for kind, count in sorted(
                Counter(f"{_kind(one)} {one.code}" for one in ours if one.code >= 400).items()
            )
        },
        "writesPerObjectHour": len(writes) / hours,
        "statusWritesPerObjectHour": sum(one.what == "modeldeployments/status" for one in writes)
        / hours,
    }


def _kind(request: Request) -> str:
    return f"{request.verb} {request.what}"
