"""The lower bound, against exhaustive search over tiny worlds and against its own laws."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.core.domain.policy import Slo
from controller.core.domain.variant import PerformanceProfile
from simulations.reference.bound import (
    Assumptions,
    Bound,
    Server,
    _top,
    below_bound,
    lower_bound,
    prepare_bound,
)
from simulations.reference.prices import Moments, context_tokens, request_prices
from simulations.reference.relaxation import least_cost
from simulations.traces.trace import Arrivals


def slo(ttft: float = 1.0, tpot: float = 0.05) -> Slo:
    """Targets do not matter here: the bound is asked at an attainment."""
    return Slo(
        ttft_seconds=ttft,
        tpot_seconds=tpot,
        target=0.99,
        window_seconds=86_400.0,
        planned_budget_share=0.5,
    )


def arrivals(rows: Iterable[tuple[float, int, int]]) -> Arrivals:
    """Requests from (seconds, prompt tokens, output tokens), sorted by time."""
    ordered = sorted(rows)
    return Arrivals(
        seconds=np.array([r[0] for r in ordered], np.float64),
        prompt_tokens=np.array([r[1] for r in ordered], np.int64),
        output_tokens=np.array([r[2] for r in ordered], np.int64),
    )


SMALL = PerformanceProfile(
    t0_milliseconds=20.0,
    delta_milliseconds=0.5,
    epsilon_milliseconds=1e-4,
    kappa_milliseconds=5e-3,
    beta_milliseconds=0.2,
    kv_capacity_tokens=600,
    max_running=4,
    max_batched_tokens=128,
)


@dataclass
class Sequence:
    """A request on a replica of the naive loop."""

    number: int
    at: float
    prompt: int
    output: int
    done: int = 0
    decoded: int = 0
    first: float = 0.0


def serve(
    profile: PerformanceProfile, requests: list[tuple[int, float, int, int]]
) -> tuple[dict[int, tuple[float, float]], list[tuple[float, float]]]:
    """Run one replica, always on, on (number, time it gets there, prompt, output).

    Returns the times of first and last token by number, and the busy intervals.
    """
    waiting = [Sequence(*r) for r in sorted(requests, key=lambda r: (r[1], r[0]))]
    prefilling: list[Sequence] = []
    decoding: list[Sequence] = []
    ended: dict[int, tuple[float, float]] = {}
    busy: list[tuple[float, float]] = []
    now = 0.0
    while waiting or prefilling or decoding:
        if not prefilling and not decoding:
            now = max(now, waiting[0].at)
        budget = profile.max_batched_tokens - len(decoding)
        chunks: list[tuple[Sequence, int]] = []
        for sequence in prefilling:
            chunks.append((sequence, min(budget, sequence.prompt - sequence.done)))
            budget -= chunks[-1][1]
        while waiting and waiting[0].at <= now and budget > 0:
            held = sum(s.prompt + s.output for s in prefilling + decoding)
            room = held + waiting[0].prompt + waiting[0].output <= profile.kv_capacity_tokens
            if not room or len(prefilling) + len(decoding) >= profile.max_running:
                break
            sequence = waiting.pop(0)
            prefilling.append(sequence)
            chunks.append((sequence, min(budget, sequence.prompt)))
            budget -= chunks[-1][1]
        tokens = sum(n for _, n in chunks) + len(decoding)
        squares = sum((s.done + n) ** 2 - s.done**2 for s, n in chunks)
        context = sum(s.prompt + s.decoded for s in decoding)
        milliseconds = (
            float(np.hypot(profile.t0_milliseconds, profile.delta_milliseconds * tokens))
            + profile.epsilon_milliseconds * squares
            + profile.kappa_milliseconds * context
            + profile.beta_milliseconds * len(decoding)
        )
        busy.append((now, now + milliseconds * 1e-3))
        now += milliseconds * 1e-3
        for sequence in decoding:
            sequence.decoded += 1
        for sequence, n in chunks:
            sequence.done += n
            if sequence.done == sequence.prompt:
                sequence.first, sequence.decoded = now, 1
                prefilling.remove(sequence)
                decoding.append(sequence)
        for sequence in [s for s in decoding if s.decoded == s.output]:
            ended[sequence.number] = (sequence.first, now)
            decoding.remove(sequence)
    return ended, busy


def replica_seconds(busy: list[tuple[float, float]], cold_start: float) -> float:
    """Cheapest way to be on when busy: keep or restart over every gap, the first one included."""
    total, until = 0.0, 0.0
    for begin, end in busy:
        total += min(begin - until, cold_start) + end - begin
        until = end
    return total


def exhaustive(
    given_arrivals: Arrivals, servers: tuple[Server, ...], limits: Slo, delays: tuple[float, ...]
) -> dict[tuple[int, int], float]:
    """Least cost by (good, degraded) over all routings, refusals and delays, one replica a server.

    On and off times are optimal for each: nothing cheaper exists in this world.
    """
    count = len(given_arrivals)
    options = [None, *product(range(len(servers)), delays)]
    rows = list(
        zip(
            given_arrivals.seconds.tolist(),
            given_arrivals.prompt_tokens.tolist(),
            given_arrivals.output_tokens.tolist(),
            strict=True,
        )
    )
    best: dict[tuple[int, int], float] = {}
    for choice in product(options, repeat=count):
        cost, good, degraded = 0.0, 0, 0
        for index, server in enumerate(servers):
            taken = [
                (i, rows[i][0] + option[1], rows[i][1], rows[i][2])
                for i, option in enumerate(choice)
                if option is not None and option[0] == index
            ]
            ended, busy = serve(server.profile, taken)
            cost += server.cost_per_second * replica_seconds(
                busy, server.shortest_cold_start_seconds
            )
            degraded += len(taken) if server.fallback else 0
            for i, (first, last) in ended.items():
                output = rows[i][2]
                pace = (last - first) / (output - 1) if output > 1 else 0.0
                on_time = first - rows[i][0] <= limits.ttft_seconds
                good += on_time and pace <= limits.tpot_seconds
        key = (good, degraded)
        best[key] = min(best.get(key, np.inf), cost)
    return best


def tiny(rng: np.random.Generator, count: int) -> Arrivals:
    """A few requests within a second or two."""
    return arrivals(
        (
            float(rng.uniform(0.0, 1.5)),
            int(rng.integers(1, 150)),
            int(rng.integers(1, 14)),
        )
        for _ in range(count)
    )


@pytest.mark.parametrize("seed", range(8))
def test_no_policy_of_an_exhausted_tiny_world_undercuts_the_bound(seed: int) -> None:
    """Every routing, refusal, delay and on/off path of two replicas costs at least the bound."""
    rng = np.random.default_rng(seed)
    requests = tiny(rng, 4 if seed % 2 else 3)
    server = Server(
        profile=SMALL,
        cost_per_replica_hour=3600.0,
        shortest_cold_start_seconds=float(rng.choice([0.0, 0.2, 0.8, 3.0])),
    )
    limits = slo(ttft=0.6, tpot=float(rng.choice([0.03, 0.06])))
    best = exhaustive(requests, (server, server), limits, (0.0, 0.2))
    bound = prepare_bound(
        lambda: iter([requests]), (server,), limits, Assumptions(from_seconds=0.0, to_seconds=6.0)
    )
    assert bound.at(1.0).cost > 0.0
    for needed in range(1, len(requests) + 1):
        optimum = min((c for (good, _), c in best.items() if good >= needed), default=np.inf)
        assert bound.at(needed / len(requests)).cost <= optimum * (1.0 + 1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_no_policy_with_a_cheaper_fallback_undercuts_the_bound(seed: int) -> None:
    """With a faster, cheaper fallback the bound holds at every degraded share."""
    rng = np.random.default_rng(100 + seed)
    requests = tiny(rng, 3)
    fallback = PerformanceProfile(
        t0_milliseconds=12.0,
        delta_milliseconds=0.35,
        epsilon_milliseconds=0.0,
        kappa_milliseconds=5e-3,
        kv_capacity_tokens=600,
        max_running=4,
        max_batched_tokens=128,
    )
    servers = (
        Server(profile=SMALL, cost_per_replica_hour=3600.0, shortest_cold_start_seconds=0.5),
        Server(
            profile=fallback,
            cost_per_replica_hour=1800.0,
            shortest_cold_start_seconds=0.5,
            fallback=True,
        ),
    )
    limits = slo(ttft=0.6, tpot=0.05)
    best = exhaustive(requests, servers, limits, (0.0, 0.2))
    bound = prepare_bound(
        lambda: iter([requests]), servers, limits, Assumptions(from_seconds=0.0, to_seconds=6.0)
    )
    for needed, allowed in product(range(1, 4), range(4)):
        optimum = min(
            (c for (good, fallen), c in best.items() if good >= needed and fallen <= allowed),
            default=np.inf,
        )
        assert bound.at(needed / 3, allowed / 3).cost <= optimum * (1.0 + 1e-9)


def test_the_bound_is_tight_where_nothing_is_relaxed() -> None:
    """Prompts that fill iterations, one output token, a window of back-to-back work: within 3 %."""
    profile = PerformanceProfile(
        t0_milliseconds=1.0,
        delta_milliseconds=1.0,
        epsilon_milliseconds=0.0,
        kappa_milliseconds=0.0,
        kv_capacity_tokens=10_000,
        max_running=4,
        max_batched_tokens=100,
    )
    requests = arrivals((0.1 * i, 100, 1) for i in range(400))
    bound = lower_bound(
        lambda: iter([requests]),
        (Server(profile=profile, cost_per_replica_hour=3600.0, shortest_cold_start_seconds=5.0),),
        slo(),
        Assumptions(from_seconds=0.0, to_seconds=42.0),
        attainment=1.0,
    )
    # 400 iterations of hypot(1, 100) ms on one replica that is warm at the start.
    assert 0.97 * 40.0 <= bound.cost <= 40.01


def sample(seed: int, rate: float = 240.0, seconds: float = 300.0) -> Arrivals:
    """A hump of Poisson traffic with heavy-tailed prompts."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0.0, seconds, int(rate * seconds)))
    keep = rng.uniform(size=len(at)) < 0.4 + 0.6 * np.sin(np.pi * at / seconds)
    at = at[keep]
    prompt = np.clip(rng.lognormal(6.0, 1.0, len(at)), 1, 8000).astype(np.int64)
    output = np.clip(rng.lognormal(4.5, 0.8, len(at)), 1, 900).astype(np.int64)
    return Arrivals(seconds=at, prompt_tokens=prompt, output_tokens=output)


