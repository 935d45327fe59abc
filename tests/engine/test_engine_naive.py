"""The event-driven engine against a loop that takes one iteration at a time."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from controller.core.domain.variant import PerformanceProfile
from controller.core.performance.catalog import CATALOG, CatalogEntry
from simulations.engine.fleet import (
    Admission,
    EngineConfig,
    Fleet,
    Outcome,
    PoolLaw,
    PoolSpec,
    Router,
)

PROFILES = [entry for entry in CATALOG.values() if not entry.assumed]


@dataclass
class Request:
    """A request of the naive loop."""

    uid: int
    arrival: float
    prompt: int
    output: int
    pool: int = 0
    generated: int = 0
    done: int = 0  # prompt tokens prefilled; after a preemption generated ones count as prompt
    recompute: int = 0
    first: float = -1.0
    tries: int = 0
    slot: int = -1


@dataclass
class Replica:
    """A replica of the naive loop; ``until`` is infinite between iterations."""

    pool: int
    spec: PoolSpec
    speed: float
    until: float = math.inf
    chunks: list[tuple[Request, int]] = field(default_factory=list)
    prefilling: list[Request] = field(default_factory=list)
    decoding: list[Request] = field(default_factory=list)  # in order of admission
    waiting: list[Request] = field(default_factory=list)
    routable: bool = True

    def all(self) -> list[Request]:
        """Requests taken and not ended."""
        return self.decoding + self.prefilling + self.waiting


class Naive:
    """Engine semantics, one iteration at a time, nothing skipped and nothing clever."""

    def __init__(self, config: EngineConfig, pools: list[PoolSpec]) -> None:
        self.config, self.pools = config, pools
        self.replicas: list[Replica] = []
        self.ended: dict[int, tuple[Outcome, float, float, int]] = {}
        self.turn = [0] * len(pools)
        self.state = int(np.random.SeedSequence(config.seed).generate_state(1, np.uint64)[0])
        self.weights = [1.0] * len(pools)
        self.retries: list[tuple[float, Request]] = []
        self.preemptions = 0

    def random(self) -> float:
        """Uniform on [0, 1), as the engine draws it."""
        mask = (1 << 64) - 1
        self.state = z = (self.state + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return ((z ^ (z >> 31)) >> 11) / (1 << 53)

    def end(self, q: Request, outcome: Outcome, at: float) -> None:
        """End a request, once."""
        assert q.uid not in self.ended
        self.ended[q.uid] = (outcome, q.first, at, q.slot)

    def deadline(self, q: Request) -> float:
        """When the client gives up."""
        timeout = self.config.client_timeout_seconds
        return math.inf if timeout is None else q.arrival + timeout

    def group(self, pool: int) -> int:
        """The set of replicas the router chooses from."""
        if self.config.law is PoolLaw.SHARED:
            return 0
        return int(self.pools[pool].fallback) if self.config.law is PoolLaw.OVERFLOW else pool

    def pick(self, group: int) -> int | None:
        """A routable slot of the group."""
        slots = [
            i for i, r in enumerate(self.replicas) if r.routable and self.group(r.pool) == group
        ]
        if not slots:
            return None
        if self.config.router is Router.RANDOM:
            return slots[int(self.random() * len(slots))]
        turn = self.turn[group]
        best = min(slots, key=lambda i: (len(self.replicas[i].all()), (i - turn) % 2048))
        self.turn[group] = best + 1
        return best

    def route(self, q: Request, at: float) -> None:
        """Send an attempt to a replica's queue, or refuse it."""
        law, groups = self.config.law, [0]
        if law is PoolLaw.WEIGHTED:
            draw = self.random() * sum(self.weights)
            pool = 0
            while pool < len(self.pools) - 1 and draw >= sum(self.weights[: pool + 1]):
                pool += 1
            groups = [pool]
        elif law is PoolLaw.SEPARATE:
            groups = [q.pool]
        elif law is PoolLaw.OVERFLOW:
            groups = [0, 1]
        too_large = False
        for group in groups:
            slot = self.pick(group)
            too_large = False
            if slot is None:
                continue
            r = self.replicas[slot]
            too_large = q.prompt + q.output > r.spec.profile.kv_capacity_tokens
            limit = math.inf if r.spec.queue_limit is None else r.spec.queue_limit
            if not too_large and len(r.all()) < limit:
                q.slot = slot
                r.waiting.append(q)
                return
        self.turn_away(q, at, Outcome.TOO_LARGE if too_large else Outcome.REFUSED)

    def turn_away(self, q: Request, at: float, outcome: Outcome) -> None:
        """Retry later or end."""
        if outcome is not Outcome.TOO_LARGE and q.tries < self.config.retries:
            q.tries += 1
            q.generated = q.done = q.recompute = 0
            q.first = -1.0
            self.retries.append((at + self.config.retry_backoff_seconds, q))
        else:
            self.end(q, outcome, at)

    def finish_iteration(self, r: Replica, at: float) -> None:
        """Hand out tokens; end what is complete."""
        r.until = math.inf
        for q, tokens in r.chunks:
            q.done += tokens
        ready = [q for q, _ in r.chunks if q.done == q.prompt + q.recompute]
        for q in r.decoding + ready:
            q.generated += 1
            if q.first < 0 and at <= self.deadline(q):
                q.first = at
        for q in ready:
            r.prefilling.remove(q)
            r.decoding.append(q)
        for q in list(r.decoding):
            if q.generated == q.output:
                r.decoding.remove(q)
                late = at > self.deadline(q)
                self.end(q, Outcome.TIMED_OUT if late else Outcome.FINISHED, at)

    def start_iteration(self, r: Replica, at: float) -> None:  # noqa: C901 - all of one iteration
        """Abort, preempt, admit, and time the next iteration."""
        p = r.spec.profile
        for queue in (r.decoding, r.prefilling, r.waiting):
            for q in list(queue):
                if self.deadline(q) <= at:
                    queue.remove(q)
                    self.end(q, Outcome.TIMED_OUT, at)
        preempt = self.config.admission is Admission.PREEMPT

        def held() -> int:
            if not preempt:
                return sum(q.prompt + q.output for q in r.decoding + r.prefilling)
            return sum(q.prompt + q.generated for q in r.decoding + r.prefilling)

        while preempt and held() > p.kv_capacity_tokens:
            q = (r.prefilling or r.decoding).pop()
            self.preemptions += 1
            q.recompute, q.done = q.generated, 0
            r.waiting.insert(0, q)
        budget = p.max_batched_tokens - len(r.decoding)
        r.chunks = []
        for q in r.prefilling:
            tokens = min(budget, q.prompt + q.recompute - q.done)
            r.chunks.append((q, tokens))
            budget -= tokens
        while r.waiting and budget > 0 and len(r.decoding + r.prefilling) < p.max_running:
            q = r.waiting[0]
            need = q.prompt + (q.recompute if preempt else q.output)
            if held() + need > p.kv_capacity_tokens:
                break
            r.prefilling.append(r.waiting.pop(0))
            tokens = min(budget, q.prompt + q.recompute)
            r.chunks.append((q, tokens))
            budget -= tokens
        if not r.chunks and not r.decoding:
            return
        tokens = len(r.decoding) + sum(n for _, n in r.chunks)
        context = sum(q.prompt + q.generated for q in r.decoding)
        squares = sum((q.done + n) ** 2 - q.done**2 for q, n in r.chunks)
        milliseconds = (
            math.hypot(p.t0_milliseconds, p.delta_milliseconds * tokens)
            + p.epsilon_milliseconds * squares
            + p.kappa_milliseconds * context
            + p.beta_milliseconds * len(r.decoding)
        )
        r.until = at + milliseconds / 1e3 / r.speed

    def act(self, action: str, slot: int, at: float) -> None:
        """Crash or drain a replica."""
        r = self.replicas[slot]
        r.routable = False
        if action == "crash":
            r.until = math.inf
            for q in [*sorted(r.decoding, key=lambda q: q.uid), *r.prefilling, *r.waiting]:
                if self.deadline(q) <= at:
                    self.end(q, Outcome.TIMED_OUT, at)
                else:
                    self.turn_away(q, at, Outcome.FAILED)
            r.decoding, r.prefilling, r.waiting = [], [], []

    def run(self, arrivals: list[Request], actions: list[tuple[float, str, int]]) -> None:  # noqa: C901 - one loop
        """Process everything until all requests have ended."""
        arrivals, actions = list(arrivals), list(actions)
        while True:
            at = min(
                [q.arrival for q in arrivals[:1]]
                + [t for t, _ in self.retries]
                + [action[0] for action in actions[:1]]
                + [r.until for r in self.replicas],
                default=math.inf,
            )
            if at == math.inf:
                return
            for r in self.replicas:
                if r.until <= at:
                    self.finish_iteration(r, at)
            for due, q in [entry for entry in self.retries if entry[0] <= at]:
                self.retries.remove((due, q))
                if self.deadline(q) <= due:
                    self.end(q, Outcome.TIMED_OUT, self.deadline(q))
                else:
                    self.route(q, at)
            while arrivals and arrivals[0].arrival <= at:
                self.route(arrivals.pop(0), at)
            while actions and actions[0][0] <= at:
                _, action, slot = actions.pop(0)
                self.act(action, slot, at)
            for r in self.replicas:
                if r.until == math.inf:
                    self.start_iteration(r, at)


