"""Laws of cutting, joining, copying and remembering traces."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from simulations.traces.demand import Window, chunk_count
from simulations.traces.errors import InvalidTrace
from simulations.traces.rate_trace import RateTrace, scale_rate
from simulations.traces.request_trace import RequestTrace
from simulations.traces.scaling import peak_requests_per_second, scaled_to_peak, scaling_report
from simulations.traces.slicing import SplicedTrace, past_traffic, slice_trace, splice
from simulations.traces.statistics import describe, dispersion
from simulations.traces.superposition import superpose
from simulations.traces.tokens import LognormalTokens, TokenPairs
from simulations.traces.trace import Arrivals, Trace

PAIRS = TokenPairs(np.array([10, 30, 7]), np.array([5, 1, 9]))


@st.composite
def request_traces(draw: st.DrawFn) -> RequestTrace:
    """Up to 200 requests over up to two hours, some of them at the same instant."""
    duration = draw(st.integers(2, 7_200))
    times = draw(st.lists(st.floats(0.0, duration - 1e-3, allow_subnormal=False), max_size=200))
    seconds = np.sort(np.array([*times, duration / 2.0]))
    number = np.arange(len(seconds))
    return RequestTrace(
        "requests",
        Arrivals(seconds=seconds, prompt_tokens=number + 1, output_tokens=2 * number + 1),
        duration_seconds=float(duration),
        chunk_seconds=float(np.ceil(duration / draw(st.integers(1, 40))))
        + draw(st.sampled_from([0.0, 0.37])),
    )


@st.composite
def rate_traces(draw: st.DrawFn) -> RateTrace:
    """A few buckets of little traffic, some of them imputed."""
    bucket = draw(st.sampled_from([1.0, 10.0, 600.0]))
    counts = draw(st.lists(st.floats(0.0, 200.0, allow_subnormal=False), min_size=2, max_size=12))
    return RateTrace(
        name="rates",
        bucket_seconds=bucket,
        requests=np.array([*counts, 1.0]),
        tokens=PAIRS,
        imputed=np.array([*(draw(st.booleans()) for _ in counts), False]),
        seed=draw(st.integers(0, 99)),
        chunk_seconds=draw(st.sampled_from([0.0, 700.0, 33.3])) if bucket > 1.0 else 0.0,
    )


TRACES = st.one_of(request_traces(), rate_traces())


def whole(trace: Trace) -> Arrivals:
    """Every arrival."""
    return Window(trace).between(0.0, trace.duration_seconds)


def assert_same(first: Arrivals, second: Arrivals, tolerance: float = 0.0) -> None:
    """Compare times to a tolerance and lengths exactly."""
    np.testing.assert_allclose(first.seconds, second.seconds, rtol=0.0, atol=tolerance)
    np.testing.assert_array_equal(first.prompt_tokens, second.prompt_tokens)
    np.testing.assert_array_equal(first.output_tokens, second.output_tokens)


@settings(deadline=None)
@given(trace=request_traces())
def test_chunks_concatenate_to_the_whole(trace: RequestTrace) -> None:
    """No request is lost or doubled between chunks."""
    chunks = [trace.chunk(index) for index in range(chunk_count(trace))]
    assert_same(
        Arrivals(
            seconds=np.concatenate([c.seconds for c in chunks]),
            prompt_tokens=np.concatenate([c.prompt_tokens for c in chunks]),
            output_tokens=np.concatenate([c.output_tokens for c in chunks]),
        ),
        trace.arrivals,
    )


@settings(deadline=None)
@given(trace=TRACES, share=st.floats(0.05, 0.95), whole_seconds=st.booleans())
def test_slicing_and_splicing_is_the_identity(
    trace: Trace,
    share: float,
    whole_seconds: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    """Cut anywhere and joined again, the arrivals are the same: exactly so at whole seconds."""
    at = share * trace.duration_seconds
    at = max(1.0, np.floor(at)) if whole_seconds else at
    again = splice(slice_trace(trace, 0.0, at), slice_trace(trace, at))
    assert again.duration_seconds == pytest.approx(trace.duration_seconds)
    tolerance = 0.0 if whole_seconds else 1e-9
    assert_same(whole(again), whole(trace), tolerance)
    edges = np.array([0.0, 0.3, 0.7, 1.0]) * trace.duration_seconds
    np.testing.assert_allclose(
        again.demand_sums(edges).requests, trace.demand_sums(edges).requests, atol=1.0 + 1e-9
    )


@settings(deadline=None)
@given(trace=TRACES, share=st.floats(0.0, 0.9), bucket=st.floats(0.3, 3_000.0))
def test_a_slices_demand_adds_up_to_its_traffic(trace: Trace, share: float, bucket: float) -> None:
    """The part's demand, in any buckets, is the whole's between the same ends."""
    start = share * trace.duration_seconds
    part = slice_trace(trace, start)
    between = trace.demand_sums(np.array([start, trace.duration_seconds])).requests[0]
    assert part.demand(bucket).requests.sum() == pytest.approx(between, rel=1e-9, abs=1e-6)
    if isinstance(trace, RequestTrace):
        assert len(whole(part)) == between


@settings(deadline=None)
@given(trace=TRACES, bucket=st.floats(0.3, 3_000.0))
def test_demand_of_recorded_requests_is_their_count_and_their_mean_length(
    trace: Trace, bucket: float
) -> None:
    """Requests and tokens in the buckets add up; an empty bucket has no mean."""
    demand = trace.demand(bucket)
    total = trace.demand_sums(np.array([0.0, trace.duration_seconds]))
    assert demand.requests.sum() == pytest.approx(total.requests[0], rel=1e-9)
    tokens = np.nansum(demand.requests * demand.prompt_tokens_mean)
    assert tokens == pytest.approx(total.prompt_tokens[0], rel=1e-9)
    assert np.all(np.isnan(demand.output_tokens_mean) == (demand.requests == 0.0))
    if isinstance(trace, RequestTrace):
        assert demand.requests.sum() == len(trace)
        assert tokens == pytest.approx(trace.arrivals.prompt_tokens.sum())


@settings(deadline=None)
@given(
    trace=request_traces(),
    copies=st.floats(0.3, 6.0),
    jitter=st.floats(0.0, 90.0),
    seed=st.integers(0, 9),
)
def test_a_superposition_holds_copies_times_the_requests_each_inside_the_trace(
    trace: RequestTrace, copies: float, jitter: float, seed: int
) -> None:
    """What a shift pushes over an end comes in at the other: the total is exact."""
    jitter = min(jitter, 0.9 * trace.duration_seconds)
    expected = round(copies * len(trace))
    if expected == 0:
        return
    many = superpose(trace, copies, jitter, seed)
    chunks = [many.chunk(index) for index in range(chunk_count(many))]
    seconds = np.concatenate([chunk.seconds for chunk in chunks])
    assert len(seconds) == len(many) == expected
    assert np.all(np.diff(seconds) >= 0.0)
    assert seconds[0] >= 0.0
    assert seconds[-1] < trace.duration_seconds
    tokens = np.bincount(np.concatenate([chunk.prompt_tokens for chunk in chunks]))[1:]
    full = int(expected // len(trace))
    assert np.all((tokens == full) | (tokens == full + 1))
    for bucket in (7.0, 60.0):
        assert many.demand(bucket).requests.sum() == expected
    counted = np.histogram(seconds, np.arange(len(many.demand(60.0).requests) + 1) * 60.0)[0]
    assert np.abs(counted - many.demand(60.0).requests).sum() <= 2.0  # an edge may round


@settings(deadline=None)
@given(trace=request_traces(), jitter=st.floats(0.0, 90.0))
def test_one_copy_is_the_trace_itself(trace: RequestTrace, jitter: float) -> None:
    """The first copy is not shifted."""
    jitter = min(jitter, 0.9 * trace.duration_seconds)
    assert_same(whole(superpose(trace, 1.0, jitter)), trace.arrivals)


@settings(deadline=None)
@given(trace=request_traces(), seed=st.integers(0, 99))
def test_the_same_seed_superposes_the_same_and_another_seed_another(
    trace: RequestTrace, seed: int
) -> None:
    """Shifts and thinning come from the seed."""
    first, again = superpose(trace, 2.5, 1.0, seed), superpose(trace, 2.5, 1.0, seed)
    assert_same(whole(first), whole(again))
    other = superpose(trace, 2.5, 1.0, seed + 1)
    assert not np.array_equal(whole(other).seconds, whole(first).seconds)


@settings(deadline=None, max_examples=40)
@given(trace=request_traces(), factor=st.floats(0.4, 8.0))
def test_recorded_requests_are_scaled_to_the_peak_from_below(
    trace: RequestTrace, factor: float
) -> None:
    """The peak is met to within one request in its minute."""
    peak = factor * peak_requests_per_second(trace)
    jitter = min(30.0, 0.5 * trace.duration_seconds)
    scaled = scaled_to_peak(trace, peak, jitter_seconds=jitter)
    found = peak_requests_per_second(scaled)
    assert found <= peak * (1.0 + 1e-9) or len(whole(scaled)) == 1
    assert found >= peak - 1.0 / 60.0 - 1e-9


@settings(deadline=None, max_examples=40)
@given(trace=rate_traces(), peak=st.floats(0.1, 1e4), share=st.floats(0.0, 0.6))
def test_rates_are_scaled_to_the_peak_of_the_part_asked_for(
    trace: RateTrace, peak: float, share: float
) -> None:
    """The part from ``from`` peaks as asked, and the part before is scaled alike."""
    start = share * trace.duration_seconds
    scaled = scaled_to_peak(trace, peak, from_seconds=start)
    assert peak_requests_per_second(scaled, start) == pytest.approx(peak, rel=1e-9)
    ratio = scaled.demand(60.0).requests / np.maximum(trace.demand(60.0).requests, 1e-12)
    busy = trace.demand(60.0).requests > 1e-6
    np.testing.assert_allclose(ratio[busy], ratio[busy][0], rtol=1e-6)


@settings(deadline=None)
@given(trace=request_traces(), share=st.floats(0.1, 1.0), step=st.floats(0.5, 300.0))
def test_history_ends_where_the_replay_starts_and_holds_what_was_before(
    trace: RequestTrace, share: float, step: float
) -> None:
    """Steps end at ``until``; their counts are those of the requests in them."""
    until = share * trace.duration_seconds
    past = past_traffic(trace, until, 1_000.0, step_seconds=step)
    steps = len(past.requests)
    assert past.from_seconds + steps * step == pytest.approx(1_000.0 + until)
    assert 0.0 <= past.from_seconds - 1_000.0 < step + 1e-6
    first = past.from_seconds - 1_000.0
    edges = first + np.arange(steps + 1) * step
    inside = (trace.arrivals.seconds >= edges[0]) & (trace.arrivals.seconds < edges[-1])
    assert past.requests.sum() == inside.sum()
    assert np.all(np.isnan(past.prompt_tokens_mean) == (past.requests == 0.0))


def test_history_of_rates_is_drawn_and_leaves_imputed_steps_out() -> None:
    """Counts scatter as a store would have counted them; a filled-in step was not seen."""
    imputed = np.zeros(50, np.bool_)
    imputed[10] = True
    trace = RateTrace(
        name="rates",
        bucket_seconds=600.0,
        requests=np.full(50, 6_000.0),
        tokens=PAIRS,
        imputed=imputed,
    )
    past = past_traffic(trace, 49 * 600.0)
    unseen = np.isnan(past.requests)
    np.testing.assert_array_equal(np.flatnonzero(unseen), np.arange(100, 110))
    seen = past.requests[~unseen]
    assert seen.mean() == pytest.approx(600.0, rel=0.01)
    assert seen.var() / seen.mean() == pytest.approx(1.0, rel=0.25)
    np.testing.assert_array_equal(np.isnan(past.prompt_tokens_mean), unseen)
    np.testing.assert_array_equal(past.requests, past_traffic(trace, 49 * 600.0).requests)


def steady(count: int, seed: int) -> RequestTrace:
    """Poisson arrivals over 100 minutes with 6-second gusts of eight times the rate."""
    generator = np.random.default_rng(seed)
    gusts = np.repeat(generator.random(600) * 5_990.0, count // 1_200)
    seconds = np.sort(
        np.concatenate(
            (generator.random(count // 2) * 5_999.0, gusts + generator.random(len(gusts)) * 6.0)
        )
    )
    ones = np.ones(len(seconds), np.int64)
    return RequestTrace("gusts", Arrivals(seconds=seconds, prompt_tokens=ones, output_tokens=ones))


def test_jitter_keeps_short_bursts_as_they_are_where_repeating_would_multiply_them() -> None:
    """Dispersion inside a minute stays near one copy's, and the report says so."""
    one = steady(48_000, 1)
    many = superpose(one, 12.0, 60.0)
    report = scaling_report(one, many)
    before, after = dispersion(one).local_1s, dispersion(many).local_1s
    assert before is not None
    assert after is not None
    assert (report.before.local_1s, report.after.local_1s) == (before, after)
    assert before > 2.0
    assert after < 1.5 * before
    same = dispersion(superpose(one, 12.0, 0.0)).local_1s
    assert same == pytest.approx(12.0 * before, rel=1e-9)
    assert report.text().startswith("12 copies shifted by up to 60 s; index of dispersion 1 s")


