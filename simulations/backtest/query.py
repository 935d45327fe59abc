"""PromQL of one object's past: counters by pod on a grid, histograms by hour.

Counters are read as they are, never by ``increase()``: that loses what a pod counts before its
first scrape and extrapolates the rest, so that its steps do not add up to what came.
"""

from typing import Final

from controller.adapters.prometheus.engines import EngineProfile, Families
from controller.adapters.prometheus.queries import any_of, literal, part, selector
from simulations.backtest.subject import Engines, Gateway

#: Counters that are read of every pod.
COUNTERS: Final = (
    "ended",
    "received",
    "failed",
    "refused",
    "token_requests",
    "prompt_tokens",
    "output_tokens",
)

#: Parts of ``counts``: what a pod has series of.
PARTS: Final = ("time", "created", "running", "waiting", *COUNTERS)

#: Histograms, with the fields of a profile that name them.
HISTOGRAMS: Final = ("ttft", "tpot", "gaps", "prompt_lengths", "output_lengths")


def matchers(engines: Engines) -> str:
    """What selects the engines' series."""
    profile = engines.profile
    parts = [f"{profile.namespace_label}={literal(engines.namespace)}"]
    if profile.model_label is not None and engines.model is not None:
        parts.append(f"{profile.model_label}={literal(engines.model)}")
    if engines.by_workload:
        parts.append(f"{profile.pod_label}=~{literal(engines.pod_pattern)}")
    return ",".join(parts)


def shown(engines: Engines) -> str:
    """The selector of the engines' first metric, as it is told to people."""
    return selector(engines.profile.running[0], matchers(engines))


def scrapes(engines: Engines, window_seconds: float) -> str:
    """How often every pod was scraped in a window."""
    return _every_pod(engines, "max", "count_over_time", f"[{window_seconds:g}s]")


def models(profile: EngineProfile, namespace: str, window_seconds: float) -> str:
    """The models that an engine served in a namespace: what there is instead of nothing."""
    by = f"by ({profile.model_label or profile.pod_label})"
    wanted = f"{profile.namespace_label}={literal(namespace)}"
    series = (f"{selector(family, wanted)}[{window_seconds:g}s]" for family in profile.running)
    return any_of(f"group {by} (present_over_time({one}))" for one in series)


def counts(engines: Engines) -> str:
    """Counters and gauges of every pod, and of which time they are."""
    profile = engines.profile
    wanted = matchers(engines)
    by = f"by ({', '.join(_pods_labels(profile))})"
    gauges: tuple[tuple[str, str, Families], ...] = (
        ("created", "max", profile.created),
        ("running", "sum", profile.running),
        ("waiting", "sum", profile.waiting),
    )
    sums = tuple((name, "sum", getattr(profile, name)) for name in COUNTERS)
    parts = [part("time", _every_pod(engines, "min", "timestamp", ""))]
    parts += [
        part(name, any_of(f"{how} {by} ({selector(family, wanted)})" for family in families))
        for name, how, families in (*gauges, *sums)
        if families
    ]
    ranks = f"by ({', '.join((*_pods_labels(profile), *profile.rank_labels))})"
    twice = any_of(
        f"(count {by} ({one}) > count {by} (group {ranks} ({one})))"
        for one in (selector(family, wanted) for family in profile.running)
    )
    return any_of((*parts, part("twice", twice)))


def received(gateway: Gateway) -> str:
    """Requests counted outside the engines, by the process that counts."""
    profile = gateway.profile
    wanted = f"{profile.name_label}={literal(gateway.value)}"
    if profile.namespace_label is not None:
        wanted += f",{profile.namespace_label}={literal(gateway.namespace)}"
    by = f"by ({', '.join(profile.instance_labels)})"
    series = [selector(family, wanted) for family in profile.counter]
    return any_of(
        (
            part("ended", any_of(f"sum {by} ({one})" for one in series)),
            part("time", any_of(f"min {by} (timestamp({one}))" for one in series)),
        )
    )


def histograms(engines: Engines, window_seconds: float) -> str:
    """Growth of every histogram's buckets over a window, by edge; the parts end in a number.

    Of the alternatives of a profile the first with any growth counts.
    """
    wanted = matchers(engines)
    parts = []
    for name in HISTOGRAMS:
        for number, buckets in enumerate(getattr(engines.profile, name)):
            series = f"{buckets.name}_bucket{{{wanted}}}[{window_seconds:g}s]"
            parts.append(part(f"{name}{number}", f"sum by (le) (increase({series}))"))
    return any_of(parts)


def _every_pod(engines: Engines, how: str, function: str, window: str) -> str:
    by = f"by ({', '.join(_pods_labels(engines.profile))})"
    wanted = matchers(engines)
    return any_of(
        f"{how} {by} ({function}({selector(family, wanted)}{window}))"
        for family in engines.profile.running
    )


def _pods_labels(profile: EngineProfile) -> tuple[str, ...]:
    return (profile.namespace_label, profile.pod_label)
