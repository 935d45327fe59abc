"""The simulated cluster: what a replica costs from its GPUs to its release, and who goes first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.domain.variant import Role, Variant
from controller.core.performance.catalog import profile
from simulations.engine.fleet import EngineConfig, Fleet, PoolSpec
from simulations.world.cluster import Cluster
from simulations.world.conditions import ColdStart, Conditions, Fault, FaultKind, Interval

#: One currency unit per replica and second, so that costs read as replica-seconds.
PER_SECOND = 3600.0
PROFILE = profile("llama-8b-bf16-h100")
FALLBACK_GPUS = 2
EXACT = ColdStart(median_seconds=100.0, sigma=0.0)
CONDITIONS = Conditions(cold_starts=(EXACT, EXACT))


def variant(name: str, role: Role, gpus: int) -> Variant:
    """One variant at one currency unit per replica-second."""
    return Variant(
        name=name,
        role=role,
        cost_per_replica_hour=PER_SECOND,
        quality=1.0,
        min_replicas=0,
        max_replicas=50,
        gpus_per_replica=gpus,
        cold_start_seconds=100.0,
        profile=PROFILE,
    )


VARIANTS = (variant("full", Role.PRIMARY, 1), variant("small", Role.FALLBACK, FALLBACK_GPUS))


@dataclass(frozen=True)
class Bench:
    """A cluster over an engine, moved through time as the world moves them."""

    cluster: Cluster
    fleet: Fleet

    def to(self, seconds: float) -> None:
        """Advance both to ``seconds``, stopping at each event of the cluster's own."""
        while self.cluster.next_event() <= seconds:
            at = self.cluster.next_event()
            self.fleet.advance(at)
            self.cluster.settle(at)
        self.fleet.advance(seconds)
        self.cluster.settle(seconds)

    def send(self, at_seconds: Sequence[float], output_tokens: int = 500) -> None:
        """Let requests of 100 prompt tokens arrive."""
        self.fleet.advance(
            at_seconds[-1],
            np.array(at_seconds, np.float64),
            np.full(len(at_seconds), 100),
            np.full(len(at_seconds), output_tokens),
        )


def bench(conditions: Conditions = CONDITIONS, seed: int = 0) -> Bench:
    """An empty cluster."""
    config = EngineConfig(ttft_threshold_seconds=1.0, tpot_threshold_seconds=0.05)
    fleet = Fleet((PoolSpec(profile=PROFILE), PoolSpec(profile=PROFILE)), config, 100)
    return Bench(Cluster(VARIANTS, conditions, fleet, seed), fleet)


def fault(kind: FaultKind, start: float, end: float, amount: float) -> Fault:
    """One fault in [start, end)."""
    return Fault(kind=kind, interval=Interval(start, end), amount=amount)


def starting_leads(made: Bench, variant_index: int) -> tuple[float, ...]:
    """Create-to-Ready times so far."""
    return made.cluster.take_ready_after(variant_index)


def test_a_replica_is_billed_from_its_gpus_to_its_release() -> None:
    """Cold start and idle time cost; nothing does before scheduling and after release."""
    made = bench()
    made.to(10.0)
    made.cluster.scale(0, 1, 10.0)
    made.to(60.0)
    assert made.cluster.cost(60.0) == pytest.approx(50.0)
    assert made.cluster.ready(0) == 0
    made.to(110.0)
    assert made.cluster.ready(0) == 1
    made.to(200.0)
    made.cluster.scale(0, 0, 200.0)
    made.to(500.0)
    assert made.cluster.cost(500.0) == pytest.approx(190.0)
    assert made.cluster.starting_gpu_seconds(500.0) == pytest.approx(100.0)
    assert made.cluster.gpus_held() == 0


def test_a_draining_replica_is_billed_until_its_last_request_ends() -> None:
    """The drain costs exactly up to the last token, whenever the cluster next looks."""
    made = bench()
    made.cluster.place_ready(0, 1, 0.0)
    made.fleet.watch(1)
    made.send([5.0])
    made.cluster.scale(0, 0, 5.5)
    assert (made.cluster.ready(0), made.cluster.draining(0)) == (0, 1)
    made.to(300.0)
    finished = float(made.fleet.endings()["end"][0])
    assert 6.0 < finished < 100.0
    assert made.cluster.cost(300.0) == pytest.approx(finished)
    assert made.cluster.draining(0) == 0


