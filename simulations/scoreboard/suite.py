"""A suite file: the cells, the policies and the seeds of a scoreboard."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from simulations.scenario import InvalidScenario, Part, ScenarioSpec, read
from simulations.scenario_errors import explain
from simulations.scoreboard.cell import CellSpec

SUITES = Path(__file__).parent / "suites"
SCENARIOS = Path(__file__).parents[1] / "scenarios"


class InvalidSuite(ValueError):  # noqa: N818 - named after what it is, as users read it
    """A suite file that cannot be used; one line per wrong field."""


class FactorialSpec(Part):
    """Cells for every combination of the values in ``over``, the rest as in ``cell``."""

    cell: CellSpec
    over: dict[str, tuple[Any, ...]] = Field(min_length=1)

    def cells(self) -> Iterator[CellSpec]:
        """One cell per combination."""
        fixed = self.cell.model_dump(by_alias=True, exclude_none=True)
        for values in product(*self.over.values()):
            yield CellSpec.model_validate({**fixed, **dict(zip(self.over, values, strict=True))})


class SuiteSpec(Part):
    """The whole file.

    ``targets`` are the SLO targets at which steelyard is replayed beside its own, so that it can be
    compared with each peer at that peer's own attainment. ``without`` names policies left out.
    """

    name: str = Field(min_length=1)
    description: str = ""
    cells: tuple[CellSpec, ...] = ()
    factorials: tuple[FactorialSpec, ...] = ()
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    targets: tuple[float, ...] = ()
    without: tuple[str, ...] = ()
    ablations: bool = True
    tuned: bool = True
    hindsight: tuple[str, ...] = Field(
        default=(), description="families whose every setting is replayed on the scored part too"
    )
    plan_replays: int = Field(default=6, ge=1)
    settings: int = Field(default=24, ge=1, description="settings that tuning tries at most")

    def all_cells(self) -> tuple[CellSpec, ...]:
        """All cells, a factorial's in the order of its axes."""
        made = [cell for factorial in self.factorials for cell in factorial.cells()]
        return (*self.cells, *made)


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with its scenario; ``missing`` says what it needs that is not there."""

    spec: CellSpec
    scenario: ScenarioSpec
    missing: str | None

    @property
    def name(self) -> str:
        """What results are filed under."""
        return self.spec.title


def suite_path(text: str) -> Path:
    """The file that is meant, or the shipped suite of this name."""
    path = Path(text)
    if path.is_file():
        return path
    shipped = {file.stem: file for file in sorted(SUITES.glob("*.yaml"))}
    if text not in shipped:
        raise InvalidSuite(
            f"SUITE: no file {text}, nor a shipped suite of this name; "
            f"give a file or one of {', '.join(shipped)}"
        )
    return shipped[text]


def load_suite(path: Path) -> SuiteSpec:
    """Read a suite file; raises ``InvalidSuite``."""
    try:
        document = yaml.safe_load(path.read_text())
        suite = SuiteSpec.model_validate(document)
        titles = [cell.title for cell in suite.all_cells()]
    except (OSError, yaml.YAMLError) as error:
        raise InvalidSuite(f"{path}: cannot be read as YAML: {error}") from error
    except ValidationError as error:
        lines = explain(error, SuiteSpec)
        raise InvalidSuite("\n".join(f"{path}: {line}" for line in lines)) from error
    twice = sorted({title for title in titles if titles.count(title) > 1})
    if twice:
        raise InvalidSuite(f"{path}: cells: {', '.join(twice)} twice; give one of them a name")
    if not titles:
        raise InvalidSuite(f"{path}: cells: missing; name at least one cell or factorial")
    return suite


def cells_of(suite: SuiteSpec) -> tuple[Cell, ...]:
    """Resolve every cell.

    Raises:
        InvalidScenario: a cell is no scenario; the line begins with its name.
    """
    return tuple(_cell(spec) for spec in suite.all_cells())


def _cell(spec: CellSpec) -> Cell:
    document = _scenario(spec.scenario)
    scenario = spec.resolved(document)
    path = scenario.trace.path
    absent = path is not None and not (SCENARIOS / path).is_file()
    return Cell(spec, scenario, f"no trace at {path}" if absent else None)


@lru_cache(maxsize=64)
def _scenario(name: str) -> dict[str, Any]:
    path = SCENARIOS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SCENARIOS.glob("*.yaml")))
        raise InvalidScenario(f"scenario: {name} is not shipped; choose from {known}")
    return read(path)
