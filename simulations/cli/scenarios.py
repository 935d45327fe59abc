"""The scenario that a command line names, ready to be replayed."""

from pathlib import Path

from simulations.cli.options import InvalidOption, columns_of
from simulations.scenario import InvalidScenario, load
from simulations.setup import Prepared, prepare

#: Scenarios that ship with the package.
SCENARIOS = Path(__file__).parents[1] / "scenarios"


def scenario_path(text: str) -> Path:
    """The file that is meant, or the shipped scenario of this name."""
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


def prepare_named(
    scenario: str,
    trace: Path | None,
    columns: str | None,
    peak_replicas: float | None,
    from_seconds: float | None,
    to_seconds: float | None,
) -> Prepared:
    """Read a scenario and resolve it; what is wrong is told with the file's name."""
    if columns is not None and trace is None:
        raise InvalidOption("--columns: tells of the file of --trace; give --trace FILE too")
    path = scenario_path(scenario)
    spec = load(path)
    try:
        return prepare(
            spec,
            path.parent,
            trace=trace,
            columns=columns_of(columns),
            peak_replicas=peak_replicas,
            from_seconds=from_seconds,
            to_seconds=to_seconds,
        )
    except InvalidScenario as error:
        raise InvalidScenario(f"{path}: {error}") from error