H100 = PerformanceProfile(
    t0_milliseconds=6.68,
    delta_milliseconds=0.02003,
    epsilon_milliseconds=5.1e-7,
    kappa_milliseconds=4.4e-5,
    kv_capacity_tokens=412_000,
)
FALLBACK = PerformanceProfile(
    t0_milliseconds=4.66,
    delta_milliseconds=0.01648,
    epsilon_milliseconds=1.3e-7,
    kappa_milliseconds=4.37e-5,
    kv_capacity_tokens=470_000,
)


def servers(cold_start: float = 40.0, min_fallback: int = 0) -> tuple[Server, ...]:
    """H100 in bf16, and in fp8 as a fallback."""
    return (
        Server(
            profile=H100,
            cost_per_replica_hour=4.0,
            shortest_cold_start_seconds=cold_start,
            min_replicas=1,
        ),
        Server(
            profile=FALLBACK,
            cost_per_replica_hour=4.0,
            shortest_cold_start_seconds=cold_start,
            min_replicas=min_fallback,
            fallback=True,
        ),
    )


SPAN = Assumptions(from_seconds=0.0, to_seconds=300.0)


def test_the_bound_rises_with_attainment_and_falls_with_the_degraded_share() -> None:
    """More good requests never cost less; more degraded ones never cost more."""
    requests = sample(1)
    bound = prepare_bound(lambda: iter([requests]), servers(), slo(), SPAN)
    by_attainment = [bound.at(a).cost for a in (0.0, 0.5, 0.9, 0.98, 0.99, 0.999, 1.0)]
    assert by_attainment == sorted(by_attainment)
    assert by_attainment[-1] > 1.01 * by_attainment[3]
    by_share = [bound.at(0.99, d).cost for d in (0.0, 0.02, 0.05, 0.2, 1.0)]
    assert by_share == sorted(by_share, reverse=True)
    assert by_share[-1] < 0.95 * by_share[0]


