"""Sums standings up over cells: medians with confidence intervals, regret by cause."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from simulations.own import OWN
from simulations.scoreboard.standings import Standing, Standings

#: Resamples of the cells behind an interval, drawn from a fixed seed.
_RESAMPLES = 2000
_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimated:
    """A median over cells and its 95 % interval (percentile bootstrap over cells)."""

    median: float
    low: float
    high: float
    worst: float
    cells: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One policy at one kind of setting, over all cells in which it ran.

    ``attains`` counts the cells in which it reached target and quality budget. ``over_plan`` is
    over all cells, so it says nothing without ``missed_per_10000`` beside it.
    ``steelyard_share`` is what steelyard pays, at this policy's own attainment, as a share of what
    the policy pays; ``steelyard_cheaper`` counts the cells where that is less than 1.
    """

    name: str
    family: str
    kind: str
    cells: int
    attains: int
    over_plan: Estimated | None
    missed_per_10000: Estimated | None
    position: Estimated | None
    steelyard_share: Estimated | None
    steelyard_cheaper: int


@dataclass(frozen=True, slots=True)
class Regret:
    """What one cause costs steelyard in one cell, both relative to the plan's cost.

    ``cost`` is the share of the plan's cost that goes away with the cause (negative: it pays) and
    ``attainment`` what attainment gains by its going, in points.
    """

    cell: str
    cause: str
    cost: float
    attainment: float


def estimated(values: Sequence[float | None]) -> Estimated | None:
    """The median with its interval; None without any value."""
    known = np.array([value for value in values if value is not None and np.isfinite(value)])
    if len(known) == 0:
        return None
    median = float(np.median(known))
    low = high = median
    if len(known) > 2 and np.ptp(known) > 0.0:
        interval = bootstrap(
            (known,),
            np.median,
            n_resamples=_RESAMPLES,
            confidence_level=_CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return Estimated(median, low, high, float(np.max(known)), len(known))


def summaries(found: Standings) -> tuple[Summary, ...]:
    """One per policy and kind of setting, steelyard first, then those that attain most often."""
    groups: dict[tuple[str, str], list[Standing]] = {}
    for row in found.rows:
        name = row.family if row.kind == "hindsight" else row.name
        groups.setdefault((name, row.kind), []).append(row)
    made = [_summary(name, kind, rows) for (name, kind), rows in groups.items()]
    return tuple(sorted(made, key=_order))


def _order(summary: Summary) -> tuple[bool, bool, float, float]:
    missed = summary.missed_per_10000
    return (
        summary.name != "steelyard",
        summary.family != "own",
        -summary.attains / max(summary.cells, 1),
        missed.median if missed else np.inf,
    )


def _summary(name: str, kind: str, rows: list[Standing]) -> Summary:
    shares = [row.steelyard_share for row in rows]
    return Summary(
        name=name,
        family=rows[0].family,
        kind=kind,
        cells=len(rows),
        attains=sum(row.attains for row in rows),
        over_plan=estimated([row.over_plan for row in rows]),
        missed_per_10000=estimated([1e4 * row.missed / max(row.requests, 1) for row in rows]),
        position=estimated([row.position for row in rows]),
        steelyard_share=estimated(shares),
        steelyard_cheaper=sum(share is not None and share < 1.0 for share in shares),
    )


def regrets(found: Standings) -> tuple[Regret, ...]:
    """What each ablation changes, cell by cell."""
    rows = {(row.cell, row.name): row for row in found.rows if row.kind == "default"}
    made = []
    for figures in found.cells:
        own = rows.get((figures.cell.name, "steelyard"))
        if own is None or figures.plan_cost <= 0.0:
            continue
        if figures.integrality_cost is not None:
            share = figures.integrality_cost / figures.plan_cost
            made.append(Regret(figures.cell.name, "integrality", share, 0.0))
        for name, entry in OWN.items():
            other = rows.get((figures.cell.name, name))
            if entry.cause is None or other is None:
                continue
            made.append(
                Regret(
                    cell=figures.cell.name,
                    cause=entry.cause,
                    cost=(own.cost - other.cost) / figures.plan_cost,
                    attainment=100.0 * (other.attainment - own.attainment),
                )
            )
    return tuple(made)
