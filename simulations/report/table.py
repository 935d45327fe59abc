"""The table that ``compare`` prints: one row a policy, the cheapest first.

Wide consoles get one table; narrow ones get it in parts, so that no figure is ever cut off.
"""

from collections.abc import Callable
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from simulations.report.document import ForecastPart, PolicyPart, ResultsDocument
from simulations.report.savings import savings_sentence

#: What stands for a value that is not known or does not apply.
UNKNOWN = "-"

#: Columns of an imagined console that every table fits, to measure how wide one would be.
UNLIMITED = 10_000


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _money(value: float) -> str:
    return f"{value:,.2f}"


def _share(value: float) -> str:
    return f"{100 * value:.2f}"


def _ratio(value: float) -> str:
    return f"{value:.3f}"


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _milliseconds(value: float) -> str:
    return f"{1000 * value:.2f}" if value < 0.01 else f"{1000 * value:.1f}"


@dataclass(frozen=True, slots=True)
class _Column:
    """A heading over one figure of every policy; a figure that is None is not known."""

    heading: str
    value: Callable[[PolicyPart], float | None]
    text: Callable[[float], str]

    def cell(self, policy: PolicyPart) -> str:
        value = self.value(policy)
        return UNKNOWN if value is None else self.text(value)


def _of_forecast(
    pick: Callable[[ForecastPart], float | None],
) -> Callable[[PolicyPart], float | None]:
    return lambda policy: None if policy.forecast is None else pick(policy.forecast)


_OUTCOME = (
    _Column("cost", lambda p: p.cost, _money),
    _Column("/ plan", lambda p: p.cost_over_reference_plan, _ratio),
    _Column("attained\n%", lambda p: p.attainment, _share),
    _Column("degraded\n%", lambda p: p.degraded_share, _share),
    _Column("missed", lambda p: float(p.missed), _count),
    _Column("refused", lambda p: float(p.refused), _count),
)
_LATENCY = (
    _Column("TTFT s\np50", lambda p: p.ttft_seconds.p50, _seconds),
    _Column("\np95", lambda p: p.ttft_seconds.p95, _seconds),
    _Column("\np99", lambda p: p.ttft_seconds.p99, _seconds),
    _Column("TPOT ms\np50", lambda p: p.tpot_seconds.p50, _milliseconds),
    _Column("\np95", lambda p: p.tpot_seconds.p95, _milliseconds),
    _Column("\np99", lambda p: p.tpot_seconds.p99, _milliseconds),
)
_BEHAVIOUR = (
    _Column("churn", lambda p: float(p.churn), _count),
    _Column("starting\nGPU h", lambda p: p.starting_gpu_hours, _money),
    _Column("trusted\n%", _of_forecast(lambda f: f.trusted_share), _share),
    _Column("changed\n%", _of_forecast(lambda f: f.changed_decision_share), _share),
    _Column("WAPE\n%", _of_forecast(lambda f: f.wape), _share),
    _Column("persist.\n%", _of_forecast(lambda f: f.persistence_wape), _share),
    _Column("plan()\nms", lambda p: p.plan_seconds.mean, _milliseconds),
)


class ComparisonTable:
    """The comparison as something a rich console prints, at whatever width it has."""

    def __init__(self, document: ResultsDocument) -> None:
        self._document = document

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As few tables as fit: groups of columns share a table while the width allows it."""
        columns: tuple[_Column, ...] = ()
        for group in (_OUTCOME, _LATENCY, _BEHAVIOUR):
            joined = self._table(columns + group)
            width = console.measure(joined, options=options.update(width=UNLIMITED)).maximum
            if columns and width > options.max_width:
                yield self._table(columns)
                columns = group
            else:
                columns += group
        yield self._table(columns)
        yield self._notes()

    def _table(self, columns: tuple[_Column, ...]) -> Table:
        table = Table(
            box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold"
        )
        table.add_column("policy", overflow="fold", vertical="bottom")
        for column in columns:
            table.add_column(column.heading, justify="right", no_wrap=True)
        best = self._document.best
        for policy in self._document.by_cost():
            met = self._document.meets_target(policy)
            mark = "* " if policy is best else "  "
            style = "bold green" if policy is best else "" if met else "yellow"
            cells = (column.cell(policy) for column in columns)
            table.add_row(Text(f"{mark}{policy.name}"), *cells, style=style)
        table.add_section()
        plan = self._document.reference_plan
        cells = (column.cell(plan) for column in columns)
        table.add_row(Text("  reference plan"), *cells, style="dim")
        return table

    def _notes(self) -> Text:
        document = self._document
        text = Text()
        text.append(f"{savings_sentence(document)}\n", style="bold")
        target = f"{100 * document.slo.target:.4g}"
        if document.best is None:
            text.append(f"No policy attained the target of {target} %. ")
        else:
            text.append(f"* cheapest policy that attains the target of {target} %. ")
        if document.ceiling is not None:
            text.append(f"Ceiling with unlimited replicas {100 * document.ceiling:.2f} %. ")
        if document.lower_bound_cost is not None:
            text.append(f"Proved lower bound {_money(document.lower_bound_cost)}")
        if document.plan_over_bound is not None:
            text.append(f" (reference plan / bound {document.plan_over_bound:.3f})")
        if document.lower_bound_cost is not None:
            text.append(". ")
        return text


def print_comparison(document: ResultsDocument, console: Console) -> None:
    """Print scenario, table and the sentence on savings."""
    seeds = ", ".join(str(seed) for seed in document.seeds)
    word = "seed" if len(document.seeds) == 1 else "seeds"
    title = Text(f"{document.scenario}  ", style="bold")
    title.append(f"({word} {seeds})", style="dim")
    console.print(title)
    console.print(ComparisonTable(document))
