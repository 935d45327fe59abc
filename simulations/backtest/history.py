"""A history read whole: what came, what was seen of it, and how much of it is not known."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulations.backtest.counting import Array, Counts, Grid
from simulations.backtest.errors import InvalidHistory
from simulations.backtest.reading import HOUR_SECONDS, Buckets, Extent, HistoryReader
from simulations.backtest.subject import Engines, Gateway

DAY_SECONDS: Final = 86400.0

#: Steps of the part before the replay: what a forecaster learns from.
PAST_STEP_SECONDS: Final = 60.0

#: More than this part of the replay not seen, and the replay would be an invention.
MOST_MISSING: Final = 0.2

#: Days before the replay that are read, at most.
MOST_PAST_DAYS: Final = 21.0

#: Histograms are read in windows of so long: short enough for the samples of one query.
_HISTOGRAM_WINDOW_SECONDS: Final = HOUR_SECONDS

#: A gap is bridged between the means of so long before and after it.
_BESIDE_GAP_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Steps of equal length: requests (steps,) with gaps filled, and which steps were (imputed)."""

    grid: Grid
    requests: Array
    imputed: NDArray[np.bool_]
    token_requests: Array
    prompt_tokens: Array
    output_tokens: Array


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """All that was read. ``replicas`` has shape (variants, steps of the replay), NaN unseen."""

    extents: tuple[Extent, ...]
    gateway: Gateway | None
    replayed: Traffic
    past: Traffic | None
    counts: Counts
    replicas: Array
    histograms: tuple[Buckets, ...]

    @property
    def scrape_seconds(self) -> float:
        """The longest scrape interval of the object's engines."""
        return max(extent.scrape_seconds for extent in self.extents)

    @property
    def missing_share(self) -> float:
        """Share of the replayed steps that were not seen."""
        return float(self.replayed.imputed.mean())


def read_history(
    reader: HistoryReader,
    engines: Sequence[Engines],
    gateway: Gateway | None,
    days: float,
    until_seconds: float,
) -> History:
    """Read the last ``days`` before a time, and what there is before them.

    Raises:
        InvalidHistory: there are no series, too short a history, or too much of it is missing.
    """
    asked_from = until_seconds - (days + MOST_PAST_DAYS) * DAY_SECONDS
    hour_from = asked_from // HOUR_SECONDS * HOUR_SECONDS
    extents = reader.extents(engines, hour_from, until_seconds)
    length = days * DAY_SECONDS
    step = max(extent.step_seconds(length) for extent in extents)
    end = (until_seconds - step) // PAST_STEP_SECONDS * PAST_STEP_SECONDS
    steps = int(length // PAST_STEP_SECONDS * PAST_STEP_SECONDS // step)
    replay = Grid(end - steps * step, step, steps)
    begin = min(extent.begin_seconds for extent in extents)
    _refuse_short(begin, replay, days, until_seconds)
    counts = _counts(reader, extents, replay)
    outside = None if gateway is None else reader.received(gateway, extents[0], replay)
    replayed = _traffic(counts, outside, replay)
    missing = float(replayed.imputed.mean())
    if missing > MOST_MISSING:
        raise InvalidHistory(
            f"{100 * missing:.0f} % of the last {days:g} days have no samples, and more than "
            f"{100 * MOST_MISSING:.0f} % would be invented; choose a part that was scraped with "
            "--days and --until"
        )
    before = int((replay.begin_seconds - max(begin, asked_from)) // PAST_STEP_SECONDS)
    past = None
    if before > 0:
        grid = Grid(replay.begin_seconds - before * PAST_STEP_SECONDS, PAST_STEP_SECONDS, before)
        past_outside = None if gateway is None else reader.received(gateway, extents[0], grid)
        past = _from_first(_traffic(_counts(reader, extents, grid), past_outside, grid))
    hours = Grid(replay.begin_seconds, _HISTOGRAM_WINDOW_SECONDS, ceil(length / HOUR_SECONDS))
    histograms = tuple(reader.histograms(extent.engines, hours) for extent in extents)
    return History(
        extents=extents,
        gateway=gateway,
        replayed=replayed,
        past=past,
        counts=counts,
        replicas=np.where(counts.pods.sum(axis=0) > 0.0, counts.pods, np.nan)[:, 1:],
        histograms=histograms,
    )


def _refuse_short(begin: float, replay: Grid, days: float, until_seconds: float) -> None:
    if begin <= replay.begin_seconds + HOUR_SECONDS:
        return
    known = (until_seconds - begin) / DAY_SECONDS
    raise InvalidHistory(
        f"--days: found {days:g}, but Prometheus has {known:.2f} days of it (its retention, or "
        f"since when it is scraped); give --days {np.floor(100 * known) / 100:g} or less"
    )


def _counts(reader: HistoryReader, extents: Sequence[Extent], grid: Grid) -> Counts:
    counts = reader.counts(extents[0], grid)
    for extent in extents[1:]:
        counts = counts.plus(reader.counts(extent, grid))
    return counts


def _traffic(counts: Counts, outside: Counts | None, grid: Grid) -> Traffic:
    """Requests from outside the engines where they are counted there, tokens from the engines."""
    source = counts if outside is None else outside
    seen = source.seen
    imputed = (seen == 0.0) | (source.unseen >= seen)
    requests = bridged(source.total("arrived"), imputed, seen, source.unseen, grid.step_seconds)
    return Traffic(
        grid=grid,
        requests=requests,
        imputed=imputed,
        token_requests=counts.total("token_requests"),
        prompt_tokens=counts.total("prompt_tokens"),
        output_tokens=counts.total("output_tokens"),
    )


def _from_first(traffic: Traffic) -> Traffic | None:
    """The part from the first step that was seen; None where none was."""
    if traffic.imputed.all():
        return None
    first, grid = int(np.argmin(traffic.imputed)), traffic.grid
    return Traffic(
        grid=Grid(
            grid.begin_seconds + first * grid.step_seconds, grid.step_seconds, grid.steps - first
        ),
        requests=traffic.requests[first:],
        imputed=traffic.imputed[first:],
        token_requests=traffic.token_requests[first:],
        prompt_tokens=traffic.prompt_tokens[first:],
        output_tokens=traffic.output_tokens[first:],
    )


def bridged(
    requests: Array, imputed: NDArray[np.bool_], seen: Array, unseen: Array, step_seconds: float
) -> Array:
    """Requests with every gap filled; all arrays have shape (steps,).

    Where all pods that were there before a gap are there after it, their counters tell how many
    came in it. Else it is bridged by a straight line between the means beside it.
    """
    filled = requests.copy()
    edges = np.flatnonzero(np.diff(np.concatenate(([False], imputed, [False])).astype(int)))
    beside = max(1, int(_BESIDE_GAP_SECONDS / step_seconds))
    for low, high in edges.reshape(-1, 2).tolist():
        there = seen[low - 1] if low > 0 else np.inf
        if unseen[low:high].min() >= there > 0.0:
            continue
        before = requests[max(low - beside, 0) : low][~imputed[max(low - beside, 0) : low]]
        after = requests[high : high + beside][~imputed[high : high + beside]]
        known = [float(part.mean()) for part in (before, after) if len(part)]
        if known:
            filled[low:high] = np.linspace(known[0], known[-1], high - low + 2)[1:-1]
    return filled
