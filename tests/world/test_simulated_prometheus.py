"""What a policy sees: counters at scrapes, late, with gaps, and never a zero for the unknown."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.observation import (
    TOKEN_EDGES,
    Measured,
    Missing,
    MissingReason,
    Outcomes,
    Traffic,
)
from controller.core.domain.policy import Policy
from simulations.engine.fleet import EngineConfig, Fleet, PoolSpec
from simulations.setup import TPOT_EDGES_SECONDS, TTFT_EDGES_SECONDS, Prepared
from simulations.world.conditions import Conditions, Fault, FaultKind, Interval, Metrics
from simulations.world.metrics import SimulatedPrometheus

ORIGIN = 1e9
TTFT_SECONDS, TPOT_SECONDS = 1.0, 0.05


@dataclass(frozen=True)
class Store:
    """A metrics store beside one pool of two replicas and an idle one of one."""

    prometheus: SimulatedPrometheus
    fleet: Fleet

    def send(self, count: int, at_seconds: float, prompt: int = 100, output: int = 10) -> None:
        """Let ``count`` requests arrive at once."""
        self.fleet.advance(
            at_seconds,
            np.full(count, at_seconds),
            np.full(count, prompt),
            np.full(count, output),
        )

    def scrape_to(self, seconds: float) -> None:
        """Scrape every 15 s from the present up to ``seconds``."""
        first = int(self.fleet.now_seconds // 15.0) * 15.0 + 15.0
        for at in np.arange(first, seconds + 1e-9, 15.0):
            self.fleet.advance(float(at))
            self.prometheus.scrape(float(at))


MakeStore = Callable[..., Store]


@pytest.fixture
def policy(prepared: Callable[..., Prepared]) -> Policy:
    """Return the small scenario's policy."""
    return prepared().setup.policy


@pytest.fixture
def store(policy: Policy) -> MakeStore:
    """Make a store that has taken its first scrape at second 0."""

    def make(
        *faults: Fault, metrics: Metrics | None = None, queue_limit: int | None = None
    ) -> Store:
        return _store(policy, faults, metrics, queue_limit)

    return make


def _store(
    policy: Policy,
    faults: tuple[Fault, ...] = (),
    metrics: Metrics | None = None,
    queue_limit: int | None = None,
) -> Store:
    config = EngineConfig(
        ttft_threshold_seconds=TTFT_SECONDS,
        tpot_threshold_seconds=TPOT_SECONDS,
        ttft_edges_seconds=TTFT_EDGES_SECONDS,
        tpot_edges_seconds=TPOT_EDGES_SECONDS,
    )
    pools = tuple(
        PoolSpec(profile=variant.profile, queue_limit=queue_limit) for variant in policy.variants
    )
    fleet = Fleet(pools, config, 8)
    for pool in (0, 0, 1):
        fleet.add_replica(pool, 0.0)
    conditions = Conditions(cold_starts=(), metrics=metrics or Metrics(), faults=faults)
    made = Store(SimulatedPrometheus(policy, conditions, fleet, ORIGIN), fleet)
    made.prometheus.scrape(0.0)
    return made


def blind(kind: FaultKind, start: float, end: float) -> Fault:
    """A gap or an outage in [start, end)."""
    return Fault(kind=kind, interval=Interval(start, end))


def test_nothing_is_known_before_the_first_scrape_can_be_queried(store: MakeStore) -> None:
    """Every reading is absent, with that reason, and none is zero."""
    traffic, outcomes, gauges = store().prometheus.query(10.0)
    absent = Missing(MissingReason.ABSENT)
    assert traffic == absent
    assert outcomes == absent
    assert gauges == ((absent,) * 3,) * 2


def test_a_query_sees_the_newest_scrape_that_is_old_enough(store: MakeStore) -> None:
    """Gauges carry the time of their scrape, which lies at least the delay back."""
    made = store()
    made.send(6, 14.9, output=3_000)
    made.scrape_to(30.0)
    for now, seen_at, running in ((15.0, 0.0, 0.0), (29.9, 0.0, 0.0), (30.0, 15.0, 4.0)):
        _, _, gauges = made.prometheus.query(now)
        assert gauges[0][0] == Measured(running, ORIGIN + seen_at)


def test_the_first_answer_has_no_difference_and_the_second_has(store: MakeStore) -> None:
    """A counter says something only against an earlier sample of it."""
    made = store()
    made.send(3, 1.0, prompt=70, output=7)
    made.scrape_to(30.0)
    first, outcomes, gauges = made.prometheus.query(15.0)
    assert first == outcomes == Missing(MissingReason.ABSENT)
    assert isinstance(gauges[0][0], Measured)
    second, outcomes, _ = made.prometheus.query(30.0)
    assert isinstance(second, Traffic)
    assert (second.from_seconds, second.to_seconds) == (ORIGIN, ORIGIN + 15.0)
    assert (second.requests, second.refused, second.token_requests) == (3.0, 0.0, 3.0)
    assert (second.prompt_tokens, second.output_tokens) == (210.0, 21.0)
    assert isinstance(outcomes, Outcomes)
    assert (outcomes.ended, outcomes.failed, outcomes.bad_ttft) == (3.0, 0.0, 0.0)


