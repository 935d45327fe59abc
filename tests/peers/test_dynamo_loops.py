"""Dynamo's present planner: capacity, both loops and the pipeline by hand, and as a peer."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import Missing, MissingReason, Observation
from controller.core.domain.variant import PerformanceProfile, Role, Variant
from controller.core.performance.mix import TokenMix
from peers.building import SLO as USUAL_SLO
from peers.building import facts_of, policy_of, variant_of
from simulations.engine.totals import FINE_EDGES_SECONDS
from simulations.peers.dynamo.capacity import (
    EngineLimits,
    LatencyTargets,
    RequestShape,
    capacity,
)
from simulations.peers.dynamo.entries import PRESENT_PEERS
from simulations.peers.dynamo.load import EngineLoad, Estimator, RecentMean, SlaSpec, Wish
from simulations.peers.dynamo.passes import PassMix, load_tested, modelled, scraped
from simulations.peers.dynamo.pipeline import (
    Inventory,
    PipelineState,
    carried_out,
    load_target,
)
from simulations.peers.dynamo.regression import ForwardPass, PassKind
from simulations.peers.dynamo.thresholds import LATENCY, THROUGHPUT, Thresholds, engines_wanted
from simulations.peers.dynamo.throughput import GpuBand, ThroughputSpec, engines_for
from simulations.peers.peer import InvalidSetting, PeerFacts
from simulations.world.engine_view import EngineView, ScrapedVariant

LIMITS = EngineLimits(max_running=256, kv_capacity_tokens=400_000, max_batched_tokens=8192)


def prefill_time(asked: ForwardPass) -> float:
    """5 ms and .02 ms per prompt token."""
    return 5.0 + 0.02 * asked.prefill_tokens


def decode_time(asked: ForwardPass) -> float:
    """4 ms, .03 ms per sequence and .02 ms per 1000 KV tokens."""
    return 4.0 + 0.03 * asked.decode_requests + 2e-5 * asked.kv_tokens


def targets(ttft: float = 1000.0, itl: float = 1000.0) -> LatencyTargets:
    """In milliseconds."""
    return LatencyTargets(ttft_milliseconds=ttft, itl_milliseconds=itl)


def prefills(ttft: float) -> Estimator:
    """Prefill engines that get prompts of 3000 tokens."""
    spec = SlaSpec(role=PassKind.PREFILL, limits=LIMITS, targets=targets(ttft=ttft))
    return Estimator(spec, prefill_time, prompt=3000.0, decode=0.0, prefill=0.0)


def queues(*tokens: float) -> list[EngineLoad]:
    """Engines with so many prompt tokens queued."""
    return [EngineLoad(queued_prefill_tokens=queued) for queued in tokens]


def test_a_prefill_engine_takes_two_prompts_at_a_time() -> None:
    """Two prompts of 3000 fit a pass: 16 requests/s within the target, against 15.4 by one."""
    shape = RequestShape(prompt_tokens=3000, output_tokens=1)
    found = capacity(PassKind.PREFILL, prefill_time, LIMITS, targets(ttft=200.0), shape)
    assert found is not None
    assert found.requests_per_second == pytest.approx(16.0)
    assert found.ttft_milliseconds == pytest.approx(125.0)
    alone = capacity(PassKind.PREFILL, prefill_time, LIMITS, targets(ttft=100.0), shape)
    assert alone is not None
    assert alone.requests_per_second == pytest.approx(1000.0 / 65.0)


def test_a_decode_engine_tries_a_part_of_the_batches() -> None:
    """Of 130 batches 128 are tried; the 65th, not among them, would do, so the 64th is taken."""
    shape = RequestShape(prompt_tokens=3000, output_tokens=150)
    found = capacity(PassKind.DECODE, decode_time, LIMITS, targets(itl=10.0), shape)
    assert found is not None
    assert found.itl_milliseconds == pytest.approx(9.856)
    assert found.requests_per_second == pytest.approx(43.29004329)


def test_targets_out_of_reach_ask_for_full_engines() -> None:
    """Where no batch is within the targets the one of most requests/s counts."""
    shape = RequestShape(prompt_tokens=3000, output_tokens=150)
    found = capacity(PassKind.DECODE, decode_time, LIMITS, targets(itl=3.0), shape)
    assert found is not None
    assert not found.eligible
    assert found.requests_per_second == pytest.approx(130e3 / (150 * 15.895))


def test_an_engine_without_room_has_no_capacity() -> None:
    """A context beyond the KV room, or a pass of unknown time, is no decision."""
    shape = RequestShape(prompt_tokens=9000, output_tokens=4000)
    small = EngineLimits(max_running=8, kv_capacity_tokens=8000, max_batched_tokens=8192)
    assert capacity(PassKind.DECODE, decode_time, small, targets(), shape) is None
    assert capacity(PassKind.MIXED, lambda _: None, LIMITS, targets(), shape) is None


@pytest.mark.parametrize(
    ("ttft", "expected"), [(200.0, Wish.MORE), (250.0, Wish.MORE), (500.0, Wish.REFUSED)]
)
def test_all_engines_must_be_late(ttft: float, expected: Wish) -> None:
    """Estimates of 270, 475 and 685 ms: one late engine of three is held, not helped."""
    loads = queues(10_000.0, 20_000.0, 30_000.0)
    assert list(prefills(ttft).ttfts(loads)) == pytest.approx([270.0, 475.0, 685.0])
    assert prefills(ttft).wish(loads) is expected


def test_short_queues_give_an_engine_back() -> None:
    """The queue's part, with the leaver's share, is under .8 of what the own prompt leaves."""
    assert prefills(200.0).wish(queues(500.0, 800.0, 1000.0)) is Wish.FEWER
    assert prefills(200.0).wish(queues(0.0)) is Wish.NOTHING
    assert prefills(65.0).wish(queues(0.0, 0.0)) is Wish.REFUSED


def aggregated(time: Any = None, itl: float = 100.0) -> Estimator:
    """Aggregated engines with prompts of 3000 tokens and sequences of 3100."""
    spec = SlaSpec(role=PassKind.MIXED, limits=LIMITS, targets=targets(ttft=500.0, itl=itl))
    return Estimator(
        spec,
        time or (lambda asked: decode_time(asked) + 0.02 * asked.prefill_tokens),
        prompt=3000.0,
        decode=3100.0,
        prefill=3000.0,
    )


def decodes(count: int, queued: float = 0.0) -> EngineLoad:
    """An engine that decodes so many sequences of 3100 tokens."""
    return EngineLoad(
        decode_requests=float(count), kv_tokens=3100.0 * count, queued_prefill_tokens=queued
    )


def test_either_side_adds_and_both_remove() -> None:
    """Late decodes add although prefills are early; a refusal of one side keeps all."""
    low = [decodes(20), decodes(10)]
    assert aggregated().wish(low) is Wish.FEWER
    assert aggregated(itl=60.0).wish(low) is Wish.MORE
    assert aggregated(itl=75.0).wish(low) is Wish.REFUSED
    assert aggregated().wish([decodes(20, 40_000.0), decodes(20)]) is Wish.REFUSED
    assert aggregated().wish([decodes(70), decodes(60)]) is Wish.REFUSED


def test_decodes_decide_alone_where_prefills_are_unknown() -> None:
    """No estimate of prefills is no objection to one engine less, but one of decodes is."""

    def only_decodes(asked: ForwardPass) -> float | None:
        return decode_time(asked) if asked.prefill_tokens == 0.0 else None

    low = [decodes(20), decodes(10)]
    unknown = aggregated(only_decodes)
    assert unknown.wish(low) is Wish.NOTHING
    spec = unknown.spec
    assert (
        Estimator(spec, only_decodes, prompt=3000.0, decode=3100.0, prefill=0.0).wish(low)
        is Wish.FEWER
    )
    assert unknown.wish([]) is Wish.NOTHING


def test_recent_means_begin_with_the_first_value() -> None:
    """Zeros at the beginning are no passes, later ones are; 64 are kept."""
    mean = RecentMean()
    for value in (0.0, 0.0, 10.0, 0.0):
        mean = mean.added(value)
    assert mean.mean == 5.0
    for _ in range(64):
        mean = mean.added(2.0)
    assert mean.mean == 2.0


@pytest.mark.parametrize(
    ("thresholds", "ratios", "expected"),
    [
        (THROUGHPUT.kv, [0.2, 1.1], 3),
        (THROUGHPUT.kv, [0.2, 1.0], None),
        (THROUGHPUT.kv, [0.3, 0.59], 2),
        (THROUGHPUT.kv, [0.3, 0.49], 1),
        (THROUGHPUT.kv, [0.3], None),
        (LATENCY.kv, [0.05, 0.09, 0.0], 2),
        (LATENCY.kv, [0.05, 0.1], None),
        (THROUGHPUT.kv, [], None),
    ],
)
def test_static_thresholds(
    thresholds: Thresholds, ratios: list[float], expected: int | None
) -> None:
    """Any above adds, all below remove, but not where those left would be above at once."""
    assert engines_wanted(ratios, thresholds, role=PassKind.MIXED) == expected


def test_prefill_thresholds_take_in_their_ends() -> None:
    """A queue of one context is above, and no queue at all is below 0."""
    assert engines_wanted([1.0, 0.0], THROUGHPUT.prefill, role=PassKind.PREFILL) == 3
    assert engines_wanted([0.0, 0.0], LATENCY.prefill, role=PassKind.PREFILL) == 1
    assert engines_wanted([0.01, 0.0], LATENCY.prefill, role=PassKind.PREFILL) is None


def test_a_decision_moves_eight_engines_at_most() -> None:
    """Either way, and never below the least number."""
    spec = ThroughputSpec(band=GpuBand(min_endpoint=2))
    assert engines_for(spec, 3, 100.0, 1.0) == 11
    assert engines_for(spec, 20, 1.0, 1.0) == 12
    assert engines_for(spec, 5, 0.0, 1.0) == 2


def test_the_band_by_hand() -> None:
    """Out of the band the count there is comes back; at a bound nothing moves beyond it."""
    band = GpuBand(gpus_per_engine=2, min_gpus=4, max_gpus=8)
    assert band.guarded(6, 1) == 4
    assert band.guarded(4, 7) == 4
    assert band.guarded(3, 7) == 4
    assert band.guarded(2, 1) == 2
    assert band.guarded(4, 1) == 1
    assert band.guarded(0, 0) == 2
    assert GpuBand(min_endpoint=3, max_gpus=2).guarded(4, 5) == 0


@settings(deadline=None)
@given(
    current=st.integers(0, 60),
    asked=st.integers(0, 60),
    gpus=st.integers(1, 8),
    least=st.integers(1, 3),
    low=st.none() | st.integers(0, 100),
    high=st.none() | st.integers(0, 200),
)
def test_the_ceiling_holds_and_no_move_turns_around(
    current: int, asked: int, gpus: int, least: int, low: int | None, high: int | None
) -> None:
    """Never more GPUs than there are, and from within the band never away from what is asked."""
    band = GpuBand(gpus_per_engine=gpus, min_endpoint=least, min_gpus=low, max_gpus=high)
    kept = band.guarded(current, asked)
    if high is not None:
        assert kept * gpus <= max(high, 0)
    if (high is None or current * gpus <= high) and (low is None or current * gpus >= low):
        assert min(current, asked) <= kept <= max(current, asked)


def test_the_floor_lifts_at_once() -> None:
    """The load loop adds one, or as many as the throughput loop's floor asks for."""
    band = GpuBand(max_gpus=6)
    assert load_target(band, 2, Wish.MORE, floor=1) == 3
    assert load_target(band, 2, Wish.NOTHING, floor=5) == 5
    assert load_target(band, 2, Wish.NOTHING, floor=9) == 6
    assert load_target(band, 2, Wish.FEWER, floor=2) is None
    assert load_target(band, 1, Wish.FEWER, floor=1) is None