def test_runs_that_miss_blindly_have_a_higher_bound() -> None:
    """Where misses are as heavy as requests are on average less work is free, at any attainment."""
    requests = sample(9)
    bound = prepare_bound(lambda: iter([requests]), servers(), slo(), SPAN)
    for attainment, share in ((0.9, 0.0), (0.99, 0.05)):
        chosen = bound.at(attainment, share)
        blind = bound.at(attainment, share, size_blind=True)
        assert blind.path_cost > 1.005 * chosen.path_cost
        assert blind.work_cost > chosen.work_cost
    whole = bound.at(1.0).cost
    assert bound.at(1.0, size_blind=True).cost == pytest.approx(whole, rel=1e-3)


def test_whole_replicas_and_starts_raise_the_bound_above_work_alone() -> None:
    """On a hump that starts and stops replicas the path bound exceeds the work bound."""
    requests = sample(2)
    bound = prepare_bound(lambda: iter([requests]), servers()[:1], slo(), SPAN).at(0.99)
    assert bound.cost == bound.path_cost > 1.01 * bound.work_cost > 0.0
    longer = prepare_bound(lambda: iter([requests]), servers(90.0)[:1], slo(), SPAN).at(0.99)
    assert longer.cost > bound.cost


def test_the_bound_does_not_depend_on_how_arrivals_are_cut() -> None:
    """One chunk and many give the same bound."""
    requests = sample(3)

    def cut() -> Iterable[Arrivals]:
        for low in range(0, len(requests), 777):
            part = slice(low, low + 777)
            yield Arrivals(
                seconds=requests.seconds[part],
                prompt_tokens=requests.prompt_tokens[part],
                output_tokens=requests.output_tokens[part],
            )

    whole = prepare_bound(lambda: iter([requests]), servers(), slo(), SPAN)
    parts = prepare_bound(cut, servers(), slo(), SPAN)
    assert parts.at(0.99, 0.03).cost == pytest.approx(whole.at(0.99, 0.03).cost, rel=1e-6)


