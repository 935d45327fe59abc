"""A policy: what the owner of one ModelDeployment asked for, validated and in plain units."""

from dataclasses import dataclass
from enum import StrEnum

from controller.core.domain.variant import Role, Variant


class Mode(StrEnum):
    """Whether a decision is carried out, only reported, or not made."""

    AUTO = "Auto"
    RECOMMEND = "Recommend"
    OFF = "Off"


class Pause(StrEnum):
    """Which way replicas are not to be moved for now, as a user's annotation asks."""

    NONE = "none"
    ALL = "all"
    IN = "in"
    OUT = "out"


class OnExhausted(StrEnum):
    """What gives way once the quality budget is spent."""

    HOLD = "Hold"
    DEGRADE = "Degrade"


class RoutingLaw(StrEnum):
    """How requests reach the replicas of the variants."""

    SEPARATE = "Separate"
    SHARED = "Shared"
    WEIGHTED = "Weighted"
    OVERFLOW = "Overflow"


class Balancing(StrEnum):
    """How one pool spreads requests over its replicas."""

    PER_ENDPOINT = "PerEndpoint"
    LEAST_LOADED = "LeastLoaded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """A request is good when it meets both thresholds; an infinite threshold always holds.

    ``target`` is the share of requests over ``window_seconds`` that must be good;
    ``planned_budget_share`` is the part of ``1 - target`` that may be spent on purpose.
    """

    ttft_seconds: float
    tpot_seconds: float
    target: float
    window_seconds: float
    planned_budget_share: float

    @property
    def planned_miss_share(self) -> float:
        """Share of requests that may be missed on purpose."""
        return (1.0 - self.target) * self.planned_budget_share


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityBudget:
    """``max_degraded_share`` of the requests over the SLO window may be served by a fallback."""

    max_degraded_share: float
    on_exhausted: OnExhausted


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The declared routing law; ``balancing`` is how each pool spreads its own requests."""

    law: RoutingLaw
    balancing: Balancing


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Upper limits over all variants together; None is no limit."""

    max_cost_per_hour: float | None = None
    max_gpus: int | None = None


class SelectPolicy(StrEnum):
    """HPA's choice among several rate policies."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePolicy:
    """HPA's rate policy: at most ``value`` (pods, or percent) per ``period_seconds``."""

    percent: bool
    value: int
    period_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """HPA's scaling rules for one direction."""

    stabilization_window_seconds: int
    select_policy: SelectPolicy
    policies: tuple[RatePolicy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behavior:
    """HPA's behavior block with HPA's semantics; a direction left out is unrestricted."""

    scale_up: ScalingRules | None = None
    scale_down: ScalingRules | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A floor and a ceiling for one variant inside recurring windows.

    ``cron`` gives the starts in ``time_zone``; each window lasts ``duration_seconds``.
    ``windows`` are the occurrences around now, as (from, to) in Unix seconds, expanded at the edge
    where the calendar is known.
    """

    variant: str
    cron: str
    time_zone: str
    duration_seconds: float
    min_replicas: int | None = None
    max_replicas: int | None = None
    windows: tuple[tuple[float, float], ...] = ()

    def open_at(self, now: float) -> bool:
        """Whether ``now`` lies in one of the windows."""
        return any(start <= now < end for start, end in self.windows)


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """Identity of a ModelDeployment."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Everything the decision needs to know of one ModelDeployment.

    The order of ``variants`` is the order of every allocation.
    """

    namespace: str
    name: str
    mode: Mode
    slo: Slo
    quality: QualityBudget
    variants: tuple[Variant, ...]
    routing: Routing
    limits: Limits
    tick_seconds: float
    behavior: Behavior | None = None
    schedules: tuple[Schedule, ...] = ()
    pause: Pause = Pause.NONE

    @property
    def key(self) -> ObjectKey:
        """The object this is the policy of."""
        return ObjectKey(self.namespace, self.name)

    def indices(self, role: Role) -> tuple[int, ...]:
        """Positions in ``variants`` of those with ``role``."""
        return tuple([i for i, variant in enumerate(self.variants) if variant.role is role])
