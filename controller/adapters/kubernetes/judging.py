"""What is said of an object after a cycle, judged once for its status and its Events."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from controller.adapters.directory import Entry
from controller.adapters.kubernetes.errors import AnotherWriter
from controller.api.conditions import ConditionReason, ConditionStatus, Finding
from controller.api.conversion.findings import Assessment, findings
from controller.ports import Conflict, PortError, Report, TargetForbidden, TargetNotFound

#: How a finding of the metrics begins that concerns the SLO's thresholds.
_UNMEASURABLE: Final = "SloNotMeasurable: "

#: The first that fits counts.
_REASONS: Final[Mapping[type[PortError], ConditionReason]] = {
    TargetForbidden: ConditionReason.TARGET_FORBIDDEN,
    TargetNotFound: ConditionReason.TARGET_NOT_FOUND,
    AnotherWriter: ConditionReason.ANOTHER_WRITER,
    Conflict: ConditionReason.TARGET_CONFLICT,
}


#: Status and reason of every condition.
States: TypeAlias = tuple[tuple[ConditionStatus, ConditionReason], ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """A report, the object it is of, and what follows for its conditions.

    ``states`` are status and reason of each finding: what makes a change worth telling at once.
    """

    report: Report
    entry: Entry
    assessment: Assessment
    findings: tuple[Finding, ...]
    states: States


def judge(report: Report, entry: Entry, problem: PortError | None, finding: str) -> Judged:
    """Judge one report.

    ``problem`` is why a target cannot be scaled, ``finding`` what the metrics say to people.
    """
    told, _, unmeasurable = finding.partition(_UNMEASURABLE)
    unable = None if problem is None else (_reason(problem), str(problem))
    standing = report.planned.decision.standing
    if standing is None:
        assessment = Assessment(unable=unable, unmeasurable=unmeasurable or None, metrics=told)
    else:
        assessment = Assessment(
            attainment=standing.attainment,
            errors_left=standing.errors_left,
            quality_left=standing.quality_left,
            forecast_error=standing.forecast_error,
            forecast_coverage=standing.forecast_coverage,
            cold_start_seconds=standing.cold_start_seconds,
            capacities=standing.capacities,
            static_peak_cost_per_hour=standing.static_peak_cost_per_hour,
            unable=unable,
            unmeasurable=unmeasurable or None,
            metrics=told,
        )
    planned = report.planned
    found = findings(planned.policy, planned.observation, planned.decision, assessment)
    states = tuple([(one.status, one.reason) for one in found])
    return Judged(report, entry, assessment, found, states)


def _reason(problem: PortError) -> ConditionReason:
    found = (reason for kind, reason in _REASONS.items() if isinstance(problem, kind))
    return next(found, ConditionReason.WRITE_FAILED)
