"""Dynamo's classic planner: its sizing by hand, and as a peer."""

import math
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
from peers.building import SLO as USUAL_SLO
from peers.building import facts_of, policy_of, variant_of
from simulations.engine.totals import FINE_EDGES_SECONDS
from simulations.peers.dynamo.classic import (
    ClassicProfile,
    ClassicSpec,
    ClassicState,
    DecodeProfile,
    Pools,
    PrefillProfile,
    Release,
    Seen,
    shares,
    whole,
    within_budget,
)
from simulations.peers.dynamo.classic_planner import CLASSIC_PEERS
from simulations.peers.dynamo.offline_profile import (
    classic_profile,
    decode_milliseconds,
    prompt_milliseconds,
)
from simulations.peers.dynamo.predictors import PredictorKind
from simulations.peers.dynamo.traffic import TrafficWindow
from simulations.peers.peer import Peer, PeerFacts
from simulations.world.engine_view import EngineView, ScrapedVariant

#: An engine of the same speed at any length and fill.
EVEN = ClassicProfile(
    prefill=PrefillProfile(
        prompt_tokens=np.array([100.0, 1000.0, 4000.0, 8000.0]),
        ttft_milliseconds=np.full(4, 50.0),
        tokens_per_second=np.full(4, 40_000.0),
    ),
    decode=DecodeProfile(
        kv_use=np.array([0.0, 0.0, 1.0, 1.0, 0.5]),
        context_tokens=np.array([0.0, 8000.0, 0.0, 8000.0, 4000.0]),
        itl_milliseconds=np.full(5, 10.0),
        tokens_per_second=np.full(5, 10_000.0),
        kv_capacity_tokens=400_000.0,
    ),
)
SPEC = ClassicSpec(itl_milliseconds=50.0, predictor=PredictorKind.CONSTANT, max_gpu_budget=None)


def seen(requests: float, output: float = 150.0, ttft: float = 50.0, itl: float = 10.0) -> Seen:
    """An interval of prompts of 3000 tokens."""
    return Seen(
        window=TrafficWindow(requests=requests, prompt_tokens=3000.0, output_tokens=output),
        ttft_milliseconds=ttft,
        itl_milliseconds=itl,
        duration_seconds=2.0,
    )


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (seen(1800.0), (1, 1)),
        (seen(3600.0, ttft=65.0), (2, 1)),
        (seen(3600.0, ttft=25.0), (1, 1)),
        (seen(36_000.0, output=1500.0, ttft=100.0), (15, 30)),
    ],
)
def test_pools_by_hand(interval: Seen, expected: tuple[int, int]) -> None:
    """A low time to first token lowers the prefill pool, a high one leaves it."""
    asked, _ = shares(SPEC, EVEN, ClassicState(), interval, 1)
    assert asked is not None
    assert whole(SPEC, asked) == Pools(*expected)


@pytest.mark.parametrize(("release", "expected"), [(Release.V1_0, (2, 6)), (Release.V0_9, (3, 5))])
def test_the_budget_of_either_release(release: Release, expected: tuple[int, int]) -> None:
    """1.0 rounds down and 0.9 to the nearest."""
    spec = replace(SPEC, max_gpu_budget=8, release=release)
    assert within_budget(spec, Pools(15, 30)) == Pools(*expected)


def test_a_budget_below_the_least_pools() -> None:
    """1.0 gives up on both pools where 0.9 keeps the least and exceeds the budget."""
    spec = replace(SPEC, max_gpu_budget=1, release=Release.V1_0)
    assert within_budget(spec, Pools(3, 3)) == Pools(0, 0)
    assert within_budget(replace(spec, release=Release.V0_9), Pools(3, 3)) == Pools(1, 1)


@settings(deadline=None)
@given(
    prefill=st.integers(1, 200),
    decode=st.integers(1, 200),
    budget=st.integers(0, 300),
    prefill_gpus=st.integers(1, 8),
    decode_gpus=st.integers(1, 8),
)
def test_the_budget_of_1_0_holds(
    prefill: int, decode: int, budget: int, prefill_gpus: int, decode_gpus: int
) -> None:
    """From 1.0 on both pools together never take more GPUs than there are."""
    spec = replace(SPEC, max_gpu_budget=budget, prefill_gpus=prefill_gpus, decode_gpus=decode_gpus)
    cut = within_budget(spec, Pools(prefill, decode))
    assert cut.prefill * prefill_gpus + cut.decode * decode_gpus <= budget