def test_a_silent_interval_is_a_measured_zero(store: MakeStore) -> None:
    """No requests between two samples is known, and not missing."""
    made = store()
    made.scrape_to(30.0)
    made.prometheus.query(15.0)
    traffic, outcomes, _ = made.prometheus.query(30.0)
    assert isinstance(traffic, Traffic)
    assert traffic.requests == 0.0
    assert isinstance(outcomes, Outcomes)
    assert outcomes.ended == 0.0


def test_the_same_scrape_seen_twice_says_stale(store: MakeStore) -> None:
    """Between two scrapes there is nothing new to tell, which is not a zero."""
    made = store()
    made.scrape_to(60.0)
    made.prometheus.query(30.0)
    made.prometheus.query(45.0)
    traffic, outcomes, gauges = made.prometheus.query(50.0)
    assert traffic == outcomes == Missing(MissingReason.STALE)
    assert gauges[0][0] == Measured(0.0, ORIGIN + 30.0)


def test_lost_scrapes_go_stale_and_their_requests_are_seen_after_the_gap(store: MakeStore) -> None:
    """Old gauges are shown for four intervals, then none; no request of the gap is lost."""
    made = store(blind(FaultKind.SCRAPE_GAP, 40.0, 200.0))
    made.scrape_to(30.0)
    made.prometheus.query(30.0)
    made.prometheus.query(45.0)
    made.send(5, 100.0)
    made.scrape_to(120.0)
    stale = Missing(MissingReason.STALE)
    traffic, _, gauges = made.prometheus.query(105.0)
    assert traffic == stale
    assert gauges[0][0] == Measured(0.0, ORIGIN + 30.0)
    traffic, outcomes, gauges = made.prometheus.query(120.0)
    assert traffic == outcomes == stale
    assert gauges == ((stale,) * 3,) * 2
    made.scrape_to(225.0)
    traffic, _, _ = made.prometheus.query(225.0)
    assert isinstance(traffic, Traffic)
    assert (traffic.from_seconds, traffic.to_seconds) == (ORIGIN + 30.0, ORIGIN + 210.0)
    assert traffic.requests == 5.0


def test_an_outage_says_so_and_hides_nothing_for_good(store: MakeStore) -> None:
    """Queries fail while it lasts; the next answer covers all of it."""
    made = store(blind(FaultKind.PROMETHEUS_OUTAGE, 40.0, 100.0))
    made.scrape_to(30.0)
    made.prometheus.query(30.0)
    made.send(7, 35.0)
    made.scrape_to(120.0)
    failed = Missing(MissingReason.QUERY_FAILED)
    traffic, outcomes, gauges = made.prometheus.query(45.0)
    assert traffic == outcomes == failed
    assert gauges == ((failed,) * 3,) * 2
    traffic, _, _ = made.prometheus.query(100.0)
    assert isinstance(traffic, Traffic)
    assert (traffic.from_seconds, traffic.requests) == (ORIGIN + 15.0, 7.0)


def test_a_long_delay_behind_quick_scrapes_is_still_answered(store: MakeStore) -> None:
    """As many scrapes are kept as the delay needs."""
    made = store(metrics=Metrics(scrape_interval_seconds=1.0, delay_seconds=200.0))
    for second in range(1, 301):
        made.fleet.advance(float(second))
        made.prometheus.scrape(float(second))
    _, _, gauges = made.prometheus.query(300.0)
    assert gauges[0][0] == Measured(0.0, ORIGIN + 100.0)


def test_refused_requests_arrived_and_failed_but_have_no_latency(store: MakeStore) -> None:
    """They count as demand and as bad, and stand in no histogram."""
    made = store(queue_limit=2)
    made.send(10, 1.0)
    made.scrape_to(60.0)
    made.prometheus.query(15.0)
    traffic, outcomes, _ = made.prometheus.query(60.0)
    assert isinstance(traffic, Traffic)
    assert isinstance(outcomes, Outcomes)
    assert (traffic.requests, traffic.refused, traffic.token_requests) == (10.0, 4.0, 6.0)
    assert (outcomes.ended, outcomes.failed) == (10.0, 4.0)
    assert (outcomes.bad_ttft, outcomes.bad_tpot) == (0.0, 0.0)