STARTING = Inventory(ready=4, pending=1, expected=5)


def asked_at(
    state: PipelineState, now: float, asked: int | None, there: Inventory = STARTING
) -> Any:
    """One tick of a pipeline with a load interval of 5 s."""
    return carried_out(state, there, asked, now=now, load_interval_seconds=5.0)


def test_nothing_is_added_while_engines_start() -> None:
    """An increase is dropped, also where nobody knows what is missing."""
    assert asked_at(PipelineState(), 0.0, 6)[0] is None
    lost = Inventory(ready=4, pending=0, expected=5)
    assert asked_at(PipelineState(), 0.0, 3, lost)[0] is None
    settled = Inventory(ready=4, pending=0, expected=4)
    assert asked_at(PipelineState(), 0.0, 6, settled)[0] == 6
    assert asked_at(PipelineState(), 0.0, 4, settled)[0] is None


def test_a_decrease_while_engines_start_is_asked_for_twice() -> None:
    """It takes a second tick, a load interval later, with the same target and engines."""
    found, state = asked_at(PipelineState(), 0.0, 3)
    assert found is None
    early, waiting = asked_at(state, 4.0, 3)
    assert early is None
    assert asked_at(waiting, 5.0, 3)[0] == 3
    assert asked_at(state, 5.0, 2)[0] is None
    assert asked_at(state, 5.0, 3, Inventory(ready=4, pending=2, expected=6))[0] is None
    _, forgotten = asked_at(state, 5.0, None)
    assert asked_at(forgotten, 10.0, 3)[0] is None