def test_an_interval_without_answers_changes_nothing() -> None:
    """Nothing is asked, the factors stay, and predictors are shown the idle interval later."""
    _, state = shares(SPEC, EVEN, ClassicState(), seen(3600.0, ttft=25.0, itl=20.0), 1)
    idle = Seen(
        window=TrafficWindow(requests=0.0, prompt_tokens=math.nan, output_tokens=math.nan),
        ttft_milliseconds=math.nan,
        itl_milliseconds=math.nan,
        duration_seconds=math.nan,
    )
    asked, state = shares(SPEC, EVEN, state, idle, 1)
    assert asked is None
    assert state.prefill_correction == pytest.approx(0.5)
    assert state.decode_correction == pytest.approx(2.0)
    _, state = shares(SPEC, EVEN, state, seen(1800.0), 1)
    assert state.requests is not None
    assert state.requests.count == 3


def test_slow_decoding_asks_for_emptier_engines() -> None:
    """The target is divided by how much slower than the profile tokens come."""
    steep = replace(
        EVEN,
        decode=replace(
            EVEN.decode,
            itl_milliseconds=np.array([5.0, 5.0, 25.0, 25.0, 15.0]),
            tokens_per_second=np.array([1e3, 1e3, 2e4, 2e4, 1.05e4]),
        ),
    )
    spec = replace(SPEC, itl_milliseconds=20.0)
    wanted = []
    for slower in (1.0, 2.0):
        itl = slower * steep.decode.itl(1.0, 3075.0)
        # One request for 180 s on one engine: concurrency 1.
        interval = replace(seen(1.0, itl=itl), duration_seconds=180.0)
        asked, _ = shares(spec, steep, ClassicState(), interval, 1)
        assert asked is not None
        wanted.append(asked.decode)
    assert wanted[1] > 1.5 * wanted[0]


ENGINE = PerformanceProfile(
    t0_milliseconds=6.0,
    delta_milliseconds=0.03,
    epsilon_milliseconds=1e-6,
    kappa_milliseconds=2e-5,
    kv_capacity_tokens=400_000,
)


@pytest.mark.parametrize("context", [400.0, 1200.0, 3000.0])
@pytest.mark.parametrize("sequences", [5.0, 40.0, 120.0])
def test_the_offline_profile_tells_the_engine(context: float, sequences: float) -> None:
    """Looked up times are the engine's to a tenth: the planner's grid is that coarse."""
    found = classic_profile(ENGINE).decode.itl(sequences, context)
    truth = decode_milliseconds(ENGINE, np.array([sequences]), np.array([context]))
    assert found == pytest.approx(float(truth[0]), rel=0.1)


def test_the_offline_profile_of_prompts() -> None:
    """A prompt in two chunks takes two iterations, and lookups are held at the ends."""
    first = math.hypot(6.0, 0.03 * 8192)
    rest = math.hypot(6.0, 0.03 * 1808)
    assert prompt_milliseconds(ENGINE, 10_000) == pytest.approx(first + rest + 100.0)
    prefill = classic_profile(ENGINE).prefill
    assert prefill.ttft(3000.0) == pytest.approx(prompt_milliseconds(ENGINE, 3000), rel=0.01)
    assert prefill.ttft(10.0) == prefill.ttft(100.0)


def variant(role: Role, high: int = 12) -> Variant:
    """A variant that may be at zero."""
    return variant_of(role, max_replicas=high, profile=ENGINE)


POLICY = policy_of(
    variant(Role.PRIMARY), variant(Role.FALLBACK), slo=replace(USUAL_SLO, tpot_seconds=0.02)
)


def facts() -> PeerFacts:
    """What a user knows of the two variants."""
    return facts_of(POLICY, (50.0, 50.0))


