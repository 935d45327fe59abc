"""PromQL out of metrics profiles, a constant number of queries however many objects there are.

All that is read of an engine in a cycle is one expression: its parts, told apart by the label
``part``, are joined by ``or``. One query is answered from one snapshot of the store, so that
counters, gauges and ``timestamp()`` of a pod are of the same scrape; asked one by one, a scrape
stored in between would make them disagree, and the conservation law of arrivals with them.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.adapters.prometheus.engines import (
    BUILT_IN,
    ArrivalsProfile,
    Buckets,
    EngineProfile,
    Families,
    Family,
    Histograms,
)

#: What the recording rules record, and how wide a selection of it is asked.
RECORDED_READINGS: Final = "steelyard:engine:readings"
RECORDED_LENGTHS: Final = "steelyard:engine:lengths"

#: Parts that are buckets of latencies, as a regular expression.
_BUCKETS: Final = "(ttft|tpot|gaps)_bucket"
_RECORDED: Final = frozenset(profile.name for profile in BUILT_IN)

#: Raw queries in one cycle, at most: three groups of profiles for the readings, three for the
#: edges or the lengths (never both in one cycle, but in the first), and one for arrivals.
_GROUPS: Final = 3

#: Edges of the 1-2-5 series from 1 to 5e5, as engines and Prometheus write them, and infinity.
_LENGTHS_LE: Final = "[125]0{0,5}([.]0)?|[125]e[+]0[0-5]|[+]Inf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Texts of the label ``le`` at which a family is read, by family."""

    ttft: frozenset[str] = frozenset()
    tpot: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Queries:
    """Expressions of one kind, one per group of profiles."""

    expressions: tuple[str, ...]
    profiles: tuple[tuple[str, ...], ...] = field(default=())


def readings(profiles: Sequence[EngineProfile], edges: Edges, *, recorded: bool) -> Queries:
    """What every cycle reads: counters, gauges, their time, and buckets at ``edges``."""
    wanted = alternatives(sorted(edges.ttft | edges.tpot))
    expression = f'{RECORDED_READINGS}{{part!~"{_BUCKETS}"}}'
    if edges.ttft | edges.tpot:
        expression += f' or {RECORDED_READINGS}{{part=~"{_BUCKETS}",le=~{wanted}}}'
    return _queries(
        profiles,
        lambda profile: engine_readings(profile, edges),
        expression if recorded else None,
    )


def lengths(profiles: Sequence[EngineProfile], *, recorded: bool) -> Queries:
    """Token-length histograms, each cycle or now and then."""
    having = [p for p in profiles if p.prompt_lengths and p.output_lengths]
    return _queries(having, engine_lengths, RECORDED_LENGTHS if recorded else None)


def edges(profiles: Sequence[EngineProfile], *, recorded: bool) -> Queries:
    """Which bucket edges exist, by namespace and model."""
    having = [p for p in profiles if p.ttft or p.tpot or p.gaps]
    labels = sorted({label for profile in BUILT_IN for label in _place(profile)})
    by = ", ".join((*labels, "le", "part", "profile"))
    expression = f'group by ({by}) ({RECORDED_READINGS}{{part=~"{_BUCKETS}"}})'
    return _queries(having, _engine_edges, expression if recorded else None)


def arrivals(profile: ArrivalsProfile, values: Iterable[str]) -> str:
    """Received requests outside the engine, by process that counts."""
    labels = [profile.name_label, *profile.instance_labels]
    if profile.namespace_label is not None:
        labels.append(profile.namespace_label)
    matchers = f"{profile.name_label}=~{alternatives(sorted(values))}"
    by = f"by ({', '.join(labels)})"
    selectors = [selector(family, matchers) for family in profile.counter]
    counts = any_of(f"sum {by} ({selector})" for selector in selectors)
    times = any_of(f"min {by} (timestamp({selector}))" for selector in selectors)
    return any_of((part("arrivals", counts, profile.name), part("time", times, profile.name)))


