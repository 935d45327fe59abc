"""Reads one object's past out of Prometheus, in chunks that bound the memory and each query."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

import numpy as np

from controller.adapters.prometheus.session import PrometheusClient, QueryFailed, Series
from simulations.backtest import query
from simulations.backtest.counting import Array, Counting, Counts, Grid
from simulations.backtest.errors import InvalidHistory
from simulations.backtest.subject import Engines, Gateway

HOUR_SECONDS: Final = 3600.0
_DAY_SECONDS: Final = 86400.0

#: Numbers of one answer, about 30 bytes each, and edges of one query: Prometheus allows 11,000.
_NUMBERS_PER_QUERY: Final = 400_000
_EDGES_PER_QUERY: Final = 5_000
_LEAST_EDGES_PER_QUERY: Final = 60

#: Numbers read of the replayed part, at most: what decides how fine its steps can be.
_NUMBERS_IN_ALL: Final = 20_000_000
_FINEST_STEPS: Final = (15.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class Extent:
    """What there is of an object's engines.

    ``begin_seconds`` and ``end_seconds`` are the first and last hour with a sample.
    """

    engines: Engines
    begin_seconds: float
    end_seconds: float
    scrape_seconds: float
    pods: int

    def step_seconds(self, length_seconds: float) -> float:
        """The finest step at which so much can be read: no finer than scrapes are."""
        numbers = len(query.PARTS) * self.pods * length_seconds
        return next(
            (
                step
                for step in _FINEST_STEPS
                if step >= self.scrape_seconds and numbers / step <= _NUMBERS_IN_ALL
            ),
            _FINEST_STEPS[-1],
        )


@dataclass(slots=True)
class Buckets:
    """Growth of histograms by window: {(histogram, window): {edge: count}}, cumulative counts.

    Edges are in seconds, or tokens.
    """

    window_seconds: float
    by_window: dict[tuple[str, int], dict[float, float]] = field(default_factory=dict)

    def total(self, name: str, first: int = 0, last: int | None = None) -> dict[float, float]:
        """Sum over the windows from ``first`` to before ``last``; empty where there is none."""
        total: dict[float, float] = {}
        for (histogram, window), counts in self.by_window.items():
            if histogram == name and first <= window and (last is None or window < last):
                for edge, count in counts.items():
                    total[edge] = total.get(edge, 0.0) + count
        return dict(sorted(total.items()))


def merged(histograms: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """Cumulative counts of several histograms at all of their edges.

    At an edge that one of them lacks it has what it had at the last one below.
    """
    total: dict[float, float] = {}
    for edge in sorted({edge for one in histograms for edge in one}):
        total[edge] = sum(
            max((count for own, count in one.items() if own <= edge), default=0.0)
            for one in histograms
        )
    return total


class HistoryReader:
    """Asks for the past of one object."""

    def __init__(self, client: PrometheusClient, url: str, variants: int) -> None:
        self._client = client
        self._url = url
        self._variants = variants

    def extents(
        self, engines: Sequence[Engines], from_seconds: float, to_seconds: float
    ) -> tuple[Extent, ...]:
        """Look where samples are; raises ``InvalidHistory`` where no engine has any."""
        found = []
        for one in engines:
            ways = [one] if one.model is None else [one, one.without_workloads()]
            extents = (self._extent(way, from_seconds, to_seconds) for way in ways)
            found += [next((extent for extent in extents if extent is not None), None)]
        known = tuple(extent for extent in found if extent is not None)
        if not known:
            raise InvalidHistory(self._nothing(engines[0], from_seconds, to_seconds))
        return known

    def _extent(self, engines: Engines, from_seconds: float, to_seconds: float) -> Extent | None:
        hours = Grid(from_seconds, HOUR_SECONDS, ceil((to_seconds - from_seconds) / HOUR_SECONDS))
        first, last, most, pods = np.inf, -np.inf, 0.0, np.zeros(hours.steps + 1)
        for _, series in self._ranges(query.scrapes(engines, HOUR_SECONDS), hours, 1):
            at, values = numbers_of(series)
            some = values > 0.0
            if some.any():
                first, last = min(first, at[some][0]), max(last, at[some][-1])
                most = max(most, float(values.max()))
                np.add.at(pods, np.rint((at[some] - from_seconds) / HOUR_SECONDS).astype(int), 1.0)
        if most == 0.0:
            return None
        return Extent(
            engines=engines,
            begin_seconds=max(first - HOUR_SECONDS, from_seconds),
            end_seconds=min(last, to_seconds),
            scrape_seconds=max(1.0, float(np.rint(HOUR_SECONDS / most))),
            pods=int(pods.max()),
        )

    def _nothing(self, engines: Engines, from_seconds: float, to_seconds: float) -> str:
        days = (to_seconds - from_seconds) / _DAY_SECONDS
        shown = query.shown(engines.without_workloads() if engines.model else engines)
        others = query.models(engines.profile, engines.namespace, _DAY_SECONDS)
        grid = Grid(from_seconds, _DAY_SECONDS, ceil(days))
        label = engines.profile.model_label or engines.profile.pod_label
        names = sorted(
            {
                str(series["metric"].get(label, ""))
                for _, series in self._ranges(others, grid, 1)
                if series.get("metric")
            }
        )
        there = (
            f"there it has series of {', '.join(names[:5])}"
            if names
            else f"there is none of {engines.profile.name} in that namespace at all"
        )
        return (
            f"Prometheus has no series {shown} in the last {days:.3g} days; {there}: correct "
            "metadata.namespace, servedModelName and engine, or let Prometheus scrape the pods"
        )

    def counts(self, extent: Extent, grid: Grid) -> Counts:
        """Count what the pods of one model did in every step."""
        engines = extent.engines
        label = engines.profile.pod_label
        return self._counted(
            query.counts(engines),
            grid,
            extent,
            late=engines.profile.appears_late,
            whose=lambda labels: (labels.get(label, ""), engines.variant_of(labels.get(label, ""))),
        )

    def received(self, gateway: Gateway, extent: Extent, grid: Grid) -> Counts:
        """Count what came in outside the engines; all of it as the first variant's."""
        labels = gateway.profile.instance_labels
        return self._counted(
            query.received(gateway),
            grid,
            extent,
            late=False,
            whose=lambda found: ("/".join(found.get(label, "") for label in labels), 0),
        )

    def histograms(self, engines: Engines, grid: Grid) -> Buckets:
        """Growth of latency and length histograms in every step of a coarse grid."""
        found: dict[tuple[str, int], dict[int, dict[float, float]]] = {}
        expression = query.histograms(engines, grid.step_seconds)
        for _, series in self._ranges(expression, grid, _NUMBERS_PER_QUERY):
            if not series:
                continue
            at, values = numbers_of(series)
            part, edge = str(series["metric"]["part"]), float(series["metric"]["le"])
            name, number = part[:-1], int(part[-1])
            edge *= getattr(engines.profile, name)[number].unit
            window = np.rint((at - grid.begin_seconds) / grid.step_seconds).astype(int) - 1
            for w, value in zip(window.tolist(), values.tolist(), strict=True):
                if w >= 0 and np.isfinite(value):
                    found.setdefault((name, w), {}).setdefault(number, {})[edge] = value
        chosen = {}
        for key, alternatives in found.items():
            grown = [n for n in sorted(alternatives) if alternatives[n].get(np.inf, 0.0) > 0.0]
            if grown:
                chosen[key] = alternatives[grown[0]]
        return Buckets(grid.step_seconds, chosen)

    def _counted(
        self,
        expression: str,
        grid: Grid,
        extent: Extent,
        *,
        late: bool,
        whose: Callable[[Mapping[str, str]], tuple[str, int]],
    ) -> Counts:
        counting = Counting(
            grid=grid,
            scrape_seconds=extent.scrape_seconds,
            late=late,
            counts=Counts.empty(self._variants, grid.steps),
        )
        pods: dict[str, tuple[int, dict[str, Array]]] = {}
        current: tuple[int, int] | None = None
        # One edge more: what was counted at the last edge is known from the scrape after it.
        asked = Grid(grid.begin_seconds, grid.step_seconds, grid.steps + 1)
        for span, series in self._ranges(expression, asked, len(query.PARTS) * extent.pods):
            if span != current:
                if current is not None:
                    _take(counting, current, pods)
                current, pods = span, {}
            if series:
                _sort_in(series, grid, span, pods, whose)
        if current is not None:
            _take(counting, current, pods)
        return counting.counts

    def _ranges(
        self, expression: str, grid: Grid, series: int
    ) -> Iterator[tuple[tuple[int, int], Series]]:
        """Series of the grid's edges in chunks; an empty chunk yields one empty series."""
        size = int(
            np.clip(_NUMBERS_PER_QUERY // max(series, 1), _LEAST_EDGES_PER_QUERY, _EDGES_PER_QUERY)
        )
        for first in range(0, grid.steps + 1, size):
            last = min(first + size, grid.steps + 1) - 1
            edges = grid.edges(first, last)
            try:
                found = self._client.query_range(
                    expression, float(edges[0]), float(edges[-1]), grid.step_seconds
                )
            except QueryFailed as error:
                raise InvalidHistory(
                    f"--prometheus: {self._url} does not answer: {error}; give an address such as "
                    "http://localhost:9090 (kubectl port-forward), its credentials where it asks "
                    "for them, or fewer --days where it is too slow"
                ) from error
            for one in found or [{}]:
                yield (first, last), one


def numbers_of(series: Series) -> tuple[Array, Array]:
    """Times and values of a series, (samples,) each; raises ``InvalidHistory``."""
    if not series:
        return np.empty(0), np.empty(0)
    try:
        at, values = np.array(series["values"], dtype=np.float64).T
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidHistory(
            f"--prometheus: no series of a range query: {str(series)[:80]}"
        ) from error
    return at, values


def _sort_in(
    series: Series,
    grid: Grid,
    span: tuple[int, int],
    pods: dict[str, tuple[int, dict[str, Array]]],
    whose: Callable[[Mapping[str, str]], tuple[str, int]],
) -> None:
    first, last = span
    labels = series["metric"]
    pod, variant = whose(labels)
    if not pod.strip("/"):
        raise InvalidHistory(
            f"series such as {labels} name no pod; let the scrape's relabelling keep that label, "
            "without which a restart cannot be told from traffic"
        )
    if labels.get("part") == "twice":
        raise InvalidHistory(
            f"{pod or 'a pod'} has every series twice: it is scraped by two jobs, and all counts "
            "would be double; let one of them drop it"
        )
    at, values = numbers_of(series)
    index = np.rint((at - grid.begin_seconds) / grid.step_seconds).astype(np.int64) - first
    good = (index >= 0) & (index <= last - first) & np.isfinite(values) & (values >= 0.0)
    _, parts = pods.setdefault(pod, (variant, {}))
    of_part = parts.setdefault(str(labels["part"]), np.full(last - first + 1, np.nan))
    of_part[index[good]] = values[good]


def _take(
    counting: Counting,
    span: tuple[int, int],
    pods: Mapping[str, tuple[int, Mapping[str, Array]]],
) -> None:
    timed = {pod: known for pod, known in pods.items() if "time" in known[1]}
    counting.add(span[0], timed)