ENGINE = PerformanceProfile(
    t0_milliseconds=6.0,
    delta_milliseconds=0.03,
    epsilon_milliseconds=1e-6,
    kappa_milliseconds=2e-5,
    kv_capacity_tokens=400_000,
)
MIX = TokenMix.from_means(1000.0, 200.0)


def test_prompts_of_passes_are_those_that_start() -> None:
    """Over many passes as many prompts start as sequences end, of the mix's mean length."""
    loads = [
        scraped(
            ENGINE,
            PassMix.of(MIX),
            turn=turn,
            running=60,
            waiting=2,
            kv_tokens=66_000,
            prompt_mean=1000.0,
            output_mean=200.0,
        )[0]
        for turn in range(2000)
    ]
    prompts = sum(load.prefill_requests for load in loads)
    assert prompts / len(loads) == pytest.approx(60 / 200, rel=0.05)
    assert sum(load.prefill_tokens for load in loads) / prompts == pytest.approx(1000.0, rel=0.05)
    assert {load.queued_prefill_tokens for load in loads} == {2000.0}


def test_the_model_of_an_engine_tells_its_passes() -> None:
    """Whole prompts of the mean length take as long as a pass of these; so does what is learned."""
    time = modelled(ENGINE, 1000.0)
    load, milliseconds = scraped(
        ENGINE,
        PassMix((1.0,)),
        turn=1,
        running=120,
        waiting=0,
        kv_tokens=132_000,
        prompt_mean=1000.0,
        output_mean=100.0,
    )
    assert load.prefill_requests >= 1.0
    assert time(load.forward_pass) == pytest.approx(milliseconds)
    learned = load_tested(ENGINE, PassMix.of(MIX), 1000.0, 200.0)
    assert learned.milliseconds(load.forward_pass) == pytest.approx(milliseconds, rel=0.1)


