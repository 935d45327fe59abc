"""The scoreboard as the command line prints it: the headline, then the targets."""

from rich import box
from rich.console import Console
from rich.table import Table

from simulations.scoreboard.document import EstimatedPart, ScoreboardDocument, SummaryPart

UNKNOWN = "-"

#: Columns of the headline: heading, and what is written for a summary.
HEADINGS = (
    "policy",
    "setting",
    "attains",
    "cost / plan",
    "missed / 10,000",
    "plan 0, static peak 1",
    "steelyard's cost at this attainment",
)


def estimated(value: EstimatedPart | None, digits: int = 2) -> str:
    """A median with its interval."""
    if value is None:
        return UNKNOWN
    text = f"{value.median:.{digits}f}"
    if value.high > value.low:
        text += f" ({value.low:.{digits}f} to {value.high:.{digits}f})"
    return text


def cells_of(summary: SummaryPart) -> tuple[str, ...]:
    """What the headline says of one policy, in the order of ``HEADINGS``."""
    compared = summary.steelyard_share
    at_equal = estimated(compared)
    if compared is not None and compared.cells < summary.cells:
        at_equal += f" in {compared.cells}"
    return (
        summary.name,
        summary.kind if summary.family != "own" else "",
        f"{summary.attains} of {summary.cells}",
        estimated(summary.over_plan),
        estimated(summary.missed_per_10000, 0),
        estimated(summary.position),
        at_equal,
    )


def headline(document: ScoreboardDocument) -> list[SummaryPart]:
    """What is compared: steelyard and every peer, beside the plan; ablations have a place apart."""
    return [
        summary
        for summary in document.summaries
        if summary.family != "own" or summary.name in {"steelyard", "reference-plan"}
    ]


def best_of_families(document: ScoreboardDocument) -> list[SummaryPart]:
    """Steelyard and the plan, then of every family of peers its best at each kind of setting."""
    best: dict[tuple[str, str], SummaryPart] = {}
    for summary in headline(document):
        if summary.kind != "hindsight":
            key = (summary.name if summary.family == "own" else summary.family, summary.kind)
            best.setdefault(key, summary)
    return list(best.values())


def markdown(document: ScoreboardDocument) -> str:
    """The headline as a table of Markdown, the best of every family."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS)]
    lines += [cells_of(summary) for summary in best_of_families(document)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def print_scoreboard(document: ScoreboardDocument, console: Console) -> None:
    """Print the headline, the cells with their plans, and where we stand against the targets."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for at, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if at < 2 else "right")
    for summary in headline(document):
        style = "bold" if summary.name == "steelyard" else None
        table.add_row(*cells_of(summary), style=style)
    console.print(table)
    cells = Table("cell", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("plan", "plan / bound", "static peak / plan", "steelyard / plan", "attained %"):
        cells.add_column(heading, justify="right")
    own = {row.cell: row for row in document.standings if row.name == "steelyard"}
    for cell in document.cells:
        row = own.get(cell.name)
        cells.add_row(
            cell.name,
            f"{cell.plan_cost:.2f}",
            UNKNOWN if cell.plan_over_bound is None else f"{cell.plan_over_bound:.2f}",
            UNKNOWN
            if cell.static_peak_cost is None
            else f"{cell.static_peak_cost / cell.plan_cost:.2f}",
            UNKNOWN if row is None or row.over_plan is None else f"{row.over_plan:.3f}",
            UNKNOWN if row is None else f"{100 * row.attainment:.2f}",
        )
    console.print(cells)
    _print_targets(document, console)
    for name, why in document.left_out.items():
        console.print(f"left out: {name}: {why}", highlight=False, soft_wrap=True)


def _print_targets(document: ScoreboardDocument, console: Console) -> None:
    table = Table(
        "target", "asked", "here", "", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for target in document.targets:
        met = {True: "met", False: "missed", None: UNKNOWN}[target.met]
        table.add_row(target.what, target.target, target.measured, met)
    console.print(table)
