"""The WVA on hand-made cases, and its planner on scrapes of single replicas."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.decision import Allocation, Reason
from controller.core.domain.observation import Missing, MissingReason, Observation, Traffic
from controller.core.domain.policy import (
    Policy,
    RoutingLaw,
)
from controller.core.domain.variant import Role, Variant
from controller.core.performance.capacity import fleet_capacity
from controller.core.performance.mix import TokenMix
from peers.building import ENGINE, policy_of, variant_of
from simulations.peers.peer import NotApplicable, PeerFacts
from simulations.peers.registry import peer
from simulations.peers.wva.capacity_v2 import (
    CapacityMemory,
    EngineArguments,
    EngineMetrics,
    WvaVariant,
    absent_capacity,
    batched_tokens,
)
from simulations.peers.wva.enforcer import enforced
from simulations.peers.wva.optimizer import Candidate, RoleNeed, optimized, optimized_roles
from simulations.peers.wva.release import Release
from simulations.peers.wva.saturation_v1 import (
    ReplicaLoad,
    Thresholds,
    VariantState,
    recommended,
    saturation,
)
from simulations.peers.wva.saturation_v2 import Analyzer, Replicas, SchedulerQueue, analyzed
from simulations.peers.wva.scrapes import Scrapes, answered_requests
from simulations.peers.wva.vectors import VECTORS
from simulations.trust.golden import GOLDEN
from simulations.world.engine_view import EngineView, ScrapedVariant

GONE = Missing(MissingReason.QUERY_FAILED)
MIX = TokenMix.from_means(1000.0, 200.0)
KV_TOKENS = 100_000


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"golden vectors of the peers are not at {GOLDEN}")
def test_every_wva_vector_is_held() -> None:
    """No vector file of the WVA is left out of the comparison."""
    held = {file for vectors in VECTORS for file in vectors.files}
    assert {path.stem for path in GOLDEN.glob("wva-*.json")} == held


# --- saturation V1 ---------------------------------------------------------------------------


def moved(release: Release, pairs: Sequence[tuple[float, float]], **state: Any) -> int:
    """By how much V1 moves one settled variant whose replicas show these KV uses and queues."""
    count = len(pairs)
    of = {"current": count, "pending": 0, "desired": count, **state}
    loads = [ReplicaLoad("a", kv_use, waiting, 10.0) for kv_use, waiting in pairs]
    targets = recommended(release, [VariantState(name="a", **of)], loads, Thresholds())
    return targets["a"] - count


@pytest.mark.parametrize("release", list(Release))
@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(0.75, 0)] * 2, 1),
        ([(0.5, 0)] * 2, 0),
        ([(0.3, 0)] * 2, -1),
        ([(0.95, 9)] * 3 + [(0.1, 0)], 0),
        ([(0.85, 6), (0.9, 7)], 1),
        ([(0.6, 2), (0.6, 3)], 1),
        ([(0.2, 0)], 0),
        ([(0.47, 0)] * 3, 0),
        ([(0.46, 1)] * 3, -1),
    ],
)
def test_v1_moves_by_one(
    release: Release, pairs: Sequence[tuple[float, float]], expected: int
) -> None:
    """Spare room below the triggers adds one, room enough without one removes it."""
    assert moved(release, pairs) == expected


def test_v1_queue_alone_asks_for_more() -> None:
    """Two and three waiting leave 2.5 of 5 spare, below the trigger of 3, whatever the KV use."""
    verdict = saturation(
        [ReplicaLoad("a", 0.6, 2.0, 1.0), ReplicaLoad("a", 0.6, 3.0, 1.0)], Thresholds()
    )
    assert verdict.spare_waiting == pytest.approx(2.5)
    assert verdict.spare_kv == pytest.approx(0.2)
    assert verdict.scale_up
    assert not verdict.scale_down_safe


def test_v1_waits_for_its_last_recommendation() -> None:
    """While replicas differ from what was recommended, that stays; a late scrape holds the old."""
    hot = [(0.75, 0.0)] * 2
    for release in Release:
        assert moved(release, hot, desired=4) == 2
        assert moved(release, hot, desired=0) == 1
    assert moved(Release.OLD, hot, current=3, desired=3) == 1
    assert moved(Release.NEW, hot, current=3, desired=3) == 2
    assert moved(Release.NEW, hot, pending=1) == 0


def test_v1_adds_the_cheapest_and_removes_the_dearest() -> None:
    """Cost decides between variants, bounds of the new release afterwards."""
    states = [
        VariantState(name=name, current=2, pending=0, desired=2, max_replicas=high)
        for name, high in (("cheap", 2), ("dear", None))
    ]

    def targets(release: Release, kv_use: float) -> dict[str, int]:
        costs = {"cheap": 10.0, "dear": 40.0}
        loads = [
            ReplicaLoad(name, kv_use, 0.0, cost) for name, cost in costs.items() for _ in range(2)
        ]
        return recommended(release, states, loads, Thresholds())

    assert targets(Release.OLD, 0.75) == {"cheap": 3, "dear": 2}
    assert targets(Release.NEW, 0.75) == {"cheap": 2, "dear": 2}
    assert targets(Release.NEW, 0.3) == {"cheap": 2, "dear": 1}


@given(
    pairs=st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 50)), min_size=1, max_size=12),
    release=st.sampled_from(list(Release)),
)
@settings(deadline=None)
def test_v1_never_moves_by_more_than_one_nor_below_one(
    pairs: list[tuple[float, int]], release: Release
) -> None:
    """A settled model moves by at most one replica and keeps at least one."""
    step = moved(release, pairs)
    assert abs(step) <= 1
    assert len(pairs) + step >= 1


# --- saturation V2 ---------------------------------------------------------------------------

A = WvaVariant(name="a", accelerator="gpu", gpus=1, cost=10.0, deployment=EngineArguments())


def instance(kv_use: float, waiting: int = 0, variant: str = "a", **other: Any) -> EngineMetrics:
    """An engine with 100,000 KV tokens, of requests of 1,000 and 200 tokens."""
    return EngineMetrics(
        variant=variant,
        total_tokens=KV_TOKENS,
        used_tokens=round(kv_use * KV_TOKENS),
        waiting=waiting,
        **{"prompt_mean": 1000.0, "output_mean": 200.0, **other},
    )


def balance(release: Release, engines: Sequence[EngineMetrics], pending: int = 0) -> Any:
    """The balance of a model of one variant."""
    fleet = [(A, Replicas(len(engines) + pending, pending))]
    analysis, _ = analyzed(Analyzer(release=release), fleet, engines, CapacityMemory(), 0.0)
    assert analysis is not None
    assert analysis.capacities[0].capacity == 80_000
    return analysis.balance


def test_v2_batches_bound_the_requests_at_once() -> None:
    """With 1,000 and 200 tokens, 256 sequences at 1,100 tokens each; few tokens batched bind."""
    assert batched_tokens(EngineArguments(), 1000.0, 200.0) == 281_600
    assert batched_tokens(EngineArguments(batched_tokens=600), 1000.0, 200.0) == 110_000
    assert batched_tokens(EngineArguments(), 0.0, 0.0) is None


@pytest.mark.parametrize("release", list(Release))
def test_v2_weighs_demand_against_supply(release: Release) -> None:
    """The reference's cases: rest, growth, growth that is on its way, and room to spare."""
    rest = balance(release, [instance(0.6), instance(0.7)])
    assert (rest.demand, rest.required, rest.spare) == (130_000, 0.0, 0.0)
    hot = [instance(0.8), instance(0.9)]
    assert balance(release, hot).required == pytest.approx(40_000.0)
    assert balance(release, hot, pending=1).required == 0.0
    assert balance(release, [instance(0.2), instance(0.3)]).spare == pytest.approx(
        88_571.4, abs=0.1
    )


