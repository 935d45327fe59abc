"""The conditions a replay runs under: how replicas start, what fails, what is seen."""

from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise
from math import inf, prod

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Create-to-Ready: lognormal about ``median_seconds``, plus a node where none is free.

    ``sigma`` is the standard deviation of the logarithm. A draw is cut at ``truncate_sigmas`` on
    either side, so that a shortest cold start exists that the lower bound may rely on.
    ``warm_gpus`` GPUs (None: all) have a node already; each further one waits
    ``node_seconds`` more.
    """

    median_seconds: float
    sigma: float = 0.15
    truncate_sigmas: float = 3.0
    node_seconds: float = 0.0
    warm_gpus: int | None = None

    @property
    def shortest_seconds(self) -> float:
        """The shortest cold start that can be drawn."""
        return self.median_seconds * float(np.exp(-self.sigma * self.truncate_sigmas))

    def draw(self, rng: np.random.Generator) -> float:
        """Draw one cold start on a node that exists, in seconds."""
        z = float(np.clip(rng.standard_normal(), -self.truncate_sigmas, self.truncate_sigmas))
        return self.median_seconds * float(np.exp(self.sigma * z))


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of scenario time, [from_seconds, to_seconds)."""

    from_seconds: float
    to_seconds: float

    def holds(self, seconds: float) -> bool:
        """Whether ``seconds`` lies inside."""
        return self.from_seconds <= seconds < self.to_seconds


class FaultKind(StrEnum):
    """What goes wrong."""

    SCRAPE_GAP = "ScrapeGap"
    PROMETHEUS_OUTAGE = "PrometheusOutage"
    GPU_SHORTAGE = "GpuShortage"
    CRASH = "Crash"
    SLOW_START = "SlowStart"
    SLOW_NODE = "SlowNode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault over an interval; the meaning of ``amount`` depends on the kind.

    ScrapeGap: scrapes are lost (amount unused). PrometheusOutage: queries fail (unused).
    GpuShortage: GPUs of the quota that are taken away; replicas that run keep theirs.
    Crash: crashes per Ready replica and hour. SlowStart: factor on cold starts.
    SlowNode: speed of replicas created in the interval. Faults of one kind that overlap add up,
    factors and speeds multiply.
    """

    kind: FaultKind
    interval: Interval
    amount: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """When counters are scraped and how late the scrape can be queried, in seconds."""

    scrape_interval_seconds: float = 15.0
    delay_seconds: float = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Everything around the data plane. ``gpu_quota`` None is no quota."""

    cold_starts: tuple[ColdStart, ...]
    gpu_quota: int | None = None
    metrics: Metrics = field(default_factory=Metrics)
    faults: tuple[Fault, ...] = ()

    def active(self, kind: FaultKind, seconds: float) -> float:
        """Sum of the amounts of the faults of ``kind`` at ``seconds``."""
        return sum(f.amount for f in self.faults if f.kind is kind and f.interval.holds(seconds))

    def factor(self, kind: FaultKind, seconds: float) -> float:
        """Product of the amounts of the faults of ``kind`` at ``seconds``; 1 without any."""
        return prod(f.amount for f in self.faults if f.kind is kind and f.interval.holds(seconds))

    def blind(self, kind: FaultKind, seconds: float) -> bool:
        """Whether a fault of ``kind`` is on at ``seconds``."""
        return any(f.kind is kind and f.interval.holds(seconds) for f in self.faults)

    def crash_at(self, ready_at: float, hazard: float) -> float:
        """When a replica Ready since ``ready_at`` crashes; infinite when it never does.

        ``hazard`` is drawn from the exponential law of mean 1. The crash comes when the rate of
        crashes, integrated since ``ready_at``, reaches it: so a replica that was there before a
        fault began is hit as hard as one that starts in it, and none crashes after its end.
        """
        crashes = [f for f in self.faults if f.kind is FaultKind.CRASH]
        ends = {t for f in crashes for t in (f.interval.from_seconds, f.interval.to_seconds)}
        edges = [ready_at, *sorted(t for t in ends if t > ready_at)]
        for start, end in pairwise(edges):
            rate = self.active(FaultKind.CRASH, start) / 3600.0
            if rate > 0.0 and rate * (end - start) >= hazard:
                return start + hazard / rate
            hazard -= rate * (end - start)
        return inf
