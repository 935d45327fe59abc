"""Tells users through the API server: status and Events of every object after a cycle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controller.adapters.directory import Directory, Entry
from controller.adapters.kubernetes.events import EventWriter
from controller.adapters.kubernetes.judging import judge
from controller.adapters.kubernetes.status import StatusWriter
from controller.core.domain.policy import ObjectKey
from controller.ports import PortError, Report


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesReporter:
    """Implements ``ports.Reporter``.

    ``finding`` is what the metrics say of an object, ``unable`` why a target of it cannot be
    scaled, where that is known without trying. Once the lease is gone, which ``leads`` tells,
    nothing is said: another operator decides, and says what is so.
    """

    directory: Directory
    status: StatusWriter
    events: EventWriter
    finding: Callable[[ObjectKey], str]
    unable: Callable[[Entry], PortError | None]
    leads: Callable[[], bool]

    async def report(self, reports: Sequence[Report], now: float) -> Sequence[PortError | None]:
        """See ``ports.Reporter``."""
        outcomes: list[PortError | None] = [None] * len(reports)
        if not self.leads():
            return outcomes
        judged = {}
        for i, report in enumerate(reports):
            policy = report.planned.policy
            key = policy.key
            try:
                entry = self.directory.entry(key)
            except KeyError:
                continue  # deleted, or made invalid, since
            if entry.policy is not policy and entry.policy != policy:
                continue  # changed since: what was decided is not about what it asks for now
            problem = report.problem or self.unable(entry)
            judged[i] = judge(report, entry, problem, self.finding(key))
        done = await self.status.tell(list(judged.values()), now)
        for i, outcome in zip(judged, done, strict=True):
            outcomes[i] = outcome
        await self.events.tell(list(judged.values()), now)
        return outcomes