def test_v2_counts_the_queue_by_prompts_and_in_the_new_release_by_outputs_too() -> None:
    """Queued requests are demand, and their replica's usage is its capacity at most."""
    queued = [instance(0.9, 4), instance(0.95, 40)]
    old, new = (balance(release, queued) for release in Release)
    assert (old.demand, new.demand) == (229_000, 237_800)
    assert old.required == pytest.approx(109_411.8, abs=0.1)
    assert new.required == pytest.approx(119_764.7, abs=0.1)


def test_v2_remembers_what_a_queue_showed() -> None:
    """Usage under a queue is the capacity from then on, for answers of that length only."""
    analyzer = Analyzer(release=Release.NEW)
    fleet = [(A, Replicas(1, 0))]
    first, memory = analyzed(analyzer, fleet, [instance(0.5, 9)], CapacityMemory(), 0.0)
    later, memory = analyzed(analyzer, fleet, [instance(0.1)], memory, 15.0)
    longer, _ = analyzed(analyzer, fleet, [instance(0.1, output_mean=600.0)], memory, 30.0)
    forgotten, _ = analyzed(analyzer, fleet, [instance(0.1)], memory, 86_500.0)
    capacities = [one and one.capacities[0].capacity for one in (first, later, longer, forgotten)]
    assert capacities == [50_000, 50_000, 80_000, 80_000]


