"""Knative's way to zero and back: what is done with a decision once it is made.

A revision is activating, active or inactive. Before its last replica goes, the activator must be
in the request path, so that a request that comes afterwards is kept and wakes the revision.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

#: What the reconciler wants while a revision without demand still starts: leave it alone.
UNKNOWN = -1
#: Added to the progress deadline before an activation is given up.
ACTIVATION_SLACK_SECONDS = 30.0


class Activity(StrEnum):
    """The Active condition of a revision: Unknown, True or False."""

    ACTIVATING = "activating"
    ACTIVE = "active"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroSpec:
    """Replica range and the settings of scaling to zero; defaults are Knative's."""

    min_replicas: int
    max_replicas: int
    scale_to_zero: bool = True
    stable_window_seconds: float = 60.0
    grace_seconds: float = 30.0
    retention_seconds: float = 0.0
    progress_deadline_seconds: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroHistory:
    """Activity with its last change, and since when the activator is in the path (None: not)."""

    activity: Activity
    changed_at_seconds: float
    proxied_at_seconds: float | None


@dataclass(frozen=True, slots=True)
class Applied:
    """What the reconciler wants, and whether it writes it (otherwise replicas stay)."""

    want: int
    apply: bool


def created(now: float) -> ZeroHistory:
    """A revision just created, before any request has reached it."""
    return ZeroHistory(
        activity=Activity.ACTIVATING, changed_at_seconds=now, proxied_at_seconds=None
    )


def reconcile(
    spec: ZeroSpec,
    history: ZeroHistory,
    desired: int,
    ready: int,
    *,
    bursts_need_activator: bool,
    now: float,
) -> tuple[Applied, ZeroHistory]:
    """Apply the decider's ``desired`` replicas, ``UNKNOWN`` before its first decision."""
    bounded = min(max(desired, spec.min_replicas), spec.max_replicas)
    applied = Applied(bounded, apply=True)
    if bounded == 0:
        applied = _to_zero(spec, history, now) if spec.scale_to_zero else Applied(1, apply=True)
    activity = _activity(spec, applied.want, ready)
    if activity is not history.activity:
        history = replace(history, activity=activity, changed_at_seconds=now)
    proxied = applied.want in {0, UNKNOWN} or bursts_need_activator
    since = history.proxied_at_seconds
    if proxied != (since is not None):
        history = replace(history, proxied_at_seconds=now if proxied else None)
    return applied, history


def _to_zero(spec: ZeroSpec, history: ZeroHistory, now: float) -> Applied:
    lasted = now - history.changed_at_seconds
    if history.activity is Activity.ACTIVATING:
        if lasted > spec.progress_deadline_seconds + ACTIVATION_SLACK_SECONDS:
            return Applied(0, apply=True)
        return Applied(UNKNOWN, apply=False)
    if history.activity is Activity.ACTIVE:
        if lasted >= spec.stable_window_seconds:
            return Applied(0, apply=False)
        return Applied(1, apply=True)
    since = history.proxied_at_seconds
    proxied_long = since is not None and now - since >= spec.grace_seconds
    retained = lasted >= spec.retention_seconds
    idle_long = lasted >= max(spec.grace_seconds, spec.retention_seconds)
    return Applied(0, apply=idle_long or (retained and proxied_long))


def _activity(spec: ZeroSpec, want: int, ready: int) -> Activity:
    """The Active condition after a reconcile."""
    if want == 0:
        return Activity.INACTIVE
    return Activity.ACTIVE if ready >= max(1, spec.min_replicas) else Activity.ACTIVATING
