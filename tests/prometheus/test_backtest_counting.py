"""Counters of pods on a grid of steps: nothing lost, nothing told twice, gaps told."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulations.backtest.counting import Counting, Counts, Grid
from simulations.backtest.history import bridged

SCRAPE = 15.0
GRID = Grid(0.0, 60.0, 40)


@dataclass
class Pod:
    """A pod's scrapes: times, and finished requests; as many are in it as ``outstanding``."""

    at: NDArray[np.float64]
    ended: NDArray[np.float64]
    outstanding: NDArray[np.float64]
    created: float | None = None

    def parts(self, first: int, last: int) -> dict[str, NDArray[np.float64]]:
        """What a range query shows at the edges: the last sample, five minutes at most."""
        edges = GRID.edges(first, last)
        index = np.searchsorted(self.at, edges, side="right") - 1
        stale = (index < 0) | (edges - self.at[np.maximum(index, 0)] > 300.0)
        index = np.maximum(index, 0)

        def shown(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.where(stale, np.nan, values[index])

        parts = {
            "time": shown(self.at),
            "running": shown(self.outstanding),
            "ended": shown(self.ended),
            "prompt_tokens": shown(100.0 * self.ended),
            "token_requests": shown(self.ended),
        }
        if self.created is not None:
            parts["created"] = shown(np.full(len(self.at), self.created))
        return parts


def steady(
    rate: float, begin: float = -600.0, end: float = 2700.0, phase: float = 0.0, **more: Any
) -> Pod:
    """A pod that ends ``rate`` requests a second and is scraped at a phase."""
    at = np.arange(begin + phase, end, SCRAPE)
    return Pod(at, rate * (at - begin), np.zeros(len(at)), **more)


def count(pods: dict[str, Pod], chunk: int = 41) -> Counts:
    """Take the pods' samples, so many edges at a time."""
    counting = Counting(
        grid=GRID, scrape_seconds=SCRAPE, late=False, counts=Counts.empty(1, GRID.steps)
    )
    for first in range(0, GRID.steps + 2, chunk):
        last = min(first + chunk, GRID.steps + 2) - 1
        known = {name: (0, pod.parts(first, last)) for name, pod in pods.items()}
        counting.add(
            first, {name: one for name, one in known.items() if np.isfinite(one[1]["time"]).any()}
        )
    return counting.counts


@settings(deadline=None)
@given(
    st.lists(st.floats(0.0, 14.9), min_size=1, max_size=4),
    st.sampled_from([3, 7, 60]),
    st.integers(0, 2**31),
)
def test_what_came_is_what_is_counted(phases: list[float], chunk: int, seed: int) -> None:
    """Whatever the phase of a pod's scrapes and the size of the chunks, sums are exact."""
    rng = np.random.default_rng(seed)
    pods, came = {}, 0.0
    for number, phase in enumerate(phases):
        at = np.arange(-600.0 + phase, 2700.0, SCRAPE)
        arrived = np.cumsum(rng.poisson(20.0, len(at))).astype(float)
        outstanding = np.minimum(rng.poisson(5.0, len(at)), np.diff(arrived, prepend=0.0))
        pods[f"pod-{number}"] = Pod(at, arrived - outstanding, outstanding)
        came += float(np.diff(np.interp([0.0, 2400.0], at, arrived))[0])
    counts = count(pods, chunk)
    # Only samples at the edges are read, so that the first and last step are between two of them.
    assert counts.total("arrived").sum() == pytest.approx(came, abs=40.0 * len(pods))
    whole = count(pods)
    assert counts.total("arrived") == pytest.approx(whole.total("arrived"))
    assert counts.total("prompt_tokens") == pytest.approx(100.0 * counts.total("ended"))
    assert np.all(counts.pods == len(pods))
    assert not counts.unseen.any()


@settings(deadline=None)
@given(st.floats(0.0, 14.9), st.floats(0.1, 50.0))
def test_a_steady_rate_is_read_at_any_phase(phase: float, rate: float) -> None:
    """A step that lies between two scrapes has its share of what was counted between them."""
    counts = count({"a": steady(rate, phase=phase)})
    assert counts.total("arrived") == pytest.approx(60.0 * rate)


def test_a_new_pod_has_counted_from_zero() -> None:
    """What it did before its first scrape came in that scrape's step."""
    counts = count({"a": steady(2.0), "b": steady(3.0, begin=1200.0 - 5.0)})
    arrived = counts.total("arrived")
    assert arrived[:19] == pytest.approx(120.0)
    assert arrived[21:] == pytest.approx(300.0)
    assert arrived.sum() == pytest.approx(40 * 120.0 + 3.0 * (2400.0 - 1195.0))
    assert counts.pods[0, 19] == 1
    assert counts.pods[0, 21] == 2


def test_pods_that_were_there_at_first_are_no_traffic() -> None:
    """Counters of months are a beginning, also after a gap in which all changed."""
    old = steady(2.0)
    old.ended = old.ended + 1e7
    assert count({"a": old}).total("arrived") == pytest.approx(120.0)
    before = steady(2.0, end=600.0)
    after = steady(2.0, begin=1500.0)
    after.ended = after.ended + 1e7
    counts = count({"a": before, "b": after})
    assert counts.total("arrived").max() == pytest.approx(120.0)


def test_a_pod_that_says_when_it_began_is_believed() -> None:
    """One that was there unseen begins at its first sample; one that began in a gap counts."""
    strange = steady(1.0, begin=1200.0, created=-5000.0)
    strange.ended = strange.ended + 1e6
    counts = count({"a": steady(2.0), "b": strange})
    assert counts.total("arrived").max() == pytest.approx(180.0)
    born = steady(1.0, begin=1200.0, created=1200.0)
    counts = count({"a": steady(2.0, created=-9000.0), "b": born})
    assert counts.total("arrived").sum() == pytest.approx(40 * 120.0 + 1200.0)


def test_a_restart_counts_from_zero_again() -> None:
    """A counter that went back lost nothing but what was in the engine, which had arrived."""
    pod = steady(2.0)
    half = len(pod.at) // 2
    pod.ended[half:] -= pod.ended[half]
    counts = count({"a": pod})
    assert counts.total("arrived").min() >= 0.0
    assert counts.total("arrived").sum() == pytest.approx(40 * 120.0, abs=120.0)


def test_a_gap_is_told_and_its_counters_are_shared_out() -> None:
    """Steps without a scrape are unseen; the same pods tell afterwards how many came."""
    pod = steady(2.0)
    there = (pod.at < 600.0) | (pod.at >= 1500.0)
    pod = Pod(pod.at[there], pod.ended[there], pod.outstanding[there])
    counts = count({"a": pod})
    assert counts.total("arrived") == pytest.approx(120.0)
    assert counts.unseen[11:24].all()
    assert not counts.unseen[:9].any()
    assert not counts.unseen[26:].any()
    imputed = (counts.seen == 0.0) | (counts.unseen >= counts.seen)
    assert imputed[11:24].all()
    filled = bridged(counts.total("arrived"), imputed, counts.seen, counts.unseen, 60.0)
    assert filled == pytest.approx(120.0)


def test_a_gap_that_pods_did_not_outlive_is_bridged() -> None:
    """Never zero: a straight line between the means of the ten minutes beside it."""
    before, after = steady(2.0, end=600.0), steady(4.0, begin=1500.0)
    counts = count({"a": before, "b": after})
    imputed = (counts.seen == 0.0) | (counts.unseen >= counts.seen)
    filled = bridged(counts.total("arrived"), imputed, counts.seen, counts.unseen, 60.0)
    low, high = int(np.argmax(imputed)), 40 - int(np.argmax(imputed[::-1]))
    assert np.all(np.diff(filled[low:high]) > 0.0)
    assert filled[low:high].min() >= 100.0
    assert filled[low:high].max() <= 260.0


def test_an_engine_that_shows_counters_late_has_counted_nothing() -> None:
    """Before a late engine's first request it shows gauges only, and these are zeros."""
    pod = steady(0.0)
    parts = pod.parts(0, 40)
    parts["ended"] = np.where(np.arange(41) < 20, np.nan, 30.0)
    for late, expected in ((True, 30.0), (False, 0.0)):
        counting = Counting(
            grid=GRID, scrape_seconds=SCRAPE, late=late, counts=Counts.empty(1, GRID.steps)
        )
        counting.add(0, {"a": (0, parts)})
        assert counting.counts.total("arrived").sum() == pytest.approx(expected)
