"""The results file: a comparison as JSON with stable, documented keys (docs/results-format.md).

Table and page are drawn from this document alone, so a stored file shows what the run showed.
What is unknown (NaN, an infinite threshold) is null, never zero.
"""

import math
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from controller.core.domain.policy import Slo
from simulations.report.reduction import reduced
from simulations.results import Comparison, ForecastScore, Percentiles, PolicyResult, Timeline

#: Rows of a stored timeline unless told otherwise: about two per pixel of a wide plot.
TIMELINE_POINTS = 3000


class InvalidResults(ValueError):  # noqa: N818 - named after what it is, as users read it
    """A file that is no results file; the message names the fields and what was expected."""


def _finite(value: Any) -> Any:
    """NaN and infinity have no JSON form: they are null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class PercentilesPart(_Part):
    """Percentiles over all answered requests, in seconds."""

    p50: Number
    p95: Number
    p99: Number


class ForecastPart(_Part):
    """How the policy's forecasts compare with what came."""

    trusted_share: Number
    changed_decision_share: Number
    wape: Number
    persistence_wape: Number
    coverage: dict[str, Number]


class PlanSecondsPart(_Part):
    """Time one decision took."""

    mean: Number
    p99: Number


class StepPart(_Part):
    """A tick on which the decision changed: replicas per variant wanted before and after."""

    at_seconds: float
    before: tuple[int, ...] | None
    after: tuple[int, ...]
    reason: str


class TimelinePart(_Part):
    """The replay over time; every list but ``steps`` runs along ``atSeconds``.

    ``wanted``, ``ready`` and ``forecast`` hold one list per variant, or per quantile level.
    """

    variants: tuple[str, ...]
    quantile_levels: tuple[float, ...]
    at_seconds: tuple[float, ...]
    arrivals_per_second: tuple[Number, ...]
    wanted: tuple[tuple[int, ...], ...]
    ready: tuple[tuple[int, ...], ...]
    ttft_p95_seconds: tuple[Number, ...]
    tpot_p95_seconds: tuple[Number, ...]
    good_share: tuple[Number, ...]
    cumulative_cost: tuple[Number, ...]
    forecast: tuple[tuple[Number, ...], ...]
    forecast_for_seconds: tuple[Number, ...]
    steps: tuple[StepPart, ...]

    @model_validator(mode="after")
    def _same_length(self) -> "TimelinePart":
        rows = len(self.at_seconds)
        flat = {
            "arrivalsPerSecond": self.arrivals_per_second,
            "ttftP95Seconds": self.ttft_p95_seconds,
            "tpotP95Seconds": self.tpot_p95_seconds,
            "goodShare": self.good_share,
            "cumulativeCost": self.cumulative_cost,
            "forecastForSeconds": self.forecast_for_seconds,
        }
        nested = {"wanted": self.wanted, "ready": self.ready, "forecast": self.forecast}
        lists = [*flat.items(), *((name, one) for name, many in nested.items() for one in many)]
        for name, values in lists:
            if len(values) != rows:
                raise ValueError(f"{name} has {len(values)} values, atSeconds has {rows}")
        for name, expected in (("wanted", self.variants), ("ready", self.variants)):
            if len(nested[name]) != len(expected):
                raise ValueError(f"{name} needs one list per variant ({len(expected)})")
        if len(self.forecast) != len(self.quantile_levels):
            raise ValueError(f"forecast needs one list per level ({len(self.quantile_levels)})")
        return self


class PolicyPart(_Part):
    """One policy on the scenario. Costs in the price table's currency."""

    name: str
    cost: float
    cost_over_reference_plan: Number
    attainment: Number
    degraded_share: Number
    requests: int
    good: int
    refused: int
    ttft_seconds: PercentilesPart
    tpot_seconds: PercentilesPart
    churn: int
    starting_gpu_hours: Number
    forecast: ForecastPart | None
    plan_seconds: PlanSecondsPart
    timed_out: int
    failed: int
    seen_attainment: tuple[Number, Number]
    lower_bound_at_own_attainment: Number
    digest: str
    timeline: TimelinePart | None

    @property
    def cost_over_own_bound(self) -> float | None:
        """Cost over what is proved necessary for this attainment and degraded share."""
        return _ratio(self.cost, self.lower_bound_at_own_attainment)

    @property
    def missed(self) -> int:
        """Requests that were not good: late, refused, timed out or failed."""
        return self.requests - self.good


class SloPart(_Part):
    """The objectives; a threshold that always holds is null."""

    ttft_seconds: Number
    tpot_seconds: Number
    target: float


class ResultsDocument(_Part):
    """All policies on one scenario, in the order in which they were run.

    ``caveats`` are what a reader must know before trusting the figures, a sentence or two each.
    """

    scenario: str
    ceiling: Number
    reference_plan_cost: Number
    lower_bound_cost: Number
    policies: tuple[PolicyPart, ...] = Field(min_length=1)
    slo: SloPart
    seeds: tuple[int, ...]
    reference_plan: PolicyPart
    quality_budget: float = 1.0
    caveats: tuple[str, ...] = ()

    @property
    def plan_over_bound(self) -> float | None:
        """The certificate: no plan whatever can be cheaper than the reference by more than this."""
        return _ratio(self.reference_plan_cost, self.lower_bound_cost)

    @property
    def is_void(self) -> bool:
        """Whether the SLO lies above what unlimited replicas attain, and says nothing."""
        return self.ceiling is not None and self.ceiling < self.slo.target

    def meets_target(self, policy: PolicyPart) -> bool:
        """Whether the policy reached the SLO's target within the quality budget."""
        if policy.attainment is None or policy.attainment < self.slo.target:
            return False
        return (policy.degraded_share or 0.0) <= self.quality_budget

    @property
    def best(self) -> PolicyPart | None:
        """The cheapest policy that meets the target; None when no policy does."""
        return min(filter(self.meets_target, self.policies), key=lambda p: p.cost, default=None)

    def by_cost(self) -> list[PolicyPart]:
        """Policies, the cheapest first."""
        return sorted(self.policies, key=lambda policy: policy.cost)

    def to_text(self) -> str:
        """The file's content."""
        return self.model_dump_json(by_alias=True)