def test_lengths_are_shown_when_requests_have_ended_and_not_before(store: MakeStore) -> None:
    """How long an answer will be is nothing that an engine can export while it is written."""
    made = store()
    made.prometheus.count_lengths(np.full(4, 70), np.full(4, 9_000))
    made.send(4, 1.0, prompt=70, output=9_000)
    made.scrape_to(30.0)
    assert made.fleet.totals().ended == 0
    made.prometheus.query(15.0)
    under_way, _, _ = made.prometheus.query(30.0)
    made.scrape_to(200.0)
    assert made.fleet.totals().ended == 4
    ended, _, _ = made.prometheus.query(200.0)
    assert isinstance(under_way, Traffic)
    assert isinstance(ended, Traffic)
    assert sum(under_way.prompt_histogram) == sum(under_way.output_histogram) == 0.0
    assert ended.prompt_histogram[TOKEN_EDGES.index(100.0)] == 4.0
    assert ended.output_histogram[TOKEN_EDGES.index(1e4)] == 4.0
    assert sum(ended.prompt_histogram) == sum(ended.output_histogram) == 4.0


def test_a_threshold_off_a_bucket_edge_is_read_at_the_edge_below(policy: Policy) -> None:
    """A histogram cannot say more; what it cannot show as good counts as bad."""
    # Long prompts queue behind each other, so that the times to the first token spread out.
    seen = {}
    for threshold in (0.6, 0.75, 0.9, 1.0, np.inf):
        slo = replace(policy.slo, ttft_seconds=threshold)
        made = _store(replace(policy, slo=slo))
        made.fleet.watch(20)
        made.send(20, 1.0, prompt=8_000, output=2)
        made.scrape_to(60.0)
        made.prometheus.query(15.0)
        _, outcomes, _ = made.prometheus.query(60.0)
        assert isinstance(outcomes, Outcomes)
        endings = made.fleet.endings()
        times = endings["first"] - 1.0
        seen[threshold] = outcomes.bad_ttft
        edge = max((e for e in TTFT_EDGES_SECONDS if e <= threshold), default=0.0)
        assert outcomes.bad_ttft == (0 if threshold == np.inf else np.sum(times > edge))
    assert seen[0.6] > seen[0.75] > 0.0
    assert seen[0.9] == seen[0.75]


def test_a_threshold_below_every_edge_makes_all_bad(policy: Policy) -> None:
    """The histogram cannot show that anything is good."""
    slo = replace(policy.slo, tpot_seconds=0.001)
    made = _store(replace(policy, slo=slo))
    made.send(3, 1.0)
    made.scrape_to(60.0)
    made.prometheus.query(15.0)
    _, outcomes, _ = made.prometheus.query(60.0)
    assert isinstance(outcomes, Outcomes)
    assert outcomes.bad_tpot == 3.0


SPANS = st.lists(st.tuples(st.floats(0.0, 500.0), st.floats(1.0, 200.0)), max_size=3)


@given(
    gaps=SPANS,
    outages=SPANS,
    delay=st.floats(0.0, 60.0),
    sent=st.lists(st.integers(0, 3), min_size=40, max_size=40),
)
@settings(deadline=None, max_examples=60)
def test_windows_join_without_gap_or_overlap_and_lose_no_request(
    gaps: list[tuple[float, float]],
    outages: list[tuple[float, float]],
    delay: float,
    sent: list[int],
) -> None:
    """Whatever is lost or late, differences add up to the counter and times never overlap."""
    faults = tuple(
        blind(kind, start, start + length)
        for kind, spans in ((FaultKind.SCRAPE_GAP, gaps), (FaultKind.PROMETHEUS_OUTAGE, outages))
        for start, length in spans
    )
    made = _store(_POLICY[0], faults, Metrics(delay_seconds=delay))
    seen: list[Traffic] = []
    counters = {ORIGIN: 0.0} if not any(f.interval.holds(0.0) for f in faults[: len(gaps)]) else {}
    total = 0.0
    for tick, count in enumerate(sent):
        now = 15.0 * (tick + 1)
        if count:
            made.send(count, now - 5.0)
        made.fleet.advance(now)
        total += count
        made.prometheus.scrape(now)
        counters[ORIGIN + now] = total
        traffic, _, _ = made.prometheus.query(now)
        if isinstance(traffic, Traffic):
            assert traffic.to_seconds <= ORIGIN + now - delay
            seen.append(traffic)
    for before, after in pairwise(seen):
        assert after.from_seconds == before.to_seconds
    for window in seen:
        assert window.from_seconds < window.to_seconds
        expected = counters[window.to_seconds] - counters[window.from_seconds]
        assert window.requests == expected


#: The policy of the property above: hypothesis cannot take a fixture of a function's scope.
_POLICY: list[Policy] = []


@pytest.fixture(autouse=True)
def _keep_policy(policy: Policy) -> None:
    if not _POLICY:
        _POLICY.append(policy)