def engines(answered: int, refused: int = 0, ttft: float = 0.05, tpot: float = 0.01) -> EngineView:
    """A scrape after so many requests of 1000 and 200 tokens, all with the same latencies."""
    none = np.zeros(1, np.int64)

    def counted(seconds: float) -> np.ndarray:
        row = np.zeros((1, len(FINE_EDGES_SECONDS)), np.int64)
        row[0, np.searchsorted(FINE_EDGES_SECONDS, seconds)] = answered
        return row

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
        ttft_fine=counted(ttft),
        tpot_fine=counted(tpot),
    )
    return EngineView(
        at_seconds=0.0,
        running=none,
        waiting=none,
        kv_tokens=none,
        kv_capacity_tokens=4e5,
        totals=totals,
        pool=0,
    )


class Loop:
    """A peer under a load: replicas are Ready as soon as they are decided."""

    def __init__(self, peer: Peer, replicas: int = 3, **asked: float) -> None:
        self.planner = peer.planner(facts(), asked)
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


PEER = {peer.name: peer for peer in CLASSIC_PEERS}


def run(loop: Loop, requests_per_tick: int, ticks: int, start: int = 0, **view: float) -> list[int]:
    """Replicas after each tick of 15 s under a steady load."""
    path = []
    for tick in range(start, start + ticks):
        counted = {name: int(value * tick) for name, value in view.items()}
        loop.step(15.0 * tick, engines(requests_per_tick * tick, **counted))
        path.append(loop.replicas)
    return path


def test_replicas_change_once_an_interval() -> None:
    """The first decision falls 180 s after the engines were first seen, and holds for 180 s."""
    path = run(Loop(PEER["dynamo-classic-constant"]), 2000, 30)
    assert path[:12] == [3] * 12
    assert path[12] > 3
    assert len(set(path[12:24])) == 1


def test_both_pools_are_rounded_up_once() -> None:
    """A small load that needs a share of an engine for either kind of work needs one replica."""
    assert run(Loop(PEER["dynamo-classic-constant"]), 5, 14)[-1] == 1


def test_a_refused_attempt_is_a_request() -> None:
    """What is turned away counts as load, as Dynamo's frontend counts it."""
    answered = run(Loop(PEER["dynamo-classic-constant"]), 500, 14)[-1]
    refused = run(Loop(PEER["dynamo-classic-constant"]), 500, 14, refused=500)[-1]
    assert refused > answered


def test_a_lower_share_asks_for_more_replicas() -> None:
    """The knob reaches the law."""
    paths = [
        run(Loop(PEER["dynamo-classic-kalman"], itl_share=share), 800, 14) for share in (1.0, 0.4)
    ]
    assert paths[1][-1] > paths[0][-1]


def test_blind_holds_and_goes_on_after() -> None:
    """While Prometheus is blind nothing changes; the load after it is told per interval."""
    loop = Loop(PEER["dynamo-classic-constant"])
    steady = run(loop, 800, 13)[-1]
    for tick in range(13, 40):
        decision = loop.step(15.0 * tick, None)
        assert decision.allocation[0] == steady
    assert decision.binding is Reason.METRICS_MISSING
    assert run(loop, 800, 1, start=40)[-1] == steady


def test_zero_is_no_state_of_its_own() -> None:
    """A Dynamo deployment has one engine at least, and a silent one stays as it is."""
    loop = Loop(PEER["dynamo-classic-constant"], replicas=0)
    assert run(loop, 0, 30) == [1] * 30


def test_the_range_of_the_variant_holds() -> None:
    """No load asks for more than the variant may have, and the fallback stays at its minimum."""
    loop = Loop(PEER["dynamo-classic-constant"])
    for tick in range(13):
        decision = loop.step(15.0 * tick, engines(50_000 * tick))
    assert decision.allocation == (12, 0)
    assert decision.binding is Reason.MAX_REPLICAS


@pytest.mark.parametrize("name", ["dynamo-classic-arima", "dynamo-classic-prophet"])
def test_library_predictors_plan(name: str) -> None:
    """With their library these peers follow a steady load as the constant one does."""
    pytest.importorskip({"arima": "pmdarima", "prophet": "prophet"}[name.rpartition("-")[2]])
    steady = run(Loop(PEER["dynamo-classic-constant"]), 800, 80)[-1]
    assert run(Loop(PEER[name]), 800, 80)[-1] == pytest.approx(steady, abs=1)
