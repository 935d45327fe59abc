"""llm-d's four KEDA laws on hand-made cases, and as planners."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.decision import Decision, Reason
from controller.core.domain.observation import (
    GaugeReading,
    Measured,
    Missing,
    MissingReason,
    Observation,
    VariantObservation,
)
from controller.core.domain.policy import (
    Policy,
)
from controller.core.domain.variant import Role, Variant
from controller.ports import Planner
from peers.building import ENGINE, facts_of, policy_of, variant_of
from peers.building import SLO as USUAL_SLO
from simulations.engine.totals import FINE_EDGES_SECONDS, Totals
from simulations.peers.keda.llmd import (
    LatencySlo,
    Pool,
    SaturationBand,
    full_caches,
    guarded,
    mean_prompt_tokens,
    prefill_tokens_per_second,
    saturated_replicas,
    saturation,
)
from simulations.peers.peer import InvalidSetting
from simulations.peers.registry import peer
from simulations.setup import TPOT_EDGES_SECONDS, TTFT_EDGES_SECONDS
from simulations.world.engine_view import EngineView, ScrapedVariant

LAWS = ("keda-llmd-windows", "keda-llmd-guard", "keda-llmd-slo", "keda-llmd-token")
FAILED = Missing(MissingReason.QUERY_FAILED)
EMPTY = Missing(MissingReason.STALE)
SLO = LatencySlo(
    ttft_seconds=1.0,
    tpot_seconds=0.05,
    ttft_edges_seconds=TTFT_EDGES_SECONDS,
    tpot_edges_seconds=TPOT_EDGES_SECONDS,
)


def variant(role: Role, *, low: int = 1) -> Variant:
    """A variant of up to 24 replicas."""
    return variant_of(role, min_replicas=low)


def policy(*variants: Variant) -> Policy:
    """A Primary and a fallback that may be at zero, unless ``variants`` are given."""
    return policy_of(
        *(variants or (variant(Role.PRIMARY), variant(Role.FALLBACK, low=0))),
        slo=replace(USUAL_SLO, ttft_seconds=SLO.ttft_seconds, tpot_seconds=SLO.tpot_seconds),
    )


def planner(name: str, of: Policy | None = None, **asked: float) -> Planner[object]:
    """A peer of this name, set up with these settings."""
    of = of or policy()
    return peer(name).planner(
        facts_of(of, (50.0,) * len(of.variants)),
        asked,
    )


def engines(
    at_seconds: float,
    *,
    ttft_seconds: Sequence[float] = (),
    tpot_seconds: Sequence[float] = (),
    waiting: Sequence[int] = (0,),
    kv_tokens: Sequence[int] = (0,),
    finished: int = 0,
    finished_prompt_tokens: int = 0,
) -> EngineView:
    """A scrape of a pool whose engines counted these latencies so far."""
    none = np.zeros(1, np.int64)

    def histogram(seconds: Sequence[float], edges: tuple[float, ...]) -> np.ndarray:
        buckets = np.searchsorted(np.array(edges), np.array(seconds, float))
        return np.bincount(buckets, minlength=len(edges) + 1)[None, :]

    counts = dict.fromkeys(
        (
            "routed", "refused", "overflowed", "good", "bad_ttft", "bad_tpot", "prompt_tokens",
            "output_tokens", "finished_output_tokens", "refused_for_good", "timed_out", "failed",
            "too_large", "preemptions",
        ),
        none,
    )  # fmt: skip
    totals = Totals(
        offered=0,
        finished=np.array([finished]),
        finished_prompt_tokens=np.array([finished_prompt_tokens]),
        ttft_histogram=histogram(ttft_seconds, TTFT_EDGES_SECONDS),
        tpot_histogram=histogram(tpot_seconds, TPOT_EDGES_SECONDS),
        ttft_fine=np.zeros((1, len(FINE_EDGES_SECONDS)), np.int64),
        tpot_fine=np.zeros((1, len(FINE_EDGES_SECONDS)), np.int64),
        digest="",
        digest_unordered="",
        **counts,
    )
    return EngineView(
        at_seconds=at_seconds,
        running=np.zeros(len(waiting), np.int64),
        waiting=np.array(waiting, np.int64),
        kv_tokens=np.array(kv_tokens, np.int64),
        kv_capacity_tokens=1000.0,
        totals=totals,
        pool=0,
    )


def pool(
    desired: int,
    running: float | Missing = 0.0,
    waiting: float | Missing = 0.0,
    *,
    starting: int = 0,
    view: EngineView | None = None,
) -> VariantObservation:
    """A pool of which some replicas still start, and its gauges."""

    def gauge(value: float | Missing) -> GaugeReading:
        return value if isinstance(value, Missing) else Measured(value, 0.0)

    return ScrapedVariant(
        desired=desired,
        ready=desired - starting,
        starting_since_seconds=(0.0,) * starting,
        running=gauge(running),
        waiting=gauge(waiting),
        engines=view,
    )


def decided(
    chosen: Planner[object], seen: Sequence[VariantObservation], of: Policy | None = None
) -> list[Decision]:
    """One decision per observation of the Primary, 15 s apart; the fallback is at zero."""
    of = of or policy()
    history = chosen.initial(of, None)
    decisions = []
    for tick, primary in enumerate(seen):
        others = (pool(0),) * (len(of.variants) - 1)
        observation = Observation(
            workloads_at_seconds=0.0, variants=(primary, *others), traffic=FAILED, outcomes=FAILED
        )
        decision, history = chosen.plan(of, observation, history, 15.0 * tick)
        decisions.append(decision)
    return decisions


@pytest.mark.parametrize(
    ("queue", "running", "replicas", "pending", "expected"),
    [(0, 60, 4, 0, 3.75), (6, 64, 4, 0, 6.0), (6, 64, 6, 2, 6.0), (9, 64, 6, 2, 7.0)],
)
def test_the_guard_takes_off_what_is_on_its_way(
    queue: int, running: int, replicas: int, pending: int, expected: float
) -> None:
    """Replicas that start are taken off a demand above what there is, but not below that."""
    demand = max(queue / 1.0, running / 16.0)
    assert guarded(demand, Pool(replicas=replicas, ready=replicas - pending)) == expected


@pytest.mark.parametrize(
    ("sigma", "replicas", "ready", "expected"),
    [
        (1.0, 4, 4, 8),
        (1.0, 8, 4, 8),
        (2.0, 4, 4, 15),
        (0.2, 8, 8, 4),
        (0.45, 8, 8, 8),
        (0.6, 8, 2, 3),
        (0.0, 5, 5, 0),
    ],
)
def test_saturation_becomes_replicas(
    sigma: float, replicas: int, ready: int, expected: int
) -> None:
    """As published: more above .55 with a credit for what starts, fewer below .40, else as many."""
    band = SaturationBand()
    assert saturated_replicas(band, sigma, Pool(replicas=replicas, ready=ready)) == expected


@given(sigma=st.floats(0.0, 2.0), replicas=st.integers(0, 200), ready_share=st.floats(0.0, 1.0))
@settings(deadline=None)
def test_floored_an_increase_is_never_a_decrease(
    sigma: float, replicas: int, ready_share: float
) -> None:
    """The corrected twin keeps the replicas there are, and agrees wherever it need not."""
    of = Pool(replicas=replicas, ready=int(replicas * ready_share))
    written = saturated_replicas(SaturationBand(), sigma, of)
    floored = saturated_replicas(SaturationBand(floored=True), sigma, of)
    if sigma > 0.55:
        assert floored == max(written, replicas)
    else:
        assert floored == written


def test_saturation_is_the_worse_tail_over_its_threshold() -> None:
    """P90s of .725 s and 47.5 ms are .725 and .95 of the SLO, of which the greater counts."""
    scrapes = [
        engines(0.0, ttft_seconds=[0.005] * 90),
        engines(15.0, ttft_seconds=[0.005] * 90 + [0.6] * 10, tpot_seconds=[0.03] * 10),
    ]
    both = (scrapes[0], scrapes[1])
    # At 0 s there was one scrape only: the rule recorded 0.
    assert saturation(SLO, both, 15.0) == pytest.approx(0.5 * 0.0475 / 0.05)
    assert saturation(SLO, both, 45.0) == pytest.approx(0.0475 / 0.05)


def test_one_bad_sample_is_cut_and_smoothed() -> None:
    """A spike far above the SLO counts as twice the SLO, for a third of the 45 s."""
    quiet = [engines(15.0 * i) for i in range(4)]
    spike = engines(60.0, ttft_seconds=[100.0] * 5)
    assert saturation(SLO, (*quiet, spike), 60.0) == pytest.approx(2.0 / 3.0)


def test_an_idle_pool_is_not_saturated() -> None:
    """Without traffic both quantiles are NaN, which the rule records as 0."""
    scrapes = tuple(engines(15.0 * i, ttft_seconds=[9.0] * 4) for i in range(5))
    assert saturation(SLO, scrapes, 60.0) == 0.0
    assert saturation(SLO, (), 60.0) == 0.0


def test_prefill_is_calibrated_with_one_full_batch() -> None:
    """A replica that takes 245.8 ms for 8192 tokens prefills 33,300 a second."""
    milliseconds = np.hypot(6.0, 0.03 * 8192)
    expected = 8192 / milliseconds * 1000.0
    assert prefill_tokens_per_second(ENGINE) == pytest.approx(expected)


def test_prompts_are_as_long_as_those_lately_answered() -> None:
    """The mean is that of the last minute; without any answer what was measured before holds."""
    scrapes = [
        engines(0.0, finished=10, finished_prompt_tokens=10_000),
        engines(15.0, finished=30, finished_prompt_tokens=20_000),
    ]
    assert mean_prompt_tokens(scrapes, 15.0, 77.0) == 500.0
    assert mean_prompt_tokens(scrapes[:1], 15.0, 77.0) == 77.0
    assert mean_prompt_tokens([], 15.0, 77.0) == 77.0


def test_caches_add_up_over_replicas() -> None:
    """Three replicas with .5, .25 and 1.0 of their room in use fill 1.75 of it."""
    assert full_caches(engines(0.0, kv_tokens=[500, 250, 1000])) == 1.75
    assert full_caches(None) == 0.0


def test_windows_rise_after_a_cold_start_and_double() -> None:
    """80 running at 16 each are 5 replicas, asked for once the window of 300 s agrees."""
    counts = [
        decision.allocation[0]
        for decision in decided(planner("keda-llmd-windows"), [pool(2, 80.0)] * 24)
    ]
    assert counts[:20] == [2] * 20
    assert counts[20:] == [4] * 4


def test_the_guard_rises_at_once_and_not_twice() -> None:
    """What starts is taken off: 2 Ready and 3 starting replicas are enough for a demand of 6."""
    first = decided(planner("keda-llmd-guard"), [pool(3, 96.0)])
    assert first[0].allocation == (6, 0)
    again = decided(planner("keda-llmd-guard"), [pool(5, 96.0, starting=3)])
    assert again[0].allocation == (5, 0)


def test_the_guard_falls_back_to_one_replica() -> None:
    """From the fourth failed query on KEDA asks for 1; the down-window holds it for 300 s."""
    seen = [pool(4, 64.0)] + [pool(4, FAILED, FAILED)] * 30
    decisions = decided(planner("keda-llmd-guard"), seen)
    counts = [decision.allocation[0] for decision in decisions]
    assert counts[:20] == [4] * 20
    assert counts[-1] == 1
    assert decisions[2].binding is Reason.METRICS_MISSING


def test_latency_over_the_slo_adds_replicas_in_a_burst() -> None:
    """At twice the SLO 4 replicas become 15 by the law, of which 4 more are let through."""
    late = [
        pool(4, 1.0, view=engines(15.0 * tick, ttft_seconds=[30.0] * (1 + tick)))
        for tick in range(8)
    ]
    decisions = decided(planner("keda-llmd-slo"), late)
    counts = [decision.allocation[0] for decision in decisions]
    assert counts[0] == 4
    assert max(counts) == 8
    assert Reason.SCALE_RATE_LIMITED in {decision.binding for decision in decisions}


def test_without_load_the_slo_law_releases_one_by_one() -> None:
    """Silence is no saturation: after 180 s one replica goes, and the next 120 s later."""
    of = policy()
    chosen = planner("keda-llmd-slo")
    history = chosen.initial(of, None)
    replicas = 6
    path = []
    for tick in range(40):
        now = 15.0 * tick
        observation = Observation(
            workloads_at_seconds=now,
            variants=(pool(replicas, view=engines(now)), pool(0)),
            traffic=FAILED,
            outcomes=FAILED,
        )
        decision, history = chosen.plan(of, observation, history, now)
        replicas = decision.allocation[0]
        path.append(replicas)
    assert path[11] == 6
    assert path[12] == 5
    assert path[19] == 5
    assert path[21] == 4


def test_tokens_ask_for_the_greater_of_both_phases() -> None:
    """600 prompts of 1000 tokens are 18 s of prefill, for 12 replicas: one more is let through."""
    waiting = pool(3, 1.0, view=engines(0.0, waiting=[200, 200, 200]))
    (decision,) = decided(planner("keda-llmd-token"), [waiting])
    assert decision.steps[0].after == (13, 0)
    assert decision.allocation == (4, 0)
    full = pool(3, 1.0, view=engines(0.0, waiting=[0] * 3, kv_tokens=[1000, 900, 900]))
    (decision,) = decided(planner("keda-llmd-token"), [full])
    assert decision.allocation == (4, 0)


def test_tokens_wait_three_minutes_between_replicas() -> None:
    """At most one replica more per 180 s."""
    of = policy()
    chosen = planner("keda-llmd-token")
    history = chosen.initial(of, None)
    replicas = 3
    path = []
    for tick in range(26):
        now = 15.0 * tick
        seen = pool(replicas, 1.0, view=engines(now, waiting=[900]))
        observation = Observation(
            workloads_at_seconds=now, variants=(seen, pool(0)), traffic=FAILED, outcomes=FAILED
        )
        decision, history = chosen.plan(of, observation, history, now)
        replicas = decision.allocation[0]
        path.append(replicas)
    assert path[0] == 4
    assert path[11] == 4
    assert path[12] == 5
    assert path[24] == 6


@pytest.mark.parametrize("name", ["keda-llmd-windows", "keda-llmd-slo", "keda-llmd-token"])
def test_a_failed_query_holds(name: str) -> None:
    """Laws without a fallback block leave the replicas as they are for as long as it lasts."""
    for decision in decided(planner(name), [pool(7, FAILED, FAILED)] * 40):
        assert decision.allocation == (7, 0)
        assert decision.binding is Reason.METRICS_MISSING


@pytest.mark.parametrize("name", LAWS)
def test_series_that_are_gone_count_as_no_load(name: str) -> None:
    """KEDA takes an empty result for 0, so that after its window capacity goes: the peers' own."""
    decisions = decided(planner(name), [pool(7, EMPTY, EMPTY)] * 40)
    assert decisions[5].allocation == (7, 0)
    assert min(decision.allocation[0] for decision in decisions) < 7