def test_the_report_of_a_scaled_rate_is_of_drawn_counts() -> None:
    """A rate trace's arrivals have a Poisson's dispersion of 1 around a steady level."""
    trace = RateTrace(
        name="rates",
        bucket_seconds=600.0,
        requests=np.full(30, 12_000.0),
        tokens=PAIRS,
        imputed=np.zeros(30, np.bool_),
    )
    report = scaling_report(trace, scale_rate(trace, 0.25))
    assert report.method == "rate times 0.25"
    assert report.after.local_1s == pytest.approx(1.0, rel=0.05)
    assert report.after.at_60s == pytest.approx(1.0, rel=0.3)


def test_a_splice_of_different_kinds_is_one_trace_of_both() -> None:
    """Recorded and drawn traffic follow each other, with tokens in proportion."""
    recorded = steady(2_400, 2)
    drawn = RateTrace(
        name="rates",
        bucket_seconds=60.0,
        requests=np.full(10, 240.0),
        tokens=PAIRS,
        imputed=np.ones(10, np.bool_),
    )
    both = splice(recorded, drawn, recorded)
    assert isinstance(both, SplicedTrace)
    assert both.name == "gusts+rates"
    assert both.duration_seconds == 2 * recorded.duration_seconds + 600.0
    arrivals = whole(both)
    inside = (arrivals.seconds >= recorded.duration_seconds) & (
        arrivals.seconds < recorded.duration_seconds + 600.0
    )
    assert len(arrivals) - inside.sum() == 2 * len(recorded)
    assert np.all(np.diff(arrivals.seconds) >= 0.0)
    demand = both.demand(60.0)
    assert demand.imputed.sum() in (10, 11)
    share = len(recorded) * 2 / (len(recorded) * 2 + 2_400)
    prompt, _ = both.token_sample(20_000, seed=0)
    assert float((prompt == 1).mean()) == pytest.approx(share, abs=0.02)
    with pytest.raises(InvalidTrace, match="recorded requests; scale it with superpose"):
        scale_rate(both, 2.0)