def test_v2_knows_a_variant_without_replicas_by_its_record_or_its_arguments() -> None:
    """A capacity seen counts for half an hour; then one that ignores the size of the KV cache."""
    memory = CapacityMemory().with_record("a", 70_000, 0.0)
    assert absent_capacity(A, 1000.0, 200.0, memory, 1800.0) == 70_000
    assert absent_capacity(A, 1000.0, 200.0, memory, 1801.0) == 281_600
    assert absent_capacity(A, 0.0, 0.0, CapacityMemory(), 0.0) == 8192
    unknown = WvaVariant(name="b", accelerator="gpu", gpus=1, cost=1.0)
    assert absent_capacity(unknown, 1000.0, 200.0, CapacityMemory(), 0.0) == 0


def test_v2_skips_a_model_that_shows_nothing() -> None:
    """Without one reporting replica there is no analysis and nothing is forgotten."""
    memory = CapacityMemory().with_record("a", 70_000, 0.0)
    analysis, after = analyzed(
        Analyzer(release=Release.NEW), [(A, Replicas(2, 2))], [], memory, 15.0
    )
    assert analysis is None
    assert after == memory


def test_v2_new_loses_supply_with_a_scrape_and_counts_engines() -> None:
    """What reports is supply: a lost scrape is not, and each engine of a replica is."""
    engines = [instance(0.5)] * 2

    def supply(release: Release, current: int, pending: int = 0) -> tuple[int, int]:
        analysis, _ = analyzed(
            Analyzer(release=release), [(A, Replicas(current, pending))], engines,
            CapacityMemory(), 0.0,
        )  # fmt: skip
        assert analysis is not None
        return analysis.balance.supply, analysis.balance.anticipated

    assert supply(Release.OLD, 3) == (240_000, 240_000)
    assert supply(Release.NEW, 3) == (160_000, 160_000)
    assert supply(Release.NEW, 3, 2) == (160_000, 480_000)


def test_v2_takes_in_the_scheduler_queue() -> None:
    """Bytes stand for prompt tokens where they are more, less the share found in the cache."""
    analyzer = Analyzer(release=Release.NEW)
    engines = [instance(0.5, prefix_hit=0.25)]
    analysis, _ = analyzed(
        analyzer, [(A, Replicas(1, 0))], engines, CapacityMemory(), 0.0,
        queue=SchedulerQueue(requests=2, body_bytes=16_000),
    )  # fmt: skip
    assert analysis is not None
    assert analysis.balance.demand == pytest.approx(50_000 + 4000 * 0.75 + 400)


# --- optimizer and enforcer ------------------------------------------------------------------


@pytest.mark.parametrize("release", list(Release))
def test_a_variant_without_replicas_sorts_first_as_written(release: Release) -> None:
    """40,000 tokens go to the dear variant at zero as written, to the cheap one at true costs."""

    def targets(seen_cost: float) -> dict[str, int]:
        candidates = [
            Candidate(name="A", replicas=1, capacity=80_000, cost=10.0),
            Candidate(name="B", replicas=0, capacity=160_000, cost=seen_cost),
        ]
        return optimized(release, candidates, 40_000.0, 0.0)

    assert targets(0.0) == {"A": 1, "B": 1}
    assert targets(80.0) == {"A": 2, "B": 0}


