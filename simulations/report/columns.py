"""The columns of a comparison: one list for the console and the page."""

from collections.abc import Callable
from dataclasses import dataclass

from simulations.report.document import ForecastPart, PolicyPart, ResultsDocument

#: What stands for a value that is not known or does not apply.
UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of every policy; a figure that is None is not known.

    Neighbours with the same ``over`` stand under one common heading.
    """

    over: str
    heading: str
    explanation: str
    value: Callable[[PolicyPart], float | None]
    text: Callable[[float], str]

    def cell(self, policy: PolicyPart) -> str:
        """The figure as text."""
        value = self.value(policy)
        return UNKNOWN if value is None else self.text(value)


Columns = tuple[Column, ...]


def count(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def money(value: float) -> str:
    """An amount in the price table's currency."""
    return f"{value:,.2f}"


def percent(value: float) -> str:
    """A share, in percent, without the sign."""
    return f"{100 * value:.2f}"


def attained(value: float) -> str:
    """An attainment, in percent: finer, since the target lies close to one."""
    return f"{100 * value:.3f}"


def ratio(value: float) -> str:
    """A quotient."""
    return f"{value:.3f}"


def seconds(value: float) -> str:
    """Seconds, in seconds."""
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def milliseconds(value: float) -> str:
    """Seconds, in milliseconds."""
    return f"{1000 * value:.2f}" if value < 0.01 else f"{1000 * value:.1f}"


def _of_forecast(
    pick: Callable[[ForecastPart], float | None],
) -> Callable[[PolicyPart], float | None]:
    return lambda policy: None if policy.forecast is None else pick(policy.forecast)


OUTCOME: Columns = (
    Column("", "cost", "All GPU time from request to release", lambda p: p.cost, money),
    Column(
        "",
        "/ plan",
        "Cost over the reference plan's",
        lambda p: p.cost_over_reference_plan,
        ratio,
    ),
    Column(
        "",
        "/ bound",
        "Cost over the bound proved at the policy's own attainment and degraded share",
        lambda p: p.cost_over_own_bound,
        ratio,
    ),
    Column("attained", "%", "Requests that met every objective", lambda p: p.attainment, attained),
    Column("degraded", "%", "Requests served by a fallback", lambda p: p.degraded_share, percent),
    Column("", "missed", "Late, refused, timed out or failed", lambda p: float(p.missed), count),
    Column("", "refused", "Refused by a full queue", lambda p: float(p.refused), count),
)

_TTFT = "Time to first token"
_TPOT = "Time per output token: a request's mean gap after its first token"
LATENCY: Columns = (
    Column("TTFT s", "p50", _TTFT, lambda p: p.ttft_seconds.p50, seconds),
    Column("TTFT s", "p95", _TTFT, lambda p: p.ttft_seconds.p95, seconds),
    Column("TTFT s", "p99", _TTFT, lambda p: p.ttft_seconds.p99, seconds),
    Column("TPOT ms", "p50", _TPOT, lambda p: p.tpot_seconds.p50, milliseconds),
    Column("TPOT ms", "p95", _TPOT, lambda p: p.tpot_seconds.p95, milliseconds),
    Column("TPOT ms", "p99", _TPOT, lambda p: p.tpot_seconds.p99, milliseconds),
)

BEHAVIOUR: Columns = (
    Column("", "churn", "Replicas started and stopped", lambda p: float(p.churn), count),
    Column(
        "starting", "GPU h", "GPU hours spent on cold starts", lambda p: p.starting_gpu_hours, money
    ),
    Column(
        "plan() ms", "mean", "Time of one decision", lambda p: p.plan_seconds.mean, milliseconds
    ),
    Column("plan() ms", "p99", "Time of one decision", lambda p: p.plan_seconds.p99, milliseconds),
)

FORECAST: Columns = (
    Column(
        "trusted",
        "%",
        "Ticks on which the forecast was trusted",
        _of_forecast(lambda f: f.trusted_share),
        percent,
    ),
    Column(
        "changed",
        "%",
        "Ticks on which it changed the decision plain persistence would have made",
        _of_forecast(lambda f: f.changed_decision_share),
        percent,
    ),
    Column(
        "WAPE %",
        "own",
        "Sum of the median's absolute errors over the sum of arrivals",
        _of_forecast(lambda f: f.wape),
        percent,
    ),
    Column(
        "WAPE %",
        "persist.",
        "The same error of plain persistence",
        _of_forecast(lambda f: f.persistence_wape),
        percent,
    ),
)


def _coverage(level: str) -> Column:
    return Column(
        "covered % at",
        level,
        f"Targets at or below the {level} quantile; {100 * float(level):g} % is ideal",
        _of_forecast(lambda f: f.coverage.get(level)),
        percent,
    )


def column_groups(document: ResultsDocument) -> tuple[Columns, ...]:
    """What a comparison shows, in groups that belong side by side."""
    scores = [policy.forecast for policy in document.policies if policy.forecast is not None]
    levels = sorted({level for score in scores for level in score.coverage}, key=float)
    coverage = tuple(_coverage(level) for level in levels)
    groups = (OUTCOME, LATENCY, BEHAVIOUR, FORECAST if scores else (), coverage)
    return tuple(group for group in groups if group)