def history(
    profile: EngineProfile, places: Iterable[tuple[str, str]], window_seconds: float
) -> str:
    """What one engine counted per window, by namespace and model, for these (namespace, model)."""
    namespaces, models = (sorted(set(names)) for names in zip(*places, strict=True))
    matchers = f"{profile.namespace_label}=~{alternatives(namespaces)}"
    if profile.model_label is not None:
        matchers += f",{profile.model_label}=~{alternatives(models)}"
    by = f"by ({', '.join(_place(profile))})"
    window = f"[{window_seconds:g}s]"
    counters: tuple[tuple[str, Families], ...] = (
        ("ended", profile.ended),
        ("received", profile.received),
        ("refused", profile.refused),
        ("token_requests", profile.token_requests),
        ("prompt_tokens", profile.prompt_tokens),
        ("output_tokens", profile.output_tokens),
    )
    parts = [
        part(
            name,
            any_of(f"sum {by} (increase({selector(each, matchers)}{window}))" for each in families),
        )
        for name, families in counters
        if families
    ]
    parts += [
        part(name, any_of(f"sum {by} ({selector(family, matchers)})" for family in families))
        for name, families in (("running", profile.running), ("waiting", profile.waiting))
    ]
    return _of_profile(profile, parts)


def arrivals_history(profile: ArrivalsProfile, values: Iterable[str], window_seconds: float) -> str:
    """Received requests per window outside the engine."""
    labels = [profile.name_label]
    if profile.namespace_label is not None:
        labels.append(profile.namespace_label)
    matchers = f"{profile.name_label}=~{alternatives(sorted(values))}"
    counts = any_of(
        f"sum by ({', '.join(labels)}) "
        f"(increase({selector(family, matchers)}[{window_seconds:g}s]))"
        for family in profile.counter
    )
    return part("received", counts, profile.name)


def engine_readings(profile: EngineProfile, edges: Edges | None) -> str:
    """One engine's readings; ``edges`` None reads all buckets, as the recording rules do."""
    by = f"by ({', '.join(profile.labels)})"
    sums: tuple[tuple[str, str, Families], ...] = (
        ("running", "sum", profile.running),
        ("waiting", "sum", profile.waiting),
        ("ended", "sum", profile.ended),
        ("received", "sum", profile.received),
        ("failed", "sum", profile.failed),
        ("refused", "sum", profile.refused),
        ("created", "max", profile.created),
        ("kv_use", "avg", profile.kv_use),
        ("token_requests", "sum", profile.token_requests),
        ("prompt_tokens", "sum", profile.prompt_tokens),
        ("output_tokens", "sum", profile.output_tokens),
    )
    # The oldest of a pod's series: one that is scraped at several ports is as old as any of them.
    time = any_of(f"min {by} (timestamp({selector(family)}))" for family in profile.running)
    down = f"max by ({profile.namespace_label}, {profile.pod_label}) (up == 0)"
    parts = [part("time", time), part("down", down), part("twice", _scraped_twice(profile))]
    parts += [
        part(name, any_of(f"{how} {by} ({selector(family)})" for family in families))
        for name, how, families in sums
        if families
    ]
    for name, histograms, wanted in (
        ("ttft", profile.ttft, None if edges is None else edges.ttft),
        ("tpot", profile.tpot, None if edges is None else edges.tpot),
        ("gaps", profile.gaps, None if edges is None else edges.tpot),
    ):
        # Gaps stand in for what is missing only; both would be twice the answer.
        absent = profile.tpot if name == "gaps" else ()
        parts += _histogram_parts(profile, name, histograms, wanted, absent)
    return _of_profile(profile, parts)


def engine_lengths(profile: EngineProfile) -> str:
    """One engine's token lengths: buckets at the edges of the 1-2-5 series."""
    by = f"by ({', '.join((*profile.labels, 'le'))})"
    le = f"le=~{literal(_LENGTHS_LE)}"
    return _of_profile(
        profile,
        [
            part(name, f"sum {by} ({_bucket(bucket, le)})")
            for name, histograms in (
                ("prompt_lengths", profile.prompt_lengths),
                ("output_lengths", profile.output_lengths),
            )
            for bucket in histograms[:1]
        ],
    )


def _engine_edges(profile: EngineProfile) -> str:
    by = f"by ({', '.join((*_place(profile), 'le'))})"
    parts = []
    for name, histograms in (
        ("ttft", profile.ttft),
        ("tpot", profile.tpot),
        ("gaps", profile.gaps),
    ):
        if histograms:
            each = any_of(f"group {by} ({_bucket(bucket)})" for bucket in histograms)
            parts.append(part(f"{name}_bucket", each))
    return _of_profile(profile, parts)