def test_a_start_taken_back_costs_what_it_held() -> None:
    """A replica removed while it starts is billed up to there, and all of it as starting."""
    made = bench()
    made.cluster.scale(1, 1, 0.0)
    made.to(40.0)
    assert made.cluster.starting_gpu_seconds(40.0) == pytest.approx(40.0 * FALLBACK_GPUS)
    made.cluster.scale(1, 0, 40.0)
    made.to(300.0)
    assert made.cluster.cost(300.0) == pytest.approx(40.0)
    assert made.cluster.starting_gpu_seconds(300.0) == pytest.approx(40.0 * FALLBACK_GPUS)
    assert made.cluster.ready(1) == 0
    assert made.cluster.bill.churn == 2


def test_scaling_down_takes_the_youngest_start_first_then_the_least_loaded() -> None:
    """Starting replicas go before Ready ones; of these, the one with the fewest requests drains."""
    made = bench()
    made.cluster.place_ready(0, 2, 0.0)
    made.send([1.0, 1.1, 1.2])
    made.cluster.scale(0, 3, 10.0)
    made.to(20.0)
    made.send([20.0, 20.0, 20.0], output_tokens=2_000)
    made.cluster.scale(0, 4, 20.0)
    made.cluster.scale(0, 3, 30.0)
    assert made.cluster.starting_since(0) == (10.0,)
    loads = sorted(int(n) for n in made.fleet.slot_outstanding() if n > 0)
    made.cluster.scale(0, 1, 31.0)
    assert made.cluster.starting_since(0) == ()
    assert (made.cluster.ready(0), made.cluster.draining(0)) == (1, 1)
    draining = made.fleet.slot_outstanding()[list(made.fleet._draining)]
    assert draining.tolist() == loads[:1]
    assert loads[0] < loads[1]


def test_replicas_beyond_the_quota_wait_and_the_oldest_gets_the_next_gpu() -> None:
    """GPUs that come free go to whoever has waited longest, of whatever variant."""
    made = bench(replace(CONDITIONS, gpu_quota=2))
    made.cluster.scale(0, 2, 0.0)
    made.to(10.0)
    made.cluster.scale(0, 3, 10.0)
    made.to(20.0)
    made.cluster.scale(1, 1, 20.0)
    made.to(150.0)
    assert (made.cluster.unschedulable(0), made.cluster.unschedulable(1)) == (1, 1)
    assert made.cluster.cost(150.0) == pytest.approx(300.0)
    made.to(160.0)
    made.cluster.scale(0, 1, 160.0)  # takes back the one that waits, and drains another
    assert made.cluster.unschedulable(0) == 0
    made.to(200.0)
    assert made.cluster.unschedulable(1) == 1, "one free GPU does not hold a replica of two"
    made.cluster.scale(0, 2, 200.0)
    assert made.cluster.unschedulable(0) == 0, "a smaller replica may pass one that does not fit"


def test_the_oldest_waiting_replica_starts_when_a_shortage_ends() -> None:
    """The quota comes back at the very end of the shortage, and starts run from there."""
    taken = fault(FaultKind.GPU_SHORTAGE, 0.0, 70.0, 3.0)
    made = bench(replace(CONDITIONS, gpu_quota=4, faults=(taken,)))
    made.cluster.scale(0, 1, 0.0)
    made.to(10.0)
    made.cluster.scale(1, 1, 10.0)
    made.to(20.0)
    made.cluster.scale(0, 3, 20.0)
    made.to(69.0)
    assert (made.cluster.unschedulable(0), made.cluster.unschedulable(1)) == (2, 1)
    made.to(70.0)
    assert (made.cluster.unschedulable(0), made.cluster.unschedulable(1)) == (1, 0)
    made.to(169.9)
    assert made.cluster.ready(1) == 0
    made.to(170.0)
    assert (made.cluster.ready(0), made.cluster.ready(1)) == (2, 1)
    assert starting_leads(made, 1) == pytest.approx((160.0,)), "waiting counts as start-up"


