"""Events of ModelDeployments: on transitions only, and no more than anybody reads."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from controller.adapters.kubernetes.client import Document, Kubernetes
from controller.adapters.kubernetes.judging import Judged
from controller.api.conditions import ConditionStatus, ConditionType, Finding
from controller.api.v1alpha1 import GROUP, KIND, VERSION
from controller.core.domain.policy import Mode, ObjectKey, Pause
from controller.ports import PortError

_LOG: Final = logging.getLogger("steelyard.events")

_CONTROLLER: Final = "steelyard.dev/controller"

#: Events of one object at once, and the time after which it has one more (as client-go has it).
BURST: Final = 25
REFILL_SECONDS: Final = 300.0

#: After so long without a report it is not known what was so before.
_SILENCE_SECONDS: Final = 60.0

#: Longest message, in characters: the API server's own limit.
_MESSAGE: Final = 1024

#: Conditions whose change is told, and whether they are good when True.
_TOLD: Final[Mapping[ConditionType, bool]] = {
    ConditionType.METRICS_AVAILABLE: True,
    ConditionType.FORECAST_TRUSTED: True,
    ConditionType.ABLE_TO_SCALE: True,
    ConditionType.SLO_AT_RISK: False,
    ConditionType.BUDGET_EXHAUSTED: False,
    ConditionType.DEGRADED: False,
}


@dataclass(frozen=True, slots=True)
class _Event:
    """What happened to an object."""

    warning: bool
    reason: str
    message: str


@dataclass(slots=True)
class _Before:
    """How an object was after the last cycle, and how many Events it may still have."""

    judged: Judged
    left: float
    at: float


@dataclass(slots=True, kw_only=True)
class EventWriter:
    """Posts Events. That one cannot be posted is no failure of its object: it is logged.

    ``set_by`` names the field manager that last set the replicas of an object's n-th variant.
    """

    kubernetes: Kubernetes
    identity: str
    set_by: Callable[[ObjectKey, int], str]
    _before: dict[ObjectKey, _Before] = field(default_factory=dict)
    _told_at: float = float("-inf")

    async def tell(self, judged: Sequence[Judged], now: float) -> None:
        """Post what has happened since the last call; after a start nothing has."""
        if now - self._told_at > _SILENCE_SECONDS:
            self._before.clear()
        self._told_at = now
        events = [(one, event) for one in judged for event in self._happened(one, now)]
        self._before = {one.entry.policy.key: self._before[one.entry.policy.key] for one in judged}
        posted = await asyncio.gather(
            *(self.kubernetes.run(self._post, one, event, now) for one, event in events),
            return_exceptions=True,
        )
        for problem in posted:
            if isinstance(problem, PortError):
                _LOG.warning("an Event was not posted: %s", problem)
                return  # one line a cycle
            if isinstance(problem, BaseException):
                raise problem

    def _happened(self, one: Judged, now: float) -> Sequence[_Event]:
        """The Events of one object that it may still have."""
        key = one.entry.policy.key
        before = self._before.get(key)
        if before is None or not _same_object(before.judged, one):
            self._before[key] = _Before(one, BURST, now)
            return list(_scaled(one))
        left = min(before.left + (now - before.at) / REFILL_SECONDS, BURST)
        found = [
            *_transitions(before.judged, one),
            *self._edited(before.judged, one),
            *_scaled(one),
        ][: int(left)]
        self._before[key] = _Before(one, left - len(found), now)
        return found

    def _edited(self, before: Judged, one: Judged) -> Iterator[_Event]:
        """Replicas that somebody else has set since ours were carried out."""
        if not _carried_out(before) or before.assessment.unable or one.assessment.unable:
            return
        planned = one.report.planned
        rows = zip(
            planned.policy.variants,
            before.report.planned.decision.allocation,
            planned.observation.variants,
            strict=True,
        )
        for i, (variant, ours, seen) in enumerate(rows):
            if seen.desired != ours:
                who = self.set_by(one.entry.policy.key, i) or "somebody"
                yield _Event(
                    warning=True,
                    reason="EditedByHand",
                    message=f"{variant.name} {ours} -> {seen.desired} by {who}; decided anew. "
                    "Annotate steelyard.dev/paused=true to keep replicas as you set them",
                )

    def _post(self, one: Judged, event: _Event, now: float) -> None:
        metadata = one.entry.deployment.metadata
        time = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body: Document = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata.name[:200]}.{uuid4().hex[:16]}",
                "namespace": metadata.namespace,
            },
            "involvedObject": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KIND,
                "name": metadata.name,
                "namespace": metadata.namespace,
                "uid": metadata.uid,
            },
            "type": "Warning" if event.warning else "Normal",
            "reason": event.reason,
            "message": event.message[:_MESSAGE],
            "source": {"component": "steelyard"},
            "reportingComponent": _CONTROLLER,
            "reportingInstance": self.identity[:128],
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }
        self.kubernetes.create(f"/api/v1/namespaces/{metadata.namespace}/events", body)


def _same_object(before: Judged, one: Judged) -> bool:
    """Whether it is not another of the same name, and has the same variants."""
    return before.entry.deployment.metadata.uid == one.entry.deployment.metadata.uid and [
        v.name for v in before.report.planned.policy.variants
    ] == [v.name for v in one.report.planned.policy.variants]


def _carried_out(one: Judged) -> bool:
    policy = one.report.planned.policy
    return policy.mode is Mode.AUTO and policy.pause is Pause.NONE and one.report.problem is None


def _scaled(one: Judged) -> Iterator[_Event]:
    """Changes of replicas that were carried out."""
    if one.report.planned.policy.mode is not Mode.AUTO or one.report.problem is not None:
        return
    planned = one.report.planned
    rows = zip(
        planned.policy.variants,
        planned.observation.variants,
        planned.decision.allocation,
        strict=True,
    )
    for variant, seen, wanted in rows:
        if wanted != seen.desired:
            yield _Event(
                warning=False,
                reason="ScaledUp" if wanted > seen.desired else "ScaledDown",
                message=f"{variant.name} {seen.desired} -> {wanted} replicas: "
                f"{_why(one)}, {planned.decision.cost_per_hour:.4g} an hour",
            )


def _why(one: Judged) -> str:
    """The last step that changed anything, else what kept the decision from being cheaper."""
    decision = one.report.planned.decision
    changing = [step.reason for step in decision.steps if step.before != step.after]
    return (changing[-1] if changing else decision.binding).value


def _transitions(before: Judged, one: Judged) -> Iterator[_Event]:
    """Conditions that turned from True to False or back, or have another reason while bad."""
    were = {found.type: found for found in before.findings}
    for found in one.findings:
        was = were.get(found.type)
        if found.type not in _TOLD or was is None:
            continue
        if ConditionStatus.UNKNOWN in {was.status, found.status} and not _bad(found):
            continue
        if was.status is not found.status or (_bad(found) and was.reason is not found.reason):
            yield _Event(
                warning=_bad(found),
                reason=found.reason.value,
                message=f"{found.type.value} is {found.status.value}"
                + (f": {found.message}" if found.message else ""),
            )


def _bad(found: Finding) -> bool:
    good = ConditionStatus.TRUE if _TOLD[found.type] else ConditionStatus.FALSE
    return found.status not in {good, ConditionStatus.UNKNOWN}