@pytest.mark.parametrize("name", LAWS)
def test_one_variant_at_zero_sleeps_on(name: str) -> None:
    """A pool at zero with nothing to do stays there, with or without a fallback beside it."""
    of = policy(variant(Role.PRIMARY, low=0))
    for decision in decided(planner(name, of), [pool(0, view=engines(0.0))] * 5, of):
        assert decision.allocation == (0,)


@given(
    loads=st.lists(
        st.tuples(
            st.one_of(st.floats(0.0, 1e5), st.just(FAILED), st.just(EMPTY)),
            st.integers(0, 5000),
            st.integers(1, 40),
            st.booleans(),
        ),
        min_size=1,
        max_size=25,
    ),
    name=st.sampled_from(LAWS),
)
@settings(deadline=None, max_examples=60)
def test_every_decision_is_within_the_variants_range(
    loads: list[tuple[float | Missing, int, int, bool]], name: str
) -> None:
    """Whatever is seen or not, the Primary stays in its range and the fallback at its minimum."""
    of = policy()
    chosen = planner(name)
    history = chosen.initial(of, None)
    late: list[float] = []
    for tick, (running, waiting, desired, scraped) in enumerate(loads):
        late += [0.01 * waiting]
        now = 15.0 * tick
        view = engines(now, ttft_seconds=late, waiting=[waiting]) if scraped else None
        observation = Observation(
            workloads_at_seconds=now,
            variants=(pool(desired, running, running, view=view), pool(0)),
            traffic=FAILED,
            outcomes=FAILED,
        )
        decision, history = chosen.plan(of, observation, history, now)
        primary, fallback = decision.allocation
        assert fallback == 0
        assert 1 <= primary <= 24


def test_a_band_that_is_upside_down_is_told() -> None:
    """A release above the threshold for adding would flap: it is rejected by name."""
    with pytest.raises(InvalidSetting, match="saturation_down"):
        planner("keda-llmd-slo", saturation_up=0.3)
    with pytest.raises(ValueError, match="down"):
        SaturationBand(up=0.2)