def test_a_shortage_does_not_evict_who_runs() -> None:
    """GPUs that are taken away come from the free ones."""
    taken = fault(FaultKind.GPU_SHORTAGE, 50.0, 70.0, 2.0)
    made = bench(replace(CONDITIONS, gpu_quota=2, faults=(taken,)))
    made.cluster.place_ready(0, 2, 0.0)
    made.to(60.0)
    assert made.cluster.ready(0) == 2


def test_a_replica_placed_on_time_is_billed_one_cold_start() -> None:
    """A clairvoyant start serves at once and costs the start before."""
    made = bench()
    made.to(500.0)
    made.cluster.place_on_time(0, 2, 500.0)
    assert made.cluster.ready(0) == 2
    assert made.cluster.cost(500.0) == pytest.approx(200.0)
    assert made.cluster.starting_gpu_seconds(500.0) == pytest.approx(200.0)
    assert made.cluster.bill.churn == 2


def test_replicas_beyond_the_warm_gpus_wait_for_a_node() -> None:
    """The node is waited for and billed, in a clairvoyant start too."""
    cold = ColdStart(median_seconds=100.0, sigma=0.0, node_seconds=300.0, warm_gpus=1)
    conditions = Conditions(cold_starts=(cold, cold))
    made = bench(conditions)
    made.cluster.scale(0, 2, 0.0)
    made.to(399.0)
    assert made.cluster.ready(0) == 1
    made.to(400.0)
    assert starting_leads(made, 0) == pytest.approx((100.0, 400.0))
    on_time = bench(conditions)
    on_time.to(500.0)
    on_time.cluster.place_on_time(0, 2, 500.0)
    assert on_time.cluster.cost(500.0) == pytest.approx(500.0)


def test_slow_starts_multiply_and_end_with_their_interval() -> None:
    """Two overlapping slow-downs of 2 and 3 make a start six times as long."""
    faults = (
        fault(FaultKind.SLOW_START, 0.0, 50.0, 2.0),
        fault(FaultKind.SLOW_START, 20.0, 50.0, 3.0),
    )
    made = bench(replace(CONDITIONS, faults=faults))
    made.cluster.scale(0, 1, 10.0)
    made.cluster.scale(0, 2, 30.0)
    made.cluster.scale(0, 3, 50.0)
    made.to(1_000.0)
    assert sorted(starting_leads(made, 0)) == pytest.approx([100.0, 200.0, 600.0])


def test_a_replica_on_a_slow_node_takes_as_much_longer() -> None:
    """Half the speed is twice the time to the first token and to the last."""
    times = []
    for faults in ((), (fault(FaultKind.SLOW_NODE, 0.0, 1.0, 0.5),)):
        made = bench(replace(CONDITIONS, faults=faults))
        made.cluster.place_ready(0, 1, 0.0)
        made.fleet.watch(1)
        made.send([5.0])
        made.to(200.0)
        ended = made.fleet.endings()[0]
        times.append((float(ended["first"]) - 5.0, float(ended["end"]) - 5.0))
    assert times[1] == pytest.approx((2.0 * times[0][0], 2.0 * times[0][1]))


def test_a_crashed_replica_is_replaced_by_a_new_start() -> None:
    """Its requests fail, its bill ends, and the workload starts another at once."""
    made = bench(replace(CONDITIONS, faults=(fault(FaultKind.CRASH, 50.0, 60.0, 1e9),)))
    made.cluster.place_ready(0, 1, 0.0)
    made.send([49.9], output_tokens=2_000)
    made.to(55.0)
    assert made.fleet.totals().lost_failed == 1
    assert made.cluster.ready(0) == 0
    assert made.cluster.starting_since(0) == pytest.approx((50.0,), abs=1e-3)
    made.to(160.0)
    assert made.cluster.ready(0) == 1
    assert made.cluster.cost(160.0) == pytest.approx(160.0, abs=1e-3)
    assert made.cluster.desired == [1, 0]
    assert made.cluster.bill.churn == 0, "nobody asked for it"


def test_a_draining_replica_that_crashes_is_not_replaced() -> None:
    """What drains was to go anyway."""
    made = bench(replace(CONDITIONS, faults=(fault(FaultKind.CRASH, 50.0, 60.0, 1e9),)))
    made.cluster.place_ready(0, 1, 0.0)
    made.send([49.9], output_tokens=2_000)
    made.cluster.scale(0, 0, 49.95)
    made.to(300.0)
    assert made.fleet.totals().lost_failed == 1
    assert made.cluster.gpus_held() == 0
    assert made.cluster.cost(300.0) == pytest.approx(50.0, abs=1e-3)


