"""Laws of the engine: conservation, replay, slicing, histograms, gauges, closed loops, errors."""

from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from controller.core.performance.catalog import profile
from simulations.engine import kernel
from simulations.engine.capacity import FleetShape, TokenSample, good_share, measure_capacity
from simulations.engine.fleet import (
    Admission,
    EngineConfig,
    Fleet,
    Outcome,
    PoolLaw,
    PoolSpec,
    Router,
    Totals,
)

H100: Final = profile("llama-8b-bf16-h100")
L40S: Final = profile("llama-8b-fp8-l40s")
CONFIG: Final = EngineConfig(
    ttft_threshold_seconds=0.2,
    tpot_threshold_seconds=0.02,
    ttft_edges_seconds=(0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
    tpot_edges_seconds=(0.01, 0.02, 0.05),
)
Trace = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def trace(seed: int, count: int, rate: float) -> Trace:
    """Poisson arrivals with log-normal tokens over two pools."""
    rng = np.random.default_rng(seed)
    return (
        np.cumsum(rng.exponential(1.0 / rate, count)),
        np.maximum(rng.lognormal(6.0, 1.0, count), 1.0).astype(np.int64),
        np.maximum(rng.lognormal(4.0, 1.0, count), 1.0).astype(np.int64),
        rng.integers(0, 2, count),
    )


@st.composite
def setups(draw: st.DrawFn) -> tuple[tuple[PoolSpec, ...], EngineConfig]:
    """Two pools with all limits in play, and what holds for both."""
    limit = st.one_of(st.none(), st.integers(1, 40))
    tight = replace(
        H100,
        kv_capacity_tokens=draw(st.integers(3_000, 40_000)),
        max_running=draw(st.integers(1, 64)),
        max_batched_tokens=draw(st.integers(64, 4096)),
    )
    pools = (
        PoolSpec(profile=tight, queue_limit=draw(limit)),
        PoolSpec(profile=L40S, queue_limit=draw(limit), fallback=True),
    )
    config = replace(
        CONFIG,
        law=draw(st.sampled_from(PoolLaw)),
        router=draw(st.sampled_from(Router)),
        admission=draw(st.sampled_from(Admission)),
        client_timeout_seconds=draw(st.one_of(st.none(), st.floats(0.05, 20.0))),
        retries=draw(st.integers(0, 3)),
        retry_backoff_seconds=draw(st.floats(0.01, 2.0)),
        seed=draw(st.integers(0, 1000)),
    )
    return pools, config


def replay(
    setup: tuple[tuple[PoolSpec, ...], EngineConfig], arrivals: Trace, stops: list[float]
) -> tuple[Fleet, Totals]:
    """Advance in slices; a replica drains, one crashes and one starts at fixed times."""
    fleet = Fleet(*setup, max_replicas=6)
    fleet.watch(len(arrivals[0]))
    for pool in (0, 0, 0, 1, 1):
        fleet.add_replica(pool, 0.0)
    end = float(arrivals[0][-1])
    actions = {
        0.3 * end: lambda at: fleet.drain_replica(0, at),
        0.5 * end: lambda at: fleet.crash_replica(3, at),
        0.6 * end: lambda at: fleet.add_replica(1, at, 0.5),
    }
    start = 0
    for stop in sorted({*(end * share for share in stops), *actions, end}):
        high = int(np.searchsorted(arrivals[0], stop, side="right"))
        fleet.advance(stop, *(column[start:high] for column in arrivals))
        start = high
        fleet.totals()
        fleet.gauges()
        if stop in actions:
            actions[stop](stop)
    fleet.finish()
    return fleet, fleet.totals()


@settings(deadline=None, max_examples=60)
@given(setup=setups(), seed=st.integers(0, 10_000), rate=st.floats(5.0, 200.0))
def test_every_request_ends_exactly_once(
    setup: tuple[tuple[PoolSpec, ...], EngineConfig], seed: int, rate: float
) -> None:
    """Whatever the limits, faults and laws, each request has one end and all counts agree."""
    arrivals = trace(seed, 300, rate)
    fleet, totals = replay(setup, arrivals, [])
    endings = fleet.endings()
    assert sorted(endings["uid"]) == list(range(300))
    by_outcome = {o: int(np.count_nonzero(endings["outcome"] == o)) for o in Outcome}
    assert by_outcome[Outcome.FINISHED] == totals.finished.sum()
    assert by_outcome[Outcome.TIMED_OUT] == totals.lost_timed_out
    assert by_outcome[Outcome.FAILED] == totals.lost_failed
    assert by_outcome[Outcome.REFUSED] == totals.refused_for_good.sum()
    assert by_outcome[Outcome.TOO_LARGE] == totals.too_large.sum()
    assert totals.ended == totals.offered == 300
    assert fleet.live == 0
    gauges = fleet.gauges()
    for gauge in (gauges.running, gauges.waiting, gauges.kv_tokens, gauges.outstanding):
        assert not gauge.any()
    # Everything internal is back where it began: records, KV room and routing counts.
    state = fleet._state
    assert state.header["free"][0] == len(state.requests)
    assert not state.replicas["kv"].any()
    assert not state.replicas["reserved"][list(fleet._routable)].any()
    assert not state.replicas["outstanding"].any()
    assert (state.load % 2048 == 0).all()
    assert set(np.unique(state.load)) <= {0, 2**31 - 2048}


@settings(deadline=None, max_examples=40)
@given(
    setup=setups(),
    seed=st.integers(0, 10_000),
    stops=st.lists(st.floats(0.0, 1.0), max_size=40),
)
def test_slicing_changes_no_bit(
    setup: tuple[tuple[PoolSpec, ...], EngineConfig], seed: int, stops: list[float]
) -> None:
    """Advancing in any pieces, with reads in between, gives the same ends to the last bit."""
    arrivals = trace(seed, 300, 60.0)
    whole, totals = replay(setup, arrivals, [])
    sliced, sliced_totals = replay(setup, arrivals, stops)
    assert (whole.endings() == sliced.endings()).all()
    assert totals.digest == sliced_totals.digest
    assert (totals.output_tokens == sliced_totals.output_tokens).all()


def test_the_digest_tells_seeds_apart_and_repeats() -> None:
    """The same seed gives the same digests; another seed of a random router gives others."""
    config = replace(CONFIG, router=Router.RANDOM)
    pools = (PoolSpec(profile=H100), PoolSpec(profile=L40S))
    arrivals = trace(1, 2000, 50.0)
    runs = [replay((pools, replace(config, seed=seed)), arrivals, [])[1] for seed in (1, 1, 2)]
    digests = [(totals.digest, totals.digest_unordered) for totals in runs]
    assert digests[0] == digests[1]
    assert digests[0][0] != digests[2][0]
    assert digests[0][1] != digests[2][1]


def test_histograms_are_those_of_the_endings() -> None:
    """Visible buckets hold exactly what lies between their edges, fine ones within 1 %."""
    arrivals = trace(3, 5000, 60.0)
    fleet = Fleet((PoolSpec(profile=H100), PoolSpec(profile=L40S)), CONFIG, 3)
    for pool in (0, 0, 1):
        fleet.add_replica(pool, 0.0)
    fleet.watch(5000)
    fleet.advance(arrivals[0][-1], *arrivals[:3])
    fleet.finish()
    totals, ended = fleet.totals(), fleet.endings()
    assert totals.finished.sum() == 5000
    assert (totals.finished > 0).all()
    ttft = ended["first"] - ended["arrival"]
    output = arrivals[2][ended["uid"]]
    tpot = ((ended["end"] - ended["first"]) / np.maximum(output - 1, 1))[output > 1]
    for values, shown, fine, edges in (
        (ttft, totals.ttft_histogram, totals.ttft_fine, CONFIG.ttft_edges_seconds),
        (tpot, totals.tpot_histogram, totals.tpot_fine, CONFIG.tpot_edges_seconds),
    ):
        expected = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
        assert shown.sum(axis=0).tolist() == expected.tolist()
        cumulative = np.cumsum(fine.sum(axis=0))
        for share in (0.5, 0.9, 0.99):
            bucket = int(np.searchsorted(cumulative, share * cumulative[-1]))
            upper = fleet.fine_edges_seconds[bucket]
            exact = np.quantile(values, share, method="inverted_cdf")
            assert 0.992 * upper <= exact <= upper
    good = (ttft <= CONFIG.ttft_threshold_seconds)[output > 1] & (
        tpot <= CONFIG.tpot_threshold_seconds
    )
    alone = (ttft <= CONFIG.ttft_threshold_seconds)[output == 1]
    assert totals.good.sum() == good.sum() + alone.sum()
    assert 0 < totals.good.sum() < totals.finished.sum()
    assert totals.bad_tpot.sum() == np.count_nonzero(tpot > CONFIG.tpot_threshold_seconds)
    assert totals.finished_output_tokens.sum() == output.sum()


def test_an_edge_belongs_to_the_bucket_below_it() -> None:
    """A latency equal to an edge is counted up to the edge, as Prometheus does."""
    fleet = Fleet((PoolSpec(profile=H100),), CONFIG, 1)
    fleet.add_replica(0, 0.0)
    fleet.watch(1)
    fleet.advance(0.0, np.zeros(1), np.full(1, 100), np.ones(1, np.int64))
    fleet.finish()
    ttft = float(fleet.endings()["first"][0])
    for edge, bucket in ((ttft, 0), (np.nextafter(ttft, 0.0), 1)):
        config = replace(CONFIG, ttft_edges_seconds=(float(edge),))
        fleet = Fleet((PoolSpec(profile=H100),), config, 1)
        fleet.add_replica(0, 0.0)
        fleet.advance(0.0, np.zeros(1), np.full(1, 100), np.ones(1, np.int64))
        fleet.finish()
        assert fleet.totals().ttft_histogram[0, bucket] == 1


def test_gauges_and_tokens_follow_a_request() -> None:
    """Running, KV tokens and output tokens of one request are right in the middle of it."""
    fleet = Fleet((PoolSpec(profile=H100), PoolSpec(profile=L40S)), CONFIG, 4)
    slot = fleet.add_replica(1, 0.0)
    fleet.watch(1)
    fleet.advance(0.0, np.zeros(1), np.full(1, 1000), np.full(1, 101))
    fleet.advance(0.001)
    assert fleet.slot_gauges()[slot].tolist() == [1, 0, 1000, 1]
    step = L40S.t0_milliseconds / 1e3
    fleet.advance(0.2 + 30 * step)
    tokens = int(fleet.totals().output_tokens[1])
    assert 20 < tokens < 60
    gauges = fleet.gauges()
    assert gauges.running.tolist() == [0, 1]
    assert gauges.kv_tokens.tolist() == [0, 1000 + tokens]
    assert gauges.kv_use[1] == pytest.approx((1000 + tokens) / L40S.kv_capacity_tokens)
    fleet.finish()
    assert fleet.totals().output_tokens.tolist() == [0, 101]
    assert fleet.totals().prompt_tokens.tolist() == [0, 1000]


def test_closed_loop_keeps_its_number_of_users() -> None:
    """Each of N users has exactly one request at a time and thinks in between."""
    fleet = Fleet((PoolSpec(profile=H100),), CONFIG, 1)
    fleet.add_replica(0, 0.0)
    fleet.watch(100_000)
    fleet.add_clients(7, 200, 50)
    for second in range(1, 30):
        fleet.advance(float(second))
        assert fleet.gauges().outstanding.tolist() == [7]
    fleet.add_clients(3, 100, 10, think_seconds=2.0)
    fleet.advance(100.0)
    assert 7 <= fleet.live <= 10
    fleet.finish()
    endings = np.sort(fleet.endings(), order="uid")
    assert fleet.live == 0
    thinking = endings[(endings["uid"] > 7) & (endings["arrival"] > 30.0)]
    assert len(thinking) > 1000


def test_nothing_routable_refuses_and_retries_may_save() -> None:
    """Without a replica requests are refused; with retries they wait for one."""
    arrivals = (np.array([1.0]), np.array([100]), np.array([10]))
    fleet = Fleet((PoolSpec(profile=H100),), CONFIG, 1)
    fleet.advance(2.0, *arrivals)
    assert fleet.totals().lost_refused == 1
    fleet = Fleet((PoolSpec(profile=H100),), replace(CONFIG, retries=3), 1)
    fleet.watch(1)
    fleet.advance(2.5, *arrivals)
    assert fleet.totals().lost == 0
    fleet.add_replica(0, 2.5)
    fleet.finish()
    totals = fleet.totals()
    assert (int(totals.finished[0]), int(totals.refused[0]), int(totals.routed[0])) == (1, 2, 1)
    # Its clock ran from the first try at 1 s; the third, at 3 s, was taken.
    assert fleet.endings()["first"][0] > 3.0
    assert totals.bad_ttft.sum() == 1


def test_a_drained_replica_finishes_and_gives_its_slot_back() -> None:
    """Draining takes nothing new, ends what is there, says when, and frees the slot."""
    fleet = Fleet((PoolSpec(profile=H100),), CONFIG, 2)
    first, second = fleet.add_replica(0, 0.0), fleet.add_replica(0, 0.0)
    fleet.watch(10)
    fleet.advance(1.0, np.array([0.5, 0.6]), np.full(2, 500), np.full(2, 200))
    fleet.drain_replica(first, 1.0)
    assert fleet.pop_drained() == []
    fleet.advance(1.1, np.array([1.05]), np.full(1, 500), np.full(1, 200))
    assert fleet.slot_outstanding().tolist() == [1, 2]
    with pytest.raises(ValueError, match="max_replicas"):
        fleet.add_replica(0, 1.1)
    fleet.advance(60.0)
    endings = fleet.endings()
    ended = float(endings["end"][endings["slot"] == first][0])
    assert fleet.pop_drained() == [(first, ended)]
    assert fleet.pop_drained() == []
    assert fleet.add_replica(0, 60.0) == first
    fleet.drain_replica(second, 60.0)
    assert fleet.pop_drained() == [(second, 60.0)]


def test_memory_is_flat_in_the_length_of_the_trace() -> None:
    """Ten times the requests use no more records, ring or timers."""
    sizes = []
    for count in (20_000, 200_000):
        fleet = Fleet((PoolSpec(profile=H100),), replace(CONFIG, client_timeout_seconds=60.0), 3)
        for _ in range(3):
            fleet.add_replica(0, 0.0)
        arrivals = trace(5, count, 60.0)
        fleet.advance(arrivals[0][-1], *arrivals[:3])
        fleet.finish()
        assert fleet.totals().ended == count
        sizes.append((fleet.memory_bytes, fleet.records))
    assert sizes[0] == sizes[1]


def test_outstanding_requests_may_outgrow_the_first_room() -> None:
    """A backlog of tens of thousands is held, served in order, and let go."""
    count = 30_000
    fleet = Fleet((PoolSpec(profile=H100),), replace(CONFIG, client_timeout_seconds=1e6), 1)
    fleet.add_replica(0, 0.0)
    fleet.watch(count)
    times = np.linspace(0.0, 1.0, count)
    fleet.advance(1.0, times, np.full(count, 10), np.full(count, 2))
    assert fleet.live > 20_000
    fleet.finish()
    endings = np.sort(fleet.endings(), order="uid")
    assert (np.diff(endings["first"]) >= 0.0).all()
    assert fleet.totals().finished[0] == count


def test_arrays_of_any_kind_are_taken() -> None:
    """Read-only, strided and 32-bit arrivals, and whole numbers as times, do not compile anew."""
    compiled = len(kernel.advance.signatures)  # type: ignore[attr-defined]
    fleet = Fleet((PoolSpec(profile=H100),), CONFIG, 1)
    fleet.add_replica(0, 0)
    frozen = np.arange(1.0, 5.0)
    frozen.flags.writeable = False
    fleet.advance(9, frozen, np.full(8, 100)[::2], np.full(4, 10, np.int32))
    fleet.finish()
    assert fleet.totals().finished[0] == 4
    assert len(kernel.advance.signatures) == max(compiled, 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"client_timeout_seconds": 0.0}, "client_timeout_seconds must be positive"),
        ({"retries": -1}, "retries must be at least 0"),
        ({"retry_backoff_seconds": 0.0}, "retry_backoff_seconds must be positive"),
        ({"ttft_edges_seconds": (0.2, 0.1)}, "ttft_edges_seconds must be finite, positive"),
        ({"tpot_edges_seconds": (0.1, 0.10005)}, "tpot_edges_seconds must lie at least"),
    ],
)
def test_a_bad_config_is_named(change: dict[str, object], message: str) -> None:
    """A config that cannot be meant is refused with the field and what it must be."""
    with pytest.raises(ValueError, match=message):
        Fleet((PoolSpec(profile=H100),), replace(CONFIG, **change), 1)  # type: ignore[arg-type]