def test_least_fleets_are_rent_even_without_traffic() -> None:
    """With next to no work the bound is the rent of the least replicas of all variants."""
    requests = arrivals([(10.0, 5, 2)])
    both = servers(min_fallback=2)
    bound = prepare_bound(lambda: iter([requests]), both, slo(), SPAN).at(1.0)
    assert bound.cost == pytest.approx(3 * 4.0 * 300.0 / 3600.0, rel=0.01)


def test_a_short_cold_start_leaves_the_bound_of_work() -> None:
    """Where a start may cost nothing, paths switch freely and work alone counts."""
    requests = sample(4)
    bound = prepare_bound(lambda: iter([requests]), servers(0.0)[:1], slo(), SPAN).at(0.99)
    assert bound.path_cost == 0.0
    assert bound.cost == bound.work_cost > 0.0


@dataclass(frozen=True)
class Run:
    """A policy's run."""

    name: str
    cost: float
    attainment: float
    degraded_share: float
    requests: int


def test_runs_below_the_bound_are_named() -> None:
    """A run that costs less than its bound is reported with its ratio, others are not."""
    requests = sample(5)
    bound = prepare_bound(lambda: iter([requests]), servers(), slo(), SPAN)
    cost = bound.at(0.99, 0.0, requests=float(len(requests))).cost
    runs = (
        Run("dear", 1.2 * cost, 0.99, 0.0, len(requests)),
        Run("impossible", 0.8 * cost, 0.99, 0.0, len(requests)),
        Run("lax", 0.8 * cost, 0.3, 0.0, len(requests)),
    )
    assert below_bound(bound, runs) == {"impossible": pytest.approx(0.8)}


