"""Which candidate decides: a rolling back-test of cost at attainment.

Every candidate's path of quantiles over the recorded past, each as it was known then, is turned
into the fluid decision it stands for: capacity for margin times the path, held for one cold start.
The margin is solved so that the path attains the target share of requests, and the
paths are compared by what their capacity then costs. A missed burst costs its true share of the
requests, and a better fit or pinball loss that does not carry over to cost counts for nothing.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.forecasting.calibration import LEVELS
from controller.core.forecasting.candidates import CANDIDATES, Candidate, bases_of
from controller.core.forecasting.features import rolling_maximum

#: Minutes of the past that are replayed, at most and at least: in a new object's first storm of
#: bursts every half-hour without a memory of them counts.
MOST_MINUTES: Final = 2880
LEAST_MINUTES: Final = 60
#: Minutes of forecasts on record before the regression may be chosen.
LEAST_RECORD: Final = 720
#: A candidate must be this much cheaper than persistence, and than the one that decides ...
WORTH: Final = 0.003
#: ... and cheaper than persistence by so many standard errors over blocks of this length.
CERTAINTY: Final = 1.0
BLOCK_MINUTES: Final = 120
#: The one margin that attained 99 % on all of four LLM traces, request by request.
PRIOR_MARGIN: Final = 1.16
_LEVELS_TRIED: Final = slice(1, 5)
_MARGINS: Final = (0.2, 8.0)
_HALVINGS: Final = 18


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Selection:
    """The outcome: ``costs`` (C,) over persistence's at the target attainment, NaN: not compared.

    ``margins`` (C,) is the factor at which each attains it, on its base or, for the regression, on
    its quantile at ``LEVELS[level_index]``.
    """

    chosen: Candidate
    costs: NDArray[np.float64]
    margins: NDArray[np.float64]
    level_index: int


def unselected() -> Selection:
    """Return persistence with the margin that is taken until a back-test has found one."""
    return Selection(
        chosen=Candidate.PERSISTENCE,
        costs=np.full(len(CANDIDATES), np.nan),
        margins=np.array([PRIOR_MARGIN, PRIOR_MARGIN, np.nan]),
        level_index=len(LEVELS) - 1,
    )


def selected(
    rates: NDArray[np.float64],
    target: NDArray[np.float64],
    record: NDArray[np.float64],
    hold_minutes: int,
    attainment: float,
    before: Selection,
) -> Selection:
    """Return the cheapest candidate on the past; persistence wins ties and short histories.

    ``rates`` (m,) are the minutes' rates, ``target`` (m,) what came one horizon after each, both
    NaN unseen; ``record`` (m, L) what the regression said at the end of each, NaN: nothing.
    """
    known = np.isfinite(record[:, 0]) & np.isfinite(target)
    with_record = int(known.sum()) >= LEAST_RECORD
    first = int(np.argmax(known)) if with_record else 0
    first = max(first, len(rates) - MOST_MINUTES)
    bases = list(bases_of(rates))
    if with_record:
        bases.extend(record[:, _LEVELS_TRIED].T)
    paths = _carried(np.stack(bases)[:, first:])
    actual = target[first:]
    scored = np.isfinite(actual) & np.isfinite(paths).all(axis=0)
    if int(scored.sum()) < LEAST_MINUTES or not float(actual[scored].sum()) > 0.0:
        return before
    paid, ready = _capacity(paths, hold_minutes)
    margin = _attaining_margins(ready[:, scored], actual[scored], attainment)
    cost = margin * paid[:, scored].mean(axis=1)
    level = int(np.argmin(cost[2:])) if with_record else 0
    picked = [0, 1, 2 + level] if with_record else [0, 1]
    surplus = _surplus(
        margin[picked, None] * paid[picked],
        np.maximum(actual - margin[picked, None] * ready[picked], 0.0),
        scored,
        _price_of_a_miss(paid[0, scored], margin[0] * ready[0, scored], actual[scored], margin[0]),
    )
    nothing = np.full(len(CANDIDATES) - len(picked), np.nan)
    return Selection(
        chosen=_cheapest(cost[picked], surplus, before.chosen),
        costs=np.concatenate((cost[picked] / cost[0], nothing)),
        margins=np.concatenate((margin[picked], nothing)),
        level_index=level + (_LEVELS_TRIED.start if with_record else 0),
    )


def _cheapest(
    costs: NDArray[np.float64], surplus: NDArray[np.float64], before: Candidate
) -> Candidate:
    """The cheapest of the candidates that beat persistence beyond chance, else persistence.

    The one before stays unless beaten by more than ``WORTH``.
    """
    beats = (surplus.mean(axis=1) < -CERTAINTY * _standard_error(surplus)) & (
        costs < (1.0 - WORTH) * costs[0]
    )
    if not beats.any():
        return Candidate.PERSISTENCE
    best = int(np.argmin(np.where(beats, costs, np.inf)))
    old = CANDIDATES.index(before)
    if old < len(costs) and beats[old] and costs[best] > (1.0 - WORTH) * costs[old]:
        return before
    return CANDIDATES[best]


def _standard_error(blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(blocks.std(axis=1, ddof=1) / np.sqrt(blocks.shape[1]))


def _price_of_a_miss(
    paid: NDArray[np.float64],
    ready: NDArray[np.float64],
    actual: NDArray[np.float64],
    margin: float,
) -> float:
    """What one miss less costs persistence at its margin: d cost / d misses along the margin."""
    saved = float((ready / margin)[actual > ready].sum())
    return float(paid.sum()) / saved if saved > 0.0 else 0.0


def _surplus(
    paid: NDArray[np.float64],
    missed: NDArray[np.float64],
    scored: NDArray[np.bool_],
    price: float,
) -> NDArray[np.float64]:
    """Mean of capacity paid plus priced misses above persistence's, per block of time (K, B)."""
    total = np.where(scored, paid + price * missed, 0.0)
    total = total - total[0]
    blocks = max(len(scored) // BLOCK_MINUTES, 2)
    starts = np.linspace(0, len(scored), blocks, endpoint=False).astype(np.intp)
    return np.asarray(np.add.reduceat(total, starts, axis=1) / BLOCK_MINUTES)


def _carried(paths: NDArray[np.float64]) -> NDArray[np.float64]:
    """``paths`` (P, m) with what is unknown taken from the last minute known: blind means hold."""
    at = np.where(np.isfinite(paths), np.arange(paths.shape[1]), -1)
    last = np.maximum.accumulate(at, axis=1)
    return np.where(last < 0, np.nan, np.take_along_axis(paths, np.maximum(last, 0), axis=1))


def _capacity(
    paths: NDArray[np.float64], hold_minutes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Capacity (P, m) paid for and Ready one cold start later, for a margin of 1.

    What is decided is held for one cold start, so it is paid for as the maximum over the last
    hold. It is Ready one cold start later if wanted all that time: the minimum over the next hold.
    """
    paid = np.stack([rolling_maximum(path, hold_minutes + 1) for path in paths])
    ready = -np.stack([rolling_maximum(-path[::-1], hold_minutes + 1)[::-1] for path in paid])
    return paid, ready


def _attaining_margins(
    ready: NDArray[np.float64], actual: NDArray[np.float64], attainment: float
) -> NDArray[np.float64]:
    """Margin (P,) at which each path misses just as much as the target allows, by bisection."""
    allowed = (1.0 - attainment) * float(actual.sum())
    low = np.full(len(ready), np.log(_MARGINS[0]))
    high = np.full(len(ready), np.log(_MARGINS[1]))
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        missed = np.maximum(actual - np.exp(middle)[:, None] * ready, 0.0).sum(axis=1)
        enough = missed <= allowed
        high, low = np.where(enough, middle, high), np.where(enough, low, middle)
    return np.asarray(np.exp(high))
