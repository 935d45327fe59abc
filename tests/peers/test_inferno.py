"""The inferno solver on hand-made cases; its vectors are in test_vectors.py."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.decision import Allocation, Reason
from controller.core.domain.observation import (
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
from simulations.peers.inferno.benchmark import (
    Run,
    four_parameters,
    held_batch,
    runs,
    three_parameters,
)
from simulations.peers.inferno.queue import (
    FourParameters,
    ReplicaQueue,
    ThreeParameters,
    Timing,
    Tokens,
)
from simulations.peers.inferno.sizing import Targets, sized
from simulations.peers.inferno.solver import (
    Accelerator,
    Load,
    Placement,
    Server,
    candidates,
    chosen,
    penalty,
    placement,
)
from simulations.peers.peer import NotApplicable, PeerFacts
from simulations.peers.registry import peer

GONE = Missing(MissingReason.QUERY_FAILED)
A100 = FourParameters(alpha=7.470, beta=0.044, gamma=15.415, delta=0.000337)
L40S = FourParameters(alpha=22.619, beta=0.181, gamma=226.19, delta=0.018)
THREE = ThreeParameters(alpha=5.0, beta=0.05, gamma=0.00005)
TOKENS = Tokens(512.0, 128.0)
#: Llama 8B on an H100, as the catalogue has it.
PROFILE = PerformanceProfile(
    t0_milliseconds=6.68,
    delta_milliseconds=0.02003,
    epsilon_milliseconds=5.1e-7,
    kappa_milliseconds=4.4e-5,
    kv_capacity_tokens=412_000,
)
MIX = TokenMix.from_means(1000.0, 200.0)


def queue(timing: Timing, max_batch: int = 64) -> ReplicaQueue:
    """A replica with ten places in the queue for each in the batch."""
    return ReplicaQueue(timing=timing, tokens=TOKENS, max_batch=max_batch, max_queue=10 * max_batch)


@pytest.mark.parametrize(
    ("share", "wait", "ttft", "itl"), [(0.6, 0.0, 21.37, 8.988), (0.9, 52.77, 77.93, 9.955)]
)
def test_four_parameter_queue_by_hand(share: float, wait: float, ttft: float, itl: float) -> None:
    """An A100 at shares of mu(N) has the latencies that were worked out for it."""
    replica = queue(A100)
    assert replica.service_rates[[0, -1]] == pytest.approx([0.001031, 0.048020], rel=1e-3)
    state = replica.at(share * float(replica.service_rates[-1]))
    assert state.waiting == pytest.approx(wait, abs=0.02)
    assert state.latencies.ttft == pytest.approx(ttft, abs=0.02)
    assert state.latencies.itl == pytest.approx(itl, abs=2e-3)


@pytest.mark.parametrize(
    ("share", "served", "ttft", "itl"),
    [(0.6, 17.248, 45.53, 10.133), (0.9, 45.175, 103.55, 17.840)],
)
def test_three_parameter_queue_by_hand(
    share: float, served: float, ttft: float, itl: float
) -> None:
    """The later form at shares of mu(N) has the latencies that were worked out for it."""
    replica = queue(THREE)
    assert replica.service_rates[[0, -1]] == pytest.approx([0.001396, 0.021574], rel=1e-3)
    state = replica.at(share * float(replica.service_rates[-1]))
    assert state.served == pytest.approx(served, rel=1e-3)
    assert state.latencies.ttft == pytest.approx(ttft, rel=1e-3)
    assert state.latencies.itl == pytest.approx(itl, rel=1e-3)


TIMINGS = st.one_of(
    st.builds(
        FourParameters,
        alpha=st.floats(1.0, 30.0),
        beta=st.floats(0.01, 2.0),
        gamma=st.floats(0.0, 200.0),
        delta=st.floats(0.0, 0.05),
    ),
    st.builds(
        ThreeParameters,
        alpha=st.floats(1.0, 30.0),
        beta=st.floats(1e-3, 0.1),
        gamma=st.floats(1e-6, 1e-3),
    ),
)


@settings(deadline=None, max_examples=60)
@given(timing=TIMINGS, max_batch=st.integers(1, 40), share=st.floats(0.002, 0.998))
def test_the_chain_is_solved_as_written_out(timing: Timing, max_batch: int, share: float) -> None:
    """Throughput, wait and number served equal those of all K + 1 states added up one by one."""
    replica = queue(timing, max_batch)
    rate = share * float(replica.service_rates[-1])
    states = np.arange(replica.max_batch + replica.max_queue + 1)
    served = np.minimum(states, max_batch)
    steps = np.log(rate) - np.log(replica.service_rates[served[1:] - 1])
    log_p = np.concatenate([[0.0], np.cumsum(steps)])
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    throughput = rate * (1.0 - p[-1])
    state = replica.at(rate)
    assert state.throughput == pytest.approx(throughput, rel=1e-9)
    assert state.served == pytest.approx(float(p @ served), rel=1e-9)
    waiting = float(p @ (states - served)) / throughput
    assert state.waiting == pytest.approx(waiting, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    timing=TIMINGS,
    max_batch=st.integers(2, 40),
    ttft=st.floats(10.0, 5000.0),
    itl=st.floats(2.0, 200.0),
)
def test_a_sized_replica_meets_its_targets_and_no_more(
    timing: Timing, max_batch: int, ttft: float, itl: float
) -> None:
    """At the rate found both means are in bounds; a little more breaks one, or is the most."""
    replica = queue(timing, max_batch)
    sizing = sized(replica, Targets(ttft=ttft, itl=itl))
    if sizing is None:
        idle = replica.at(replica.least_rate).latencies
        assert idle.ttft > ttft or idle.itl > itl
        return
    assert sizing.state.latencies.ttft <= ttft * (1.0 + 1e-3)
    assert sizing.state.latencies.itl <= itl * (1.0 + 1e-3)
    rate = min(sizing.ttft_rate, sizing.itl_rate)
    if rate < 0.99 * replica.most_rate:
        beyond = replica.at(rate * 1.005).latencies
        nearly = 1.0 - 1e-5  # a latency that is flat at its target counts as at it
        assert beyond.ttft > nearly * ttft or beyond.itl > nearly * itl


def test_sizing_by_hand() -> None:
    """The A100 is bound by the time between tokens, and three L40S carry 20 requests/s."""
    sizing = sized(queue(A100), Targets(ttft=500.0, itl=9.0))
    assert sizing is not None
    assert sizing.ttft_rate == pytest.approx(0.046553, rel=1e-3)
    assert sizing.itl_rate == pytest.approx(0.029004, rel=1e-3)
    server = Server(targets=Targets(ttft=500.0, itl=28.0), min_replicas=1)
    l40s = Accelerator(name="l40s", cost=2.0, timing=L40S, max_batch=64)
    placed = placement(
        server, l40s, Load(requests_per_second=20.0, prompt_tokens=512, output_tokens=128)
    )
    assert placed is not None
    assert placed.requests_per_second == pytest.approx(7.079, rel=1e-3)
    assert (placed.replicas, placed.cost) == (3, 6.0)


def test_a_target_below_an_idle_replica_is_out_of_reach() -> None:
    """Such an accelerator is no candidate at all, rather than one at its minimum."""
    assert sized(queue(THREE), Targets(itl=5.0)) is None
    server = Server(targets=Targets(itl=5.0), min_replicas=1)
    fast = Accelerator(name="fast", cost=9.0, timing=A100, max_batch=64)
    slow = Accelerator(name="slow", cost=1.0, timing=THREE, max_batch=64)
    load = Load(requests_per_second=1.0, prompt_tokens=512, output_tokens=128)
    assert not candidates(server, [fast, slow], load, Placement())
    easier = replace(server, targets=Targets(itl=8.0))
    assert set(candidates(easier, [fast, slow], load, Placement())) == {"fast", "slow"}


def test_bad_queues_are_named() -> None:
    """A queue without places, tokens that no request has and rates beyond mu(N) are rejected."""
    with pytest.raises(ValueError, match="max_batch"):
        queue(A100, 0)
    with pytest.raises(ValueError, match="tokens"):
        ReplicaQueue(timing=A100, tokens=Tokens(10.0, 0.0), max_batch=4, max_queue=40)
    for rate in (0.0, 1.0):
        with pytest.raises(ValueError, match="rate"):
            queue(A100).at(rate)


def test_changes_are_penalised() -> None:
    """Staying costs nothing, resizing its difference, moving a tenth of both costs besides."""
    two_a = Placement(accelerator="a", replicas=2, cost=80.0)
    assert penalty(two_a, two_a) == 0.0
    assert penalty(two_a, replace(two_a, replicas=3, cost=120.0)) == 40.0
    six_b = Placement(accelerator="b", replicas=6, cost=150.0)
    assert penalty(two_a, six_b) == pytest.approx(93.0)
    assert penalty(Placement(), two_a) == pytest.approx(88.0)


def test_a_kept_accelerator_is_the_only_candidate() -> None:
    """A server that keeps its accelerator is moved only once nothing of it runs."""
    server = Server(targets=Targets(ttft=500.0), min_replicas=1, keep_accelerator=True)
    dear = Accelerator(name="dear", cost=50.0, timing=A100, max_batch=64)
    cheap = replace(dear, name="cheap", cost=1.0)
    load = Load(requests_per_second=100.0, prompt_tokens=512, output_tokens=128)
    running = Placement(accelerator="dear", replicas=1, cost=50.0)
    assert set(candidates(server, [dear, cheap], load, running)) == {"dear"}
    free = chosen(candidates(server, [dear, cheap], load, Placement()))
    assert free is not None
    assert free.accelerator == "cheap"
    assert chosen({}) is None


def test_silence_asks_for_the_minimum_or_nothing() -> None:
    """Without load a server is at its minimum on the accelerator of least value."""
    accelerator = Accelerator(name="a", cost=2.0, timing=THREE, max_batch=64, at_tokens=256)
    silent = Load(requests_per_second=0.0, prompt_tokens=512, output_tokens=128)
    assert accelerator.batch(100.0) == 163
    one = placement(Server(targets=Targets(), min_replicas=1), accelerator, silent)
    assert one is not None
    assert (one.replicas, one.cost, one.max_batch) == (1, 2.0, 64)
    none = placement(Server(targets=Targets(), min_replicas=0), accelerator, silent)
    assert none == Placement()


def test_the_fit_is_near_the_benchmark() -> None:
    """Fitted parameters give back every run's time per token within 12 %."""
    three, four = three_parameters(PROFILE, MIX), four_parameters(PROFILE, MIX)
    seen = runs(PROFILE, MIX)
    assert seen[0].concurrency == 1.0
    for run in seen:
        batch = np.array(run.concurrency)
        assert float(three.decode(run.tokens, batch)) == pytest.approx(run.itl, rel=0.12)
        assert float(four.decode(batch)) == pytest.approx(run.itl, rel=0.12)
        assert float(four.prefill(run.tokens, batch)) == pytest.approx(run.ttft, rel=0.12)
    assert held_batch(PROFILE, MIX) == PROFILE.max_running
    assert isinstance(seen[0], Run)