@pytest.mark.parametrize("superposed", [False, True])
def test_a_parts_token_sample_is_of_that_part(
    superposed: bool,  # noqa: FBT001 - a case of the test
) -> None:
    """Lengths that change half-way are drawn for the half asked for, of every kind of trace."""
    seconds = np.arange(600.0)
    lengths = np.where(seconds < 300.0, 1, 2)
    trace = RequestTrace(
        "halves", Arrivals(seconds=seconds, prompt_tokens=lengths, output_tokens=lengths)
    )
    known: Trace = superpose(trace, 2.0, 0.0) if superposed else trace
    drawn = RateTrace(
        name="halves",
        bucket_seconds=300.0,
        requests=np.array([300.0, 300.0]),
        tokens=LognormalTokens(
            requests=np.ones(2),
            prompt_tokens_mean=np.array([1.0, 2.0]),
            output_tokens_mean=np.array([1.0, 2.0]),
            prompt_sigma=0.0,
            output_sigma=0.0,
        ),
        imputed=np.zeros(2, np.bool_),
    )
    for half, start in ((1, 0.0), (2, 300.0)):
        for kind in (known, drawn, splice(known, drawn), splice(drawn, known)):
            part = slice_trace(kind, start, start + 300.0)
            prompt, output = part.token_sample(50, seed=1)
            assert set(prompt) == set(output) == {half}
    with pytest.raises(InvalidTrace, match="has no requests to draw tokens"):
        known.token_sample(5, 0, 700.0, 800.0)


