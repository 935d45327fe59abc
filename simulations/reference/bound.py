"""The lower bound: what no policy can undercut at a given attainment and degraded share.

docs/lower-bound.md states the model and proves every step. In short: requests have a least replica
time (``prices``), released on arrival and due with the SLO (``work``); a path of replicas that does
it in time, misses and degraded requests priced, has a least cost (``relaxation``); taking the
allowed misses and degraded requests off at the same prices bounds the cost, whatever the prices.
So every figure computed here is a bound, and the largest is returned.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.policy import Slo
from controller.core.domain.variant import PerformanceProfile
from simulations.reference.prices import Moments, RequestPrices, request_prices
from simulations.reference.relaxation import least_cost
from simulations.reference.work import Window, WorkBuilder, WorkCurves
from simulations.traces.trace import Arrivals

#: Grains of work that the mean fleet does in a step: finer ones price a step's misses better.
GRAINS = 56.0
#: Grains of a step's work with a price of their own; beyond, the last price goes on.
COLUMNS = 96
#: Work under way at a time takes at most about so many steps of one replica.
STEPS_UNDER_WAY = 48.0
#: Windows of more steps than this, at 24 to a start, get half as many and coarser grains.
LONG_STEPS = 12_000
#: Prices tried, in seconds of a replica; the best is searched among them.
MISS_PRICES = 0.02 * 1.2 ** np.arange(64)
DEGRADED_PRICES = np.concatenate(([0.0], 0.002 * 1.35 ** np.arange(40)))
#: Grains by which sums of work may be off in double precision, taken the safe way.
ROUNDING = 1e-6
#: Shares of the least fleets' rent that are counted, where other variants have one.
RENT_SHARES = (0.0, 0.5, 1.0)

#: Opens the arrivals from the first one on, in chunks in order of time.
Chunks = Callable[[], Iterable[Arrivals]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One variant's true replicas, as far as the bound needs them.

    ``shortest_cold_start_seconds`` is the least GPU time a start takes before it serves that the
    world guarantees (0 when it guarantees none); ``min_replicas`` are billed at all times.
    """

    profile: PerformanceProfile
    cost_per_replica_hour: float
    shortest_cold_start_seconds: float = 0.0
    min_replicas: int = 0
    fallback: bool = False

    @property
    def cost_per_second(self) -> float:
        """Price of one replica-second."""
        return self.cost_per_replica_hour / 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What the bound takes for granted beside the engine's timing.

    Scenario time from ``from_seconds`` to ``to_seconds`` is billed, and requests that arrive in it
    count. ``preemption``: sequences may lose their KV and be recomputed. ``max_replicas`` of a
    primary can serve at once, draining ones included (None: not known). Beside these: arrivals do
    not depend on the policy, and no replica is faster than its profile.
    """

    from_seconds: float
    to_seconds: float
    preemption: bool = False
    max_replicas: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The bound, and its certificate: the multipliers at which anybody can evaluate it again.

    ``cost`` is the larger of ``path_cost`` (replicas are whole and starts are paid) and
    ``work_cost`` (work alone). ``miss_price`` and ``degraded_price`` are the prices of one request
    at the best ``path_cost``; ``work_replica_seconds`` is the least work of all requests on the
    primary whose ``prices`` these are.
    """

    cost: float
    path_cost: float
    work_cost: float
    attainment: float
    degraded_share: float
    requests: float
    miss_price: float
    degraded_price: float
    work_replica_seconds: float
    step_seconds: float
    prices: RequestPrices


@dataclass(frozen=True, slots=True)
class _Grid:
    """The work curves of one primary in whole grains."""

    upper: NDArray[np.int64]
    lower: NDArray[np.int64]
    most: int


