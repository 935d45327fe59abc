"""Events of ModelDeployments: on transitions only, and no more than anybody reads."""

import asyncio
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeAlias
from uuid import uuid4

from controller.adapters.kubernetes.client import Document, Kubernetes
from controller.adapters.kubernetes.judging import Judged, States
from controller.api.conditions import ConditionReason, ConditionStatus, ConditionType, Finding
from controller.api.v1alpha1 import GROUP, KIND, VERSION
from controller.core.domain.policy import Mode, ObjectKey, Pause
from controller.ports import PortError

_LOG: Final = logging.getLogger("steelyard.events")

_CONTROLLER: Final = "steelyard.dev/controller"

#: Events of one object at once, and the time after which it has one more (as client-go has it).
BURST: Final = 25
REFILL_SECONDS: Final = 300.0

#: After so long without a report it is not known what was so before; later it is forgotten.
_SILENCE_SECONDS: Final = 60.0
_FORGOTTEN_SECONDS: Final = 3600.0

#: That Events cannot be posted is logged so often at most.
_LOG_SECONDS: Final = 60.0

#: Longest message, in characters: the API server's own limit for the newer kind of Events.
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

#: Changes that are no trouble, whichever way: another forecaster decides, or a planned share of
#: requests is served by a fallback.
_NORMAL: Final = frozenset({ConditionType.FORECAST_TRUSTED, ConditionType.DEGRADED})

#: Status and reason of a condition.
_State: TypeAlias = tuple[ConditionStatus, ConditionReason]


@dataclass(frozen=True, slots=True)
class _Event:
    """What happened to an object; ``of`` is the condition that it tells of, if it is one."""

    warning: bool
    reason: str
    message: str
    of: ConditionType | None = None


@dataclass(slots=True)
class _Before:
    """How an object was after the last cycle that told of it, at Unix time ``at``.

    ``told`` are its conditions as they were last told, ``ours`` the replicas of every variant that
    we set, None where we did not. ``left`` is how many Events it may still have. ``settled`` is the
    mode and the conditions of which nothing is left to tell.
    """

    uid: str
    at: float
    told: dict[ConditionType, _State]
    left: float = BURST
    variants: tuple[str, ...] = ()
    ours: tuple[int, ...] | None = None
    settled: tuple[Mode, States] | None = None


@dataclass(slots=True, kw_only=True)
class EventWriter:
    """Posts Events. That one cannot be posted is no failure of its object: it is logged.

    ``edited_by`` names the field manager, other than ours, that last set the replicas of an
    object's n-th variant.
    At most ``per_cycle`` are posted at once; a condition whose change is not told by then is told
    later, if it is still so.
    """

    kubernetes: Kubernetes
    identity: str
    edited_by: Callable[[ObjectKey, int], str]
    per_cycle: int = 100
    _before: dict[ObjectKey, _Before] = field(default_factory=dict)
    _logged_at: float = float("-inf")

    async def tell(self, judged: Sequence[Judged], now: float) -> None:
        """Post what has happened since the last call; after a start nothing has."""
        self._forget(judged, now)
        events: list[tuple[Judged, _Event]] = []
        for one in judged:
            found = self._happened(one, now, self.per_cycle - len(events))
            events.extend((one, event) for event in found)
        posted = await asyncio.gather(
            *(self.kubernetes.run(self._post, one, event, now) for one, event in events),
            return_exceptions=True,
        )
        for problem in posted:
            if isinstance(problem, PortError):
                self._log(problem, now)
            elif isinstance(problem, BaseException):
                raise problem

    def _forget(self, judged: Sequence[Judged], now: float) -> None:
        if len(self._before) > len(judged):
            self._before = {
                key: before
                for key, before in self._before.items()
                if now - before.at < _FORGOTTEN_SECONDS
            }

    def _log(self, problem: PortError, now: float) -> None:
        if not 0.0 <= now - self._logged_at < _LOG_SECONDS:
            self._logged_at = now
            _LOG.warning("an Event was not posted: %s", problem)

    def _happened(self, one: Judged, now: float, room: int) -> Sequence[_Event]:
        """The Events of one object that it may still have, and that there is room for."""
        before = self._known(one, now)
        before.left = min(before.left + max(now - before.at, 0.0) / REFILL_SECONDS, BURST)
        before.at = now
        settled = (one.report.planned.policy.mode, one.states)
        changed = [] if settled == before.settled else list(_transitions(before, one))
        every = [*self._edited(before, one), *changed, *_scaled(one)]
        found = every[: min(int(before.left), max(room, 0))]
        before.left -= len(found)
        before.settled = settled if len(found) == len(every) else None
        if changed:
            states = _states(one)
            before.told |= {event.of: states[event.of] for event in found if event.of is not None}
        before.variants = _variants(one)
        before.ours = one.report.planned.decision.allocation if _carried_out(one) else None
        return found

    def _known(self, one: Judged, now: float) -> _Before:
        """What was so before; of an object not told of lately that is what is so now."""
        key, uid = one.entry.policy.key, one.entry.deployment.metadata.uid
        before = self._before.get(key)
        if before is None or before.uid != uid:
            before = self._before[key] = _Before(uid, now, _states(one))
        elif not 0.0 <= now - before.at <= _SILENCE_SECONDS:
            before.told, before.ours, before.settled = _states(one), None, None
        return before

    def _edited(self, before: _Before, one: Judged) -> Iterator[_Event]:
        """Replicas that somebody else has set since ours were carried out."""
        if before.ours is None or before.variants != _variants(one) or one.assessment.unable:
            return
        seen_now = one.report.planned.observation.variants
        rows = zip(before.variants, before.ours, seen_now, strict=True)
        for i, (variant, ours, seen) in enumerate(rows):
            if seen.desired != ours:
                who = self.edited_by(one.entry.policy.key, i) or "somebody else"
                yield _Event(
                    warning=True,
                    reason="EditedByHand",
                    message=f"{variant} {ours} -> {seen.desired} by {who}; "
                    "decided anew. To keep replicas as you set them: "
                    f"kubectl annotate md {one.entry.policy.name} steelyard.dev/paused=true",
                )

    def _post(self, one: Judged, event: _Event, now: float) -> None:
        metadata = one.entry.deployment.metadata
        time = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body: Document = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{metadata.name[:200].rstrip('-.')}.{uuid4().hex[:16]}",
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


