"""From rows to standings: every policy in every cell beside the clairvoyant plan.

A cost means nothing without the attainment beside it. So each policy is set beside the plan, which
attains the target, and beside steelyard *at the policy's own attainment*, read off the costs that
steelyard has at several SLO targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from simulations.own import OWN
from simulations.peers.registry import peers
from simulations.scoreboard.front import Front
from simulations.scoreboard.row import INTEGRALITY, LOWER_BOUND, REFERENCE_PLAN, TEST
from simulations.scoreboard.run import STATIC_PEAK, Outcome
from simulations.scoreboard.suite import Cell, SuiteSpec
from simulations.scoreboard.tuning import settings_of

#: Ablations that change the world and not the decision: no plan of theirs is one of the cell.
_OTHER_WORLD = (
    "steelyard-no-cold-start",
    "steelyard-no-queue-limit",
    "steelyard-random-routing",
)

#: What a standing's setting is: the peer's documented one, the one it was tuned to, or the best of
#: all on the scored part itself, which no user could know beforehand.
KINDS = ("default", "tuned", "hindsight")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One policy in one cell, over all seeds; ratios are None where their base is unknown.

    ``over_plan`` is cost over the reference plan's. ``position`` is 0 at the plan and 1 at static
    peak. ``steelyard_cost`` is what steelyard pays for the attainment this policy has; None where
    no target of it attains so much.
    """

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

    @property
    def steelyard_share(self) -> float | None:
        """Steelyard's cost at this policy's attainment, as a share of this policy's cost."""
        if self.steelyard_cost is None or self.cost <= 0.0:
            return None
        return self.steelyard_cost / self.cost


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFigures:
    """The clairvoyant numbers of a cell. ``plan_by`` is who found the plan.

    ``integrality_cost`` is what whole replicas cost beyond parts of them, ``front``
    is steelyard's own.
    """

    cell: Cell
    plan_cost: float
    plan_by: str
    bound_cost: float | None
    static_peak_cost: float | None
    integrality_cost: float | None
    front: Front

    @property
    def certificate(self) -> float | None:
        """Plan over bound: no plan whatever can be cheaper by more."""
        return None if not self.bound_cost else self.plan_cost / self.bound_cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """All of it."""

    cells: tuple[CellFigures, ...]
    rows: tuple[Standing, ...]


def standings(suite: SuiteSpec, cells: Sequence[Cell], outcome: Outcome) -> Standings:
    """Stand every policy; cells without a plan yet are left out."""
    scored = (
        outcome.rows.filter((pl.col("part") == TEST) & pl.col("cost").is_not_null())
        .group_by("cell", "policy")
        .agg(
            pl.col("cost").mean(),
            pl.col("missed").sum(),
            pl.col("requests").sum(),
            pl.col("degraded_share").mean(),
        )
    )
    figures, rows = [], []
    for cell in cells:
        own = _Scored(cell, scored.filter(pl.col("cell") == cell.name))
        found = own.figures()
        if found is None:
            continue
        figures.append(found)
        rows += own.standings(suite, outcome.tuned, found)
    return Standings(cells=tuple(figures), rows=tuple(rows))


class _Scored:
    """The scored rows of one cell, one per policy as it is written."""

    def __init__(self, cell: Cell, rows: pl.DataFrame) -> None:
        self._cell = cell
        policy = cell.scenario.policy()
        self._target = policy.slo.target
        self._degraded = policy.quality.max_degraded_share
        self._rows = {row["policy"]: row for row in rows.iter_rows(named=True)}
        self._front = self._own_front()

    def figures(self) -> CellFigures | None:
        """The plan is the cheapest replay known that attains the objective."""
        found = self._rows.get(REFERENCE_PLAN)
        if found is None:
            return None
        cost, by = found["cost"], REFERENCE_PLAN
        for name, row in self._rows.items():
            usable = (
                name not in {LOWER_BOUND, INTEGRALITY}
                and name.partition(":")[0] not in _OTHER_WORLD
            )
            if usable and row["cost"] < cost and self._attains(row):
                cost, by = row["cost"], name
        known = {
            name: None if row is None else float(row["cost"])
            for name in (LOWER_BOUND, INTEGRALITY, STATIC_PEAK)
            for row in (self._rows.get(name),)
        }
        return CellFigures(
            cell=self._cell,
            plan_cost=cost,
            plan_by=by,
            bound_cost=known[LOWER_BOUND],
            static_peak_cost=known[STATIC_PEAK],
            integrality_cost=known[INTEGRALITY],
            front=self._front,
        )

    def standings(
        self, suite: SuiteSpec, tuned: dict[tuple[str, str], str], figures: CellFigures
    ) -> list[Standing]:
        """Every policy of the cell, peers at each setting there is of them."""
        made = [
            self._standing(name, name, "own", "default", figures)
            for name in (*OWN, REFERENCE_PLAN)
            if name in self._rows
        ]
        for known in peers():
            if known.name in suite.without:
                continue
            default = settings_of(known, suite.settings)[0]
            if default in self._rows:
                made.append(self._standing(known.name, default, known.family, "default", figures))
            best = tuned.get((self._cell.name, known.name))
            if best is not None and best in self._rows:
                made.append(self._standing(known.name, best, known.family, "tuned", figures))
        made += [
            self._standing(setting.partition(":")[0], setting, family, "hindsight", figures)
            for family in suite.hindsight
            if (setting := self._best_in_hindsight(suite, family)) is not None
        ]
        return made

    def _best_in_hindsight(self, suite: SuiteSpec, family: str) -> str | None:
        settings = [
            setting
            for known in peers()
            if known.family == family
            for setting in settings_of(known, suite.settings)
            if setting in self._rows
        ]
        if not settings:
            return None
        attaining = [s for s in settings if self._attains(self._rows[s])]
        if attaining:
            return min(attaining, key=lambda s: float(self._rows[s]["cost"]))
        return max(settings, key=lambda s: _attainment(self._rows[s]))

    def _standing(
        self, name: str, setting: str, family: str, kind: str, figures: CellFigures
    ) -> Standing:
        row = self._rows[setting]
        cost, attainment = float(row["cost"]), _attainment(row)
        span = (figures.static_peak_cost or 0.0) - figures.plan_cost
        return Standing(
            cell=self._cell.name,
            name=name,
            family=family,
            kind=kind,
            setting=setting,
            cost=cost,
            attainment=attainment,
            degraded_share=float(row["degraded_share"]),
            missed=int(row["missed"]),
            requests=int(row["requests"]),
            attains=self._attains(row),
            over_plan=cost / figures.plan_cost if figures.plan_cost > 0.0 else None,
            position=(cost - figures.plan_cost) / span if span > 0.0 else None,
            steelyard_cost=self._front.cost_at(attainment),
        )

    def _attains(self, row: dict[str, float]) -> bool:
        if not row["requests"]:
            return False
        return _attainment(row) >= self._target and row["degraded_share"] <= self._degraded

    def _own_front(self) -> Front:
        return Front.of(
            (_attainment(row), float(row["cost"]))
            for name, row in self._rows.items()
            if name.partition(":")[0] == "steelyard" and row["degraded_share"] <= self._degraded
        )


def _attainment(row: dict[str, float]) -> float:
    return 1.0 - row["missed"] / max(row["requests"], 1)