class _Primary:
    """The bound with one primary's replicas as the path; all other variants are departures."""

    def __init__(
        self,
        main: Server,
        others: tuple[Server, ...],
        prices: RequestPrices,
        curves: WorkCurves,
        window: Window,
        assumed: Assumptions,
    ) -> None:
        self._main = main
        self._others = others
        self._prices = prices
        self._curves = curves
        self._window = window
        self._grid = _grid(curves, window, main.min_replicas, assumed.max_replicas)
        self._mean_work = curves.total / max(curves.requests, 1)
        self._alike = np.full(
            (len(curves.dearest), 2), np.nextafter(np.float32(self._mean_work), np.float32(np.inf))
        )
        self._known: dict[tuple[bool, float, int, int], float] = {}

    def at(
        self, attainment: float, degraded_share: float, requests: float | None, *, size_blind: bool
    ) -> Bound:
        """Return the best bound over all prices tried."""
        counted = float(self._curves.requests if requests is None else requests)
        missed = (1.0 - attainment) * counted
        fallen = degraded_share * counted
        shares = RENT_SHARES if any(s.min_replicas for s in self._others) else (1.0,)
        best, at = 0.0, (0, 0)
        if self._window.steps > 0 and self._start_price() > 0.0:
            for share in shares:
                value, where = self._search(missed, fallen, share, size_blind=size_blind)
                if value > best:
                    best, at = value, where
        work = self._work_cost(missed, fallen, size_blind=size_blind)
        return Bound(
            cost=max(best, work),
            path_cost=best,
            work_cost=work,
            attainment=attainment,
            degraded_share=degraded_share,
            requests=counted,
            miss_price=float(MISS_PRICES[at[0]]) * self._main.cost_per_second,
            degraded_price=float(DEGRADED_PRICES[at[1]]) * self._main.cost_per_second,
            work_replica_seconds=self._curves.total,
            step_seconds=self._window.step_seconds,
            prices=self._prices,
        )

    def _start_price(self) -> float:
        """Seconds of a start left after rounding an interval to whole steps at both ends."""
        return self._main.shortest_cold_start_seconds - 2.0 * self._window.step_seconds

    def _search(
        self, missed: float, fallen: float, share: float, *, size_blind: bool
    ) -> tuple[float, tuple[int, int]]:
        """Maximise over both prices by turns: concave in each, so a turn has one top.

        Any prices give a bound; turns ask for a third of the prices that a search in a search does.
        """
        unit = self._main.cost_per_second
        degraded = any(s.fallback for s in self._others)

        def with_prices(m: int, d: int) -> float:
            allowance = MISS_PRICES[m] * missed + DEGRADED_PRICES[d] * fallen
            return self._priced(share, m, d, size_blind=size_blind) - unit * float(allowance)

        def with_degraded_price(d: int, m: int) -> float:
            return with_prices(m, d)

        at = (_top(partial(with_degraded_price, 0), len(MISS_PRICES)), 0)
        value = with_prices(*at)
        while degraded:
            d = _top(partial(with_prices, at[0]), len(DEGRADED_PRICES))
            m = _top(partial(with_degraded_price, d), len(MISS_PRICES))
            better = with_prices(m, d)
            if better <= value:
                break
            value, at = better, (m, d)
        return value, at

    def _priced(self, share: float, miss: int, degraded: int, *, size_blind: bool) -> float:
        """Least cost with misses and degraded requests priced; kept, for other budgets ask again.

        Of an other variant's bill, ``share`` counts as rent for its work and the rest as the rent
        of its least fleet.
        """
        key = (size_blind, share, miss, degraded)
        if key in self._known:
            return self._known[key]
        unit = self._main.cost_per_second
        away = [np.inf, np.inf]
        rent = 0.0
        for server, ratio in zip(self._others, self._curves.cheapest_ratio, strict=True):
            part = share if server.min_replicas else 1.0
            rent += (1.0 - part) * server.min_replicas * server.cost_per_second
            rate = part * server.cost_per_second * float(ratio)
            away[server.fallback] = min(away[server.fallback], rate)
        seconds = self._window.step_seconds
        value = least_cost(
            self._grid.upper,
            self._grid.lower,
            self._alike if size_blind else self._curves.dearest,
            self._window.grain_seconds,
            self._window.grains_per_step,
            (self._main.min_replicas, self._grid.most),
            unit * seconds,
            unit * self._main.shortest_cold_start_seconds,
            unit * seconds,
            (
                unit * float(MISS_PRICES[miss]),
                away[0],
                unit * float(DEGRADED_PRICES[degraded]),
                away[1],
            ),
        )
        value += rent * seconds * self._window.steps
        self._known[key] = float(value)
        return float(value)

    def _work_cost(self, missed: float, fallen: float, *, size_blind: bool) -> float:
        """Bound without time: all work but the dearest misses, at the cheapest rates there are."""
        unit = self._main.cost_per_second
        rates = [
            server.cost_per_second * float(ratio)
            for server, ratio in zip(self._others, self._curves.cheapest_ratio, strict=True)
        ]
        primary = min(
            [unit] + [r for r, s in zip(rates, self._others, strict=True) if not s.fallback]
        )
        fallback = min(
            [primary] + [r for r, s in zip(rates, self._others, strict=True) if s.fallback]
        )
        if size_blind:
            free, cheaper = (n * self._mean_work for n in (missed, fallen))
        else:
            free = _dearest(self._curves, missed)
            cheaper = _dearest(self._curves, missed + fallen) - free
        # Work that came too late to be due in the window may be left undone.
        due = float(self._curves.due[-1]) if len(self._curves.due) else 0.0
        work = primary * (due - free) - (primary - fallback) * cheaper
        servers = (self._main, *self._others)
        seconds = self._window.step_seconds * self._window.steps
        rent = sum(s.min_replicas * s.cost_per_second for s in servers) * seconds
        return max(work, rent, 0.0)