def requests(rng: np.random.Generator, count: int, rate: float, pools: int = 1) -> list[Request]:
    """Poisson arrivals of ``rate`` per second with log-normal token counts."""
    at = np.cumsum(rng.exponential(1.0 / rate, count))
    prompts = np.maximum(rng.lognormal(np.log(500.0), 1.0, count), 1.0).astype(int)
    outputs = np.maximum(rng.lognormal(np.log(60.0), 1.0, count), 1.0).astype(int)
    return [
        Request(i, float(at[i]), int(prompts[i]), int(outputs[i]), int(rng.integers(pools)))
        for i in range(count)
    ]


def replay(
    config: EngineConfig,
    pools: list[PoolSpec],
    replicas: list[tuple[int, float]],
    arrivals: list[Request],
    actions: list[tuple[float, str, int]] = [],  # noqa: B006 - never changed
    weights: tuple[float, ...] | None = None,
) -> tuple[Fleet, Naive]:
    """Run both and hold every request's end to the other's."""
    naive = Naive(config, pools)
    fleet = Fleet(tuple(pools), config, len(replicas))
    fleet.watch(len(arrivals))
    for pool, speed in replicas:
        naive.replicas.append(Replica(pool, pools[pool], speed))
        fleet.add_replica(pool, 0.0, speed)
    if weights is not None:
        naive.weights = list(weights)
        fleet.set_weights(weights)
    naive.run([replace(q) for q in arrivals], actions)
    arrays = (
        np.array([q.arrival for q in arrivals]),
        np.array([q.prompt for q in arrivals]),
        np.array([q.output for q in arrivals]),
        np.array([q.pool for q in arrivals]),
    )
    start = 0
    for at, action, slot in actions:
        stop = int(np.searchsorted(arrays[0], at, side="right"))
        fleet.advance(at, *(a[start:stop] for a in arrays))
        start = stop
        (fleet.crash_replica if action == "crash" else fleet.drain_replica)(slot, at)
    fleet.advance(arrivals[-1].arrival, *(a[start:] for a in arrays))
    fleet.finish()
    endings = fleet.endings()
    assert sorted(endings["uid"]) == list(range(len(arrivals))) == sorted(naive.ended)
    for uid, first, end, slot, outcome in endings[["uid", "first", "end", "slot", "outcome"]]:
        expected, naive_first, naive_end, naive_slot = naive.ended[uid]
        assert (Outcome(outcome), slot) == (expected, naive_slot), uid
        assert abs(first - naive_first) <= 1e-6, uid
        assert abs(end - naive_end) <= 1e-6, uid
    assert int(fleet.totals().preemptions.sum()) == naive.preemptions
    return fleet, naive


