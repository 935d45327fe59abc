"""Fleet capacity: laws that hold whatever the parameters, and the engine's own figures."""

import gzip
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.policy import Balancing, Routing, RoutingLaw, Slo
from controller.core.domain.variant import Role, Variant
from controller.core.performance.capacity import FleetCapacity, fleet_capacity
from controller.core.performance.catalog import profile
from controller.core.performance.mix import TokenMix

TRACE = Path(__file__).parents[2].parent / "shared" / "traces" / "azure-2023-conv.csv.gz"

BALANCED = Routing(law=RoutingLaw.SHARED, balancing=Balancing.LEAST_LOADED)
RANDOM = Routing(law=RoutingLaw.SHARED, balancing=Balancing.PER_ENDPOINT)
WEIGHTED = Routing(law=RoutingLaw.WEIGHTED, balancing=Balancing.PER_ENDPOINT)
OVERFLOW = Routing(law=RoutingLaw.OVERFLOW, balancing=Balancing.LEAST_LOADED)
SEPARATE = Routing(law=RoutingLaw.SEPARATE, balancing=Balancing.LEAST_LOADED)

KINDS = ("8b-bf16-h100", "8b-fp8-h100", "8b-bf16-a100", "8b-fp8-l40s", "70b-fp8-2xh100")
CHAT = TokenMix.from_means(1000.0, 200.0)
#: How coarse the tables are: an SLO misses so many times the share of a stricter one, at most, and
#: this share of the load.
LAX, SHY = 1.02, 0.99


def slo(tpot: float = 0.05, ttft: float = 1.0, target: float = 0.99) -> Slo:
    """Thresholds in seconds."""
    return Slo(
        ttft_seconds=ttft,
        tpot_seconds=tpot,
        target=target,
        window_seconds=86400.0,
        planned_budget_share=0.5,
    )


def variant(kind: str, role: Role = Role.PRIMARY, limit: int | None = None) -> Variant:
    """A variant with a built-in profile."""
    return Variant(
        name=kind,
        role=role,
        cost_per_replica_hour=4.0,
        quality=1.0,
        min_replicas=0,
        max_replicas=64,
        gpus_per_replica=1,
        cold_start_seconds=120.0,
        profile=profile(f"llama-{kind}"),
        queue_limit=limit,
    )


def fleet(*kinds: str, routing: Routing = BALANCED, **changes: object) -> FleetCapacity:
    """The first kind is Primary, the others Fallbacks."""
    limit = changes.pop("limit", None)
    mix = changes.pop("mix", CHAT)
    roles = [Role.PRIMARY] + [Role.FALLBACK] * (len(kinds) - 1)
    variants = tuple(variant(kind, role, limit) for kind, role in zip(kinds, roles, strict=True))  # type: ignore[arg-type]  # a builder of tests
    return fleet_capacity(variants, slo(**changes), routing, mix)  # type: ignore[arg-type]  # a builder of tests


@cache
def azure() -> TokenMix:
    """The token mix of the Azure conversation trace; skips where the traces are not there."""
    if not TRACE.exists():
        pytest.skip(f"no trace at {TRACE}: agreement with the engine's anchors is not checked")
    with gzip.open(TRACE, "rt") as lines:
        tokens = np.loadtxt(lines, delimiter=",", skiprows=1, usecols=(1, 2))
    return TokenMix.from_samples(np.maximum(tokens[:, 0], 1), np.maximum(tokens[:, 1], 1))


#: Requests/s per replica at 99 % good, TTFT 1 s, of an iteration-exact engine, for 1, 5, 20.
ANCHORS = [
    ("8b-bf16-h100", 0.05, (21.4, 23.0, 23.5)),
    ("8b-bf16-h100", 0.025, (16.3, 18.8, 19.5)),
    ("8b-fp8-h100", 0.05, (26.9, 28.1, 28.6)),
    ("8b-fp8-h100", 0.025, (22.6, 25.0, 25.7)),
    ("8b-bf16-a100", 0.05, (5.37, 6.69, 7.08)),
    ("8b-bf16-l40s", 0.05, (2.56, 3.11, 3.25)),
    ("8b-fp8-l40s", 0.05, (5.15, 5.87, 6.09)),
    ("70b-bf16-4xh100", 0.05, (5.09, 6.60, 7.06)),
]


