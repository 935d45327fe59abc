"""Commands that read: what there is, and results of earlier replays."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from simulations import policies as known_policies
from simulations.cli.options import (
    BAD_INPUT,
    ColumnsOption,
    HtmlOption,
    check_writable,
    columns_of,
    fail,
)
from simulations.own import TARGET
from simulations.peers.registry import peers
from simulations.report.document import InvalidResults, from_text
from simulations.report.files import write
from simulations.report.table import print_comparison
from simulations.traces.opening import open_trace
from simulations.traces.statistics import describe


def traces(
    files: Annotated[list[Path], typer.Argument(help="Trace files of any known format.")],
    columns: ColumnsOption = None,
) -> None:
    """Describe traces: length, rate, burstiness and tokens."""
    table = Table("trace", "length", "requests", "mean/s", "peak/s (60 s)", "ID 1 s", "tokens")
    try:
        mapping = columns_of(columns)
        for path in files:
            table.add_row(path.name, *describe(open_trace(path, columns=mapping)).cells())
    except BAD_INPUT as error:
        raise fail(error) from error
    Console().print(table)


def policies() -> None:
    """List the policies that can be compared, with their settings at their defaults."""
    knobs = {known.name: known.knobs for known in peers()}
    table = Table("policy", "what it is", "settings")
    for name, description in known_policies.policies():
        settings = knobs.get(name, (TARGET,))
        table.add_row(name, description, "\n".join(f"{k.name}={k.default:g}" for k in settings))
    Console().print(table)


def report(
    results: Annotated[Path, typer.Argument(help="A file written by compare --json.")],
    html: HtmlOption = None,
) -> None:
    """Print a results file, and rebuild its HTML report."""
    try:
        check_writable(html=html)
        document = from_text(_text_of(results))
    except BAD_INPUT as error:
        raise fail(error) from error
    print_comparison(document, Console())
    write(document, None, html)


def _text_of(results: Path) -> str:
    try:
        return results.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidResults(
            f"{results}: cannot be read: {error}; give a file written by compare --json"
        ) from error
