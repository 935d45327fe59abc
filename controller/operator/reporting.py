"""Several reporters as one: each is told everything, whatever befalls the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from controller.ports import PortError, Report, Reporter


@dataclass(frozen=True, slots=True)
class Reporters:
    """Tells ``reporters`` in order; of several problems with one object the first is returned."""

    reporters: tuple[Reporter, ...]

    async def report(self, reports: Sequence[Report], now: float) -> Sequence[PortError | None]:
        """See ``ports.Reporter``."""
        problems: list[PortError | None] = [None] * len(reports)
        for reporter in self.reporters:
            told = await reporter.report(reports, now)
            problems = [old or new for old, new in zip(problems, told, strict=True)]
        return problems