def variant(role: Role, cost: float, low: int = 1) -> Variant:
    """One variant on the same kind of replica."""
    return variant_of(role, cost_per_replica_hour=cost, min_replicas=low, profile=PROFILE)


def policy(law: RoutingLaw = RoutingLaw.SHARED, fallback_cost: float = 1.0) -> Policy:
    """A Primary at 4 per replica-hour and a fallback that may be at zero."""
    return policy_of(
        variant(Role.PRIMARY, 4.0), variant(Role.FALLBACK, fallback_cost, low=0), law=law
    )


def facts(of: Policy) -> PeerFacts:
    """What a user knows of the two variants."""
    return facts_of(of, (60.0, 60.0), mix=MIX)


def traffic(now: float, requests_per_second: float) -> Traffic:
    """Fifteen seconds of arrivals of the mix that end at ``now``."""
    requests = 15.0 * requests_per_second
    return Traffic(
        from_seconds=now - 15.0,
        to_seconds=now,
        requests=requests,
        refused=0.0,
        token_requests=requests,
        prompt_tokens=1000.0 * requests,
        output_tokens=200.0 * requests,
    )


def followed(
    name: str,
    of: Policy,
    rates: list[float | None],
    start: Allocation,
    asked: dict[str, float] | None = None,
) -> list[Allocation]:
    """Allocations tick by tick, replicas Ready as soon as decided; a rate None is blind."""
    planner = peer(name).planner(facts(of), asked)
    history = planner.initial(of, None)
    allocation, path = start, []
    for tick, rate in enumerate(rates):
        now = 15.0 * tick
        seen = Observation(
            workloads_at_seconds=now,
            variants=tuple(VariantObservation(desired=n, ready=n) for n in allocation),
            traffic=GONE if rate is None else traffic(now, rate),
            outcomes=GONE,
        )
        decision, history = planner.plan(of, seen, history, now)
        allocation = decision.allocation
        path.append(allocation)
    return path