def _scraped_twice(profile: EngineProfile) -> str:
    """Pods with more series than ranks: by two scrape jobs all would be summed twice."""
    by = f"by ({', '.join(profile.labels)})"
    ranks = f"by ({', '.join((*profile.labels, *profile.rank_labels))})"
    return any_of(
        f"(count {by} ({series}) > count {by} (group {ranks} ({series})))"
        for series in (selector(family) for family in profile.running)
    )


def _histogram_parts(
    profile: EngineProfile,
    name: str,
    histograms: Histograms,
    wanted: frozenset[str] | None,
    absent: Histograms,
) -> list[str]:
    """Count, and buckets at the wanted edges, of each pod's first histogram that exists."""
    labels = ", ".join(profile.labels)
    on = f"on ({labels})"
    counts, buckets = [], []
    before = [f"{bucket.name}_count" for bucket in absent]
    for histogram in histograms:
        unless = f" unless {on} ({' or '.join(before)})" if before else ""
        counts.append(f"(sum by ({labels}) ({histogram.name}_count){unless})")
        le = "" if wanted is None else f"le=~{alternatives(sorted(wanted))}"
        selector = _bucket(histogram, le)
        buckets.append(f"(sum by ({labels}, le) ({selector}){unless})")
        before.append(f"{histogram.name}_count")
    if not histograms:
        return []
    parts = [part(f"{name}_count", any_of(counts))]
    if wanted is None or wanted:
        parts.append(part(f"{name}_bucket", any_of(buckets)))
    return parts


def _place(profile: EngineProfile) -> tuple[str, ...]:
    """Labels that tell namespace and model, without the pod."""
    return tuple(label for label in profile.labels if label != profile.pod_label)


def _of_profile(profile: EngineProfile, parts: Iterable[str]) -> str:
    return f'label_replace({any_of(parts)}, "profile", {literal(profile.name)}, "", "")'


def part(name: str, expression: str, profile: str | None = None) -> str:
    """An expression whose series are told apart from others' by the label ``part``."""
    named = f'label_replace({expression}, "part", "{name}", "", "")'
    if profile is None:
        return named
    return f'label_replace({named}, "profile", {literal(profile)}, "", "")'


def any_of(expressions: Iterable[str]) -> str:
    """All of them; of series with equal labels those of the first that has them."""
    return " or ".join(expressions)


def _bucket(histogram: Buckets, matchers: str = "") -> str:
    return f"{histogram.name}_bucket{{{matchers}}}" if matchers else f"{histogram.name}_bucket"


def selector(family: Family, extra: str = "") -> str:
    """Series of a family; several names make one selector, whose series are summed."""
    matchers = [
        f"{label}=~{alternatives(values)}" for label, values in sorted(family.matching.items())
    ]
    if extra:
        matchers.append(extra)
    name = family.names[0]
    if len(family.names) > 1:
        name = ""
        matchers.insert(0, f"__name__=~{alternatives(family.names)}")
    return f"{name}{{{','.join(matchers)}}}" if matchers else name


def alternatives(values: Iterable[str]) -> str:
    """A regular expression that matches exactly these values, as a string of PromQL."""
    return literal("|".join(re.escape(value) for value in values))


def literal(text: str) -> str:
    """A string of PromQL: its escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False)


def _queries(
    profiles: Sequence[EngineProfile],
    expression: Callable[[EngineProfile], str],
    recorded: str | None,
) -> Queries:
    """One expression per profile, or joined ones where there are more than groups.

    The rules record the engines that are built in, all in one; an administrator's are asked raw.
    """
    ready = [p for p in profiles if recorded is not None and p.name in _RECORDED]
    raw = [p for p in profiles if p not in ready]
    size = min(_GROUPS, len(raw))
    groups = [raw[i::size] for i in range(size)]
    expressions = [any_of(expression(profile) for profile in group) for group in groups]
    names = [tuple(profile.name for profile in group) for group in groups]
    if ready and recorded is not None:
        expressions.append(recorded)
        names.append(tuple(profile.name for profile in ready))
    return Queries(tuple(expressions), tuple(names))