def test_bad_calls_are_named() -> None:
    """Unsorted, empty, past or unknown input is refused with what was wrong."""
    fleet = Fleet((PoolSpec(profile=H100),), CONFIG, 1)
    one = np.ones(1, np.int64)
    with pytest.raises(ValueError, match="comes before"):
        fleet.advance(5.0, np.array([3.0, 2.0]), np.ones(2, np.int64), np.ones(2, np.int64))
    with pytest.raises(ValueError, match="at least 1 prompt and 1 output"):
        fleet.advance(5.0, np.array([4.0]), one, 0 * one)
    with pytest.raises(ValueError, match="later than until_seconds"):
        fleet.advance(5.0, np.array([6.0]), one, one)
    with pytest.raises(ValueError, match="pool that does not exist"):
        fleet.advance(6.0, np.array([5.5]), one, one, 7 * one)
    with pytest.raises(ValueError, match="is before now"):
        fleet.advance(1.0)
    with pytest.raises(ValueError, match="is before now"):
        fleet.add_replica(0, 1.0)
    with pytest.raises(ValueError, match="one length"):
        fleet.advance(9.0, np.array([8.0]), one, np.ones(2, np.int64))
    with pytest.raises(ValueError, match="no replica"):
        fleet.crash_replica(0, 10.0)
    with pytest.raises(ValueError, match="no replica"):
        fleet.drain_replica(0, 10.0)
    with pytest.raises(ValueError, match="pool must be 0 to 0"):
        fleet.add_replica(1, 10.0)
    with pytest.raises(ValueError, match="think_seconds"):
        fleet.add_clients(0, 1, 1)
    with pytest.raises(ValueError, match="is before now"):
        fleet.add_clients(1, 1, 1, at_seconds=1.0)
    with pytest.raises(ValueError, match="weights"):
        fleet.set_weights((0.0,))


def test_capacity_grows_with_the_fleet_and_respects_the_target() -> None:
    """Measured capacity attains the target just below and misses it just above."""
    tokens = TokenSample(prompt_tokens=np.array([200, 900]), output_tokens=np.array([80, 20]))
    found = []
    for replicas in (1, 3):
        shape = FleetShape(pools=[(PoolSpec(profile=H100), replicas)], config=CONFIG)
        rate = measure_capacity(shape, tokens, requests=20_000)
        found.append(rate)
        assert good_share(shape, tokens, rate, 20_000) >= 0.99
        assert good_share(shape, tokens, 1.05 * rate, 20_000) < 0.99
    assert found[1] > 3.0 * found[0] > 0.0
    hopeless = replace(CONFIG, ttft_threshold_seconds=1e-4)
    shape = FleetShape(pools=[(PoolSpec(profile=H100), 1)], config=hopeless)
    assert measure_capacity(shape, tokens, requests=2_000) == 0.0
