"""One object's reading out of a snapshot: what is measured, and why the rest is missing.

What is missing is never zero, and a look that is not whole changes nothing: the next whole one
counts from the last whole one, so that no arrival is lost or told twice.
"""

from collections.abc import Mapping

from controller.adapters.prometheus.counters import Difference, PodKey, Sample, Shrunk
from controller.adapters.prometheus.findings import explained, unmeasurable
from controller.adapters.prometheus.pods import length_counters
from controller.adapters.prometheus.seen import (
    Look,
    Memory,
    SeenVariant,
    Subject,
    gauges_of,
    pod_readings,
    seen_variant,
    verdict,
)
from controller.core.domain.observation import (
    TOKEN_EDGES,
    Missing,
    MissingReason,
    Outcomes,
    OutcomesReading,
    Traffic,
    TrafficReading,
)
from controller.core.domain.policy import Policy
from controller.core.domain.variant import Role
from controller.ports import MetricsReading


def read(
    subject: Subject, memory: Memory, look: Look, outside: TrafficReading | None
) -> MetricsReading:
    """Return one object's reading; ``outside`` are arrivals counted outside the engines."""
    failure = next(
        (
            look.failures[engine.profile.name]
            for engine in subject.engines
            if engine.profile.name in look.failures
        ),
        None,
    )
    if failure is not None:
        return blank(subject.policy, failure.reason, str(failure))
    variants = tuple(seen_variant(subject, memory, look, v) for v in range(len(subject.engines)))
    missing = verdict(variants)
    gauges = tuple(gauges_of(variant, look.now) for variant in variants)
    if missing is None:
        traffic, outcomes, finding = _counted(subject, memory, look, variants)
    else:
        traffic = outcomes = Missing(missing)
        finding = explained(subject, look, variants)
    if outside is not None:
        traffic = _from_outside(traffic, outside)
    return MetricsReading(traffic=traffic, outcomes=outcomes, gauges=gauges, finding=finding)


def blank(policy: Policy, reason: MissingReason, finding: str) -> MetricsReading:
    """Return a reading in which everything is missing for one reason."""
    missing = Missing(reason)
    return MetricsReading(
        traffic=missing,
        outcomes=missing,
        gauges=((missing, missing, missing),) * len(policy.variants),
        finding=finding,
    )


def _from_outside(traffic: TrafficReading, outside: TrafficReading) -> TrafficReading:
    """Take arrivals from outside; tokens and refusals stay the engines', where they are known."""
    if isinstance(outside, Missing) or isinstance(traffic, Missing):
        return outside
    return Traffic(
        from_seconds=outside.from_seconds,
        to_seconds=outside.to_seconds,
        requests=outside.requests,
        refused=min(traffic.refused, outside.requests),
        token_requests=traffic.token_requests,
        prompt_tokens=traffic.prompt_tokens,
        output_tokens=traffic.output_tokens,
        prompt_histogram=traffic.prompt_histogram,
        output_histogram=traffic.output_histogram,
    )


def _counted(
    subject: Subject, memory: Memory, look: Look, variants: tuple[SeenVariant, ...]
) -> tuple[TrafficReading, OutcomesReading, str]:
    created = {
        PodKey(v, replica.name): replica.created_at_seconds
        for v, replicas in enumerate(subject.replicas)
        for replica in replicas
    }
    samples = {
        PodKey(v, name): pod.sample
        for v, variant in enumerate(variants)
        for name, pod in variant.pods.items()
    }
    first = memory.counters.at_seconds is None
    try:
        difference = memory.counters.look(samples, created)
    except Shrunk:
        partial = Missing(MissingReason.PARTIAL)
        return partial, partial, "a counter that was there is gone; the answer is not whole"
    if difference is None:
        nothing = Missing(MissingReason.ABSENT if first else MissingReason.STALE)
        return nothing, nothing, "" if first else "no sample is newer than the last one read"
    traffic = _traffic(difference, *_lengths(subject, memory, look, samples, created))
    outcomes, finding = _outcomes(subject, variants, difference)
    return traffic, outcomes, finding