def test_an_idle_engine_shows_no_pass() -> None:
    """Nothing runs, and nothing is learned of it."""
    load, milliseconds = scraped(
        ENGINE,
        PassMix.of(MIX),
        turn=0,
        running=0,
        waiting=0,
        kv_tokens=0,
        prompt_mean=1000.0,
        output_mean=200.0,
    )
    assert load == EngineLoad()
    assert milliseconds == 0.0


def variant(role: Role) -> Variant:
    """A variant that may be at zero."""
    return variant_of(role, max_replicas=12, profile=ENGINE)


POLICY = policy_of(
    variant(Role.PRIMARY), variant(Role.FALLBACK), slo=replace(USUAL_SLO, tpot_seconds=0.02)
)
PEER = {peer.name: peer for peer in PRESENT_PEERS}


def facts() -> PeerFacts:
    """What a user knows of the two variants."""
    return facts_of(POLICY, (50.0, 50.0), mix=MIX)


def scrape(
    at: float, replicas: int, running: int, answered: int = 0, refused: int = 0, waiting: int = 0
) -> EngineView:
    """Replicas that each run so many sequences of 1100 tokens, after so many answers."""
    none = np.zeros(1, np.int64)
    totals: Any = SimpleNamespace(
        finished=np.array([answered]),
        finished_prompt_tokens=np.array([1000 * answered]),
        finished_output_tokens=np.array([200 * answered]),
        refused=np.array([refused]),
        overflowed=none,
        timed_out=none,
        failed=none,
        too_large=none,
        ttft_histogram=np.array([[answered]]),
        tpot_histogram=np.array([[answered]]),
        ttft_fine=np.zeros((1, len(FINE_EDGES_SECONDS)), np.int64),
        tpot_fine=np.zeros((1, len(FINE_EDGES_SECONDS)), np.int64),
    )
    return EngineView(
        at_seconds=at,
        running=np.full(replicas, running),
        waiting=np.full(replicas, waiting),
        kv_tokens=np.full(replicas, 1100 * running),
        kv_capacity_tokens=4e5,
        totals=totals,
        pool=0,
    )