def expected_replicas(rate: float, share: float = 1.0) -> int:
    """Replicas that the three-parameter queue asks for at the mix."""
    server = Server(targets=Targets(ttft=1000.0 * share, itl=50.0 * share), min_replicas=1)
    accelerator = Accelerator(
        name="a",
        cost=1.0,
        timing=three_parameters(PROFILE, MIX),
        max_batch=held_batch(PROFILE, MIX),
    )
    placed = placement(
        server, accelerator, Load(requests_per_second=rate, prompt_tokens=1000, output_tokens=200)
    )
    assert placed is not None
    return placed.replicas


def test_the_primary_alone_follows_the_queue() -> None:
    """After the window the Primary is where the solver has it, the fallback at its minimum."""
    path = followed("inferno-slo-primary", policy(), [200.0] * 40, (2, 0))
    assert path[0] == (2, 0)
    assert path[-1] == (expected_replicas(200.0), 0)
    assert expected_replicas(200.0) > 5


def test_an_increase_waits_for_the_window() -> None:
    """The chart's HPA holds 240 s before it goes up; without a window it goes at once."""
    rates: list[float | None] = [20.0] * 8 + [200.0] * 30
    held = followed("inferno-slo-primary", policy(), rates, (1, 0))
    quick = followed(
        "inferno-slo-primary", policy(), rates, (1, 0), {"stabilization_window_seconds": 0.0}
    )
    first_held = next(i for i, allocation in enumerate(held) if allocation[0] > 1)
    first_quick = next(i for i, allocation in enumerate(quick) if allocation[0] > 1)
    assert first_held - (first_quick - 1) == 240 // 15  # since the last time little was asked for
    assert 8 <= first_quick <= 12


