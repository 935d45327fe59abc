"""Commands that replay traffic."""

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from simulations import compare as comparing
from simulations import policies as known_policies
from simulations.cli.options import (
    BAD_INPUT,
    ColumnsOption,
    FromOption,
    HtmlOption,
    JsonOption,
    PeakOption,
    PlanReplaysOption,
    PolicyOption,
    ProcessesOption,
    ScenarioArgument,
    SeedOption,
    ToOption,
    TraceOption,
    check_processes,
    check_writable,
    fail,
    seeds_of,
)
from simulations.cli.scenarios import prepare_named
from simulations.report.document import ResultsDocument, to_document
from simulations.report.files import write
from simulations.report.table import print_comparison
from simulations.setup import Prepared


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
        check_processes(processes)
        check_writable(json=json, html=html)
        prepared = prepare_named(scenario, trace, columns, peak_replicas, from_seconds, to_seconds)
        names = list(
            dict.fromkeys(policy or prepared.policies or known_policies.applicable(prepared))
        )
        seeds = seeds_of(seed, prepared)
        console.print(f"{prepared.name}: {prepared.scaling}", highlight=False, soft_wrap=True)
        console.print(_queue_limits(prepared), highlight=False, soft_wrap=True)
        document = _replay(prepared, names, seeds, plan_replays, processes, console)
    except BAD_INPUT as error:
        raise fail(error) from error
    print_comparison(document, console)
    write(document, json, html)


def _queue_limits(prepared: Prepared) -> str:
    """At how many outstanding requests a replica of each variant refuses."""
    limits = [
        f"{variant.name} {'none' if variant.queue_limit is None else variant.queue_limit}"
        for variant in prepared.setup.policy.variants
    ]
    return f"queue limit, in requests outstanding at a replica: {', '.join(limits)}"


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
        prepared = prepare_named(scenario, trace, columns, peak_replicas, from_seconds, to_seconds)
        result = comparing.run(prepared, policy, seeds_of([seed], prepared)[0])
    except BAD_INPUT as error:
        raise fail(error) from error
    for tick, text in result.timeline.reasons:
        seconds = float(result.timeline.at_seconds[tick])
        console.print(f"{seconds:>9.0f} s  {text}", highlight=False, soft_wrap=True)
    console.print(
        f"{result.name}: cost {result.cost:.2f}, attainment {100 * result.attainment:.3f} %, "
        f"degraded {100 * result.degraded_share:.2f} %, {result.requests} requests, "
        f"digest {result.digest}"
    )
