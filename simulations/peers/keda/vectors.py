"""Our fallback and our loop between 0 and 1 beside KEDA's own answers, poll by poll."""

from collections.abc import Iterator
from typing import Any

from simulations.peers.keda.executor import ExecutorHistory, ExecutorSpec, poll
from simulations.peers.keda.fallback import Fallback, FallbackBehavior, Workload, handed_on
from simulations.peers.vectors import Compared, VectorSet

_Row = dict[str, Any]


def _fallback(block: _Row | None) -> Fallback | None:
    if block is None:
        return None
    return Fallback(
        failure_threshold=block["failure_threshold"],
        replicas=block["replicas"],
        behavior=FallbackBehavior(block["behavior"] or "static"),
    )


def _values(document: _Row) -> Iterator[Compared]:
    """The value handed to the HPA, whether it is made up, and the failures counted."""
    for number, (config, rows) in enumerate(document["ticks"]):
        fallback, failures = _fallback(config["fallback"]), 0
        for place, (value, replicas, ready, expected, made_up, stored) in enumerate(rows):
            workload = Workload(
                replicas=replicas, ready=ready if config["type"] == "Value" else None
            )
            target = config["target_milli"]
            handed, failures = handed_on(fallback, value, target, workload, failures)
            at = f"series {number} poll {place}"
            yield Compared(at=f"{at} value", expected=expected, found=handed)
            ours = value is None and handed is not None
            yield Compared(at=f"{at} made up", expected=made_up, found=ours)
            if fallback is not None:
                yield Compared(at=f"{at} failures", expected=stored, found=failures)


def _executor(document: _Row) -> Iterator[Compared]:
    """Replicas after every poll of the scale executor."""
    for number, (config, rows) in enumerate(document["ticks"]):
        cooldown, fallback = config["cooldown_s"], config["fallback"]
        spec = ExecutorSpec(
            min_replicas=config["min"],
            idle_replicas=config["idle"],
            cooldown_seconds=300.0 if cooldown is None else cooldown,
            initial_cooldown_seconds=config["initial_cooldown_s"] or 0.0,
            fallback_replicas=fallback and fallback["replicas"],
        )
        history = ExecutorHistory(created_at_seconds=0.0)
        for now, before, active, error, after, *_ in rows:
            replicas, history = poll(spec, history, before, active=active, error=error, now=now)
            yield Compared(at=f"series {number} {now:g} s", expected=after, found=replicas)


VECTORS: tuple[VectorSet, ...] = (
    VectorSet(law="KEDA fallback", files=("keda-fallback-fuzz",), replay=_values),
    VectorSet(law="KEDA 0-to-1 loop", files=("keda-zero-one-fuzz",), replay=_executor),
)
