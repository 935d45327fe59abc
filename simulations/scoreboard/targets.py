"""The design's targets, and where a sweep stands against each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from simulations.scoreboard.front import LEAST_MISSED
from simulations.scoreboard.standings import CellFigures, Standing, Standings

#: Scenarios whose traffic jumps by the calendar; the smooth ones' targets do not apply to them.
JUMPS = ("twitter-2021-08-rate",)
#: Scenarios of traffic that nobody can foresee.
UNPREDICTABLE = ("step", "flash-crowd", "on-off")
#: Longest cold start, in seconds, for which the targets are set.
_LONGEST_COLD_START = 180.0
_LARGE, _SMALL = 20.0, 5.0
#: Families that are compared apart: ours, and fleets of a size that is known beforehand.
_NO_PEERS = ("own", "static")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target of DESIGN section 5; ``met`` is None where this sweep has no cell for it."""

    what: str
    target: str
    measured: str
    met: bool | None


def targets(found: Standings) -> tuple[Target, ...]:
    """Where this sweep stands."""
    own = {row.cell: row for row in found.rows if row.name == "steelyard"}
    figures = {figures.cell.name: figures for figures in found.cells}
    return (
        _over_plan(own, figures.values(), _LARGE, 1.08, 1.15),
        _over_plan(own, figures.values(), _SMALL, 1.15, 1.25),
        _jumps(own, figures.values()),
        _excess_of_tuned(found, figures, "tuned", 0.5),
        _excess_of_tuned(found, figures, "hindsight", 0.7),
        _defaults(found, figures),
        _misses_of_tuned(found, figures),
        _misses_of_defaults(found, figures),
        _unpredictable(found),
    )


def _ratios(
    own: dict[str, Standing],
    cells: Iterable[CellFigures],
    asked: Callable[[CellFigures], bool],
) -> list[tuple[float, float]]:
    """(Cost over plan, attainment) of steelyard in the cells that are asked for."""
    return [
        (row.over_plan, row.attainment)
        for figures in cells
        if asked(figures)
        and (row := own.get(figures.cell.name)) is not None
        and row.over_plan is not None
    ]


def _trace_cell(figures: CellFigures) -> bool:
    """A recorded trace under the scenario's own conditions but for fleet and cold start."""
    cell = figures.cell
    return (
        cell.scenario.trace.path is not None
        and not cell.scenario.faults
        and cell.scenario.gpu_quota is None
        and _cold_start(figures) <= _LONGEST_COLD_START
    )


def _cold_start(figures: CellFigures) -> float:
    replicas = figures.cell.scenario.replicas
    return max((spec.cold_start_median_seconds for spec in replicas.values()), default=120.0)


def _over_plan(
    own: dict[str, Standing],
    cells: Iterable[CellFigures],
    fleet: float,
    median: float,
    worst: float,
) -> Target:
    found = _ratios(
        own,
        cells,
        lambda figures: (
            _trace_cell(figures)
            and figures.cell.scenario.peak_replicas == fleet
            and figures.cell.spec.scenario not in JUMPS
        ),
    )
    what = f"cost over plan, recorded traces without calendar jumps, fleet of {fleet:g}"
    target = f"median <= {median:g}, worst <= {worst:g}"
    if not found:
        return Target(what=what, target=target, measured="no such cell", met=None)
    ratios = [ratio for ratio, _ in found]
    return Target(
        what=what,
        target=target,
        measured=f"median {np.median(ratios):.3f}, worst {max(ratios):.3f} in {len(found)} cells, "
        f"attainment {100 * min(a for _, a in found):.2f} % at least",
        met=bool(np.median(ratios) <= median and max(ratios) <= worst),
    )


def _jumps(own: dict[str, Standing], cells: Iterable[CellFigures]) -> Target:
    limits = ((45.0, 1.2), (_LONGEST_COLD_START, 1.4))
    parts, met = [], []
    for cell in cells:
        row = own.get(cell.cell.name)
        if cell.cell.spec.scenario not in JUMPS or not _trace_cell(cell) or row is None:
            continue
        cold = _cold_start(cell)
        limit = next(ratio for seconds, ratio in limits if cold <= seconds)
        if row.over_plan is not None:
            parts.append(f"{row.over_plan:.3f} at {cold:g} s ({100 * row.attainment:.2f} %)")
            met.append(row.over_plan <= limit)
    return Target(
        what="the same on traces with calendar jumps",
        target="<= 1.20 at 45 s, <= 1.40 at 120 and 180 s",
        measured=", ".join(parts) or "no such cell",
        met=all(met) if met else None,
    )


