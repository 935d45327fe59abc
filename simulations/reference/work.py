"""The work that traffic brings, as the lower bound sees it: released, due, and dear.

Work is the least replica time of requests (``RequestPrices``). A request's work is released when
it arrives; its prompt's part is due when a good first token is, the rest when a good last token is.
Requests are read chunk by chunk; what is kept grows with the number of time steps alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numba import njit
from numpy.typing import NDArray

from controller.core.domain.policy import Slo
from simulations.reference.prices import RequestPrices
from simulations.traces.trace import Arrivals

#: Requests are sorted by work into bins of this ratio, each counted as its dearest.
BIN_RATIO = 1.015
_BINS = 848
#: Work of the lowest bin, in replica-seconds.
_LEAST_WORK = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Scenario time that is billed and whose arrivals count, in steps of equal length.

    A replica does ``grains_per_step`` grains of work in a step.
    """

    from_seconds: float
    to_seconds: float
    step_seconds: float
    grains_per_step: int

    @property
    def steps(self) -> int:
        """Whole steps; what is left at the end is given away."""
        return int((self.to_seconds - self.from_seconds) / self.step_seconds + 1e-9)

    @property
    def grain_seconds(self) -> float:
        """Replica-seconds of one grain."""
        return self.step_seconds / self.grains_per_step


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WorkCurves:
    """Work by step, in replica-seconds, for S steps.

    ``released`` (S + 1,) by the start of each step and at the end; ``due`` (S + 1,) alike;
    ``dearest`` (S, J): work of the request at which dropping the dearest first has freed
    j grains, rounded up; ``total`` all work of the window's arrivals,
    ``requests`` their number; ``cheapest_ratio`` (others,) least work on another variant over
    work on this one; ``bin_counts``, ``bin_work`` and ``bin_edges`` (bins,), lightest first, are
    the requests, their work and the most one of them takes, by work.
    """

    released: NDArray[np.float64]
    due: NDArray[np.float64]
    dearest: NDArray[np.float32]
    total: float
    requests: int
    cheapest_ratio: NDArray[np.float64]
    bin_counts: NDArray[np.float64]
    bin_work: NDArray[np.float64]
    bin_edges: NDArray[np.float64]


@dataclass(slots=True, kw_only=True)
class _Bins:
    """Work by step and bin of the steps that are not complete yet."""

    first_step: int
    work: NDArray[np.float64]
    rows: list[NDArray[np.float32]] = field(default_factory=list)


def _bin_edges() -> NDArray[np.float64]:
    """Most work of a request in each bin; the last has no end."""
    edges = _LEAST_WORK * BIN_RATIO ** np.arange(_BINS)
    edges[-1] = np.inf
    return np.asarray(edges, np.float64)


@njit(cache=True)
def _dearest(
    work: NDArray[np.float64], edges: NDArray[np.float64], grain: float, columns: int
) -> NDArray[np.float32]:
    """Work of the marginal request at every grain of a step's work that leaves, dearest first.

    ``work`` (steps, bins) lightest bin first. Where nothing is left any price holds, and the lowest
    bin's is next to forbidding.
    """
    rows = np.empty((len(work), columns), np.float32)
    for t in range(len(work)):
        b = len(edges) - 1
        freed = work[t, b]
        for j in range(columns):
            while freed <= j * grain and b > 0:
                b -= 1
                freed += work[t, b]
            rows[t, j] = np.nextafter(np.float32(edges[b]), np.float32(np.inf))
    return rows