@pytest.mark.parametrize(("kind", "tpot", "measured"), ANCHORS)
def test_pools_carry_what_the_engine_carries(
    kind: str, tpot: float, measured: tuple[float, ...]
) -> None:
    """Capacity per replica of 1, 5 and 20 is within 5 % of the engine's."""
    found = fleet(kind, tpot=tpot, mix=azure())
    for replicas, expected in zip((1, 5, 20), measured, strict=True):
        assert found.capacity((replicas,)) / replicas == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("kinds", "measured"),
    [
        (("8b-bf16-h100", "8b-fp8-l40s"), (33, 82, 96)),
        (("8b-bf16-h100", "8b-bf16-l40s"), (18, 62, 92)),
        (("8b-bf16-h100", "8b-bf16-a100"), (37, 86, 98)),
        (("8b-bf16-h100", "8b-fp8-h100"), (131, 149, 140)),
        (("8b-fp8-h100", "8b-fp8-l40s"), (34, 100, 119)),
    ],
)
def test_mixed_fleets_carry_what_the_engine_carries(
    kinds: tuple[str, str], measured: tuple[float, ...]
) -> None:
    """Four Primaries and two Fallbacks: random, least outstanding, weighted; within 6 %."""
    for routing, expected in zip((RANDOM, BALANCED, WEIGHTED), measured, strict=True):
        found = fleet(*kinds, routing=routing, mix=azure()).capacity((4, 2))
        assert found == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize(
    ("replicas", "tpot", "limit", "ratios"),
    [
        (20, 0.05, 140, (1.4, 1.2, 1.1)),
        (20, 0.025, 75, (1.3, 1.1, 1.1)),
        (5, 0.05, 130, (1.2, 1.1, 1.1)),
        (20, 0.05, None, (8.7, 9.2, 9.8)),
        (20, 0.025, None, (2.9, 5.5, 4.8)),
    ],
)
def test_an_overload_misses_what_the_engine_misses(
    replicas: int, tpot: float, limit: int | None, ratios: tuple[float, ...]
) -> None:
    """Misses over the fluid shortfall in overloads of 10, 20 and 30 %, within 20 %."""
    capacity = fleet("8b-bf16-h100", tpot=tpot, mix=azure()).capacity((replicas,))
    found = fleet("8b-bf16-h100", tpot=tpot, mix=azure(), limit=limit)
    start = found.outstanding((replicas,), 0.9 * capacity)
    for (load, steps), ratio in zip(((1.1, 4), (1.2, 4), (1.3, 8)), ratios, strict=True):
        path = [0.9 * capacity] * 4 + [load * capacity] * steps + [0.9 * capacity] * 120
        missed = found.transient_misses((replicas,), start, path, 15.0)
        shortfall = (load - 1.0) * capacity * 15.0 * steps
        assert missed / shortfall == pytest.approx(ratio, rel=0.2)


def test_slow_replicas_behind_a_plain_service_destroy_capacity() -> None:
    """Random per endpoint: two L40S beside four H100 more than halve what the fleet carries."""
    found = fleet("8b-bf16-h100", "8b-fp8-l40s", routing=RANDOM)
    assert found.capacity((4, 2)) < 0.5 * found.capacity((4, 0))
    assert found.lowers_capacity((4, 2), 1)
    weighted = fleet("8b-bf16-h100", "8b-fp8-l40s", routing=WEIGHTED)
    assert not weighted.lowers_capacity((4, 2), 1)


KIND = st.sampled_from(KINDS)
MIX = st.builds(TokenMix.from_means, st.floats(50.0, 4000.0), st.floats(5.0, 600.0))


@given(KIND, MIX, st.integers(1, 60), st.sampled_from([BALANCED, RANDOM]))
@settings(max_examples=25, deadline=None)
def test_more_replicas_never_carry_less(
    kind: str, mix: TokenMix, replicas: int, routing: Routing
) -> None:
    """Capacity does not fall with replicas of one kind."""
    found = fleet(kind, mix=mix, routing=routing)
    assert found.capacity((replicas + 1,)) >= 0.999 * found.capacity((replicas,))


