"""The scoreboard as JSON: standings, summaries, regret and the clairvoyant numbers.

Page and table are drawn from this document alone. What is unknown is null, never zero. Keys are
described in docs/scoreboard.md.
"""

from dataclasses import asdict

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from simulations.peers.registry import peers
from simulations.policies import policies
from simulations.scoreboard.standings import CellFigures, Standings
from simulations.scoreboard.suite import Cell, SuiteSpec
from simulations.scoreboard.summary import Regret, Summary, regrets, summaries
from simulations.scoreboard.targets import Target, targets
from simulations.scoreboard.tuning import settings_of


class _Part(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, ser_json_inf_nan="null"
    )


class CellPart(_Part):
    """A cell: its conditions, its clairvoyant numbers, steelyard's front; see ``CellFigures``."""

    name: str
    axes: dict[str, str]
    description: str
    target: float
    max_degraded_share: float
    plan_cost: float
    plan_by: str
    bound_cost: float | None
    plan_over_bound: float | None
    static_peak_cost: float | None
    front: tuple[tuple[float, float], ...]


class StandingPart(_Part):
    """One policy in one cell; see ``standings.Standing``."""

    cell: str
    name: str
    family: str
    kind: str
    setting: str
    cost: float
    attainment: float
    degraded_share: float
    missed: int
    requests: int
    attains: bool
    over_plan: float | None
    position: float | None
    steelyard_cost: float | None
    steelyard_share: float | None


class EstimatedPart(_Part):
    """A median over cells with its 95 % interval, and the highest value."""

    median: float
    low: float
    high: float
    worst: float
    cells: int


class SummaryPart(_Part):
    """One policy over all cells; see ``summary.Summary``."""

    name: str
    family: str
    kind: str
    cells: int
    attains: int
    over_plan: EstimatedPart | None
    missed_per_10000: EstimatedPart | None
    position: EstimatedPart | None
    steelyard_share: EstimatedPart | None
    steelyard_cheaper: int


class RegretPart(_Part):
    """What a cause costs in a cell; see ``summary.Regret``."""

    cell: str
    cause: str
    cost: float
    attainment: float


class TargetPart(_Part):
    """A target of the design, and where we stand; see ``targets.Target``."""

    what: str
    target: str
    measured: str
    met: bool | None


class PolicyPart(_Part):
    """What a policy is, and the default setting it stands at."""

    name: str
    description: str
    default: str


class ScoreboardDocument(_Part):
    """The whole scoreboard. ``left_out`` says why a cell is not in it."""

    suite: str
    description: str
    seeds: tuple[int, ...]
    cells: tuple[CellPart, ...]
    left_out: dict[str, str]
    policies: tuple[PolicyPart, ...]
    summaries: tuple[SummaryPart, ...]
    standings: tuple[StandingPart, ...]
    regrets: tuple[RegretPart, ...]
    targets: tuple[TargetPart, ...]

    def to_text(self) -> str:
        """The file's content."""
        return self.model_dump_json(by_alias=True)

    def of_cell(self, name: str) -> list[StandingPart]:
        """All standings of a cell, the cheapest first."""
        return sorted((row for row in self.standings if row.cell == name), key=lambda r: r.cost)


def to_document(
    suite: SuiteSpec,
    found: Standings,
    left_out: dict[str, str],
    extra_targets: tuple[Target, ...] = (),
) -> ScoreboardDocument:
    """Put a sweep's standings into a document."""
    own = {known.name: settings_of(known, suite.settings)[0] for known in peers()}
    return ScoreboardDocument(
        suite=suite.name,
        description=suite.description,
        seeds=suite.seeds,
        cells=tuple(_cell(figures.cell, figures) for figures in found.cells),
        left_out=left_out,
        policies=tuple(
            PolicyPart(name=name, description=text, default=own.get(name, name))
            for name, text in policies()
        ),
        summaries=tuple(_summary(one) for one in summaries(found)),
        standings=tuple(
            StandingPart(**asdict(row), steelyard_share=row.steelyard_share) for row in found.rows
        ),
        regrets=tuple(_regret(one) for one in regrets(found)),
        targets=tuple(TargetPart(**asdict(target)) for target in (*targets(found), *extra_targets)),
    )


def _cell(cell: Cell, figures: CellFigures) -> CellPart:
    policy = cell.scenario.policy()
    return CellPart(
        name=cell.name,
        axes=cell.spec.axes(),
        description=cell.scenario.description.strip(),
        target=policy.slo.target,
        max_degraded_share=policy.quality.max_degraded_share,
        plan_cost=figures.plan_cost,
        plan_by=figures.plan_by,
        bound_cost=figures.bound_cost,
        plan_over_bound=figures.certificate,
        static_peak_cost=figures.static_peak_cost,
        front=figures.front.points,
    )


def _summary(summary: Summary) -> SummaryPart:
    return SummaryPart.model_validate(asdict(summary))


def _regret(regret: Regret) -> RegretPart:
    return RegretPart(**asdict(regret))
