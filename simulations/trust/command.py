"""The command that shows how far the simulator can be trusted."""

from rich.console import Console
from rich.table import Table

from simulations.cli.options import (
    BAD_INPUT,
    HtmlOption,
    JsonOption,
    ProcessesOption,
    check_processes,
    check_writable,
    fail,
)
from simulations.trust.comparing import trust_document
from simulations.trust.document import TrustDocument
from simulations.trust.html import render_page
from simulations.trust.summary import lines


def trust(
    json: JsonOption = None,
    html: HtmlOption = None,
    processes: ProcessesOption = -1,
) -> None:
    """Compare the engine with measured GPUs, the capacity model with it, peers with their code."""
    console = Console()
    try:
        check_processes(processes)
        check_writable(json=json, html=html)
    except BAD_INPUT as error:
        raise fail(error) from error
    with console.status("comparing, about a minute"):
        document = trust_document(processes=processes)
    _print(document, console)
    if json is not None:
        json.write_text(document.to_text(), encoding="utf-8")
    if html is not None:
        html.write_text(render_page(document), encoding="utf-8")


def _print(document: TrustDocument, console: Console) -> None:
    table = Table("ours", "beside")
    for heading in ("rows", "bias %", "mean %", "worst %"):
        table.add_column(heading, justify="right")
    table.add_column("tests hold it to")
    for line in lines(document):
        errors, limit = line.errors, line.limit
        held = line.note or "-"
        if limit is not None:
            held = f"{limit.text}: {'met' if limit.met(errors) else 'MISSED'}"
        shares = (f"{100 * errors.mean:+.1f}", *_percents(errors.mean_absolute, errors.worst))
        table.add_row(line.ours, line.beside, str(errors.rows), *shares, held)
    console.print(table)
    answers = sum(vector.answers for vector in document.vectors)
    agreeing = sum(vector.agreeing for vector in document.vectors)
    console.print(
        f"peers: {agreeing:,} of {answers:,} answers of their own code in "
        f"{len(document.vectors)} files agree; {len(document.unchecked)} peers or files compared "
        "with none",
        highlight=False,
        soft_wrap=True,
    )
    for text in document.missing:
        console.print(f"not compared: {text}", highlight=False, markup=False, soft_wrap=True)


def _percents(*shares: float) -> tuple[str, ...]:
    return tuple(f"{100 * share:.1f}" for share in shares)
