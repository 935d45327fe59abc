"""The command line: replay traffic under policies, and read what came of it."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from controller.api.errors import InvalidModelDeployment
from simulations import compare as comparing
from simulations import policies as known_policies
from simulations.peers.peer import InvalidSetting, NotApplicable
from simulations.report.document import InvalidResults, ResultsDocument, from_text, to_document
from simulations.report.html import render_html
from simulations.report.table import print_comparison
from simulations.scenario import InvalidScenario, load
from simulations.setup import Prepared, prepare
from simulations.traces.errors import InvalidTrace
from simulations.traces.opening import open_trace
from simulations.traces.readers.columns import ColumnMapping
from simulations.traces.statistics import describe

app = typer.Typer(
    help="Replay real traffic through steelyard's decision code, beside its peers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

#: Scenarios that ship with the package.
SCENARIOS = Path(__file__).parent / "scenarios"


class InvalidOption(ValueError):  # noqa: N818 - named after what it is, as users read it
    """An option with a value that cannot be used."""


_BAD_INPUT = (
    InvalidOption,
    InvalidScenario,
    InvalidModelDeployment,
    InvalidTrace,
    InvalidResults,
    NotApplicable,
    known_policies.UnknownPolicy,
    InvalidSetting,
)

ScenarioArgument = Annotated[str, typer.Argument(help="A scenario file, or a shipped one's name.")]
TraceOption = Annotated[
    Path | None, typer.Option("--trace", help="Replay this trace in place of the scenario's.")
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        help="Columns of a CSV trace of another format, such as "
        "time=ts;prompt_tokens=in;output_tokens=out;time_format=ms.",
    ),
]
PeakOption = Annotated[
    float | None, typer.Option(help="Scale the trace so that its peak needs this many replicas.")
]
FromOption = Annotated[
    float | None, typer.Option("--from", help="First second replayed; before it is history.")
]
ToOption = Annotated[float | None, typer.Option("--to", help="Last second replayed.")]
PolicyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        help="A policy, such as hpa-queue:target_share=0.7; may be given several times.",
    ),
]
SeedOption = Annotated[
    list[int] | None, typer.Option("--seed", help="A seed; may be given several times.")
]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write the results here.")]
HtmlOption = Annotated[Path | None, typer.Option("--html", help="Write the report here.")]
PlanReplaysOption = Annotated[
    int, typer.Option(min=1, help="Replays spent on the search for the reference plan.")
]
ProcessesOption = Annotated[int, typer.Option(help="Replays run at once; -1 is one per core.")]


def _scenario_path(text: str) -> Path:
    path = Path(text)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(SCENARIOS.glob("*.yaml"))}
    if text not in shipped:
        raise InvalidScenario(
            f"SCENARIO: no file {text}, nor a shipped scenario of this name; "
            f"give a file or one of {', '.join(shipped)}"
        )
    return shipped[text]


def _prepare(
    scenario: str,
    trace: Path | None,
    columns: str | None,
    peak_replicas: float | None,
    from_seconds: float | None,
    to_seconds: float | None,
) -> Prepared:
    if columns is not None and trace is None:
        raise InvalidOption("--columns: tells of the file of --trace; give --trace FILE too")
    path = _scenario_path(scenario)
    spec = load(path)
    try:
        return prepare(
            spec,
            path.parent,
            trace=trace,
            columns=_columns(columns),
            peak_replicas=peak_replicas,
            from_seconds=from_seconds,
            to_seconds=to_seconds,
        )
    except InvalidScenario as error:
        raise InvalidScenario(f"{path}: {error}") from error


def _columns(text: str | None) -> ColumnMapping | None:
    try:
        return None if text is None else ColumnMapping.parse(text)
    except InvalidTrace as error:
        raise InvalidOption(f"--{error}") from error


def _seeds(asked: list[int] | None, prepared: Prepared) -> list[int]:
    seeds = list(dict.fromkeys(asked or prepared.seeds))
    if min(seeds) < 0:
        raise InvalidOption(f"--seed: found {min(seeds)}; write 0 or more")
    return seeds


def _check_processes(processes: int) -> None:
    if processes != -1 and processes < 1:
        raise InvalidOption(f"--processes: found {processes}; write 1 or more, or -1: one per core")


def _check_writable(**files: Path | None) -> None:
    """Fail before the replay and not after it."""
    for option, path in files.items():
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidOption(f"--{option}: {error}; give a file in a folder of yours") from error
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise InvalidOption(f"--{option}: {path} cannot be written; give another file")


def _fail(error: Exception) -> typer.Exit:
    message = escape(str(error))
    Console(stderr=True).print(f"[bold red]error[/]: {message}", highlight=False, soft_wrap=True)
    return typer.Exit(2)


def _write(document: ResultsDocument, json: Path | None, html: Path | None) -> None:
    for path, text in ((json, document.to_text), (html, lambda: render_html(document))):
        if path is not None:
            path.write_text(text())


def _replay(
    prepared: Prepared,
    names: list[str],
    seeds: list[int],
    plan_replays: int,
    processes: int,
    console: Console,
) -> ResultsDocument:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("replaying", total=comparing.steps(names, seeds))
        result = comparing.compare(
            prepared,
            names,
            seeds,
            processes=processes,
            plan_replays=plan_replays,
            progress=lambda name: progress.update(task, advance=1, description=name),
        )
    return to_document(result, prepared.setup.policy.slo)


@app.command()
def compare(  # noqa: PLR0913, PLR0917 - one parameter is one option of the command line
    scenario: ScenarioArgument,
    trace: TraceOption = None,
    columns: ColumnsOption = None,
    peak_replicas: PeakOption = None,
    from_seconds: FromOption = None,
    to_seconds: ToOption = None,
    policy: PolicyOption = None,
    seed: SeedOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    plan_replays: PlanReplaysOption = 10,
    processes: ProcessesOption = -1,
) -> None:
    """Replay a scenario under several policies, beside the reference plan and the lower bound."""
    console = Console()
    try:
        _check_processes(processes)
        _check_writable(json=json, html=html)
        prepared = _prepare(scenario, trace, columns, peak_replicas, from_seconds, to_seconds)
        names = list(
            dict.fromkeys(policy or prepared.policies or known_policies.applicable(prepared))
        )
        seeds = _seeds(seed, prepared)
        console.print(f"{prepared.name}: {prepared.scaling}", highlight=False, soft_wrap=True)
        document = _replay(prepared, names, seeds, plan_replays, processes, console)
    except _BAD_INPUT as error:
        raise _fail(error) from error
    print_comparison(document, console)
    _write(document, json, html)


@app.command()
def run(  # noqa: PLR0913, PLR0917 - one parameter is one option of the command line
    scenario: ScenarioArgument,
    policy: Annotated[str, typer.Option(help="The policy to replay.")] = "steelyard",
    trace: TraceOption = None,
    columns: ColumnsOption = None,
    peak_replicas: PeakOption = None,
    from_seconds: FromOption = None,
    to_seconds: ToOption = None,
    seed: Annotated[int, typer.Option(help="The seed.")] = 0,
) -> None:
    """Replay a scenario under one policy and print every change of its allocation with the why."""
    console = Console()
    try:
        prepared = _prepare(scenario, trace, columns, peak_replicas, from_seconds, to_seconds)
        result = comparing.run(prepared, policy, _seeds([seed], prepared)[0])
    except _BAD_INPUT as error:
        raise _fail(error) from error
    for tick, text in result.timeline.reasons:
        seconds = float(result.timeline.at_seconds[tick])
        console.print(f"{seconds:>9.0f} s  {text}", highlight=False, soft_wrap=True)
    console.print(
        f"{result.name}: cost {result.cost:.2f}, attainment {100 * result.attainment:.3f} %, "
        f"degraded {100 * result.degraded_share:.2f} %, {result.requests} requests, "
        f"digest {result.digest}"
    )


@app.command()
def traces(
    files: Annotated[list[Path], typer.Argument(help="Trace files of any known format.")],
    columns: ColumnsOption = None,
) -> None:
    """Describe traces: length, rate, burstiness and tokens."""
    table = Table("trace", "length", "requests", "mean/s", "peak/s (60 s)", "ID 1 s", "tokens")
    try:
        mapping = _columns(columns)
        for path in files:
            table.add_row(path.name, *describe(open_trace(path, columns=mapping)).cells())
    except _BAD_INPUT as error:
        raise _fail(error) from error
    Console().print(table)


@app.command()
def policies() -> None:
    """List the policies that can be compared."""
    table = Table("policy", "what it is")
    for name, description in known_policies.policies():
        table.add_row(name, description)
    Console().print(table)


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="A file written by compare --json.")],
    html: HtmlOption = None,
) -> None:
    """Print a results file, and rebuild its HTML report."""
    try:
        _check_writable(html=html)
        document = from_text(_text_of(results))
    except _BAD_INPUT as error:
        raise _fail(error) from error
    print_comparison(document, Console())
    _write(document, None, html)


def _text_of(results: Path) -> str:
    try:
        return results.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidResults(
            f"{results}: cannot be read: {error}; give a file written by compare --json"
        ) from error
