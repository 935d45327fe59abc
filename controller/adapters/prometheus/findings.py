"""What is said to people where something cannot be read, or not at its own threshold."""

from controller.adapters.prometheus.pods import Engine, Thresholds
from controller.adapters.prometheus.seen import (
    Look,
    SeenVariant,
    Subject,
    pod_readings,
    serves,
)
from controller.core.domain.observation import MissingReason
from controller.core.domain.policy import Policy


def unmeasurable(engine: Engine, edges: Thresholds, policy: Policy) -> list[str]:
    """Say where an objective is read at another threshold than its own, and what to set."""
    profile = engine.profile
    found = []
    for name, seconds, edge, histograms in (
        ("TTFT", policy.slo.ttft_seconds, edges.ttft, profile.ttft),
        (
            "TPOT",
            policy.slo.tpot_seconds,
            edges.gaps if edges.tpot is None else edges.tpot,
            profile.tpot or profile.gaps,
        ),
    ):
        if seconds == float("inf"):
            continue
        asked = f"SloNotMeasurable: {name} {seconds * 1000:g} ms"
        if not histograms:
            found.append(f"{asked}: {profile.name} exports no histogram of it")
        elif edge is None:
            found.append(f"{asked}: no bucket seen; set {profile.buckets_flag}")
        elif abs(edge * histograms[0].unit - seconds) > 1e-9 * seconds:
            read_at = edge * histograms[0].unit * 1000
            found.append(f"{asked} read at {read_at:g} ms; set {profile.buckets_flag}")
    return found


def explained(subject: Subject, look: Look, variants: tuple[SeenVariant, ...]) -> str:
    """Say for people why something is missing."""
    for v, variant in enumerate(variants):
        if variant.missing is not None:
            return _explained_variant(subject, look, v, variant)
    return "no replica is Ready, so there is nothing to measure"


def _explained_variant(subject: Subject, look: Look, v: int, variant: SeenVariant) -> str:
    engine = subject.engines[v]
    unseen = [r.name for r in subject.replicas[v] if serves(r) and r.name not in variant.pods]
    first = unseen[0] if unseen else "a replica"
    down = [name for name in unseen if (engine.namespace, name) in look.snapshot.down]
    if down:
        return f"the scrape of {down[0]} fails (up is 0); {len(down)} replicas like it"
    wrong = {
        MissingReason.NOT_A_NUMBER: f"a reading of {first} is NaN, infinite or negative",
        MissingReason.STALE: f"the last sample of {first} is too old",
    }
    if variant.missing in wrong:
        return wrong[variant.missing]
    shown = [pod_readings(engine, name, look.snapshot) for name in unseen]
    if any(readings.twice for readings in shown if readings is not None):
        return f"{first} has series twice; is it scraped by two jobs?"
    if any(readings is not None for readings in shown):
        return f"{engine.profile.name} shows not every counter of {first}; was one renamed?"
    if variant.pods:
        return f"{len(variant.pods)} of {variant.expected} Ready replicas seen, {first} not"
    return _nowhere(engine, look)


def _nowhere(engine: Engine, look: Look) -> str:
    """Say what there is instead of the series that were looked for."""
    place = (engine.profile.name, engine.namespace)
    strangers = look.snapshot.strangers.get(place, set())
    models = look.snapshot.models.get(place, set())
    if engine.model in strangers:
        return f"series of {engine.model} have no label {engine.profile.pod_label} to tell the pod"
    if engine.model in models:
        return f"series of {engine.model} exist, but of none of this object's replicas"
    found = f"no series for model {engine.model} in namespace {engine.namespace}"
    others = sorted(models | strangers)
    if others:
        return f"{found}; series exist for {', '.join(others[:3])}"
    return f"{found}; is it scraped?"