@given(KIND, MIX, st.integers(1, 30), st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_a_pool_carries_more_than_its_parts(kind: str, mix: TokenMix, one: int, two: int) -> None:
    """Pooling never costs, but for the coarseness of the tables where the ceiling binds."""
    found = fleet(kind, mix=mix)
    parts = found.capacity((one,)) + found.capacity((two,))
    assert found.capacity((one + two,)) >= 0.95 * parts


@given(KIND, MIX, st.integers(1, 40), st.floats(0.05, 1.5), st.floats(1.0, 1.5))
@settings(max_examples=25, deadline=None)
def test_more_load_misses_more(
    kind: str, mix: TokenMix, replicas: int, load: float, more: float
) -> None:
    """Miss share and outstanding rise with the arrival rate, and shares are shares."""
    found = fleet(kind, mix=mix)
    rate = load * max(found.capacity((replicas,)), 0.1)
    low, high = (found.miss_share((replicas,), r) for r in (rate, more * rate))
    assert 0.0 <= low <= high + 1e-12 <= 1.0 + 1e-9
    assert (
        found.outstanding((replicas,), rate) <= found.outstanding((replicas,), more * rate) + 1e-6
    )


@given(KIND, MIX, st.integers(1, 40), st.floats(0.02, 0.1), st.floats(1.0, 2.0))
@settings(max_examples=25, deadline=None)
def test_a_laxer_slo_misses_no_more(
    kind: str, mix: TokenMix, replicas: int, tpot: float, laxer: float
) -> None:
    """Misses at capacity do not rise with the thresholds, nor does a lower target carry less.

    Capacity itself may fall with higher thresholds where it is all but nothing, since there it is
    set by how many are late on an idle replica.
    """
    strict = fleet(kind, mix=mix, tpot=tpot)
    rate = strict.capacity((replicas,))
    most = LAX * strict.miss_share((replicas,), rate)
    for looser in ({"tpot": laxer * tpot}, {"tpot": tpot, "ttft": laxer}):
        assert fleet(kind, mix=mix, **looser).miss_share((replicas,), SHY * rate) <= most
    assert fleet(kind, mix=mix, tpot=tpot, target=0.95).capacity((replicas,)) >= rate


@given(KIND, MIX, st.integers(1, 40), st.floats(0.5, 2.0))
@settings(max_examples=15, deadline=None)
def test_a_factor_scales_capacity(kind: str, mix: TokenMix, replicas: int, factor: float) -> None:
    """Replicas ``factor`` times as fast carry as much more and miss the same at as much more."""
    plain = fleet(kind, mix=mix)
    fast = replace(plain, correction=factor)
    capacity = plain.capacity((replicas,))
    assert fast.capacity((replicas,)) == pytest.approx(factor * capacity)
    assert fast.miss_share((replicas,), factor * capacity) == pytest.approx(
        plain.miss_share((replicas,), capacity)
    )


def test_capacity_is_where_the_target_is_met() -> None:
    """At capacity exactly the allowed share is missed."""
    found = fleet("8b-bf16-h100")
    capacity = found.capacity((7,))
    assert found.miss_share((7,), capacity) == pytest.approx(0.01, rel=1e-6)


def test_a_target_above_the_ceiling_leaves_half_its_budget_to_load() -> None:
    """Where long prompts alone break the SLO, capacity still says what load may add."""
    found = fleet("8b-fp8-l40s", ttft=0.25)
    ceiling = found.ceiling((5,))
    assert ceiling < 0.99
    capacity = found.capacity((5,))
    assert capacity > 0.0
    assert found.miss_share((5,), capacity) == pytest.approx(1.0 - ceiling + 0.005, rel=1e-3)


@pytest.mark.parametrize("routing", [BALANCED, RANDOM, WEIGHTED, OVERFLOW])
def test_the_table_interpolates_what_is_exact(routing: Routing) -> None:
    """A table of two variants is within 3 % of every exact capacity, its ladder exact."""
    found = fleet("8b-bf16-h100", "8b-fp8-l40s", routing=routing, limit=150)
    table = found.table((16, 8))
    assert table.shape == (17, 9)
    for counts in [(16, 8), (4, 2), (0, 8), (1, 0), (0, 0)]:
        assert table[counts] == pytest.approx(found.capacity(counts))
    for counts in [(3, 1), (6, 3), (11, 5), (13, 7), (0, 3)]:
        assert table[counts] == pytest.approx(found.capacity(counts), rel=0.03)


@pytest.mark.parametrize("routing", [BALANCED, RANDOM, WEIGHTED, OVERFLOW, SEPARATE])
def test_the_table_is_what_one_by_one_would_be(routing: Routing) -> None:
    """Allocations worked out together carry what each does when asked for alone."""
    whole = fleet("8b-bf16-h100", "8b-fp8-l40s", routing=routing, limit=150)
    table = replace(whole).table((8, 4))
    for counts in [(8, 4), (4, 2), (1, 4), (8, 0), (0, 2), (0, 0)]:
        alone = replace(whole)
        assert table[counts] == pytest.approx(alone.capacity(counts), rel=1e-9)


def test_degraded_shares_agree_one_by_one() -> None:
    """The shares of many allocations are those of each at its capacity."""
    found = fleet("8b-bf16-h100", "8b-fp8-l40s")
    counts = np.array([[4, 2], [16, 8], [5, 3], [4, 0], [0, 4], [0, 0]])
    shares = found.degraded_shares(counts)
    for row, share in zip(counts.tolist(), shares, strict=True):
        one = found.degraded_share(tuple(row), found.capacity(tuple(row)))
        assert share == pytest.approx(one, rel=0.03, abs=1e-9)


def test_three_variants_have_a_table() -> None:
    """Three variants are tabulated, four are refused."""
    three = fleet("8b-bf16-h100", "8b-fp8-h100", "8b-fp8-l40s")
    table = three.table((4, 3, 2))
    assert table.shape == (5, 4, 3)
    assert table[3, 1, 2] == pytest.approx(three.capacity((3, 1, 2)), rel=1e-9)
    with pytest.raises(ValueError, match="one to 3 variants"):
        fleet(*KINDS[:4]).table((2, 2, 2, 2))


def test_required_replicas_are_the_fewest() -> None:
    """One replica less does not carry the rate."""
    found = fleet("8b-bf16-a100")
    for rate in (0.1, 7.0, 100.0, 900.0):
        needed = found.required_replicas(0, rate)
        assert found.capacity((needed,)) >= rate
        assert found.capacity((needed - 1,)) < rate
    assert found.required_replicas(0, 0.0) == 0


def test_a_variant_that_cannot_serve_says_so() -> None:
    """No number of replicas makes a slow iteration fast."""
    found = fleet("8b-bf16-h100", tpot=0.001)
    with pytest.raises(ValueError, match="8b-bf16-h100"):
        found.required_replicas(0, 1e5)


def test_separate_fallbacks_are_no_surge_capacity() -> None:
    """Fallback replicas with clients of their own carry none of the load."""
    found = fleet("8b-bf16-h100", "8b-fp8-h100", routing=SEPARATE)
    assert found.capacity((4, 8)) == found.capacity((4, 0))
    assert found.degraded_share((4, 8), 100.0) == 0.0
    assert found.miss_share((0, 8), 1.0) == 1.0


def test_overflow_degrades_only_what_is_refused() -> None:
    """Below the limit nothing is degraded; above it the Fallback takes what is over."""
    found = fleet("8b-bf16-h100", "8b-fp8-h100", routing=OVERFLOW, limit=120)
    primary = found.capacity((10, 0))
    assert found.degraded_share((10, 4), 0.6 * primary) < 1e-3
    assert found.degraded_share((10, 4), 1.3 * primary) == pytest.approx(0.3 / 1.3, abs=0.06)
    assert found.capacity((10, 4)) > 1.2 * primary


def test_weights_follow_capacity() -> None:
    """Optimal weights are in proportion to what the pools carry, and sum to 1."""
    found = fleet("8b-bf16-h100", "8b-fp8-l40s", routing=WEIGHTED)
    weights = found.optimal_weights((4, 2))
    assert sum(weights) == pytest.approx(1.0)
    ratio = found.capacity((4, 0)) / found.capacity((0, 2))
    assert weights[0] / weights[1] == pytest.approx(ratio, rel=1e-6)


def test_nothing_serves_nothing() -> None:
    """No replica: everything is missed."""
    found = fleet("8b-bf16-h100")
    assert found.capacity((0,)) == 0.0
    assert found.miss_share((0,), 5.0) == 1.0
    assert found.transient_misses((0,), 0.0, [2.0, 3.0], 10.0) == 50.0


def test_a_queue_limit_bounds_the_outstanding() -> None:
    """With a limit, outstanding never exceed it and an overload misses what it cannot serve."""
    found = fleet("8b-bf16-h100", limit=100)
    capacity = fleet("8b-bf16-h100").capacity((10,))
    assert found.outstanding((10,), 3.0 * capacity) <= 1000.0
    most = (1.0 - found.miss_share((10,), 1.5 * capacity)) * 1.5
    assert 0.8 <= most <= 1.02


def test_a_wrong_allocation_is_refused() -> None:
    """An allocation has a count for every variant."""
    with pytest.raises(ValueError, match="each of 1 variants"):
        fleet("8b-bf16-h100").capacity((1, 2))
    with pytest.raises(ValueError, match="correction must be"):
        replace(fleet("8b-bf16-h100"), correction=0.0)