class Loop:
    """A peer under a load: replicas are Ready as soon as they are decided."""

    def __init__(self, name: str, replicas: int = 3, **asked: float) -> None:
        self.planner = PEER[name].planner(facts(), asked)
        self.history = self.planner.initial(POLICY, None)
        self.replicas = replicas

    def step(self, now: float, view: EngineView | None) -> Decision:
        """One plan call; ``view`` None where Prometheus is blind."""
        observation = Observation(
            workloads_at_seconds=now,
            variants=(
                ScrapedVariant(desired=self.replicas, ready=self.replicas, engines=view),
                ScrapedVariant(desired=0, ready=0, engines=view),
            ),
            traffic=Missing(MissingReason.ABSENT),
            outcomes=Missing(MissingReason.ABSENT),
        )
        decision, self.history = self.planner.plan(POLICY, observation, self.history, now)
        self.replicas = decision.allocation[0]
        return decision

    def path(self, ticks: int, rate: float, running: int, waiting: int = 0) -> list[int]:
        """Replicas after each tick of 15 s at so many requests/s and sequences per replica."""
        found = []
        for tick in range(ticks):
            at = 15.0 * tick
            view = scrape(at, self.replicas, running, int(rate * at), waiting=waiting)
            self.step(at, view)
            found.append(self.replicas)
        return found


def test_the_default_looks_at_kv_use_alone() -> None:
    """Above the KV room with the queue one more a call, below .6 of it one less."""
    assert Loop("dynamo-default").path(3, 1.0, running=300, waiting=100) == [4, 5, 6]
    assert Loop("dynamo-default").path(4, 1.0, running=250) == [3] * 4
    assert Loop("dynamo-default").path(4, 1.0, running=20) == [2, 1, 1, 1]
    assert Loop("dynamo-latency").path(3, 1.0, running=200) == [4, 5, 6]
    up = {"scale_up_kv_percent": 50.0}
    assert Loop("dynamo-load", **up).path(2, 1.0, running=200) == [4, 5]
    assert Loop("dynamo-load").path(2, 1.0, running=200) == [3, 3]


