"""AIBrix's GPU optimizer: sizes, clusters, profile, integer programme and planner."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN

from controller.core.domain.decision import Allocation, Reason
from controller.core.domain.observation import (
    TOKEN_EDGES,
    Missing,
    MissingReason,
    Observation,
    Traffic,
    VariantObservation,
)
from controller.core.domain.policy import (
    Policy,
    RoutingLaw,
)
from controller.core.domain.variant import PerformanceProfile, Role, Variant
from controller.core.performance.mix import TokenMix
from peers.building import facts_of, policy_of, variant_of
from simulations.peers.aibrix import optimizer_program
from simulations.peers.aibrix.optimizer_clusters import clusters
from simulations.peers.aibrix.optimizer_profile import nearest_cell, throughput, throughputs
from simulations.peers.aibrix.optimizer_program import Bucket, cheapest_parts, replicas
from simulations.peers.aibrix.optimizer_sizes import SizeWindow
from simulations.peers.peer import NotApplicable
from simulations.peers.registry import peer

GONE = Missing(MissingReason.QUERY_FAILED)
#: AIBrix's published profiles of Llama-2-7B at 512 prompt and 128 output tokens: A100 and A40.
PUBLISHED = (7.47, 5.34)
PUBLISHED_COSTS = (1.0, 0.3)
PROFILE = PerformanceProfile(
    t0_milliseconds=6.68,
    delta_milliseconds=0.02003,
    epsilon_milliseconds=5.1e-7,
    kappa_milliseconds=4.4e-5,
    kv_capacity_tokens=412_000,
)
MIX = TokenMix.from_means(1000.0, 200.0)


def test_the_programme_by_hand() -> None:
    """10 requests/s take 188 hundredths of an A40 (.564), cheaper than 134 of an A100 (1.34)."""
    bucket = Bucket(10.0, PUBLISHED)
    assert cheapest_parts(PUBLISHED_COSTS, [bucket]) == (0, 188)
    assert replicas(188) == 2
    assert cheapest_parts((1.0,), [Bucket(10.0, PUBLISHED[:1])]) == (134,)
    assert replicas(134) == 2
    dear = (1.0, 0.9)
    assert cheapest_parts(dear, [bucket]) == (134, 0)


def test_sizes_go_to_the_kind_that_serves_them() -> None:
    """A40 take what is short; long prompts that they cannot serve in time take A100."""
    short, long = Bucket(10.0, PUBLISHED), Bucket(1.0, (2.03, 0.0))
    assert cheapest_parts(PUBLISHED_COSTS, [short, long]) == (50, 188)
    assert cheapest_parts(PUBLISHED_COSTS, []) == (0, 0)


def test_what_nothing_serves_asks_for_more_than_there_is() -> None:
    """A size that no kind serves in time is a load without measure on the cheapest."""
    parts = cheapest_parts(PUBLISHED_COSTS, [Bucket(10.0, PUBLISHED), Bucket(0.1, (0.0, 0.0))])
    assert parts[0] == 0
    assert parts[1] > 1_000_000
    with pytest.raises(ValueError, match="throughputs"):
        cheapest_parts(PUBLISHED_COSTS, [Bucket(1.0, (1.0,))])


BUCKETS = st.lists(
    st.builds(
        Bucket,
        st.floats(0.5, 200.0),
        st.tuples(
            st.one_of(st.just(0.0), st.floats(1.0, 40.0)),
            st.floats(1.0, 40.0),
            st.floats(1.0, 40.0),
        ),
    ),
    min_size=1,
    max_size=3,
)


@settings(deadline=None, max_examples=40)
@given(costs=st.tuples(*[st.floats(0.3, 4.0)] * 3), buckets=BUCKETS)
def test_listing_and_the_solver_agree(costs: tuple[float, ...], buckets: list[Bucket]) -> None:
    """Looking at every way and solving the integer programme end at the same cost."""
    with pytest.MonkeyPatch.context() as patch:
        listed = cheapest_parts(costs, buckets)
        patch.setattr(optimizer_program, "_MOST_LISTED", 0)
        solved = cheapest_parts(costs, buckets)
    prices = np.array(costs)
    assert float(prices @ listed) == pytest.approx(float(prices @ solved), rel=1e-5)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), requests=st.integers(5, 1500), groups=st.integers(1, 5))
def test_clusters_are_those_of_dbscan(seed: int, requests: int, groups: int) -> None:
    """As many clusters with as many requests in all as DBSCAN finds on the points one by one."""
    draws = np.random.default_rng(seed)
    middles = draws.uniform(0.0, 12.0, (groups, 2))
    points = middles[draws.integers(groups, size=requests)]
    points = points + draws.normal(0.0, draws.uniform(0.1, 1.5), points.shape)
    cells = np.clip(np.rint(points / 0.1), 0, 139).astype(int)
    counts = np.zeros((140, 140))
    np.add.at(counts, (cells[:, 0], cells[:, 1]), 1.0)
    labels = DBSCAN(eps=5.0, min_samples=10).fit(cells).labels_
    found = clusters(counts)
    assert len(found) == len(set(labels) - {-1})
    assert sum(cluster.requests for cluster in found) == np.count_nonzero(labels >= 0)


def test_apart_clusters_have_their_own_centres() -> None:
    """Two sizes far apart keep their means; a few stray requests belong to neither."""
    counts = np.zeros((140, 100))
    counts[90, 70], counts[92, 70] = 60.0, 20.0
    counts[120, 30] = 40.0
    counts[10, 10] = 9.0
    first, second = sorted(clusters(counts), key=lambda cluster: cluster.prompt)
    assert (first.prompt, first.output, first.requests) == pytest.approx((9.05, 7.0, 80.0))
    assert (second.prompt, second.output, second.requests) == pytest.approx((12.0, 3.0, 40.0))
    assert clusters(np.zeros((4, 4))) == ()


def histogram(tokens: float, requests: float) -> tuple[float, ...]:
    """All requests in the bucket of one length."""
    counts = [0.0] * (len(TOKEN_EDGES) + 1)
    counts[int(np.searchsorted(TOKEN_EDGES, tokens))] = requests
    return tuple(counts)


def traffic(
    now: float, rate: float, *, prompt: float = 700.0, output: float = 150.0, shown: bool = True
) -> Traffic:
    """Fifteen seconds of requests of one length that end at ``now``."""
    requests = 15.0 * rate
    return Traffic(
        from_seconds=now - 15.0,
        to_seconds=now,
        requests=requests,
        refused=0.0,
        token_requests=requests,
        prompt_tokens=prompt * requests,
        output_tokens=output * requests,
        prompt_histogram=histogram(prompt, requests) if shown else (),
        output_histogram=histogram(output, requests) if shown else (),
    )


def test_the_window_moves_in_quarters() -> None:
    """Between 180 and 240 s are seen once it is full, and everything before."""
    window = SizeWindow()
    spans = []
    for tick in range(80):
        now = 15.0 * tick
        window = window.moved(now).recorded(traffic(now, 1.0), now)
        spans.append(now - window.samples[0].at_seconds)
    assert spans[:16] == [15.0 * tick for tick in range(16)]
    assert min(spans[16:]) == 180.0
    assert max(spans[16:]) < 240.0


def test_the_rate_is_the_greater_of_window_and_now() -> None:
    """A rise counts at once and a fall only as the window forgets."""
    window = SizeWindow().moved(0.0).recorded(traffic(0.0, 10.0), 0.0)
    window = window.moved(15.0).recorded(traffic(15.0, 30.0), 15.0)
    assert window.requests_per_second == pytest.approx(30.0)
    window = window.moved(30.0).recorded(traffic(30.0, 2.0), 30.0)
    assert window.requests_per_second == pytest.approx(14.0)


@pytest.mark.parametrize("shown", [True, False])
def test_counts_keep_the_requests_in_their_buckets(shown: bool) -> None:  # noqa: FBT001 - a case
    """Pairs lie within the histograms' buckets, or in the mean's where none are exported."""
    window = SizeWindow().moved(0.0).recorded(traffic(0.0, 4.0, shown=shown), 0.0)
    counts = window.counts()
    assert counts.sum() == pytest.approx(60.0)
    prompts, outputs = np.nonzero(counts)
    assert 0.1 * prompts.min() >= np.log2(500.0) - 0.1
    assert 0.1 * prompts.max() <= np.log2(1000.0) + 0.1
    assert 0.1 * outputs.min() >= np.log2(100.0) - 0.1
    assert 0.1 * outputs.max() <= np.log2(200.0) + 0.1


def test_sizes_beyond_the_grid_belong_to_its_border() -> None:
    """The nearest cell in log2, cut to the grid."""
    assert nearest_cell(9.4, 6.6) == (9, 7)
    assert nearest_cell(0.0, 20.0) == (2, 12)


def variant(role: Role, cost: float, low: int = 1) -> Variant:
    """One variant on the same kind of replica."""
    return variant_of(role, cost_per_replica_hour=cost, min_replicas=low, profile=PROFILE)


def policy(law: RoutingLaw = RoutingLaw.SHARED, fallback_cost: float = 1.0) -> Policy:
    """A Primary at 4 per replica-hour and a fallback that may be at zero."""
    return policy_of(
        variant(Role.PRIMARY, 4.0), variant(Role.FALLBACK, fallback_cost, low=0), law=law
    )


def test_longer_requests_lower_the_throughput() -> None:
    """A replica carries fewer long requests, and none whose prompt alone is over the TTFT."""
    slo = policy().slo
    primary = policy().variants[0]
    short, long = throughput(primary, slo, (8, 7)), throughput(primary, slo, (11, 7))
    assert short > long > 0.0
    assert throughput(primary, replace(slo, ttft_seconds=0.01), (11, 7)) == 0.0
    assert throughput(primary, replace(slo, target=0.9), (8, 7)) > short


def test_prompts_that_nothing_serves_count_as_the_longest_served() -> None:
    """A prompt of over a second belongs to the last cell of the grid; where some serve it, not."""
    slo = policy().slo
    fast = policy().variants[0]
    slow = replace(fast, profile=replace(PROFILE, delta_milliseconds=0.3))
    assert throughputs((slow,), slo, (13, 7)) == throughputs((slow,), slo, (10, 7)) > (0.0,)
    assert throughputs((slow, fast), slo, (13, 7)) == (0.0, throughput(fast, slo, (13, 7)))
    hopeless = replace(slo, ttft_seconds=0.001)
    assert throughputs((slow, fast), hopeless, (13, 7)) == (0.0, 0.0)


def planned(
    name: str,
    of: Policy,
    samples: list[float | None],
    start: Allocation,
    asked: dict[str, float] | None = None,
) -> list[Allocation]:
    """Allocations tick by tick, replicas Ready as soon as decided; a rate None is blind."""
    facts = facts_of(of, (60.0, 60.0), mix=MIX)
    planner = peer(name).planner(facts, asked)
    history = planner.initial(of, None)
    allocation, path = start, []
    for tick, rate in enumerate(samples):
        now = 15.0 * tick
        seen = Observation(
            workloads_at_seconds=now,
            variants=tuple(VariantObservation(desired=n, ready=n) for n in allocation),
            traffic=GONE if rate is None else traffic(now, rate),
            outcomes=GONE,
        )
        decision, history = planner.plan(of, seen, history, now)
        if rate is None:
            assert decision.steps[0].reason is Reason.METRICS_MISSING
        allocation = decision.allocation
        path.append(allocation)
    return path


def expected(rate: float, target: float = 100.0) -> int:
    """Replicas of one kind for requests of the one size."""
    of = policy()
    carried = throughput(of.variants[0], of.slo, nearest_cell(np.log2(700.0), np.log2(150.0)))
    return replicas(cheapest_parts((1.0,), [Bucket(rate, (carried,))])[0], target)


def test_all_variants_are_planned_by_their_price() -> None:
    """The cheap fallback gets the load and the Primary its minimum; dear, it gets none."""
    load: list[float | None] = [200.0] * 20
    assert planned("aibrix-gpu-optimizer-direct", policy(), load, (3, 0))[-1] == (
        1,
        expected(200.0),
    )
    dear = policy(fallback_cost=8.0)
    assert planned("aibrix-gpu-optimizer-direct", dear, load, (3, 0))[-1] == (expected(200.0), 0)
    assert expected(200.0) > 2


def test_a_lower_target_leaves_room() -> None:
    """At 50 hundredths a replica, twice as many are asked for."""
    load: list[float | None] = [200.0] * 20
    path = planned(
        "aibrix-gpu-optimizer-direct", policy(), load, (3, 0), {"target_hundredths": 50.0}
    )
    assert path[-1] == (1, expected(200.0, 50.0))
    assert expected(200.0, 50.0) > expected(200.0)


def test_the_kpa_at_most_doubles() -> None:
    """The autoscaler follows the metric in steps of twice the replicas, and 1 from none."""
    path = planned("aibrix-gpu-optimizer", policy(), [200.0] * 40, (3, 0))
    assert path[-1] == (1, expected(200.0))
    before = 0
    for _, fallback in path:
        assert fallback <= max(1, 2 * before)
        before = fallback


def test_silence_is_the_minimum_and_blindness_is_not() -> None:
    """Without a request in the window all go to their minimums; without metrics nothing moves."""
    silent: list[float | None] = [200.0] * 20 + [0.0] * 20
    assert planned("aibrix-gpu-optimizer-direct", policy(), silent, (3, 0))[-1] == (1, 0)
    blind: list[float | None] = [200.0] * 20 + [None] * 40
    path = planned("aibrix-gpu-optimizer-direct", policy(), blind, (3, 0))
    assert set(path[20:]) == {path[19]}
    assert set(planned("aibrix-gpu-optimizer", policy(), [None] * 40, (5, 2))) == {(5, 2)}


@pytest.mark.parametrize("name", ["aibrix-gpu-optimizer", "aibrix-gpu-optimizer-direct"])
def test_a_primary_always_answers(name: str) -> None:
    """With minimums of 0 one Primary stays, or is started: at 0 no sizes would ever be seen."""
    of = policy()
    of = replace(of, variants=tuple(replace(one, min_replicas=0) for one in of.variants))
    assert set(planned(name, of, [0.0] * 40, (0, 0))) == {(1, 0)}
    assert planned(name, of, [0.0] * 40, (4, 0))[-1] == (1, 0)


def test_too_few_requests_say_nothing() -> None:
    """Sizes too rare to make a cluster leave the replicas as they are."""
    path = planned("aibrix-gpu-optimizer-direct", policy(), [0.01] * 30, (5, 1))
    assert set(path) == {(5, 1)}


def test_variants_with_clients_of_their_own_are_not_mixed() -> None:
    """Under Separate routing the peer says which field keeps it from being set up."""
    with pytest.raises(NotApplicable, match=r"routing\.type"):
        planned("aibrix-gpu-optimizer", policy(RoutingLaw.SEPARATE), [1.0], (1, 0))