@given(
    ready_at=st.floats(0.0, 400.0),
    hazard=st.floats(0.0, 5.0),
    rates=st.lists(st.tuples(st.floats(0.0, 300.0), st.floats(1.0, 200.0), st.floats(0.1, 100.0))),
)
@settings(deadline=None)
def test_a_crash_comes_when_the_integrated_rate_reaches_the_hazard(
    ready_at: float, hazard: float, rates: list[tuple[float, float, float]]
) -> None:
    """Faults add up wherever they lie; a replica that outlives them never crashes."""
    faults = tuple(
        fault(FaultKind.CRASH, start, start + length, rate) for start, length, rate in rates
    )

    def integrated(until: float) -> float:
        return sum(
            rate / 3600.0 * max(0.0, min(until, start + length) - max(ready_at, start))
            for start, length, rate in rates
        )

    at = Conditions(cold_starts=(), faults=faults).crash_at(ready_at, hazard)
    if at == np.inf:
        assert integrated(1e9) <= hazard + 1e-9
    else:
        assert at >= ready_at
        assert integrated(at) == pytest.approx(hazard, abs=1e-6)


def test_the_k_th_start_of_a_variant_takes_as_long_whatever_else_happens() -> None:
    """Common random numbers: policies differ by what they decide and by nothing else."""
    chancy = ColdStart(median_seconds=100.0, sigma=0.3)
    conditions = Conditions(cold_starts=(chancy, chancy))
    plain = bench(conditions, seed=5)
    plain.cluster.scale(0, 3, 0.0)
    plain.to(1_000.0)
    by_start = sorted(starting_leads(plain, 0))
    busy = bench(conditions, seed=5)
    busy.cluster.scale(1, 2, 0.0)
    busy.cluster.scale(0, 1, 20.0)
    busy.to(400.0)
    busy.cluster.place_on_time(0, 1, 400.0)
    busy.cluster.scale(1, 5, 400.0)
    busy.to(500.0)
    busy.cluster.scale(0, 3, 500.0)
    busy.to(1_000.0)
    assert sorted(starting_leads(busy, 0)) == pytest.approx(by_start)
    assert len(set(by_start)) == 3
    other = bench(conditions, seed=6)
    other.cluster.scale(0, 3, 0.0)
    other.to(1_000.0)
    assert sorted(starting_leads(other, 0)) != pytest.approx(by_start)


MOVES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 6), st.floats(0.0, 120.0)), min_size=1, max_size=12
)


@given(moves=MOVES, quota=st.none() | st.integers(1, 8), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=60)
def test_whatever_is_asked_the_cluster_keeps_its_books(
    moves: list[tuple[int, int, float]], quota: int | None, seed: int
) -> None:
    """As many replicas as desired exist, the quota holds, and the bill is the integral of use."""
    chancy = ColdStart(median_seconds=60.0, sigma=0.3)
    crash = fault(FaultKind.CRASH, 100.0, 400.0, 60.0)
    made = bench(
        Conditions(cold_starts=(chancy, chancy), gpu_quota=quota, faults=(crash,)), seed=seed
    )
    cluster, now, used = made.cluster, 0.0, 0.0
    for index, replicas, wait in moves:
        cluster.scale(index, replicas, now)
        end = now + wait
        while now < end:
            # Nothing is sent, so drains end at once and use changes at events only.
            cluster.settle(now)
            assert cluster.draining(0) == cluster.draining(1) == 0
            held = sum(
                cluster.ready(v) + len(cluster.starting_since(v)) - cluster.unschedulable(v)
                for v in range(2)
            )
            stop = min(end, cluster.next_event())
            used += held * (stop - now)
            made.to(stop)
            now = stop
            assert quota is None or cluster.gpus_held() <= quota
            for v in range(2):
                assert cluster.ready(v) + len(cluster.starting_since(v)) == cluster.desired[v]
    assert cluster.cost(now) == pytest.approx(used)
    assert cluster.bill.churn == sum(
        abs(b - a)
        for v in range(2)
        for a, b in zip(
            [0, *(n for i, n, _ in moves if i == v)],
            [n for i, n, _ in moves if i == v],
            strict=False,
        )
    )