def test_the_load_loop_keeps_its_interval() -> None:
    """Every fourth call of 15 s at an interval of 60 s."""
    loop = Loop("dynamo-default", load_interval_seconds=60.0)
    assert loop.path(9, 1.0, running=300, waiting=100) == [4, 4, 4, 4, 5, 5, 5, 5, 6]


def test_the_sla_load_loop_follows_the_time_between_tokens() -> None:
    """Full engines are slower than the target and get help, a lower target sooner."""
    slow = Loop("dynamo-sla-load").path(3, 1.0, running=200)
    assert slow == [4, 5, 6]
    assert Loop("dynamo-sla-load").path(3, 1.0, running=60)[-1] <= 3
    assert Loop("dynamo-sla-load", itl_share=0.5).path(3, 1.0, running=60) == [4, 5, 6]
    learned = Loop("dynamo-sla-load", learned_pass_times=1.0).path(3, 1.0, running=200)
    assert learned == slow


def test_the_throughput_loop_carries_the_rate() -> None:
    """After an interval as many replicas as carry the requests, whatever they hold now."""
    path = Loop("dynamo-sla-throughput-constant").path(26, 100.0, running=10)
    assert path[:12] == [3] * 12
    assert len(set(path[12:])) == 1
    tighter = Loop("dynamo-sla-throughput-constant", itl_share=0.5).path(14, 100.0, running=10)
    assert 3 < path[12] <= tighter[12] <= 11


def test_refused_attempts_and_a_growing_queue_are_load() -> None:
    """What started counts, not what was answered."""
    counts = []
    for refused, held in ((0, 10), (18_000, 10), (0, 4000)):
        loop = Loop("dynamo-sla-throughput-constant", replicas=3)
        loop.step(0.0, scrape(0.0, 3, 10))
        loop.step(180.0, scrape(180.0, 3, held, answered=5000, refused=refused))
        counts.append(loop.replicas)
    assert counts[0] < min(counts[1:])


def test_both_loops_have_a_floor() -> None:
    """The load loop gives idle engines back no further than the throughput loop's floor."""
    constant = Loop("dynamo-sla-throughput-constant").path(13, 100.0, running=10)[-1]
    both = Loop("dynamo-sla", replicas=12).path(30, 100.0, running=10)
    assert min(both[:12]) < constant
    assert both[-1] == constant


def test_intervals_and_thresholds_that_contradict_each_other_are_told() -> None:
    """The load loop is the faster one, and more is above less."""
    with pytest.raises(InvalidSetting, match="throughput_interval_seconds"):
        PEER["dynamo-sla"].planner(facts(), {"load_interval_seconds": 180.0})
    with pytest.raises(InvalidSetting, match="scale_up_kv_percent"):
        PEER["dynamo-load"].planner(facts(), {"scale_down_kv_percent": 80.0})


@pytest.mark.parametrize("name", PEER)
def test_every_peer_holds_blind_and_wakes_at_zero(name: str) -> None:
    """Without metrics nothing changes, and there is always one replica."""
    loop = Loop(name)
    before = loop.step(0.0, scrape(0.0, 3, 10)).allocation
    decision = loop.step(15.0, None)
    assert decision.allocation == before
    assert decision.binding is Reason.METRICS_MISSING
    empty = Loop(name, replicas=0)
    assert empty.step(0.0, scrape(0.0, 0, 0)).allocation == (1, 0)
    assert empty.step(15.0, None).allocation == (1, 0)


def test_metrics_of_other_engines_than_are_ready_hold() -> None:
    """While a scrape shows more or fewer engines than there are the load loop waits."""
    loop = Loop("dynamo-default")
    assert loop.step(0.0, scrape(0.0, 2, 300, waiting=100)).allocation == (3, 0)


def test_components_are_given_per_variant() -> None:
    """A planner of another deployment says so."""
    planner = PEER["dynamo-default"].planner(facts())
    with pytest.raises(ValueError, match="components"):
        planner.initial(replace(POLICY, variants=POLICY.variants[:1]), None)
