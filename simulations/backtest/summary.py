"""What a back-test yields: a results document with what really ran beside it, and its table."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controller.core.domain.policy import Policy
from simulations.backtest.as_it_was import NAME, AsItWas
from simulations.backtest.history import DAY_SECONDS, History
from simulations.backtest.seen import Seen
from simulations.report.columns import UNKNOWN, attained, count, money, percent
from simulations.report.document import Number, PolicyPart, ResultsDocument, _Part, to_document
from simulations.results import Comparison


class FitPart(_Part):
    """One objective at the replicas that ran: shares of answered requests."""

    metric: str
    threshold_seconds: float
    read_at_seconds: float
    seen_share: float
    simulated_share: Number


class SeenPart(_Part):
    """What Prometheus shows of the replayed time."""

    from_seconds: float
    to_seconds: float
    step_seconds: float
    missing_share: float
    requests: float
    refused: float
    failed: float
    degraded_share: float
    attainment: tuple[float, float] | None
    cost: float
    objectives: tuple[FitPart, ...]


class BacktestDocument(ResultsDocument):
    """A results document, as ``compare`` writes it, with what was seen."""

    seen: SeenPart


def backtest_document(
    comparison: Comparison,
    policy: Policy,
    history: History,
    seen: Seen,
    as_it_was: AsItWas,
    caveats: tuple[str, ...],
) -> BacktestDocument:
    """Put what really ran first among the policies."""
    whole = replace(comparison, policies=(as_it_was.result, *comparison.policies))
    grid = history.replayed.grid
    simulated = {fit.objective.metric: fit.simulated_share for fit in as_it_was.fits}
    document = to_document(whole, policy.slo)
    return BacktestDocument(
        **{
            name: getattr(document, name)
            for name in ResultsDocument.model_fields
            if name != "caveats"
        },
        caveats=caveats,
        seen=SeenPart(
            from_seconds=grid.begin_seconds,
            to_seconds=grid.end_seconds,
            step_seconds=grid.step_seconds,
            missing_share=history.missing_share,
            requests=float(history.replayed.requests.sum()),
            refused=seen.refused,
            failed=seen.failed,
            degraded_share=seen.degraded_share,
            attainment=seen.attainment,
            cost=as_it_was.result.cost,
            objectives=tuple(
                FitPart(
                    metric=one.metric,
                    threshold_seconds=one.threshold_seconds,
                    read_at_seconds=one.read_at_seconds,
                    seen_share=one.share,
                    simulated_share=simulated.get(one.metric, np.nan),
                )
                for one in seen.objectives
            ),
        ),
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def _saved(policy: PolicyPart, base: float) -> str:
    return UNKNOWN if base <= 0.0 or policy.name == NAME else percent(1.0 - policy.cost / base)


def _row(policy: PolicyPart, base: float) -> tuple[str, ...]:
    return (
        money(policy.cost),
        _saved(policy, base),
        UNKNOWN if policy.attainment is None else attained(policy.attainment),
        count(float(policy.missed)),
        UNKNOWN if policy.degraded_share is None else percent(policy.degraded_share),
    )


def _seen_row(seen: SeenPart) -> tuple[str, ...]:
    if seen.attainment is None:
        return money(seen.cost), UNKNOWN, UNKNOWN, UNKNOWN, percent(seen.degraded_share)
    lower, upper = seen.attainment
    return (
        money(seen.cost),
        UNKNOWN,
        f"{attained(lower)}-{attained(upper)}",
        f"{count((1.0 - upper) * seen.requests)}-{count((1.0 - lower) * seen.requests)}",
        percent(seen.degraded_share),
    )


def print_backtest(document: BacktestDocument, console: Console) -> None:
    """Print the table, the cheapest first, and the caveats."""
    seen = document.seen
    days = (seen.to_seconds - seen.from_seconds) / DAY_SECONDS
    title = Text(f"{document.scenario}  ", style="bold")
    title.append(
        f"({days:.3g} days, {_moment(seen.from_seconds)} to {_moment(seen.to_seconds)} UTC, "
        f"{count(seen.requests)} requests)",
        style="dim",
    )
    console.print(title)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("policy", overflow="fold", min_width=12)
    for heading in ("cost", "saved %", "attained %", "missed", "degraded %"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_row("", "as it was, seen", *_seen_row(seen), style="bold")
    table.add_section()
    best = document.best
    for policy in document.by_cost():
        met = document.meets_target(policy)
        mark = "*" if policy is best else "" if met else "!"
        style = "bold green" if policy is best else "" if met else "yellow"
        table.add_row(mark, Text(policy.name), *_row(policy, seen.cost), style=style)
    table.add_section()
    plan = document.reference_plan
    table.add_row("", "reference plan", *_row(plan, seen.cost), style="dim")
    console.print(table)
    target = f"{100 * document.slo.target:.4g} %"
    console.print(
        f"* cheapest that attains {target} and degrades no more than "
        f"{100 * document.quality_budget:.4g} %; ! does not. {NAME} is the fleet that ran, "
        "replayed as the policies are; the first row is what your own histograms show.",
        highlight=False,
    )
    console.print(Text("Before you trust this", style="bold"))
    for line in document.caveats:
        console.print(Text(f"- {line}"), soft_wrap=False)