def _ratio(amount: float | None, base: float | None) -> float | None:
    if amount is None or base is None or not math.isfinite(base) or base <= 0.0:
        return None
    return amount / base


def _numbers(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Six significant digits: more than a plot shows, half the bytes. Not for times."""
    return tuple(float(f"{value:.6g}") for value in values)


def _columns(values: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(v) for v in column) for column in values.T)


def _steps(timeline: Timeline) -> tuple[StepPart, ...]:
    """Taken before the timeline is shortened, so that times and replicas are exact."""
    rows: list[StepPart] = []
    for tick, reason in timeline.reasons:
        before = tuple(int(n) for n in timeline.wanted[tick - 1]) if tick > 0 else None
        after = tuple(int(n) for n in timeline.wanted[tick])
        at = float(timeline.at_seconds[tick])
        rows.append(StepPart(at_seconds=at, before=before, after=after, reason=reason))
    return tuple(rows)


def _timeline(full: Timeline, points: int) -> TimelinePart:
    short = reduced(full, points)
    return TimelinePart(
        variants=short.variants,
        quantile_levels=short.quantile_levels,
        at_seconds=tuple(short.at_seconds.tolist()),
        arrivals_per_second=_numbers(short.arrivals_per_second),
        wanted=_columns(short.wanted),
        ready=_columns(short.ready),
        ttft_p95_seconds=_numbers(short.ttft_p95_seconds),
        tpot_p95_seconds=_numbers(short.tpot_p95_seconds),
        good_share=_numbers(short.good_share),
        cumulative_cost=_numbers(short.cumulative_cost),
        forecast=tuple(_numbers(column) for column in short.forecast.T),
        forecast_for_seconds=_numbers(short.forecast_for_seconds),
        steps=_steps(full),
    )


def _percentiles(values: Percentiles) -> PercentilesPart:
    return PercentilesPart(p50=values.p50, p95=values.p95, p99=values.p99)


def _forecast(score: ForecastScore | None) -> ForecastPart | None:
    if score is None:
        return None
    return ForecastPart(
        trusted_share=score.trusted_share,
        changed_decision_share=score.changed_decision_share,
        wape=score.wape,
        persistence_wape=score.persistence_wape,
        coverage=dict(score.coverage),
    )


def _policy(comparison: Comparison, result: PolicyResult, points: int | None) -> PolicyPart:
    return PolicyPart(
        name=result.name,
        cost=result.cost,
        cost_over_reference_plan=_ratio(result.cost, comparison.reference_plan_cost),
        attainment=result.attainment,
        degraded_share=result.degraded_share,
        requests=int(result.requests),
        good=int(result.good),
        refused=int(result.refused),
        ttft_seconds=_percentiles(result.ttft_seconds),
        tpot_seconds=_percentiles(result.tpot_seconds),
        churn=int(result.churn),
        starting_gpu_hours=result.starting_gpu_hours,
        forecast=_forecast(result.forecast),
        plan_seconds=PlanSecondsPart(mean=result.plan_seconds_mean, p99=result.plan_seconds_p99),
        timed_out=int(result.timed_out),
        failed=int(result.failed),
        seen_attainment=result.seen_attainment,
        lower_bound_at_own_attainment=comparison.lower_bounds.get(result.name),
        digest=result.digest,
        timeline=None if points is None else _timeline(result.timeline, points),
    )


def to_document(
    comparison: Comparison, slo: Slo, *, timeline_points: int | None = TIMELINE_POINTS
) -> ResultsDocument:
    """The comparison as a document; ``timeline_points`` None leaves the timelines out."""
    return ResultsDocument(
        scenario=comparison.scenario,
        ceiling=comparison.ceiling,
        reference_plan_cost=comparison.reference_plan_cost,
        lower_bound_cost=comparison.lower_bound_cost,
        policies=tuple(_policy(comparison, p, timeline_points) for p in comparison.policies),
        slo=SloPart(
            ttft_seconds=slo.ttft_seconds, tpot_seconds=slo.tpot_seconds, target=slo.target
        ),
        seeds=tuple(int(seed) for seed in comparison.seeds),
        reference_plan=_policy(comparison, comparison.reference_plan, timeline_points),
        quality_budget=comparison.max_degraded_share,
    )


def from_text(text: str | bytes) -> ResultsDocument:
    """Read a results file's content.

    Raises:
        InvalidResults: with one line per wrong field.
    """
    try:
        return ResultsDocument.model_validate_json(text)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in e['loc']) or 'file'}: {e['msg']}"
            for e in error.errors()
        ]
        raise InvalidResults(
            "not a results file as `steelyard-sim compare --json` writes it:\n" + "\n".join(lines)
        ) from error