def test_bad_questions_are_named() -> None:
    """Shares outside [0, 1], no primary and empty windows raise with the field."""
    requests = sample(6, rate=5.0)
    bound = prepare_bound(lambda: iter([requests]), servers(), slo(), SPAN)
    with pytest.raises(ValueError, match="attainment"):
        bound.at(1.5)
    with pytest.raises(ValueError, match="degraded_share"):
        bound.at(0.9, -0.1)
    with pytest.raises(ValueError, match="no primary"):
        prepare_bound(lambda: iter([requests]), servers()[1:], slo(), SPAN)
    with pytest.raises(ValueError, match="to_seconds"):
        prepare_bound(
            lambda: iter([requests]),
            servers(),
            slo(),
            Assumptions(from_seconds=5.0, to_seconds=5.0),
        )
    short = replace(Moments.of(requests), longest_context=10.0)
    with pytest.raises(ValueError, match="longest_context"):
        prepare_bound(lambda: iter([requests]), servers(), slo(), SPAN, moments=short)
    with pytest.raises(ValueError, match="no requests"):
        prepare_bound(lambda: iter([]), servers(), slo(), SPAN)


# --- prices

profiles = st.builds(
    PerformanceProfile,
    t0_milliseconds=st.floats(1.0, 30.0),
    delta_milliseconds=st.floats(0.005, 0.2),
    epsilon_milliseconds=st.floats(0.0, 5e-6),
    kappa_milliseconds=st.floats(0.0, 3e-4),
    beta_milliseconds=st.sampled_from([0.0, 0.03]),
    kv_capacity_tokens=st.integers(2_000, 500_000),
    max_running=st.sampled_from([1, 8, 256]),
    max_batched_tokens=st.sampled_from([128, 2048, 8192]),
)


@given(
    profile=profiles,
    tpot=st.sampled_from([0.025, 0.05, 0.1, np.inf]),
    preemption=st.booleans(),
    batches=st.lists(
        st.tuples(st.integers(0, 256), st.integers(0, 256), st.integers(0, 8192), st.floats(0, 1)),
        min_size=20,
        max_size=20,
    ),
)
@settings(deadline=None, max_examples=40)
def test_prices_never_exceed_the_time_of_any_batch(
    *,
    profile: PerformanceProfile,
    tpot: float,
    preemption: bool,
    batches: list[tuple[int, int, int, float]],
) -> None:
    """For every batch, with bad sequences in it or not, the priced sum stays below its time."""
    requests = sample(7, rate=2.0)
    prices = request_prices(profile, slo(tpot=tpot), Moments.of(requests), preemption=preemption)
    longest = float((requests.prompt_tokens + requests.output_tokens).max())
    eta = prices.tpot_multiplier
    for good, bad, prompt, fill in batches:
        g = min(good, profile.max_running)
        b = min(g + bad, profile.max_running)
        n = min(prompt, max(profile.max_batched_tokens - b, 0))
        held = fill * min(g * longest, float(profile.kv_capacity_tokens))
        time = (
            float(np.hypot(profile.t0_milliseconds, profile.delta_milliseconds * (n + b)))
            + profile.kappa_milliseconds * held
            + profile.beta_milliseconds * b
        )
        pace = eta * g * (time - tpot * 1e3) if np.isfinite(tpot) else 0.0
        priced = (
            prices.per_prompt_token * n
            + prices.per_decode_step * g
            + prices.per_context_token * held
        )
        assert priced <= (time + pace) * (1.0 + 1e-9) + 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_a_busy_replica_takes_at_least_the_priced_work(seed: int) -> None:
    """A replica of the naive loop is busy for longer than the work of its good requests."""
    rng = np.random.default_rng(seed)
    requests = arrivals(
        (float(rng.uniform(0.0, 4.0)), int(rng.integers(1, 150)), int(rng.integers(1, 30)))
        for _ in range(40)
    )
    limits = slo(ttft=1e9, tpot=0.035)
    rows = [
        (i, float(s), int(p), int(o))
        for i, (s, p, o) in enumerate(
            zip(requests.seconds, requests.prompt_tokens, requests.output_tokens, strict=True)
        )
    ]
    ended, busy = serve(SMALL, rows)
    prices = request_prices(SMALL, limits, Moments.of(requests))
    work = prices.prefill_seconds(requests) + prices.decode_seconds(requests)
    good = [
        i
        for i, (first, last) in ended.items()
        if rows[i][3] == 1 or (last - first) / (rows[i][3] - 1) <= limits.tpot_seconds
    ]
    spent = sum(end - begin for begin, end in busy)
    assert 0 < len(good) <= 40
    assert work[good].sum() <= spent


