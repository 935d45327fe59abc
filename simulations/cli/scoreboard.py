"""The command that runs a suite of scenarios under every policy."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from simulations.cli.options import BAD_INPUT, InvalidOption, ProcessesOption, check_processes, fail
from simulations.scoreboard.document import to_document
from simulations.scoreboard.page import render_page
from simulations.scoreboard.run import STATIC_PEAK, compared_peers, estimate, run_suite
from simulations.scoreboard.standings import standings
from simulations.scoreboard.store import Store
from simulations.scoreboard.suite import (
    Cell,
    InvalidSuite,
    SuiteSpec,
    cells_of,
    load_suite,
    suite_path,
)
from simulations.scoreboard.sweep import Phase, Sweep
from simulations.scoreboard.sweep import Progress as Told
from simulations.scoreboard.table import markdown, print_scoreboard
from simulations.trust.document import TrustDocument
from simulations.trust.html import trust_section_html


def scoreboard(
    suite: Annotated[str, typer.Argument(help="A suite file, or a shipped one's name.")] = "quick",
    out: Annotated[
        Path, typer.Option(help="Folder of rows, results and page; rows there are kept.")
    ] = Path("out/scoreboard"),
    cell: Annotated[
        list[str] | None, typer.Option("--cell", help="Only this cell; may be given several times.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            help="A brief look: only this peer beside steelyard, untuned and without ablations; "
            "may be given several times.",
        ),
    ] = None,
    processes: ProcessesOption = -1,
    trust: Annotated[
        Path | None,
        typer.Option(help="Results of steelyard-sim trust --json, to be shown on the page."),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(help="Scheduler of a Dask cluster, such as tcp://127.0.0.1:8786."),
    ] = None,
) -> None:
    """Replay a suite under every policy, each at its default and tuned, beside the plan."""
    console = Console()
    try:
        check_processes(processes)
        section = "" if trust is None else trust_section_html(_trusted(trust))
        spec = _asked(load_suite(suite_path(suite)), policy)
        chosen = _chosen(cells_of(spec), cell)
        left_out = {one.name: one.missing for one in chosen if one.missing is not None}
        ready = [one for one in chosen if one.missing is None]
        if not ready:
            raise InvalidOption(f"SUITE: no cell of {spec.name} can run here: {left_out}")
        cost = estimate(spec, ready)
        console.print(
            f"{spec.name}: {len(ready)} cells, about {cost.replays} replays and "
            f"{cost.cpu_hours:.1f} CPU-hours; what is in {out} already is not done again",
            highlight=False,
            soft_wrap=True,
        )
        store = Store(out / "rows")
        with _bars(console) as bars:
            outcome = run_suite(spec, ready, Sweep(store, processes, dask), _phases(bars))
        store.compact()
    except (*BAD_INPUT, InvalidSuite) as error:
        raise fail(error) from error
    document = to_document(spec, standings(spec, ready, outcome), left_out)
    (out / "scoreboard.json").write_text(document.to_text())
    (out / "scoreboard.html").write_text(render_page(document, section))
    (out / "scoreboard.md").write_text(markdown(document))
    print_scoreboard(document, console)
    console.print(f"page: {out / 'scoreboard.html'}", highlight=False, soft_wrap=True)


def _trusted(path: Path) -> TrustDocument:
    try:
        return TrustDocument.model_validate_json(path.read_text())
    except (OSError, ValueError) as error:
        raise InvalidOption(
            f"--trust: {path} cannot be read; give a file written by steelyard-sim trust --json"
        ) from error


def _asked(spec: SuiteSpec, names: list[str] | None) -> SuiteSpec:
    """The suite, or a brief one of these peers."""
    if not names:
        return spec
    known = [peer.name for peer in compared_peers(spec)]
    for name in names:
        if name not in known:
            raise InvalidOption(f"--policy: no peer {name}; choose from {', '.join(known)}")
    left_out = sorted(set(known).difference(names, {STATIC_PEAK}))
    brief = {"tuned": False, "ablations": False, "hindsight": ()}
    return spec.model_copy(update={"without": (*spec.without, *left_out), **brief})


def _chosen(cells: tuple[Cell, ...], names: list[str] | None) -> list[Cell]:
    known = [cell.name for cell in cells]
    for name in names or []:
        if name not in known:
            raise InvalidOption(f"--cell: no cell {name}; choose from {', '.join(known)}")
    return [cell for cell in cells if not names or cell.name in names]


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _phases(progress: Progress) -> Phase:
    """A bar per phase, with the time that is left."""

    def phase(name: str, jobs: int) -> Told:
        task = progress.add_task(name, total=jobs)
        return lambda job: progress.update(task, advance=1, description=f"{name}: {job.cell.name}")

    return phase
