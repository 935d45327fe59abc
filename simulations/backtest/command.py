"""``steelyard-sim backtest``: one's own history under steelyard and every peer."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from controller.adapters.clock import SystemClock
from controller.adapters.prometheus.profiles import InvalidProfiles, load
from controller.adapters.prometheus.settings import PrometheusSettings
from simulations import compare as comparing
from simulations import policies as known_policies
from simulations.backtest.backtest import Backtest, read_backtest
from simulations.backtest.errors import InvalidHistory
from simulations.backtest.subject import document_of
from simulations.backtest.summary import BacktestDocument, backtest_document, print_backtest
from simulations.cli.options import (
    BAD_INPUT,
    HtmlOption,
    InvalidOption,
    JsonOption,
    PolicyOption,
    ProcessesOption,
    check_processes,
    check_writable,
    fail,
)
from simulations.report.files import write

#: A query of a long past takes longer than one of now.
_QUERY_SECONDS = 120.0


def backtest(  # noqa: PLR0913, PLR0917 - one parameter is one option of the command line
    prometheus: Annotated[str, typer.Option(help="Address, such as http://localhost:9090.")],
    file: Annotated[
        Path, typer.Option("--filename", "-f", help="YAML file of the ModelDeployment.")
    ],
    days: Annotated[float, typer.Option(help="Days replayed, up to --until.")] = 7.0,
    until: Annotated[
        str | None,
        typer.Option(help="End of the replay, such as 2026-11-20T12:00 (UTC); default: now."),
    ] = None,
    policy: PolicyOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    plan_replays: Annotated[
        int, typer.Option(min=1, help="Replays spent on the search for the reference plan.")
    ] = 4,
    processes: ProcessesOption = -1,
    metrics_profiles: Annotated[
        Path | None, typer.Option(help="The operator's file of metrics profiles.")
    ] = None,
    bearer_token_file: Annotated[
        Path | None, typer.Option(help="File with a token that Prometheus asks for.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Certificates that Prometheus' own is checked by.")
    ] = None,
    tenant: Annotated[
        str, typer.Option(help="Value of X-Scope-OrgID, where Prometheus has tenants.")
    ] = "",
) -> None:
    """Replay one's own history: what steelyard and every peer would have cost and missed."""
    console = Console()
    try:
        check_processes(processes)
        check_writable(json=json, html=html)
        settings = _settings(prometheus, bearer_token_file, ca_file, tenant)
        asked = (document_of(file), settings, load(metrics_profiles), _days(days), _until(until))
        with console.status("reading Prometheus"):
            made = read_backtest(*asked)
        document = _replay(made, policy, plan_replays, processes, console)
    except (*BAD_INPUT, InvalidHistory, InvalidProfiles, OSError) as error:
        raise fail(error) from error
    print_backtest(document, console)
    write(document, json, html)


def _settings(
    url: str, token: Path | None, ca_file: Path | None, tenant: str
) -> PrometheusSettings:
    try:
        return PrometheusSettings(
            url=url,
            history_timeout_seconds=_QUERY_SECONDS,
            bearer_token_file=token,
            ca_file=ca_file,
            tenant=tenant,
        )
    except ValueError as error:
        raise InvalidOption(f"--prometheus: {error}") from error


def _days(days: float) -> float:
    if not 1.0 / 24.0 <= days <= 60.0:
        raise InvalidOption(f"--days: found {days:g}; write a number from 0.042 (an hour) to 60")
    return days


def _until(text: str | None) -> float:
    now = SystemClock().now()
    if text is None:
        return now
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidOption(
            f"--until: found {text!r}; write a date and time such as 2026-11-20T12:00"
        ) from error
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if seconds > now:
        raise InvalidOption(f"--until: {text} is yet to come; write a time that is past")
    return seconds


def _replay(
    made: Backtest,
    asked: list[str] | None,
    plan_replays: int,
    processes: int,
    console: Console,
) -> BacktestDocument:
    prepared = made.prepared
    names = list(dict.fromkeys(asked or known_policies.applicable(prepared)))
    seed = prepared.seeds[0]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(
            "replaying", total=comparing.steps(names, [seed], bounds=False) + 1
        )

        def told(name: str) -> None:
            progress.update(task, advance=1, description=name)

        as_it_was = made.as_it_was(seed)
        told("as it was")
        comparison = comparing.compare(
            prepared,
            names,
            [seed],
            processes=processes,
            plan_replays=plan_replays,
            bounds=False,
            progress=told,
        )
    return backtest_document(
        comparison,
        prepared.setup.policy,
        made.history,
        made.seen,
        as_it_was,
        made.caveats(as_it_was),
    )