def test_ten_pods_go_at_a_time() -> None:
    """The chart's only rate policy is 10 pods in 150 s, both ways."""
    rates: list[float | None] = [900.0] * 22 + [1.0] * 40
    path = followed(
        "inferno-slo-primary", policy(), rates, (1, 0), {"stabilization_window_seconds": 0.0}
    )
    counts = [primary for primary, _ in path]
    assert counts[:12] == [11] * 10 + [21] * 2
    assert max(counts) == 24  # the variant's maximum, below what is asked for
    assert expected_replicas(900.0) > 24
    falling = counts[24:]
    assert 1 < falling[0] < 24  # ten below where the period began
    assert falling[10:] == [1] * len(falling[10:])


def test_the_cheaper_variant_takes_the_whole_model() -> None:
    """The solver knows no quality: a much cheaper fallback gets all, the Primary its minimum."""
    path = followed("inferno-slo", policy(), [200.0] * 60, (8, 0))
    assert path[-1] == (1, expected_replicas(200.0))
    dear = followed("inferno-slo", policy(fallback_cost=4.0), [200.0] * 60, (8, 0))
    assert dear[-1] == (expected_replicas(200.0), 0)


def test_a_lower_share_of_the_slo_asks_for_more() -> None:
    """Means held to less than the thresholds leave room for the percentiles."""
    path = followed("inferno-slo-primary", policy(), [200.0] * 60, (8, 0), {"slo_share": 0.4})
    assert path[-1][0] == expected_replicas(200.0, 0.4)
    assert path[-1][0] > expected_replicas(200.0)