def test_an_idle_model_swaps_its_variant_in_the_old_release() -> None:
    """At no demand the old release takes the last replica and starts another variant's."""
    costs = {"live": 10.0, "asleep": 0.0}
    candidates = [
        Candidate(name="live", replicas=1, capacity=80_000, cost=10.0),
        Candidate(name="asleep", replicas=0, capacity=80_000, cost=0.0),
    ]
    zero = optimized(Release.OLD, candidates, 0.0, 80_000.0)
    assert zero == {"live": 0, "asleep": 0}
    kept = enforced(zero, costs, scale_to_zero=False, requests=None)
    assert kept == {"live": 0, "asleep": 1}
    known = {name: cost for name, cost in costs.items() if cost}
    tied = enforced({"asleep": 0, "live": 0}, known, scale_to_zero=False, requests=None)
    assert tied == {"asleep": 1, "live": 0}


def test_the_new_release_spills_over_at_a_maximum() -> None:
    """What the best value has no room for goes to the next; the old release ignores maxima."""
    candidates = [
        Candidate(name="a", replicas=1, capacity=10_000, cost=1.0, max_replicas=3),
        Candidate(name="b", replicas=1, capacity=20_000, cost=9.0),
        Candidate(name="unusable", replicas=1, capacity=0, cost=1.0),
    ]
    assert optimized(Release.NEW, candidates, 45_000.0, 0.0) == {"a": 3, "b": 3, "unusable": 1}
    assert optimized(Release.OLD, candidates, 45_000.0, 0.0) == {"a": 6, "b": 1, "unusable": 1}


def test_roles_grow_by_the_same_fraction() -> None:
    """Where prefill has room for half of what it needs, decode gets half of its own."""
    prefill = Candidate(name="p", replicas=8, capacity=10_000, cost=1.0, max_replicas=12)
    decode = Candidate(name="d", replicas=3, capacity=10_000, cost=1.0)

    def targets(full: Candidate) -> dict[str, int]:
        return optimized_roles(
            [
                RoleNeed(candidate=full, required=80_000.0, spare=0.0),
                RoleNeed(candidate=decode, required=60_000.0, spare=0.0),
            ]
        )

    assert targets(prefill) == {"p": 12, "d": 6}
    none_left = Candidate(name="p", replicas=12, capacity=10_000, cost=1.0, max_replicas=12)
    assert targets(none_left) == {"p": 12, "d": 3}


def test_to_zero_needs_a_count_of_no_requests() -> None:
    """Without the count the replicas stay; with requests too."""
    for requests, expected in ((0, 0), (3, 2), (None, 2)):
        assert enforced({"a": 2}, {"a": 1.0}, scale_to_zero=True, requests=requests) == {
            "a": expected
        }


@st.composite
def fleets(draw: st.DrawFn) -> list[Candidate]:
    """Up to four variants with replicas within their bounds."""
    candidates = []
    for number in range(draw(st.integers(1, 4))):
        low = draw(st.integers(0, 3))
        replicas = draw(st.integers(low, 9))
        high = draw(st.one_of(st.none(), st.integers(max(replicas, 1), 12)))
        candidates.append(
            Candidate(
                name=f"v{number}",
                replicas=replicas,
                capacity=draw(st.sampled_from([0, 40_000, 80_000])),
                cost=draw(st.sampled_from([0.0, 10.0, 40.0])),
                min_replicas=low,
                max_replicas=high,
            )
        )
    return candidates


