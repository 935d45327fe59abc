"""Options that several commands share, and the checks of their values."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from controller.api.errors import InvalidModelDeployment
from simulations.peers.peer import InvalidSetting, NotApplicable
from simulations.policies import UnknownPolicy
from simulations.report.document import InvalidResults
from simulations.scenario import InvalidScenario
from simulations.setup import Prepared
from simulations.traces.errors import InvalidTrace
from simulations.traces.readers.columns import ColumnMapping


class InvalidOption(ValueError):  # noqa: N818 - named after what it is, as users read it
    """An option with a value that cannot be used."""


#: What a user may get wrong; each message names the field and the fix.
BAD_INPUT = (
    InvalidOption,
    InvalidScenario,
    InvalidModelDeployment,
    InvalidTrace,
    InvalidResults,
    InvalidSetting,
    NotApplicable,
    UnknownPolicy,
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


def columns_of(text: str | None) -> ColumnMapping | None:
    """Read ``--columns``."""
    try:
        return None if text is None else ColumnMapping.parse(text)
    except InvalidTrace as error:
        raise InvalidOption(f"--{error}") from error


def seeds_of(asked: list[int] | None, prepared: Prepared) -> list[int]:
    """The seeds asked for, or the scenario's own."""
    seeds = list(dict.fromkeys(asked or prepared.seeds))
    if min(seeds) < 0:
        raise InvalidOption(f"--seed: found {min(seeds)}; write 0 or more")
    return seeds


def check_processes(processes: int) -> None:
    """Reject a number of processes that cannot be run."""
    if processes != -1 and processes < 1:
        raise InvalidOption(f"--processes: found {processes}; write 1 or more, or -1: one per core")


def check_writable(**files: Path | None) -> None:
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


def fail(error: Exception) -> typer.Exit:
    """Tell what is wrong, and end with 2."""
    message = escape(str(error))
    Console(stderr=True).print(f"[bold red]error[/]: {message}", highlight=False, soft_wrap=True)
    return typer.Exit(2)