def test_the_older_queue_is_another_law() -> None:
    """The four-parameter form sizes the same load near the other, and is set up by its own name."""
    path = followed("inferno4-slo", policy(), [200.0] * 60, (8, 0))
    assert path[-1][1] == pytest.approx(expected_replicas(200.0), abs=2)


def test_blind_the_last_answer_stays() -> None:
    """While metrics are missing the exported count is kept, and before any it is what runs."""
    rates: list[float | None] = [200.0] * 40 + [None] * 60
    path = followed("inferno-slo-primary", policy(), rates, (2, 0))
    assert set(path[40:]) == {path[39]}
    assert set(followed("inferno-slo", policy(), [None] * 60, (5, 2))) == {(5, 2)}


def test_a_sleeping_model_wakes() -> None:
    """With minimums of 0 the model goes to nothing in silence and comes back with the load."""
    of = policy()
    of = replace(of, variants=tuple(replace(one, min_replicas=0) for one in of.variants))
    rates: list[float | None] = [50.0] * 8 + [0.0] * 40 + [50.0] * 40
    path = followed("inferno-slo", of, rates, (2, 0))
    assert path[47] == (0, 0)
    assert sum(path[-1]) == expected_replicas(50.0)
    new = followed("inferno-slo", of, rates[-40:], (0, 0))
    assert sum(new[-1]) == expected_replicas(50.0)


def test_decisions_tell_their_reasons() -> None:
    """What the window keeps from happening is named."""
    of = policy()
    planner = peer("inferno-slo-primary").planner(facts(of))
    history = planner.initial(of, None)
    seen = Observation(
        workloads_at_seconds=0.0,
        variants=(VariantObservation(desired=2, ready=2), VariantObservation(desired=0, ready=0)),
        traffic=traffic(0.0, 200.0),
        outcomes=GONE,
    )
    decision, history = planner.plan(of, seen, history, 0.0)
    assert decision.binding is Reason.STABILIZATION_WINDOW
    assert decision.allocation == (2, 0)


def test_variants_with_clients_of_their_own_cannot_be_swapped() -> None:
    """Under Separate routing the peer says which of its names fits."""
    of = policy(RoutingLaw.SEPARATE)
    with pytest.raises(NotApplicable, match="inferno-slo-primary"):
        peer("inferno-slo").planner(facts(of))
    assert peer("inferno-slo-primary").planner(facts(of)) is not None


def test_an_infinite_threshold_is_no_target() -> None:
    """With neither threshold a replica is sized by what it finishes at most."""
    of = policy()
    of = replace(of, slo=replace(of.slo, ttft_seconds=math.inf, tpot_seconds=math.inf))
    path = followed("inferno-slo-primary", of, [200.0] * 60, (8, 0))
    assert 1 < path[-1][0] <= expected_replicas(200.0)