@given(fleet=fleets(), required=st.integers(0, 1_000_000), spare=st.integers(0, 1_000_000))
@settings(deadline=None, max_examples=300)
def test_the_new_optimizer_keeps_bounds_and_moves_one_way(
    fleet: list[Candidate], required: int, spare: int
) -> None:
    """Targets stay within bounds; need is met where there is room; spare is not overdrawn."""
    targets = optimized(Release.NEW, fleet, required, spare)
    change = {one.name: targets[one.name] - one.replicas for one in fleet}
    for one in fleet:
        assert targets[one.name] >= one.min_replicas
        assert change[one.name] <= one.headroom
        assert change[one.name] == 0 or one.capacity > 0
    moved_tokens = sum(change[one.name] * one.capacity for one in fleet)
    if required > 0.0:
        assert min(change.values()) >= 0
        if any(one.capacity > 0 and change[one.name] < one.headroom for one in fleet):
            assert moved_tokens >= required
    else:
        assert max(change.values()) <= 0
        assert -moved_tokens <= spare
        # A variant at zero may be the one protected, and then the last replica is not.
        if all(one.replicas for one in fleet):
            assert any(targets.values())


# --- planner ---------------------------------------------------------------------------------


def variant(role: Role, low: int, high: int = 24) -> Variant:
    """A variant with 100,000 KV tokens per replica."""
    return variant_of(
        role,
        min_replicas=low,
        max_replicas=high,
        profile=replace(ENGINE, kv_capacity_tokens=KV_TOKENS),
    )


def policy(primary_low: int = 1, law: RoutingLaw = RoutingLaw.SHARED) -> Policy:
    """A Primary, and a fallback that may be at zero."""
    return policy_of(variant(Role.PRIMARY, primary_low), variant(Role.FALLBACK, 0), law=law)


SHARED = policy()
CAPACITY = fleet_capacity(SHARED.variants, SHARED.slo, SHARED.routing, MIX)


def facts(of: Policy) -> PeerFacts:
    """What a user knows of the scenario."""
    return PeerFacts(
        policy=of, knees=(50.0, 50.0), peak_replicas=9, p95_replicas=7, capacity=CAPACITY, mix=MIX
    )


def engine(now: float, replicas: Sequence[tuple[int, int]], answered: int = 0) -> EngineView:
    """Engines with these KV tokens and queues; answers of 500 and 100 tokens."""
    tokens, waiting = np.array(replicas or [(0, 0)], np.int64)[: len(replicas)].T
    totals: Any = SimpleNamespace(
        finished=np.array([answered]),
        finished_prompt_tokens=np.array([500 * answered]),
        finished_output_tokens=np.array([100 * answered]),
    )
    return EngineView(
        at_seconds=now,
        running=np.zeros(len(replicas), np.int64),
        waiting=waiting,
        kv_tokens=tokens,
        kv_capacity_tokens=KV_TOKENS,
        totals=totals,
        pool=0,
    )


class Loop:
    """A peer under load: replicas are Ready as soon as they are decided."""

    def __init__(self, name: str, start: Allocation, of: Policy = SHARED, **asked: float) -> None:
        self.policy = of
        self.planner = peer(name).planner(facts(of), asked)
        self.history = self.planner.initial(of, None)
        self.allocation = start
        self.now = 0.0
        self.answered = 0
        self.binding: Reason | None = None

    def run(
        self,
        ticks: int,
        kv_use: float | None,
        *,
        waiting: int = 0,
        arrivals: float = 0.0,
        answers: int = 0,
    ) -> list[Allocation]:
        """Plan for some ticks with this on every replica; None is an outage of the metrics."""
        path = []
        for _ in range(ticks):
            self.answered += answers
            load = (round((kv_use or 0.0) * KV_TOKENS), waiting)
            variants = tuple(
                ScrapedVariant(
                    desired=count,
                    ready=count,
                    engines=None
                    if kv_use is None
                    else engine(self.now, [load] * count, self.answered),
                )
                for count in self.allocation
            )
            traffic = Traffic(
                from_seconds=self.now - 15.0,
                to_seconds=self.now,
                requests=arrivals,
                refused=0.0,
                token_requests=0.0,
                prompt_tokens=0.0,
                output_tokens=0.0,
            )
            observation = Observation(
                workloads_at_seconds=self.now, variants=variants, traffic=traffic, outcomes=GONE
            )
            decision, self.history = self.planner.plan(
                self.policy, observation, self.history, self.now
            )
            self.allocation = decision.allocation
            self.binding = decision.binding
            self.now += 15.0
            path.append(decision.allocation)
        return path