def _grid(curves: WorkCurves, window: Window, min_replicas: int, max_replicas: int | None) -> _Grid:
    """Round the curves to grains, outwards; replicas beyond ``most`` would find nothing to do."""
    grain = window.grain_seconds
    upper = np.floor(curves.released / grain + ROUNDING).astype(np.int64) + 1
    lower = np.floor(np.maximum(curves.due / grain - ROUNDING, 0.0)).astype(np.int64)
    useful = int(np.max(upper[1:] - lower[:-1], initial=0))
    most = -(-useful // window.grains_per_step)
    if max_replicas is not None:
        most = min(most, max_replicas)
    return _Grid(upper, lower, max(most, min_replicas))


def _dearest(curves: WorkCurves, requests: float) -> float:
    """Most work of so many requests, in replica-seconds."""
    counts, work, edges = (a[::-1] for a in (curves.bin_counts, curves.bin_work, curves.bin_edges))
    part = np.clip(requests - (np.cumsum(counts) - counts), 0.0, counts)
    most = np.where(part > 0.0, part, 1.0) * edges
    return float(np.sum(np.where(part > 0.0, np.minimum(most, work), 0.0)))


def _top(value: Callable[[int], float], size: int) -> int:
    """Index of the largest of ``size`` values that rise and then fall: Fibonacci search."""
    lengths = [1, 1]
    while lengths[-1] - 1 < size:
        lengths.append(lengths[-1] + lengths[-2])

    def at(index: int) -> float:
        return value(index) if index < size else -np.inf

    low = 0
    for k in range(len(lengths) - 1, 2, -1):
        if at(low + lengths[k - 2] - 1) < at(low + lengths[k - 1] - 1):
            low += lengths[k - 2]
    return low


class LowerBound:
    """The bound of one scenario, ready for any attainment and degraded share."""

    def __init__(self, primaries: tuple[_Primary, ...]) -> None:
        self._primaries = primaries

    def at(
        self,
        attainment: float,
        degraded_share: float = 0.0,
        *,
        requests: float | None = None,
        size_blind: bool = False,
    ) -> Bound:
        """Bound the cost of every run with at least this attainment and at most this share.

        ``requests`` is the number of requests the run was scored on, where it differs from the
        arrivals of the window (a run may also be scored on requests from before it).

        The bound lets a run miss and degrade the dearest requests. ``size_blind`` bounds only runs
        whose missed requests, and whose degraded ones, have no more work each than requests have
        on average, as where who is refused does not depend on tokens: higher, and conditional.

        Raises:
            ValueError: a share outside [0, 1].
        """
        for name, share in (("attainment", attainment), ("degraded_share", degraded_share)):
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"{name} is {share}: give a share in [0, 1]")
        found = [
            primary.at(attainment, degraded_share, requests, size_blind=size_blind)
            for primary in self._primaries
        ]
        return max(found, key=lambda bound: bound.cost)