def test_parts_and_peaks_that_cannot_be_are_refused() -> None:
    """The error says what the trace has."""
    trace = steady(2_400, 3)
    with pytest.raises(InvalidTrace, match=r"no part from 9000 to \d+ s, it lasts"):
        slice_trace(trace, 9_000.0)
    with pytest.raises(InvalidTrace, match=r"history until 1e\+06 s, but it lasts"):
        past_traffic(trace, 1e6)
    with pytest.raises(InvalidTrace, match=r"a peak of 0\.0 requests/s; give a positive one"):
        scaled_to_peak(trace, 0.0)
    with pytest.raises(InvalidTrace, match="shorter than the trace"):
        superpose(trace, 2.0, 1e6)
    with pytest.raises(InvalidTrace, match="ascending order"):
        RequestTrace(
            "back",
            Arrivals(
                seconds=np.array([1.0, 0.5, 2.0]),
                prompt_tokens=np.ones(3, np.int64),
                output_tokens=np.ones(3, np.int64),
            ),
        )


def test_a_description_has_the_figures_of_a_trace_made_to_have_them() -> None:
    """Four hours of 2 requests in each second but one busy minute."""
    seconds = np.repeat(np.arange(14_400.0), 2)
    busy = 7_200.0 + np.arange(600) / 10.0
    every = np.sort(np.concatenate((seconds, busy)))
    trace = RequestTrace(
        "made",
        Arrivals(
            seconds=every,
            prompt_tokens=np.full(len(every), 40),
            output_tokens=np.arange(len(every)) % 100 + 1,
        ),
    )
    found = describe(trace)
    assert found.requests == 29_400
    assert found.duration_seconds == 14_400.0
    assert found.peak == 12.0
    assert found.peak_1s == 12.0
    assert found.dispersion.local_1s == 0.0
    assert found.prompt_tokens.p99 == 40
    assert found.output_tokens.p50 == pytest.approx(50.5)
    assert found.day_autocorrelation is None
    assert found.cells()[:4] == ("240.0 min", "29,400", "2.042", "12")