def test_v1_steps_at_the_pace_of_the_hpa_window() -> None:
    """One replica more per window of 240 s; without a window one every tick."""
    slow = Loop("wva-v1-primary", (2, 0)).run(40, 0.75)
    assert slow[15:17] == [(2, 0), (3, 0)]
    assert slow[31:33] == [(3, 0), (4, 0)]
    fast = Loop("wva-v1-primary", (2, 0), stabilization_window_seconds=0).run(3, 0.75)
    assert fast == [(3, 0), (4, 0), (5, 0)]


def test_v1_stands_still_at_ten_replicas_within_the_tolerance() -> None:
    """One more of ten is within 10 %, so the HPA and with it V1 stop; without tolerance not."""
    asked = {"stabilization_window_seconds": 0.0}
    assert Loop("wva-v1-primary", (8, 0), **asked).run(9, 0.75)[-1] == (10, 0)
    assert Loop("wva-v1-primary", (8, 0), hpa_tolerance=0, **asked).run(9, 0.75)[-1] == (17, 0)


def test_v1_leaves_a_variant_without_replicas_alone() -> None:
    """V1 moves what reports: a fallback at zero stays there, one with replicas goes with cost."""
    assert Loop("wva-v1", (2, 0), stabilization_window_seconds=0).run(2, 0.75)[-1] == (4, 0)
    assert Loop("wva-v1", (2, 1), stabilization_window_seconds=0).run(2, 0.75)[-1] == (2, 3)


def test_v2_goes_where_tokens_cost_least() -> None:
    """As written a variant at zero costs nothing; at its true cost it has the larger capacity."""
    as_written = Loop("wva-v2-as-written", (2, 0), stabilization_window_seconds=0)
    assert as_written.run(1, 0.9) == [(2, 1)]
    primary = Loop("wva-v2-primary", (2, 0), stabilization_window_seconds=0)
    assert primary.run(1, 0.9) == [(3, 0)]


def test_true_costs_favour_the_variant_that_is_worth_more() -> None:
    """With both variants live and alike, their order of value is the same either way."""
    paths = [
        Loop(name, (2, 2), stabilization_window_seconds=0).run(3, 0.9)
        for name in ("wva-v2-as-written", "wva-v2-cost-fixed")
    ]
    assert paths[0] == paths[1]
    assert sum(paths[0][-1]) > 4


def test_v2_scales_down_to_the_last_replica_and_its_minimum() -> None:
    """An idle model keeps the Primary's minimum after the window."""
    loop = Loop("wva-v2-cost-fixed", (5, 2))
    assert loop.run(15, 0.0)[-1] == (5, 2)
    assert loop.run(20, 0.0)[-1] == (1, 0)


@pytest.mark.parametrize(
    "name", ["wva-v1", "wva-v2-as-written", "wva-v2-cost-fixed", "wva-v1-primary", "wva-v2-primary"]
)
def test_blind_holds(name: str) -> None:
    """In an outage nothing moves, whatever was last seen, and the decision says why."""
    for kv_use in (0.95, 0.05):
        loop = Loop(name, (4, 0), stabilization_window_seconds=0)
        before = loop.run(2, kv_use)[-1]
        assert loop.run(30, None) == [before] * 30
        assert loop.binding is Reason.METRICS_MISSING


def test_a_model_that_may_sleep_sleeps_and_wakes() -> None:
    """Ten minutes without an answer put it to sleep; the first arrival wakes it at once."""
    loop = Loop("wva-v2-primary", (2, 0), policy(primary_low=0))
    assert loop.run(60, 0.5, answers=3, arrivals=3.0)[-1] == (2, 0)
    idle = loop.run(80, 0.0)
    assert idle[38][0] > 0
    assert idle[-1] == (0, 0)
    assert loop.run(1, 0.0, arrivals=1.0) == [(1, 0)]
    assert loop.run(4, 0.6, answers=1, arrivals=1.0) == [(1, 0)] * 4