def _traffic(
    difference: Difference, prompt: tuple[float, ...], output: tuple[float, ...]
) -> Traffic:
    def total(name: str) -> float:
        return sum(counted.get(name, 0.0) for counted in difference.counters.values())

    return Traffic(
        from_seconds=difference.from_seconds,
        to_seconds=difference.to_seconds,
        requests=max(difference.arrived, total("refused")),
        refused=total("refused"),
        token_requests=total("token_requests"),
        prompt_tokens=total("prompt_tokens"),
        output_tokens=total("output_tokens"),
        prompt_histogram=prompt,
        output_histogram=output,
    )


def _lengths(
    subject: Subject,
    memory: Memory,
    look: Look,
    samples: Mapping[PodKey, Sample],
    created: Mapping[PodKey, float],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Lengths counted since they were last read; empty where they are not, or not of every pod."""
    if look.lengths is None:
        return (), ()
    of_pods = {}
    for key, sample in samples.items():
        readings = pod_readings(subject.engines[key.variant], key.pod, look.lengths)
        counters = None if readings is None else length_counters(readings)
        if counters is None:
            return (), ()
        of_pods[key] = Sample(
            at_seconds=sample.at_seconds,
            counters=counters,
            outstanding=0.0,
            began_seconds=sample.began_seconds,
        )
    try:
        difference = memory.lengths.look(of_pods, created)
    except Shrunk:
        return (), ()
    if difference is None:
        return (), ()
    return _histogram(difference, "prompt_lengths"), _histogram(difference, "output_lengths")


def _histogram(difference: Difference, name: str) -> tuple[float, ...]:
    return tuple(
        sum(counted.get(f"{name}{i}", 0.0) for counted in difference.counters.values())
        for i in range(len(TOKEN_EDGES) + 1)
    )


def _outcomes(
    subject: Subject, variants: tuple[SeenVariant, ...], difference: Difference
) -> tuple[OutcomesReading, str]:
    """Requests that ended and the bad ones; missing where an objective cannot be read."""
    slo = subject.policy.slo
    ended = failed = degraded = bad_ttft = bad_tpot = 0.0
    unknown = False
    findings = []
    for v, engine in enumerate(subject.engines):
        edges = variants[v].edges
        findings += unmeasurable(engine, edges, subject.policy)
        counted = difference.counters.get(v, {})
        lost = difference.lost.get(v, 0.0)
        refused = counted.get("refused", 0.0)
        unfinished = counted.get("failed", 0.0)
        finished = max(counted.get("ended", 0.0) - unfinished, 0.0)
        ended += finished + unfinished + refused + lost
        failed += unfinished + refused + lost
        if subject.policy.variants[v].role is Role.FALLBACK:
            degraded += finished
        if not counted:
            continue
        ttft = _above(counted, "ttft", edges.ttft, slo.ttft_seconds)
        tpot = _above(counted, "tpot", edges.tpot, slo.tpot_seconds)
        if tpot is None:
            share = _share_above(counted, edges.gaps)
            tpot = None if share is None else share * finished
        unknown = unknown or ttft is None or tpot is None
        bad_ttft += ttft or 0.0
        bad_tpot += tpot or 0.0
    finding = findings[0] if findings else ""
    if unknown:
        return Missing(MissingReason.ABSENT), finding
    return (
        Outcomes(
            from_seconds=difference.from_seconds,
            to_seconds=difference.to_seconds,
            ended=ended,
            failed=failed,
            bad_ttft=bad_ttft,
            bad_tpot=bad_tpot,
            degraded=degraded,
        ),
        finding,
    )


def _above(
    counted: Mapping[str, float], family: str, edge: float | None, threshold: float
) -> float | None:
    """Requests above the edge; an objective that is not set is never missed."""
    if threshold == float("inf"):
        return 0.0
    return None if edge is None else counted.get(f"{family}@{edge:g}")


def _share_above(counted: Mapping[str, float], edge: float | None) -> float | None:
    """Share of token gaps above the edge; without gaps none is."""
    if edge is None:
        return None
    bad, count = counted.get(f"gaps@{edge:g}"), counted.get(f"gaps_count@{edge:g}")
    if bad is None or count is None:
        return None
    return bad / count if count > 0 else 0.0
