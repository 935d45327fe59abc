"""Differences between looks obey conservation, whatever pods come, go, restart or hide."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.adapters.prometheus.counters import Counters, PodKey, Sample

STEP_SECONDS = 15.0


@dataclass
class Engine:
    """A pod's engine and what truly happened in it since it was created."""

    created: float
    ended: float = 0.0
    refused: float = 0.0
    outstanding: float = 0.0
    arrived: float = 0.0

    def live(self, arrived: int, refused: int, ending: float) -> None:
        """Let requests come, be refused and end."""
        self.arrived += arrived + refused
        self.refused += refused
        self.outstanding += arrived
        ended = float(round(self.outstanding * ending))
        self.outstanding -= ended
        self.ended += ended


events = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 5), st.floats(0, 1), st.booleans(), st.booleans()),
    min_size=2,
    max_size=20,
)


@given(events)
@settings(deadline=None, max_examples=200)
def test_all_arrivals_at_living_pods_are_told_once(
    story: list[tuple[int, int, float, bool, bool]],
) -> None:
    """New pods count from 0, hidden looks are made up for, and nothing is told twice."""
    counters = Counters()
    engines = [Engine(created=-100.0)]
    told = base = 0.0
    for step, (arrived, refused, ending, adds, hidden) in enumerate(story):
        now = step * STEP_SECONDS
        if adds and step:
            engines.append(Engine(created=now - 1.0))
        for engine in engines:
            engine.live(arrived, refused, ending)
        if step == 0:
            base = engines[0].arrived
        if hidden and step:
            continue  # a look that is not whole is not taken
        samples = {
            PodKey(0, str(i)): Sample(
                at_seconds=now,
                counters={"ended": engine.ended, "refused": engine.refused},
                outstanding=engine.outstanding,
            )
            for i, engine in enumerate(engines)
        }
        created = {PodKey(0, str(i)): engine.created for i, engine in enumerate(engines)}
        difference = counters.look(samples, created)
        if difference is not None:
            told += difference.arrived
            expected = sum(engine.arrived for engine in engines) - base
            assert told == expected


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=2, max_size=20),
)
@settings(deadline=None)
def test_arrivals_are_never_negative_and_a_disagreement_is_made_up(
    looks: list[tuple[int, int]],
) -> None:
    """A gauge a request behind its counter neither takes arrivals back nor invents any."""
    counters = Counters()
    ended = 0.0
    told = most = 0.0
    first = None
    for step, (more, outstanding) in enumerate(looks):
        ended += more
        sample = Sample(
            at_seconds=step * STEP_SECONDS,
            counters={"ended": ended},
            outstanding=float(outstanding),
        )
        first = first or sample
        difference = counters.look({PodKey(0, "a"): sample}, {PodKey(0, "a"): -1.0})
        if difference is not None:
            assert difference.arrived >= 0.0
            told += difference.arrived
            most = max(most, ended + outstanding - first.counters["ended"] - first.outstanding)
            assert told == most


def test_pods_scraped_at_different_times_give_contiguous_intervals() -> None:
    """Each pod has its own scrape offset: an interval ends at their mean, where the next begins."""
    counters = Counters()
    ends = []
    created = {PodKey(0, pod): -1.0 for pod in "ab"}
    for step in range(4):
        samples = {
            PodKey(0, pod): Sample(
                at_seconds=step * STEP_SECONDS + offset,
                counters={"ended": 10.0 * step},
                outstanding=0.0,
            )
            for pod, offset in (("a", 0.0), ("b", 8.0))
        }
        difference = counters.look(samples, created)
        if difference is not None:
            ends.append((difference.from_seconds, difference.to_seconds, difference.arrived))
    assert ends == [(4.0, 19.0, 20.0), (19.0, 34.0, 20.0), (34.0, 49.0, 20.0)]
