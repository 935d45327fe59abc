"""The table that ``compare`` prints: one row a policy, the cheapest first.

Wide consoles get one table; narrow ones get it in parts, so that no figure is ever cut off.
"""

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from simulations.report.columns import UNKNOWN, Columns, column_groups, money
from simulations.report.document import ResultsDocument
from simulations.report.savings import savings_sentence

#: Columns of an imagined console that every table fits, to measure how wide one would be.
UNLIMITED = 10_000


def _headings(columns: Columns) -> list[str]:
    """Two-line headings; what neighbours have in common stands over the first of them."""
    above = ["", *(column.over for column in columns)]
    return [
        f"{'' if column.over == before else column.over}\n{column.heading}"
        for column, before in zip(columns, above, strict=False)
    ]


class ComparisonTable:
    """The comparison as something a rich console prints, at whatever width it has."""

    def __init__(self, document: ResultsDocument) -> None:
        self._document = document

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As few tables as fit: groups of columns share a table while the width allows it."""

        def width(columns: Columns) -> Measurement:
            wide = options.update(width=UNLIMITED)
            return Measurement.get(console, wide, self._table(columns))

        parts: list[Columns] = []
        for group in column_groups(self._document):
            fits = width(group).minimum <= options.max_width
            parts.extend([group] if fits else [(column,) for column in group])
        columns = parts[0]
        for part in parts[1:]:
            if width(columns + part).maximum <= options.max_width:
                columns += part
            else:
                yield self._table(columns)
                columns = part
        yield self._table(columns)
        yield self._notes()

    def _table(self, columns: Columns) -> Table:
        table = Table(
            box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold"
        )
        table.add_column("")
        table.add_column("policy", overflow="fold", vertical="bottom", min_width=16)
        for heading in _headings(columns):
            table.add_column(heading, justify="right", no_wrap=True)
        best = self._document.best
        for policy in self._document.by_cost():
            met = self._document.meets_target(policy)
            mark = "*" if policy is best else "" if met else "!"
            style = "bold green" if policy is best else "" if met else "yellow"
            cells = [column.cell(policy) for column in columns]
            if any(cell != UNKNOWN for cell in cells):
                table.add_row(mark, Text(policy.name), *cells, style=style)
        table.add_section()
        plan = self._document.reference_plan
        cells = [column.cell(plan) for column in columns]
        if any(cell != UNKNOWN for cell in cells):
            table.add_row("", "reference plan", *cells, style="dim")
        return table

    def _notes(self) -> Text:
        document = self._document
        text = Text()
        text.append(f"{savings_sentence(document)}\n", style="bold")
        target = f"{100 * document.slo.target:.4g}"
        if document.is_void:
            text.append("Void: the ceiling lies below the target. ", style="bold red")
        if document.best is None:
            text.append(f"No policy attained the target of {target} %. ")
        else:
            text.append(f"* cheapest policy that attains the target of {target} %. ")
            if not all(map(document.meets_target, document.policies)):
                text.append("! misses it. ")
        if document.ceiling is not None:
            text.append(f"Ceiling with unlimited replicas {100 * document.ceiling:.2f} %. ")
        if document.lower_bound_cost is not None:
            text.append(f"Proved lower bound {money(document.lower_bound_cost)}")
        if document.plan_over_bound is not None:
            text.append(f" (reference plan / bound {document.plan_over_bound:.3f})")
        if document.lower_bound_cost is not None:
            text.append(". ")
        for caveat in document.caveats:
            text.append(f"\n- {caveat}")
        return text


def print_comparison(document: ResultsDocument, console: Console) -> None:
    """Print scenario, table and the sentence on savings."""
    seeds = ", ".join(str(seed) for seed in document.seeds)
    word = "seed" if len(document.seeds) == 1 else "seeds"
    title = Text(f"{document.scenario}  ", style="bold")
    title.append(f"({word} {seeds})", style="dim")
    console.print(title)
    console.print(ComparisonTable(document))