def in_words(reason: str) -> str:
    """A reason as people say it: ``GpuShortage`` is "GPU shortage"."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", reason).lower().replace("gpu", "GPU")


def _variants(one: Judged) -> tuple[str, ...]:
    return tuple(variant.name for variant in one.report.planned.policy.variants)


def _carried_out(one: Judged) -> bool:
    policy = one.report.planned.policy
    return policy.mode is Mode.AUTO and policy.pause is Pause.NONE and one.report.problem is None


def _scaled(one: Judged) -> Iterator[_Event]:
    """Changes of replicas that were carried out."""
    planned = one.report.planned
    if planned.policy.mode is not Mode.AUTO or one.report.problem is not None:
        return
    rows = zip(
        _variants(one), planned.observation.variants, planned.decision.allocation, strict=True
    )
    for variant, seen, wanted in rows:
        if wanted != seen.desired:
            yield _Event(
                warning=False,
                reason="ScaledUp" if wanted > seen.desired else "ScaledDown",
                message=f"{variant} {seen.desired} -> {wanted}: {_why(one)}; "
                f"{planned.decision.cost_per_hour:.4g} an hour",
            )


def _why(one: Judged) -> str:
    """What the decision was bound by, and the last step that changed anything."""
    decision = one.report.planned.decision
    last = [step.reason for step in decision.steps if step.before != step.after][-1:]
    return "; ".join(dict.fromkeys(in_words(reason) for reason in (decision.binding, *last)))


def _states(one: Judged) -> dict[ConditionType, _State]:
    """The conditions that are told, and known."""
    return {found.type: (found.status, found.reason) for found in _news(one)}


def _news(one: Judged) -> Iterator[Finding]:
    """Findings that are told. That something is not known is no news, nor what is not asked for."""
    writes = one.report.planned.policy.mode is Mode.AUTO
    for found in one.findings:
        if found.type is ConditionType.ABLE_TO_SCALE and not writes:
            continue
        if found.type in _TOLD and found.status is not ConditionStatus.UNKNOWN:
            yield found


def _transitions(before: _Before, one: Judged) -> Iterator[_Event]:
    """Conditions that turned, or have another reason while bad, since they were last told.

    What is good when it is first known is taken down and not told; so is the first forecast.
    """
    for found in _news(one):
        was = before.told.get(found.type)
        bad = (found.status is ConditionStatus.TRUE) is not _TOLD[found.type]
        if was is None and (not bad or found.type is ConditionType.FORECAST_TRUSTED):
            before.told[found.type] = (found.status, found.reason)
        elif was is None or was[0] is not found.status or (bad and was[1] is not found.reason):
            yield _Event(
                warning=bad and found.type not in _NORMAL,
                reason=found.reason.value,
                message=f"{found.type.value} is {found.status.value}"
                + (f": {found.message}" if found.message else ""),
                of=found.type,
            )