def prepare_bound(
    chunks: Chunks,
    servers: tuple[Server, ...],
    slo: Slo,
    assumed: Assumptions,
    *,
    moments: Moments | None = None,
) -> LowerBound:
    """Read the arrivals and return the bound, to be asked at any attainment.

    ``moments`` choose the prices (any give a valid bound); None reads the arrivals once more.

    Raises:
        ValueError: no primary, a window without length, or moments that are not of these arrivals.
    """
    if not any(not server.fallback for server in servers):
        raise ValueError("no primary among the servers: everything would be degraded")
    if not assumed.to_seconds > assumed.from_seconds:
        raise ValueError("to_seconds must lie after from_seconds")
    if moments is None:
        moments = Moments.of_all(chunks())
    prices = tuple(
        request_prices(server.profile, slo, moments, preemption=assumed.preemption)
        for server in servers
    )
    builders = []
    for i, server in enumerate(servers):
        if server.fallback:
            continue
        window = _resolution(server, slo, prices[i], moments, assumed)
        others = tuple(p for j, p in enumerate(prices) if j != i)
        builders.append((i, window, WorkBuilder(window, slo, prices[i], others, columns=COLUMNS)))
    for chunk in chunks():
        if Moments.of(chunk).longest_context > moments.longest_context:
            raise ValueError("moments.longest_context is below a request's: prices do not hold")
        for _, _, builder in builders:
            builder.add(chunk)
    return LowerBound(
        tuple(
            _Primary(
                servers[i],
                tuple(s for j, s in enumerate(servers) if j != i),
                prices[i],
                builder.finish(),
                window,
                assumed,
            )
            for i, window, builder in builders
        )
    )


def _resolution(
    server: Server, slo: Slo, prices: RequestPrices, moments: Moments, assumed: Assumptions
) -> Window:
    """Steps and grains as fine as pays; any choice gives a bound.

    Steps are short against a start, grains small against a step's work. The states of the
    programme are replicas by grains under way, so traffic with much under way, and long windows,
    get coarser ones.
    """
    seconds = assumed.to_seconds - assumed.from_seconds
    start = server.shortest_cold_start_seconds
    mean_replicas = max(prices.milliseconds(moments) * 1e-3 / seconds, 1e-6)
    life = slo.ttft_seconds + slo.tpot_seconds * moments.decode_steps / moments.requests
    under_way = mean_replicas * life if np.isfinite(life) else np.inf
    long = seconds * 24.0 > LONG_STEPS * start
    step = min(max(start / 24.0, under_way / STEPS_UNDER_WAY), start / 8.0)
    step = max(step, start / 12.0) if long else step
    return Window(
        from_seconds=assumed.from_seconds,
        to_seconds=assumed.to_seconds,
        step_seconds=min(step, seconds) if start > 0.0 else seconds,
        grains_per_step=int(np.clip(GRAINS / mean_replicas, 2.0, 4.0 if long else 16.0)),
    )


def lower_bound(
    chunks: Chunks,
    servers: tuple[Server, ...],
    slo: Slo,
    assumed: Assumptions,
    *,
    attainment: float,
    degraded_share: float = 0.0,
) -> Bound:
    """Bound the cost of every policy that attains so much; see ``prepare_bound``."""
    return prepare_bound(chunks, servers, slo, assumed).at(attainment, degraded_share)


class ScoredRun(Protocol):
    """A policy's run, as far as it is held against the bound."""

    @property
    def name(self) -> str:
        """The policy."""
        ...

    @property
    def cost(self) -> float:
        """Cost in the price table's currency."""
        ...

    @property
    def attainment(self) -> float:
        """Share of good requests."""
        ...

    @property
    def degraded_share(self) -> float:
        """Share of requests a fallback served."""
        ...

    @property
    def requests(self) -> int:
        """Requests the shares are of."""
        ...


def bounds_of(bound: LowerBound, runs: Iterable[ScoredRun]) -> dict[str, Bound]:
    """The bound at every run's own attainment and degraded share, by the run's name."""
    return {
        run.name: bound.at(run.attainment, run.degraded_share, requests=float(run.requests))
        for run in runs
    }


def below_bound(bound: LowerBound, runs: Iterable[ScoredRun]) -> dict[str, float]:
    """What each run that undercuts the bound costs over it (below 1): empty, or a defect."""
    runs = tuple(runs)
    bounds = bounds_of(bound, runs)
    return {
        run.name: run.cost / bounds[run.name].cost
        for run in runs
        if run.cost < bounds[run.name].cost
    }
