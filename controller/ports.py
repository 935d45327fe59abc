"""The seams to the outside world, as Protocols, and the errors that may cross them.

Every port is ``async`` because a real one waits for the network. The simulated ones never
suspend, so a simulation steps the coroutines by hand and needs no event loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from controller.core.domain.decision import Decision
from controller.core.domain.observation import (
    GaugeReading,
    Observation,
    OutcomesReading,
    PastTraffic,
    TrafficReading,
)
from controller.core.domain.policy import Policy

HistoryT = TypeVar("HistoryT")


class PortError(Exception):
    """Something outside failed; the next cycle is the retry."""


class MetricsUnavailable(PortError):  # noqa: N818 - named after what happened, as users read it
    """No observation could be made at all."""


class Conflict(PortError):  # noqa: N818 - named after what happened, as users read it
    """The target changed since it was read."""


class TargetNotFound(PortError):  # noqa: N818 - named after what happened, as users read it
    """A variant's workload does not exist."""


class TargetForbidden(TargetNotFound):
    """A variant's workload cannot be read or scaled by this operator: as good as not there."""


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> float:
        """Unix time in seconds."""
        ...


class Observer(Protocol):
    """Reads metrics and workloads of many objects with a constant number of queries."""

    async def observe(
        self, policies: Sequence[Policy], now: float
    ) -> Sequence[Observation | PortError]:
        """Return one observation per policy, in their order, or why there can be none of it.

        Raises ``PortError`` where that is so of all.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One pod of a workload, its times in Unix seconds.

    ``ready_since_seconds`` is None while it is not Ready. ``scheduled`` is False while it waits for
    a node, and ``draining`` True from its deletion on.
    """

    name: str
    created_at_seconds: float
    ready_since_seconds: float | None
    scheduled: bool
    draining: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The target of one variant: ``desired`` replicas of its scale subresource, and its pods."""

    desired: int
    replicas: tuple[Replica, ...]


class Workloads(Protocol):
    """Reads the targets of many objects, from a cache that a watch keeps."""

    async def read(
        self, policies: Sequence[Policy], now: float
    ) -> Sequence[Sequence[Workload | PortError]]:
        """Return the workload of every variant, or why there is none (``TargetNotFound``).

        Any other ``PortError`` in its place says that it is not known whether there is one. Raises
        ``PortError`` where that is so of all.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsQuestion:
    """What is asked of the metrics: ``replicas`` are the pods of each variant, draining too."""

    policy: Policy
    replicas: tuple[tuple[Replica, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsReading:
    """What the metrics show of one object.

    ``gauges`` are running, waiting and KV use of every variant. ``finding`` says for people what is
    wrong where something is missing, such as other models' series that exist.
    """

    traffic: TrafficReading
    outcomes: OutcomesReading
    gauges: tuple[tuple[GaugeReading, GaugeReading, GaugeReading], ...]
    finding: str = ""


class Metrics(Protocol):
    """Reads the metrics of many objects with a constant number of queries."""

    async def read(
        self, questions: Sequence[MetricsQuestion], now: float
    ) -> Sequence[MetricsReading]:
        """Return one reading per question. What cannot be read is missing: this never raises."""
        ...


class TrafficArchive(Protocol):
    """What the metrics store remembers from before the first observation."""

    async def past(self, policy: Policy, now: float) -> PastTraffic | None:
        """Return traffic before ``now``, or None when nothing is kept.

        Raises ``PortError`` where it cannot be told yet: the object is decided on without its past
        until it can, which releases nothing that this process has not watched for a hold.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One object's decision and what it was made on."""

    policy: Policy
    observation: Observation
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is told of one object: its decision, and why it could not be carried out, if so."""

    planned: Planned
    problem: PortError | None


class Actuator(Protocol):
    """Carries decisions out: replicas through the scale subresource, and route weights."""

    async def actuate(self, planned: Sequence[Planned], now: float) -> Sequence[PortError | None]:
        """Bring the targets to the decisions, writing only what differs.

        Returns, in the same order, what kept each from being carried out: it never raises for one
        object, so that no other waits for the next cycle.
        """
        ...


class Reporter(Protocol):
    """Tells users what was seen and decided."""

    async def report(self, reports: Sequence[Report], now: float) -> Sequence[PortError | None]:
        """Publish status, conditions and telemetry; returns what failed, in the same order."""
        ...


class Planner(Protocol, Generic[HistoryT]):
    """A scaling policy: ours, or a peer's. Pure: the same arguments give the same answer."""

    def initial(self, policy: Policy, past: PastTraffic | None) -> HistoryT:
        """History of an object never seen before, seeded with what the metrics store remembers."""
        ...

    def plan(
        self, policy: Policy, observation: Observation, history: HistoryT, now: float
    ) -> tuple[Decision, HistoryT]:
        """Decide, and return the history for the next decision."""
        ...