class WorkBuilder:
    """Adds up chunks of arrivals, which come in order of time."""

    def __init__(
        self,
        window: Window,
        slo: Slo,
        prices: RequestPrices,
        others: tuple[RequestPrices, ...],
        *,
        columns: int,
    ) -> None:
        self._window = window
        self._slo = slo
        self._prices = prices
        self._others = others
        self._grain = window.grain_seconds
        self._columns = columns
        steps = window.steps
        self._released = np.zeros(steps + 2)
        self._due = np.zeros(steps + 2)
        self._bins = _Bins(first_step=0, work=np.zeros((0, _BINS)))
        self._ratio = np.full(len(others), np.inf)
        self._requests = 0
        self._total = 0.0
        self._counts = np.zeros(_BINS)
        self._sums = np.zeros(_BINS)

    def add(self, arrivals: Arrivals) -> None:
        """Take in one chunk; arrivals outside the window are passed over."""
        window = self._window
        end = window.from_seconds + window.steps * window.step_seconds
        inside = (arrivals.seconds >= window.from_seconds) & (arrivals.seconds < window.to_seconds)
        arrivals = Arrivals(
            seconds=arrivals.seconds[inside],
            prompt_tokens=arrivals.prompt_tokens[inside],
            output_tokens=arrivals.output_tokens[inside],
        )
        if not len(arrivals):
            return
        self._requests += len(arrivals)
        prefill = self._prices.prefill_seconds(arrivals)
        work = prefill + self._prices.decode_seconds(arrivals)
        self._total += float(work.sum())
        for i, other in enumerate(self._others):
            there = other.prefill_seconds(arrivals) + other.decode_seconds(arrivals)
            self._ratio[i] = min(self._ratio[i], float(np.min(there / work)))
        at = arrivals.seconds - window.from_seconds
        step = (at / window.step_seconds).astype(np.int64)
        self._count(step, work)
        first_token = arrivals.seconds + self._slo.ttft_seconds
        self._fall_due(first_token, prefill, end)
        tpot = self._slo.tpot_seconds
        more = arrivals.output_tokens > 1
        last_token = first_token.copy()
        last_token[more] += (arrivals.output_tokens[more] - 1) * tpot
        self._fall_due(last_token, work - prefill, end)

    def _fall_due(
        self, deadline: NDArray[np.float64], work: NDArray[np.float64], end: float
    ) -> None:
        """Count ``work`` as due at the first step edge at or after its deadline."""
        kept = deadline <= end
        edge = np.ceil((deadline[kept] - self._window.from_seconds) / self._window.step_seconds)
        index = np.minimum(edge.astype(np.int64), len(self._due) - 1)
        self._due += np.bincount(index, weights=work[kept], minlength=len(self._due))

    def _count(self, step: NDArray[np.int64], work: NDArray[np.float64]) -> None:
        """Count work as released, and sort it into the bins of its step."""
        index = np.minimum(step + 1, len(self._released) - 1)
        self._released += np.bincount(index, weights=work, minlength=len(self._released))
        bins = np.ceil(np.log(np.maximum(work, _LEAST_WORK) / _LEAST_WORK) / np.log(BIN_RATIO))
        bins = np.minimum(bins, _BINS - 1).astype(np.int64)
        self._counts += np.bincount(bins, minlength=_BINS)
        self._sums += np.bincount(bins, weights=work, minlength=_BINS)
        self._grow(int(step[-1]) + 1)
        flat = (step - self._bins.first_step) * _BINS + bins
        size = self._bins.work.size
        self._bins.work += np.bincount(flat, weights=work, minlength=size).reshape(-1, _BINS)
        self._close(int(step[-1]))

    def _grow(self, steps: int) -> None:
        missing = steps - self._bins.first_step - len(self._bins.work)
        if missing > 0:
            self._bins.work = np.concatenate([self._bins.work, np.zeros((missing, _BINS))])

    def _close(self, before_step: int) -> None:
        """Turn the bins of complete steps into rows."""
        complete = before_step - self._bins.first_step
        if complete <= 0:
            return
        self._bins.rows.append(
            _dearest(self._bins.work[:complete], _bin_edges(), self._grain, self._columns)
        )
        self._bins.work = self._bins.work[complete:]
        self._bins.first_step = before_step

    def finish(self) -> WorkCurves:
        """Close the last steps and return the curves."""
        steps = self._window.steps
        self._grow(steps)
        self._close(self._bins.first_step + len(self._bins.work))
        rows = (
            np.concatenate(self._bins.rows)
            if self._bins.rows
            else np.zeros((steps, self._columns), np.float32)
        )
        return WorkCurves(
            released=np.cumsum(self._released)[: steps + 1],
            due=np.cumsum(self._due)[: steps + 1],
            dearest=rows[:steps],
            total=self._total,
            requests=self._requests,
            cheapest_ratio=self._ratio,
            bin_counts=self._counts,
            bin_work=self._sums,
            bin_edges=_bin_edges(),
        )


def work_curves(builder: WorkBuilder, chunks: Iterable[Arrivals]) -> WorkCurves:
    """Read all chunks once."""
    for chunk in chunks:
        builder.add(chunk)
    return builder.finish()