def test_waking_starts_every_variant() -> None:
    """The loop that wakes a model knows no cost."""
    loop = Loop("wva-v2-as-written", (0, 0), policy(primary_low=0))
    assert loop.run(3, 0.0) == [(0, 0)] * 3
    assert loop.run(1, 0.0, arrivals=1.0) == [(1, 1)]


def test_the_last_replica_is_not_protected_beside_a_larger_variant_at_zero() -> None:
    """As written the protection goes by position, so an idle minute ends a model that may sleep."""
    asleep = []
    for name in ("wva-v2-cost-fixed", "wva-v2-primary"):
        loop = Loop(name, (2, 0), policy(primary_low=0))
        loop.run(60, 0.5, answers=3, arrivals=3.0)
        asleep.append(loop.run(30, 0.0)[-1])
    assert asleep == [(0, 0), (1, 0)]


def test_all_variants_need_a_pool_in_common() -> None:
    """Where variants have clients of their own the WVA is offered on Primaries alone."""
    separate = facts(policy(law=RoutingLaw.SEPARATE))
    with pytest.raises(NotApplicable, match=r"spec\.routing\.type"):
        peer("wva-v2-as-written").planner(separate)
    peer("wva-v2-primary").planner(separate)


def test_a_boundary_above_the_threshold_is_lowered_with_it() -> None:
    """A lower threshold alone keeps the documented ratio of the two."""
    lone = Loop("wva-v2-primary", (4, 0), stabilization_window_seconds=0, scale_up_threshold=0.5)
    both = Loop(
        "wva-v2-primary", (4, 0), stabilization_window_seconds=0, scale_up_threshold=0.5,
        scale_down_boundary=0.5 * 0.7 / 0.85,
    )  # fmt: skip
    assert lone.run(3, 0.3) == both.run(3, 0.3)


# --- scrapes ---------------------------------------------------------------------------------


def test_gauges_are_the_maximum_of_a_minute() -> None:
    """A replica's largest value of the last four scrapes counts, as long as none came or went."""
    scrapes = Scrapes()
    for now, load in ((0.0, (9, 9)), (15.0, (5, 0)), (30.0, (2, 3)), (60.0, (1, 1))):
        scrapes = scrapes.seen(engine(now, [load, (7, 0)]), now)
    assert scrapes.replicas() == ((5, 3), (7, 0))
    grown = scrapes.seen(engine(75.0, [(1, 0), (1, 0), (1, 0)]), 75.0)
    assert grown.replicas() == ((1, 0),) * 3


def test_an_outage_forgets_gauges_after_a_minute() -> None:
    """What was scraped before an outage can be queried for a minute."""
    scrapes = Scrapes().seen(engine(0.0, [(5, 1)]), 0.0)
    assert scrapes.seen(None, 45.0).replicas() == ((5, 1),)
    assert scrapes.seen(None, 60.0).replicas() == ()


def test_lengths_are_those_of_the_last_five_minutes() -> None:
    """Before any answer the known mix stands in; the same scrape twice is one."""
    scrapes = Scrapes().seen(engine(0.0, [(0, 0)]), 0.0)
    assert scrapes.seen(engine(0.0, [(0, 0)]), 15.0).lengths(MIX) == (1000.0, 200.0)
    scrapes = scrapes.seen(engine(15.0, [(0, 0)], answered=4), 15.0)
    assert scrapes.lengths(MIX) == (500.0, 100.0)
    assert scrapes.seen(engine(400.0, [(0, 0)], answered=4), 400.0).lengths(MIX) == (1000.0, 200.0)


def test_no_count_of_answers_before_ten_minutes() -> None:
    """A short memory is not an idle model."""
    scrapes = Scrapes()
    for now in range(0, 586, 15):
        assert answered_requests([scrapes], 15.0) is None
        scrapes = scrapes.seen(engine(float(now), [(0, 0)], answered=now), float(now))
    assert answered_requests([scrapes], 15.0) == 585
    assert answered_requests([scrapes, Scrapes()], 15.0) is None
