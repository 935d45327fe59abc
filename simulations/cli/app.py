"""All commands."""

import typer

from simulations.backtest.command import backtest
from simulations.cli.reading import policies, report, traces
from simulations.cli.replaying import compare, run
from simulations.cli.scoreboard import scoreboard
from simulations.trust.command import trust

app = typer.Typer(
    help="Replay real traffic through steelyard's decision code, beside its peers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (compare, scoreboard, backtest, run, traces, policies, report, trust):
    app.command()(command)