def _excess_of_tuned(
    found: Standings, figures: dict[str, CellFigures], kind: str, share: float
) -> Target:
    """Steelyard's excess over the plan, at the peer's attainment, as a share of the peer's.

    The best peer of a cell is the cheapest that attains the target there; where none does, the cell
    says nothing.
    """
    shares = []
    for name, cell in figures.items():
        best = _cheapest(found, name, kind)
        if best is None or best.steelyard_cost is None or best.cost <= cell.plan_cost:
            continue
        shares.append((best.steelyard_cost - cell.plan_cost) / (best.cost - cell.plan_cost))
    known = "tuned on an earlier part" if kind == "tuned" else "tuned in hindsight"
    what = f"excess over the plan, as a share of the best peer's, {known}, at its attainment"
    target = f"<= {share:g} in the median" + (", never above 1" if kind == "tuned" else "")
    if not shares:
        return Target(what=what, target=target, measured="no peer attains the target", met=None)
    never = max(shares) <= 1.0 or kind != "tuned"
    return Target(
        what=what,
        target=target,
        measured=f"median {np.median(shares):.2f}, worst {max(shares):.2f} in {len(shares)} cells",
        met=bool(np.median(shares) <= share and never),
    )


def _cheapest(found: Standings, cell: str, kind: str) -> Standing | None:
    """The cheapest peer of a cell that attains the target, no fixed fleet."""
    rows = (
        row
        for row in found.rows
        if row.cell == cell and row.kind == kind and row.attains and row.family not in _NO_PEERS
    )
    return min(rows, key=lambda row: row.cost, default=None)


def _misses_of_tuned(found: Standings, figures: dict[str, CellFigures]) -> Target:
    """Steelyard's misses at the cost of the best tuned peer that attains, over that peer's."""
    best = [(_cheapest(found, name, "tuned"), cell) for name, cell in figures.items()]
    return _misses(
        [(row, cell) for row, cell in best if row is not None],
        "misses at the cost of the best tuned peer that attains the target, over its",
        1.0 / 3.0,
    )


def _misses_of_defaults(found: Standings, figures: dict[str, CellFigures]) -> Target:
    """The same for every peer that attains at its default."""
    rows = [
        (row, figures[row.cell])
        for row in found.rows
        if row.kind == "default" and row.attains and row.family not in _NO_PEERS
    ]
    return _misses(
        rows, "misses at the cost of a peer that attains at its default, over its", 1.0 / 10.0
    )


def _misses(rows: list[tuple[Standing, CellFigures]], what: str, most: float) -> Target:
    target = f"<= {most:.2f} in the median"
    ratios = [
        ours / max(1.0 - row.attainment, LEAST_MISSED)
        for row, cell in rows
        if (ours := cell.front.missed_at(row.cost)) is not None
    ]
    if not ratios:
        return Target(what=what, target=target, measured="no such peer", met=None)
    return Target(
        what=what,
        target=target,
        measured=f"median {np.median(ratios):.2f} of {len(ratios)} rows",
        met=bool(np.median(ratios) <= most),
    )


def _unpredictable(found: Standings) -> Target:
    """Misses in cells with a step, a crowd or a fault, over those of a causal oracle there."""
    ratios = []
    for figures in found.cells:
        cell = figures.cell
        if cell.spec.scenario not in UNPREDICTABLE and not cell.scenario.faults:
            continue
        missed = {
            row.name: row.missed
            for row in found.rows
            if row.cell == cell.name and row.name in {"steelyard", "steelyard-told"}
        }
        if len(missed) == 2 and missed["steelyard-told"] > 0:
            ratios.append((missed["steelyard"] / missed["steelyard-told"], cell.name))
    return Target(
        what="misses in steps, crowds and faults, over an oracle's that is told as they happen",
        target="<= 1.2",
        measured=f"median {np.median([r for r, _ in ratios]):.2f}, worst {max(ratios)[0]:.2f} "
        f"({max(ratios)[1]}) in {len(ratios)} cells"
        if ratios
        else "no such cell",
        met=max(ratios)[0] <= 1.2 if ratios else None,
    )


def _defaults(found: Standings, figures: dict[str, CellFigures]) -> Target:
    """Cost against peers at their defaults where those attain the target but waste much."""
    shares = [
        row.steelyard_share
        for row in found.rows
        if row.kind == "default"
        and row.family != "own"
        and row.attains
        and row.steelyard_share is not None
        and row.cost >= 1.35 * figures[row.cell].plan_cost
    ]
    what = "cost against a peer at its default, at its attainment, where its own excess is >= .35"
    if not shares:
        return Target(what=what, target="<= 0.75", measured="no such peer", met=None)
    return Target(
        what=what,
        target="<= 0.75",
        measured=f"median {np.median(shares):.2f}, worst {max(shares):.2f} of {len(shares)} rows",
        met=bool(max(shares) <= 0.75),
    )
