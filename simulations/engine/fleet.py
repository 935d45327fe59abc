"""A fleet of simulated engine replicas behind a router, advanced request by request.

``Fleet`` wraps the compiled loop of ``kernel`` for the simulated world. Times are seconds of
simulated time and never go back.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulations.engine import kernel
from simulations.engine.config import (
    Admission,
    EngineConfig,
    Outcome,
    PoolLaw,
    PoolSpec,
    Router,
    check_pool,
)
from simulations.engine.state import COUNTERS, ENDING, allocate, grow
from simulations.engine.totals import (
    FINE_EDGES_SECONDS,
    Gauges,
    Totals,
    place_edges,
)

_NO_TIMES = np.zeros(0)
_NO_TOKENS = np.zeros(0, np.int64)
_NO_LIMIT = (kernel.UNROUTABLE >> kernel.SLOT_BITS) - 1
_FIRST_RECORDS = 1 << 12


class Fleet:
    """Replicas of several pools behind one router.

    Memory follows ``max_replicas`` and what is outstanding, never the requests processed.
    """

    fine_edges_seconds = FINE_EDGES_SECONDS

    def __init__(
        self, pools: tuple[PoolSpec, ...], config: EngineConfig, max_replicas: int
    ) -> None:
        if not pools:
            raise ValueError("pools must hold at least one PoolSpec")
        if not 1 <= max_replicas <= kernel.MAX_SLOTS:
            raise ValueError(f"max_replicas must be 1 to {kernel.MAX_SLOTS}, got {max_replicas}")
        for number, pool in enumerate(pools):
            check_pool(pool, number)
        self.config = config
        self.pools = pools
        self._rows = rows = max(pool.profile.max_running for pool in pools) + 2
        self._state = allocate(
            pools=len(pools), slots=max_replicas, rows=rows, records=_FIRST_RECORDS
        )
        self._free_slots = list(range(max_replicas - 1, -1, -1))
        self._gauges = np.zeros((max_replicas, 5), np.int64)
        self._slot_pool = np.full(max_replicas, -1)
        self._slot_capacity = np.ones(max_replicas)
        self._routable: set[int] = set()
        self._draining: set[int] = set()
        self._fill(pools, config, rows)
        self.set_weights((1.0,) * len(pools))

    def _fill(self, pools: tuple[PoolSpec, ...], config: EngineConfig, rows: int) -> None:
        state = self._state
        header = state.header
        if config.client_timeout_seconds is not None:
            header["timeout"] = config.client_timeout_seconds
        header["backoff"] = config.retry_backoff_seconds
        header["ttft_threshold"] = config.ttft_threshold_seconds
        header["tpot_threshold"] = config.tpot_threshold_seconds
        header["law"] = config.law
        header["router"] = config.router
        header["preempt"] = config.admission is Admission.PREEMPT
        header["retries"] = config.retries
        header["random"] = np.random.SeedSequence(config.seed).generate_state(1, np.uint64)
        state.ledger.edges[: kernel.FINE_BUCKETS] = place_edges(
            config.ttft_edges_seconds, "ttft_edges_seconds"
        )
        state.ledger.edges[kernel.FINE_BUCKETS :] = place_edges(
            config.tpot_edges_seconds, "tpot_edges_seconds"
        )
        batch = np.arange(rows)
        for number, pool in enumerate(pools):
            profile = pool.profile
            state.linear[number * rows : (number + 1) * rows] = (
                np.hypot(profile.t0_milliseconds, profile.delta_milliseconds * batch)
                + profile.beta_milliseconds * batch
            )

    @property
    def now_seconds(self) -> float:
        """How far the fleet has advanced."""
        return float(self._state.header["now"][0])

    @property
    def live(self) -> int:
        """Requests that have arrived and not ended."""
        return int(self._state.header["live"][0])

    @property
    def records(self) -> int:
        """Room for requests that are alive; grows with the most there ever were at a time."""
        return len(self._state.requests)

    @property
    def memory_bytes(self) -> int:
        """Bytes of all arrays of the engine."""
        state = self._state
        arrays = (*state, *state.clients, *state.ledger)
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))

    # --- replicas ------------------------------------------------------------------------------

    def add_replica(self, pool: int, at_seconds: float, speed: float = 1.0) -> int:
        """Start a replica, routable at once; one of ``speed`` .5 takes twice as long for all.

        Raises:
            ValueError: no slot is free, the pool does not exist, or the time is past.
        """
        if not 0 <= pool < len(self.pools):
            raise ValueError(f"pool must be 0 to {len(self.pools) - 1}, got {pool}")
        self._go_to(at_seconds)
        if not self._free_slots:
            raise ValueError(f"max_replicas = {len(self._state.replicas)} replicas exist already")
        if not speed > 0.0:
            raise ValueError(f"speed must be positive, got {speed}")
        slot = self._free_slots.pop()
        profile = self.pools[pool].profile
        limit = self.pools[pool].queue_limit
        replica = self._state.replicas[slot]
        fields = {
            "kappa": profile.kappa_milliseconds * 1e-3 / speed,
            "scale": 1e-3 / speed,
            "capacity": profile.kv_capacity_tokens,
            "limit": _NO_LIMIT if limit is None else min(limit, _NO_LIMIT),
            "max_running": profile.max_running,
            "max_batched": profile.max_batched_tokens,
            "table": pool * self._rows,
            "heap": slot * self._rows,
            "lane": int(self._state.groups["first_lane"][self._group(pool)]) + slot,
            "pool": pool,
            "t0_squared": profile.t0_milliseconds**2,
            "delta": profile.delta_milliseconds,
            "epsilon": profile.epsilon_milliseconds,
            "beta": profile.beta_milliseconds,
            "end": np.inf,
            "prefill_head": -1,
            "wait_head": -1,
            "flags": -1,
        }
        for name in replica.dtype.names:
            replica[name] = fields.get(name, 0)
        self._slot_pool[slot] = pool
        self._slot_capacity[slot] = profile.kv_capacity_tokens
        self._set_routable(slot, routable=True)
        return slot

    def drain_replica(self, slot: int, at_seconds: float) -> None:
        """Send the replica no more requests; ``pop_drained`` tells when it is empty."""
        self._go_to(at_seconds)
        self._require(slot)
        self._set_routable(slot, routable=False)
        replica = self._state.replicas[slot]
        replica["draining"] = 1
        replica["emptied_at"] = at_seconds
        self._draining.add(slot)

    def pop_drained(self) -> list[tuple[int, float]]:
        """Drained replicas found empty since the last call: (slot, when); the slots are freed."""
        replicas = self._state.replicas
        drained = [
            (slot, float(replicas["emptied_at"][slot]))
            for slot in sorted(self._draining)
            if replicas["outstanding"][slot] == 0
        ]
        for slot, _ in drained:
            self._release(slot)
        return drained

    def crash_replica(self, slot: int, at_seconds: float) -> None:
        """Lose a replica; its requests fail, or back off where tries are left. The slot is freed.

        Raises:
            ValueError: no replica is there.
        """
        self._go_to(at_seconds)
        if slot in self._routable:
            self._set_routable(slot, routable=False)
        elif slot not in self._draining:
            raise ValueError(f"slot {slot} holds no replica")
        kernel.crash(self._state, slot, float(at_seconds))
        self._release(slot)

    def set_weights(self, weights: tuple[float, ...]) -> None:
        """Set the pools' shares under the law ``WEIGHTED``, from now on.

        Raises:
            ValueError: a weight is negative or all are 0.
        """
        values = np.asarray(weights, np.float64)
        if len(values) != len(self.pools) or np.any(values < 0.0) or not values.sum() > 0.0:
            raise ValueError(
                f"weights must be {len(self.pools)} numbers >= 0, not all 0, got {weights}"
            )
        self._state.ledger.pools["cumulative_weight"] = np.cumsum(values)

    # --- time ----------------------------------------------------------------------------------

    def advance(
        self,
        until_seconds: float,
        seconds: NDArray[np.float64] = _NO_TIMES,
        prompt_tokens: NDArray[np.int64] = _NO_TOKENS,
        output_tokens: NDArray[np.int64] = _NO_TOKENS,
        pools: NDArray[np.int64] = _NO_TOKENS,
    ) -> None:
        """Process the arrivals and all else up to ``until_seconds``.

        Arrivals are in order of time, all in [now, until]; ``pools`` names each one's pool under
        the law ``SEPARATE`` (default: pool 0).

        Raises:
            ValueError: arrivals are out of order or range, or lengths differ.
        """
        now = self._state.header["now"][0]
        if until_seconds < now:
            raise ValueError(f"until_seconds = {until_seconds} is before now = {now}")
        if not len(seconds) == len(prompt_tokens) == len(output_tokens):
            raise ValueError("seconds, prompt_tokens and output_tokens must have one length")
        if len(pools) not in {0, len(seconds)}:
            raise ValueError("pools must be empty or as long as seconds")
        columns = (
            _plain(seconds, np.float64),
            _plain(prompt_tokens, np.int64),
            _plain(output_tokens, np.int64),
            _plain(pools, np.int64),
        )
        taken = 0
        while True:
            code, taken = kernel.advance(self._state, float(until_seconds), *columns, taken)
            if code == kernel.OK:
                break
            self._make_room(code, taken)
        if taken < len(seconds):
            raise ValueError(
                f"arrival {taken} at {seconds[taken]} s is later than until_seconds = "
                f"{until_seconds}"
            )

    def finish(self) -> float:
        """Stop the closed-loop clients, run until all requests have ended; returns the time."""
        self._state.header["clients_run"] = 0
        self.advance(np.inf)
        return self.now_seconds

    def add_clients(
        self,
        count: int,
        prompt_tokens: int,
        output_tokens: int,
        *,
        think_seconds: float = 0.0,
        pool: int = 0,
        at_seconds: float | None = None,
    ) -> None:
        """Start ``count`` closed-loop clients, all at once.

        Each sends its next request ``think_seconds`` after its last one ended (and the back-off
        later where that was turned away).

        Raises:
            ValueError: an argument is out of range.
        """
        start = self.now_seconds if at_seconds is None else float(at_seconds)
        if start < self.now_seconds:
            raise ValueError(f"at_seconds = {start} is before now = {self.now_seconds}")
        if min(count, prompt_tokens, output_tokens) < 1 or think_seconds < 0.0:
            raise ValueError(
                "count, prompt_tokens and output_tokens must be at least 1 and think_seconds at "
                f"least 0, got {count}, {prompt_tokens}, {output_tokens} and {think_seconds}"
            )
        if not 0 <= pool < len(self.pools):
            raise ValueError(f"pool must be 0 to {len(self.pools) - 1}, got {pool}")
        old = len(self._state.clients.clients)
        self._state = grow(self._state, records=0, ring=0, clients=old + count)
        added = self._state.clients.clients[old:]
        added["think"] = think_seconds
        added["prompt"] = prompt_tokens
        added["output"] = output_tokens
        added["pool"] = pool
        self._state.header["clients_run"] = 1
        for client in range(old, old + count):
            kernel.set_timer(self._state.header, self._state.clients.timers, start, -1 - client)

    def watch(self, endings: int) -> None:
        """Keep a record of each of the next ``endings`` requests that end, for ``endings``.

        The one thing whose memory grows with requests: for tests and close looks.
        """
        state = self._state
        log = np.zeros(endings, ENDING)
        self._state = state._replace(clients=state.clients._replace(log=log))
        state.header["logged"] = 0
        state.header["log_room"] = endings

    # --- reading -------------------------------------------------------------------------------

    def endings(self) -> NDArray[np.void]:
        """Requests ended since ``watch``, in order: fields of ``ENDING``, times in seconds.

        ``uid`` counts requests in order of arrival; ``first`` is negative without a first token;
        ``outcome`` is an ``Outcome``.
        """
        return self._state.clients.log[: int(self._state.header["logged"][0])].copy()

    def totals(self) -> Totals:
        """Copy the cumulative counts as of now."""
        state, pools = self._state, len(self.pools)
        counts = {name: state.ledger.pools[name].copy() for name in COUNTERS}
        kernel.read_gauges(state, self._gauges)
        under_way = self._gauges[:, 4]
        for slot in np.flatnonzero(under_way):
            counts["output_tokens"][self._slot_pool[slot]] += under_way[slot]
        fine = np.empty((2, pools, kernel.FINE_BUCKETS), np.int64)
        ttft = np.zeros((pools, len(self.config.ttft_edges_seconds) + 1), np.int64)
        tpot = np.zeros((pools, len(self.config.tpot_edges_seconds) + 1), np.int64)
        kernel.read_histograms(state.ledger, fine, ttft, tpot)
        header = state.header[0]
        return Totals(
            offered=int(header["offered"]),
            ttft_histogram=ttft,
            tpot_histogram=tpot,
            ttft_fine=fine[0],
            tpot_fine=fine[1],
            digest=f"{int(header['digest_chain']):016x}",
            digest_unordered=f"{int(header['digest_sum']):016x}",
            **counts,
        )

    def gauges(self) -> Gauges:
        """State now, by pool."""
        kernel.read_gauges(self._state, self._gauges)
        values = self._gauges
        pools = len(self.pools)
        used = self._slot_pool >= 0
        numbers = self._slot_pool[used]
        sums = np.zeros((pools, 5), np.int64)
        np.add.at(sums, numbers, values[used])
        shares = np.bincount(numbers, values[used, 2] / self._slot_capacity[used], pools)
        replicas = np.bincount(numbers, minlength=pools)
        return Gauges(
            running=sums[:, 0],
            waiting=sums[:, 1],
            kv_tokens=sums[:, 2],
            outstanding=sums[:, 3],
            kv_use=shares / np.maximum(replicas, 1),
        )

    def slot_gauges(self) -> NDArray[np.int64]:
        """State now, shape (slots, 4): running, waiting, KV tokens written, outstanding."""
        kernel.read_gauges(self._state, self._gauges)
        return self._gauges[:, :4].copy()

    def replica_gauges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Replicas that take requests: their pools (replicas,), and state as of ``slot_gauges``."""
        slots = np.array(sorted(self._routable), np.int64)
        return self._slot_pool[slots], self.slot_gauges()[slots]

    def slot_outstanding(self) -> NDArray[np.int64]:
        """Outstanding requests by slot, shape (slots,)."""
        return self._state.replicas["outstanding"].astype(np.int64)

    # --- inside --------------------------------------------------------------------------------

    def _go_to(self, at_seconds: float) -> None:
        now = self.now_seconds
        if at_seconds < now:
            raise ValueError(f"at_seconds = {at_seconds} is before now = {now}")
        if at_seconds > now:
            self.advance(at_seconds)

    def _require(self, slot: int) -> None:
        if slot not in self._routable:
            raise ValueError(f"slot {slot} holds no replica that is routable")

    def _group(self, pool: int) -> int:
        """The set of replicas a router chooses from: one, primaries and fallbacks, or by pool."""
        law = self.config.law
        if law is PoolLaw.SHARED:
            return 0
        if law is PoolLaw.OVERFLOW:
            return int(self.pools[pool].fallback)
        return pool

    def _set_routable(self, slot: int, *, routable: bool) -> None:
        state = self._state
        if routable:
            self._routable.add(slot)
        else:
            self._routable.remove(slot)
        group = self._group(int(self._slot_pool[slot]))
        first = int(state.groups["first_member"][group])
        state.load[state.replicas["lane"][slot]] = 0 if routable else kernel.UNROUTABLE
        members = sorted(s for s in self._routable if self._group(int(self._slot_pool[s])) == group)
        state.members[first : first + len(members)] = members
        state.groups["members"][group] = len(members)
        highest = max(self._routable, default=-1)
        state.header["width"] = -(-(highest + 1) // kernel.LOAD_LANES) * kernel.LOAD_LANES

    def _release(self, slot: int) -> None:
        self._draining.discard(slot)
        self._slot_pool[slot] = -1
        self._free_slots.append(slot)
        self._free_slots.sort(reverse=True)

    def _make_room(self, code: int, taken: int) -> None:
        state = self._state
        if code == kernel.NO_RECORD:
            records = 2 * len(state.requests)
            if records > kernel.RECORD_MASK:
                raise ValueError(
                    f"{state.header['live'][0]} requests are outstanding: set queue_limit or "
                    "client_timeout_seconds"
                )
            self._state = grow(state, records=records, ring=0, clients=0)
        elif code == kernel.NO_RING:
            self._state = grow(state, records=0, ring=2 * len(state.ring), clients=0)
        elif code == kernel.BAD_ORDER:
            raise ValueError(f"arrival {taken} comes before the one before it, or before now")
        elif code == kernel.BAD_TOKENS:
            raise ValueError(f"arrival {taken} must have at least 1 prompt and 1 output token")
        else:
            raise ValueError(f"arrival {taken} names a pool that does not exist")


def _plain(array: NDArray[Any], dtype: type) -> NDArray[Any]:
    """The array as the compiled loop expects it: any other kind would be compiled for anew."""
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.writeable:
        return array
    return np.array(array, dtype, order="C")


__all__ = [
    "Admission",
    "EngineConfig",
    "Fleet",
    "Gauges",
    "Outcome",
    "PoolLaw",
    "PoolSpec",
    "Router",
    "Totals",
]