def busy_rate(profile: PerformanceProfile) -> float:
    """Requests per second of this file's mix that about fill one replica."""
    decode = math.hypot(profile.t0_milliseconds, profile.delta_milliseconds * 24) / 24
    return 1e3 / (profile.delta_milliseconds * 820 + 99 * decode)


BASE = EngineConfig(
    ttft_threshold_seconds=1.0,
    tpot_threshold_seconds=0.05,
    ttft_edges_seconds=(0.1, 1.0),
    tpot_edges_seconds=(0.05,),
)


@pytest.mark.parametrize("load", [0.3, 0.8, 1.1, 2.0])
@pytest.mark.parametrize("entry", PROFILES, ids=lambda entry: entry.name)
def test_every_profile_matches_the_naive_loop(entry: CatalogEntry, load: float) -> None:
    """Time stamps agree on the published profiles with queue limit and time-outs on."""
    profile = entry.profile
    rate = load * 2 * busy_rate(profile)
    config = replace(BASE, client_timeout_seconds=60.0 / rate)
    arrivals = requests(np.random.default_rng(7), 250, rate)
    fleet, naive = replay(
        config, [PoolSpec(profile=profile, queue_limit=12)], [(0, 1.0), (0, 1.0)], arrivals
    )
    if load == 2.0:
        outcomes = {outcome for outcome, *_ in naive.ended.values()}
        assert outcomes == {Outcome.FINISHED, Outcome.REFUSED, Outcome.TIMED_OUT}
        assert int(fleet.totals().finished.sum()) > 20