def test_context_tokens_add_up_step_by_step() -> None:
    """The closed form equals the sum over decode steps."""
    requests = arrivals([(0.0, 7, 1), (1.0, 3, 2), (2.0, 11, 9)])
    expected = [
        sum(i + j - 1 for j in range(1, o))
        for i, o in zip(
            requests.prompt_tokens.tolist(), requests.output_tokens.tolist(), strict=True
        )
    ]
    assert context_tokens(requests).tolist() == expected


# --- relaxation


def brute_force_least_cost(
    upper: list[int],
    lower: list[int],
    dearest: np.ndarray,
    prices: tuple[float, float, float, float],
    start: float,
    stop: float,
) -> float:
    """Least cost over every path of 0 to 2 replicas and every departure, one grain a step.

    As much as is released and not done may leave in one step: waiting for cheap ones can pay.
    """
    steps = len(dearest)
    best = np.inf
    for path in product(range(3), repeat=steps):
        frontier = {0: 0.0}  # grains done -> cost
        for t, n in enumerate(path):
            change = n - path[t - 1] if t else 0
            paid = n + (min(start, t) - stop) * max(change, 0) - stop * max(-change, 0)
            following: dict[int, float] = {}
            for done, cost in frontier.items():
                price = 0.0
                for j in range(upper[t + 1] - done + 1):
                    reached = min(done + n + j, upper[t + 1])
                    if reached >= lower[t + 1]:
                        whole = cost + paid + price
                        following[reached] = min(following.get(reached, np.inf), whole)
                    w = float(dearest[t, min(j, dearest.shape[1] - 1)])
                    price += min(prices[0] / w, prices[1], prices[2] / w + prices[3])
            frontier = following
        best = min([best, *frontier.values()])
    return float(best)


@given(
    released=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    slack=st.integers(0, 2),
    work=st.lists(st.floats(0.2, 2.0), min_size=8, max_size=8),
    prices=st.tuples(
        st.floats(0.1, 5.0),
        st.sampled_from([1.5, np.inf]),
        st.floats(0.1, 1.0),
        st.floats(0.1, 2.0),
    ),
    start=st.floats(0.5, 3.0),
)
@example(  # all six released grains leave in the second step, where they are cheap
    released=[2, 3, 1, 0],
    slack=1,
    work=[1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0],
    prices=(1.0, 1.5, 1.0, 1.0),
    start=1.0,
)
@settings(deadline=None, max_examples=40)
def test_least_cost_equals_brute_force(
    *,
    released: list[int],
    slack: int,
    work: list[float],
    prices: tuple[float, float, float, float],
    start: float,
) -> None:
    """The programme over replicas and backlog finds the optimum of its own relaxation."""
    upper = [1 + int(n) for n in np.concatenate(([0], np.cumsum(released)))]
    lower = [0] * slack + [u - 1 for u in upper[: len(upper) - slack]]
    dearest = -np.sort(-np.array(work, np.float32).reshape(4, 2), axis=1)
    found = least_cost(
        np.array(upper, np.int64),
        np.array(lower, np.int64),
        dearest,
        1.0,
        1,
        (0, 2),
        1.0,
        start,
        0.4,
        prices,
    )
    expected = brute_force_least_cost(upper, lower, dearest, prices, start, 0.4)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(
    slopes=st.lists(st.integers(-3, 3), min_size=0, max_size=60),
)
@settings(deadline=None, max_examples=60)
def test_the_search_for_prices_finds_the_top(slopes: list[int]) -> None:
    """On every concave sequence, flat tops included, the search ends at a largest value."""
    values = np.concatenate(([0.0], np.cumsum(sorted(slopes, reverse=True))))
    assert values[_top(lambda i: float(values[i]), len(values))] == values.max()


def test_bounds_carry_a_certificate() -> None:
    """The multipliers of a bound are given, positive and in the table's currency."""
    requests = sample(8)
    bound: Bound = prepare_bound(lambda: iter([requests]), servers(), slo(), SPAN).at(0.99, 0.02)
    assert bound.miss_price > 0.0
    assert bound.work_replica_seconds > 0.0
    assert bound.step_seconds <= 40.0 / 8.0
    assert bound.requests == len(requests)