@pytest.mark.parametrize("load", [0.3, 0.8, 1.1, 2.0])
@pytest.mark.parametrize("admission", Admission)
@pytest.mark.parametrize("entry", PROFILES, ids=lambda entry: entry.name)
def test_tight_replicas_match_the_naive_loop(
    entry: CatalogEntry, load: float, admission: Admission
) -> None:
    """Time stamps agree where KV room, batch and token budget all bind, in both admissions."""
    profile = replace(
        entry.profile, kv_capacity_tokens=9_000, max_running=24, max_batched_tokens=700
    )
    rate = load * 2 * busy_rate(profile)
    config = replace(
        BASE,
        client_timeout_seconds=200.0 / rate,
        admission=admission,
        retries=1,
        retry_backoff_seconds=3.1 / rate,
    )
    arrivals = requests(np.random.default_rng(11), 150, rate)
    _, naive = replay(
        config, [PoolSpec(profile=profile, queue_limit=20)], [(0, 1.0), (0, 0.7)], arrivals
    )
    if load in {0.8, 1.1}:
        assert (naive.preemptions > 0) == (admission is Admission.PREEMPT)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("router", Router)
@pytest.mark.parametrize("law", PoolLaw)
def test_routing_laws_crashes_and_drains_match_the_naive_loop(
    law: PoolLaw, router: Router, seed: int
) -> None:
    """Time stamps agree under every routing law while replicas drain and crash."""
    rng = np.random.default_rng(seed)
    fast = replace(PROFILES[0].profile, kv_capacity_tokens=20_000)
    pools = [
        PoolSpec(profile=fast, queue_limit=12),
        PoolSpec(profile=PROFILES[1].profile, queue_limit=20),
        PoolSpec(profile=PROFILES[4].profile, queue_limit=15, fallback=True),
    ]
    config = replace(
        BASE,
        law=law,
        router=router,
        seed=seed,
        retries=int(rng.integers(3)),
        retry_backoff_seconds=float(rng.uniform(0.01, 2.0)),
        client_timeout_seconds=float(rng.uniform(0.5, 20.0)),
        admission=Admission.PREEMPT if seed % 2 else Admission.RESERVE,
    )
    arrivals = requests(rng, 150, float(rng.uniform(10.0, 120.0)), pools=3)
    last = arrivals[-1].arrival
    actions = sorted(
        (float(at), action, slot)
        for at, action, slot in zip(
            rng.uniform(0.0, last, 3), ("crash", "drain", "crash"), (0, 2, 5), strict=True
        )
    )
    replicas = [(0, 1.0), (1, 1.0), (2, 1.0), (0, 0.5), (1, 1.1), (2, 0.9), (0, 1.0)]
    replay(config, pools, replicas, arrivals, actions, weights=(2.0, 0.5, 1.5))
