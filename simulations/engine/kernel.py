# ruff: noqa: C901, PLR0912, PLR0915 - a compiled loop is one function
"""The event loop of the engine, compiled: replicas as continuous-batching servers.

Between two *boundaries* of interest a replica is in one of three stretches: idle; one iteration
with prompt chunks; or m decode iterations of a constant batch, whose length has a closed form,

    m T(b, K) + kappa b m (m - 1) / 2,

so the loop touches a replica only when a sequence ends, a prompt is done or a request comes. The
next event over all replicas is the root of a tournament tree over their stretches' ends; the
sequences of a replica wait in a heap keyed by the iteration at which they end.

A request that comes during a decode stretch is taken in at the next boundary: the stretch is cut
there at once and the iteration that begins there stays open for what else comes before it. The
order at equal times is: time-outs, ends of stretches, retries and closed-loop clients, arrivals.

All compiled code is in this one file: numba's cache does not notice changes in imported files.
Nothing here depends on where ``advance`` was stopped, so slicing a replay changes no bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from simulations.engine.state import Clients, Ledger, State

F = TypeVar("F", bound="Callable[..., Any]")

# --- constants, frozen into the compiled code ----------------------------------------------------

IDLE, DECODE, PREFILL = range(3)  # what a replica is doing
ROUTING, WAITING, CHUNKED, DECODING, BACKING_OFF, DEAD = range(6)  # where a request is
SHARED, WEIGHTED, OVERFLOW, SEPARATE = range(4)
RANDOM, LEAST_OUTSTANDING = range(2)
BY_FINISH, BY_TIME_OUT, BY_REFUSAL, BY_SIZE, BY_FAILURE = range(5)  # how a request ended
OK, NO_RECORD, NO_RING, BAD_ORDER, BAD_TOKENS, BAD_POOL = range(6)

#: Fine buckets: 128 per octave (.8 % wide) from 2^-14 s to 2^12 s, by the top bits of the float.
FINE_BUCKETS: Final = 26 * 128
FINE_SHIFT: Final = 52 - 7
FINE_BASE: Final = (1023 - 14) << 7

LOAD_LANES: Final = 32  # the scan for the least outstanding is vectorised by whole groups of lanes
SLOT_BITS: Final = 11
MAX_SLOTS: Final = 1 << SLOT_BITS
SLOT_MASK: Final = MAX_SLOTS - 1
UNROUTABLE: Final = (1 << 31) - MAX_SLOTS
RECORD_BITS: Final = 24
RECORD_MASK: Final = (1 << RECORD_BITS) - 1
NEVER: Final = (1 << 62) - 1

#: Unsigned, so that an index needs no check for counting from the end.
_U0: Final = np.uint64(0)
_U1: Final = np.uint64(1)

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_A: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_B: Final = np.uint64(0x94D049BB133111EB)


def _compiled(function: F) -> F:
    """Compile and cache; numba carries no types, so the decorator restores them.

    Nothing here allocates, so reference counting, which would touch every array at every call, is
    off.
    """
    options: dict[str, Any] = {
        "cache": True,
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"contract", "nsz"},
        "_nrt": False,
    }
    return cast("F", numba.njit(**options)(function))


def _inlined(function: F) -> F:
    """Compile into every caller."""
    options: dict[str, Any] = {
        "error_model": "numpy",
        "fastmath": {"contract", "nsz"},
        "forceinline": True,
        "_nrt": False,
    }
    return cast("F", numba.njit(**options)(function))


# --- small pieces --------------------------------------------------------------------------------


@_inlined
def _random(h: Any) -> Any:
    """Uniform on [0, 1): splitmix64 (Steele, Lea and Flood 2014)."""
    h.random += _GOLDEN
    z = h.random
    z = (z ^ (z >> np.uint64(30))) * _MIX_A
    z = (z ^ (z >> np.uint64(27))) * _MIX_B
    z ^= z >> np.uint64(31)
    return np.float64(z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@_inlined
def _observe(ledger: Ledger, pool: Any, kind: Any, seconds: Any) -> None:
    """Count a latency; kind 0 is TTFT, 1 TPOT.

    One visible edge at most lies in a fine bucket, so counting the bucket's two sides apart gives
    both histograms at once.
    """
    bucket: Any = (np.float64(seconds).view(np.int64) >> FINE_SHIFT) - FINE_BASE
    bucket = min(max(bucket, 0), FINE_BUCKETS - 1)
    above = seconds > ledger.edges[kind * FINE_BUCKETS + bucket]
    place = ((pool * 2 + kind) * FINE_BUCKETS + bucket) * 2
    ledger.histograms[place + np.int64(above)] += 1


@_inlined
def _schedule(h: Any, tree: Any, slot: Any, at: Any) -> None:
    """Set when ``slot`` is next touched and replay its matches up the tournament.

    The winner's slot is copied from where it is, not chosen by a branch: matches are a coin toss.
    """
    node = np.uint64(h.leaves) + np.uint64(slot)
    tree[node].at = at
    while node > _U1:
        rival_at = tree[node ^ _U1].at
        winner = tree[node ^ np.uint64(rival_at < at)].slot
        at = min(at, rival_at)
        node >>= _U1
        tree[node].at = at
        tree[node].slot = winner


@_inlined
def _push_end(heaps: Any, base: Any, size: Any, entry: Any) -> None:
    """Add an entry to the heap of ``size`` entries at ``base``."""
    base = np.uint64(base)
    i = np.uint64(size)
    while i > _U0:
        parent = (i - _U1) >> _U1
        above = heaps[base + parent]
        if above <= entry:
            break
        heaps[base + i] = above
        i = parent
    heaps[base + i] = entry


@_inlined
def _pop_end(heaps: Any, base: Any, size: Any) -> None:
    """Remove the first of ``size`` entries: sink the hole to a leaf, then lift the last entry."""
    base = np.uint64(base)
    end = np.uint64(size - 1)
    last = heaps[base + end]
    heaps[base + end] = NEVER
    i = _U0
    child = _U1
    while child < end:
        left = heaps[base + child]
        right = heaps[base + child + _U1]
        heaps[base + i] = min(left, right)
        i = child + np.uint64(right < left)
        child = i + i + _U1
    while i > _U0:
        parent = (i - _U1) >> _U1
        above = heaps[base + parent]
        if above <= last:
            break
        heaps[base + i] = above
        i = parent
    if end > _U0:
        heaps[base + i] = last


@_compiled
def _remove_end(heaps: NDArray[np.int64], base: Any, size: Any, index: Any) -> None:
    """Remove entry ``index`` of ``size`` from the heap at ``base``."""
    size -= 1
    last = heaps[base + size]
    heaps[base + size] = NEVER
    if index == size:
        return
    i = index
    while i > 0 and heaps[base + ((i - 1) >> 1)] > last:
        heaps[base + i] = heaps[base + ((i - 1) >> 1)]
        i = (i - 1) >> 1
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if heaps[base + child + 1] < heaps[base + child]:
            child += 1
        if heaps[base + child] >= last:
            break
        heaps[base + i] = heaps[base + child]
        i = child
    heaps[base + i] = last


# --- timers: retries and closed-loop clients -----------------------------------------------------


@_inlined
def _earlier(a: Any, b: Any) -> Any:
    return a.at < b.at or (a.at == b.at and a.sequence < b.sequence)


@_inlined
def _swap(a: Any, b: Any) -> None:
    at, sequence, record = a.at, a.sequence, a.record
    a.at, a.sequence, a.record = b.at, b.sequence, b.record
    b.at, b.sequence, b.record = at, sequence, record


@_compiled
def set_timer(header: NDArray[np.void], timers: NDArray[np.void], at: float, record: Any) -> None:
    """Wake a backing-off request (``record``) or a client (-1 - its number) at ``at``."""
    h: Any = header[0]
    i = np.int64(h.timers)
    h.timers += 1
    timer: Any = timers[i]
    timer.at = at
    timer.sequence = h.timer_sequence
    timer.record = record
    h.timer_sequence += 1
    while i > 0 and _earlier(timers[i], timers[(i - 1) >> 1]):
        _swap(timers[i], timers[(i - 1) >> 1])
        i = (i - 1) >> 1
    h.timer_next = timers[0].at


@_compiled
def _take_timer(header: NDArray[np.void], timers: NDArray[np.void]) -> Any:
    h: Any = header[0]
    record = np.int64(timers[0].record)
    h.timers -= 1
    size = np.int64(h.timers)
    _swap(timers[0], timers[size])
    i = np.int64(0)
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        if child + 1 < size and _earlier(timers[child + 1], timers[child]):
            child += 1
        if not _earlier(timers[child], timers[i]):
            break
        _swap(timers[i], timers[child])
        i = child
    h.timer_next = timers[0].at if size > 0 else np.inf
    return record


# --- the end of a request ------------------------------------------------------------------------


@_inlined
def _free(h: Any, free: Any, record: Any) -> None:
    free[h.free] = record
    h.free += 1


@_inlined
def _end(header: Any, clients: Clients, q: Any, at: Any, outcome: Any) -> None:
    """The client has its answer or will never get one; the record may live on as DEAD."""
    h = header[0]
    if h.logged < h.log_room:
        entry = clients.log[h.logged]
        entry.uid = q.uid
        entry.arrival = q.arrival
        entry.first = q.first
        entry.end = at
        entry.slot = q.slot
        entry.outcome = outcome
        h.logged += 1
    q.uid = -1
    q.state = DEAD
    h.live -= 1
    if q.client >= 0 and h.clients_run:
        client = np.int64(q.client)
        # A client that was turned away waits the back-off too: it would else ask for ever at the
        # same instant.
        again = at if outcome <= BY_TIME_OUT else at + h.backoff
        set_timer(header, clients.timers, again + clients.clients[client].think, -1 - client)


@_inlined
def _leave(load: Any, r: Any, at: Any) -> None:
    """A request has left the replica for good."""
    r.outstanding -= 1
    if r.draining:
        r.emptied_at = at
    else:
        load[r.lane] -= MAX_SLOTS


@_inlined
def _count_finish(h: Any, ledger: Ledger, r: Any, q: Any, slot: Any, at: Any) -> None:
    """The last token is out: count the latencies and mix the digest."""
    pool = np.int64(r.pool)
    counts = ledger.pools[pool]
    good = q.first - q.arrival <= h.ttft_threshold
    if q.output > 1:
        tpot = (at - q.first) / np.float64(q.output - 1)
        _observe(ledger, pool, 1, tpot)
        met = tpot <= h.tpot_threshold
        good = good and met
        counts.bad_tpot += np.int64(not met)
    counts.finished += 1
    counts.good += np.int64(good)
    counts.finished_prompt_tokens += q.prompt
    counts.finished_output_tokens += q.output
    z = np.uint64(q.uid) * _GOLDEN + np.uint64(slot)
    z ^= np.uint64(np.float64(q.first).view(np.int64)) * _MIX_A
    z = (z ^ (z >> np.uint64(29))) + np.uint64(np.float64(at).view(np.int64))
    z *= _MIX_B
    z ^= z >> np.uint64(32)
    h.digest_sum += z
    h.digest_chain = (h.digest_chain ^ z) * _GOLDEN


@_compiled
def _time_out(
    header: NDArray[np.void], clients: Clients, pools: NDArray[np.void], q: Any, at: float
) -> None:
    counts: Any = pools[q.pool]
    counts.timed_out += 1
    _end(header, clients, q, at, BY_TIME_OUT)


@_compiled
def _turn_away(
    header: NDArray[np.void],
    clients: Clients,
    free: NDArray[np.int32],
    q: Any,
    record: Any,
    at: float,
    outcome: int,
) -> bool:
    """Back off if tries are left, else end the request; tells whether it ended."""
    h: Any = header[0]
    if q.tries < h.retries:
        q.tries += 1
        q.state = BACKING_OFF
        q.first = -1.0
        q.done = 0
        set_timer(header, clients.timers, at + h.backoff, record)
        return False
    _end(header, clients, q, at, outcome)
    _free(h, free, record)
    return True


# --- one replica ---------------------------------------------------------------------------------


@_inlined
def _close_iteration(r: Any) -> None:
    """Set when the iteration with prompt chunks that begins at ``begin`` ends."""
    compute = r.delta * np.float64(np.int64(r.chunk_tokens) + np.int64(r.decoding))
    milliseconds = (
        np.sqrt(r.t0_squared + compute * compute) + r.epsilon * r.squares + r.beta * r.decoding
    )
    r.end = r.begin + (r.scale * milliseconds + r.kappa * r.kv)


@_inlined
def _held(preempt: Any, r: Any) -> Any:
    """KV tokens that admission counts as taken at the boundary at which the stretch begins."""
    return r.reserved + (r.kv if preempt else 0)


@_inlined
def _need(preempt: Any, q: Any) -> Any:
    """KV tokens that must be free for the request to be admitted."""
    return np.int64(q.prompt) + np.int64(q.done if preempt else q.output)


@_inlined
def _admit(preempt: Any, requests: Any, r: Any, q: Any, record: Any) -> None:
    """Give the request a chunk of the iteration that begins at ``begin``."""
    prompt = np.int64(q.prompt) + np.int64(q.done)
    chunk = min(prompt, np.int64(r.budget))
    q.state = CHUNKED
    q.admission = r.admissions
    r.admissions += 1
    r.reserved += _need(preempt, q)
    if r.prefilling > 0:
        requests[r.prefill_tail].next = record
    else:
        r.prefill_head = record
    r.prefill_tail = record
    r.prefilling += 1
    r.chunk_tokens += chunk
    r.squares += np.float64(chunk) * np.float64(chunk)
    r.budget -= chunk
    r.partial = chunk if chunk < prompt else 0


@_inlined
def _open_iteration(r: Any) -> None:
    r.chunk_tokens = 0
    r.carried = 0
    r.squares = 0.0
    r.budget = r.max_batched - r.decoding


@_inlined
def _wait(requests: Any, r: Any, q: Any, record: Any) -> None:
    q.state = WAITING
    if r.wait_head >= 0:
        requests[r.wait_tail].next = record
    else:
        r.wait_head = record
    r.wait_tail = record
    q.next = -1
    r.waiting += 1


@_inlined
def _boundary_at(r: Any, j: Any) -> Any:
    """When the j-th iteration of the decode stretch ends."""
    steps = np.float64(j)
    return r.begin + (steps * r.step + r.growth * (0.5 * steps * (steps - 1.0)))


@_inlined
def _reach(r: Any, at: Any) -> Any:
    """Iterations of the decode stretch after which its boundary is not before ``at``."""
    elapsed = at - r.begin
    if elapsed <= 0.0:
        return np.int64(0)
    linear = r.step - 0.5 * r.growth
    root = np.sqrt(linear * linear + 2.0 * r.growth * elapsed)
    j = np.int64(2.0 * elapsed / (linear + root))
    while j < r.steps and _boundary_at(r, j) < at:
        j += 1
    return j


@_inlined
def _run_steps(pools: Any, r: Any, steps: Any) -> None:
    tokens = steps * np.int64(r.decoding)
    r.iteration += steps
    r.kv += tokens
    pools[r.pool].output_tokens += tokens


@_compiled
def _preempt_latest(
    requests: NDArray[np.void], heaps: NDArray[np.int64], pools: NDArray[np.void], r: Any
) -> None:
    """Return the latest admitted sequence to the front of the queue; it is recomputed later."""
    if r.prefilling > 0:
        victim = np.int64(r.prefill_head)
        q: Any = requests[victim]
        r.prefilling = 0
        r.partial = 0
        r.reserved -= np.int64(q.prompt) + np.int64(q.done)
    else:
        base = np.int64(r.heap)
        found = np.int64(0)
        for i in range(r.decoding):
            candidate = heaps[base + i] & RECORD_MASK
            best = heaps[base + found] & RECORD_MASK
            if requests[candidate].admission > requests[best].admission:
                found = np.int64(i)
        entry = heaps[base + found]
        victim = entry & RECORD_MASK
        q = requests[victim]
        q.done = q.output - ((entry >> RECORD_BITS) - r.iteration)
        r.kv -= np.int64(q.prompt) + np.int64(q.done)
        _remove_end(heaps, base, np.int64(r.decoding), found)
        r.decoding -= 1
    q.state = WAITING
    q.next = r.wait_head
    if r.wait_head < 0:
        r.wait_tail = victim
    r.wait_head = victim
    r.waiting += 1
    counts: Any = pools[r.pool]
    counts.preemptions += 1


@_compiled
def _sweep(s: State, slot: Any, at: float) -> None:
    """At a boundary, abort the requests of ``slot`` whose time-out has passed."""
    h: Any = s.header[0]
    r: Any = s.replicas[slot]
    record = np.int64(r.flags)
    r.flags = -1
    while record >= 0:
        q: Any = s.requests[record]
        following = np.int64(q.flag_next)
        if q.state == DEAD:  # it ended at this very boundary
            record = following
            continue
        if q.state == WAITING:
            # It stays in the list as DEAD and is freed when it gets to the front.
            r.waiting -= 1
        elif q.state == CHUNKED:  # at a boundary only a partly done prompt is
            r.reserved -= _need(h.preempt, q)
            r.prefilling = 0
            r.partial = 0
            _free(h, s.free, record)
        else:
            base = np.int64(r.heap)
            index = np.int64(0)
            while (s.heaps[base + index] & RECORD_MASK) != record:
                index += 1
            left = (s.heaps[base + index] >> RECORD_BITS) - r.iteration
            total = np.int64(q.prompt) + np.int64(q.output)
            r.kv -= total - left
            if not h.preempt:
                r.reserved -= total
            _remove_end(s.heaps, base, np.int64(r.decoding), index)
            r.decoding -= 1
            _free(h, s.free, record)
        _time_out(s.header, s.clients, s.ledger.pools, q, at)
        _leave(s.load, r, at)
        record = following


@_inlined
def _admit_waiting(h: Any, requests: Any, free: Any, r: Any) -> None:
    """At a boundary, continue the prompt under way, then admit first come, first served."""
    _open_iteration(r)
    if r.prefilling > 0:
        first = requests[r.prefill_head]
        prompt = np.int64(first.prompt) + np.int64(first.done)
        carried = np.int64(r.partial)
        reached = min(prompt, carried + np.int64(r.budget))
        r.carried = carried
        r.chunk_tokens = reached - carried
        r.squares = np.float64(reached) * np.float64(reached) - np.float64(carried) * np.float64(
            carried
        )
        r.budget -= reached - carried
        r.partial = reached if reached < prompt else 0
    while r.wait_head >= 0:
        record = np.int64(r.wait_head)
        q = requests[record]
        if q.state == DEAD:
            r.wait_head = q.next
            _free(h, free, record)
            continue
        if (
            r.budget <= 0
            or r.decoding + r.prefilling >= r.max_running
            or _held(h.preempt, r) + _need(h.preempt, q) > r.capacity
        ):
            break
        r.wait_head = q.next
        r.waiting -= 1
        _admit(h.preempt, requests, r, q, record)


@_inlined
def _lay_out(h: Any, heaps: Any, tree: Any, linear: Any, r: Any, slot: Any) -> None:
    """Set the stretch that starts at ``begin``, everything being admitted."""
    if r.prefilling > 0:
        r.state = PREFILL
        r.steps = 1
        _close_iteration(r)
    elif r.decoding > 0:
        r.state = DECODE
        steps = (heaps[r.heap] >> RECORD_BITS) - r.iteration
        if h.preempt:
            steps = min(steps, (r.capacity - r.kv) // np.int64(r.decoding) + 1)
        r.steps = steps
        r.step = r.scale * linear[r.table + r.decoding] + r.kappa * r.kv
        r.growth = r.kappa * r.decoding
        r.end = _boundary_at(r, steps)
    else:
        r.state = IDLE
        r.end = np.inf
    _schedule(h, tree, slot, r.end)


@_inlined
def _first_tokens(s: State, h: Any, r: Any, at: Any) -> None:
    """The prompts of the iteration that ends at ``at`` are done, but perhaps the last."""
    pool = np.int64(r.pool)
    counts = s.ledger.pools[pool]
    record = np.int64(r.prefill_head)
    whole = r.prefilling - (1 if r.partial > 0 else 0)
    for _ in range(whole):
        q = s.requests[record]
        following = np.int64(q.next)
        context = np.int64(q.prompt) + np.int64(q.done)
        if h.preempt:
            r.reserved -= context
        if q.first < 0.0 and not (q.flagged and at > q.arrival + h.timeout):
            q.first = at
            ttft = at - q.arrival
            _observe(s.ledger, pool, 0, ttft)
            counts.bad_ttft += np.int64(ttft > h.ttft_threshold)
            counts.prompt_tokens += q.prompt
        counts.output_tokens += 1
        left = np.int64(q.output) - np.int64(q.done) - 1
        q.state = DECODING
        r.kv += context + 1
        entry = ((r.iteration + left) << RECORD_BITS) | record
        _push_end(s.heaps, np.int64(r.heap), np.int64(r.decoding), entry)
        r.decoding += 1
        record = following
    r.prefilling -= whole
    r.prefill_head = record


@_inlined
def _last_tokens(s: State, h: Any, r: Any, slot: Any, at: Any) -> None:
    """End the sequences whose last token came with the iteration that ends at ``at``."""
    base = np.int64(r.heap)
    while (s.heaps[base] >> RECORD_BITS) == r.iteration:
        record = s.heaps[base] & RECORD_MASK
        q = s.requests[record]
        _pop_end(s.heaps, base, np.int64(r.decoding))
        r.decoding -= 1
        total = np.int64(q.prompt) + np.int64(q.output)
        r.kv -= total
        if not h.preempt:
            r.reserved -= total
        _leave(s.load, r, at)
        if q.flagged and at > q.arrival + h.timeout:
            _time_out(s.header, s.clients, s.ledger.pools, q, at)
        else:
            _count_finish(h, s.ledger, r, q, slot, at)
            _end(s.header, s.clients, q, at, BY_FINISH)
        _free(h, s.free, record)


@_inlined
def _boundary(s: State, h: Any, slot: Any) -> None:
    """The stretch of ``slot`` ends: count its tokens, end sequences, lay out the next."""
    r = s.replicas[slot]
    at = r.end
    _run_steps(s.ledger.pools, r, np.int64(r.steps))
    if r.state == PREFILL:
        _first_tokens(s, h, r, at)
    _last_tokens(s, h, r, slot, at)
    if r.flags >= 0:
        _sweep(s, slot, at)
    r.begin = at
    if h.preempt:
        while r.kv + r.reserved > r.capacity:
            _preempt_latest(s.requests, s.heaps, s.ledger.pools, r)
    if r.prefilling > 0 or r.wait_head >= 0:
        _admit_waiting(h, s.requests, s.free, r)
    _lay_out(h, s.heaps, s.tree, s.linear, r, slot)


@_inlined
def _join(s: State, h: Any, r: Any, q: Any, record: Any, slot: Any, at: Any) -> None:
    """Take the request in at the next boundary, now if what happens there is already known."""
    joins = (
        r.wait_head < 0
        and r.decoding + r.prefilling < r.max_running
        and _held(h.preempt, r) + _need(h.preempt, q) <= r.capacity
    )
    begin = at
    if joins and r.state == DECODE:
        j = _reach(r, at)
        begin = _boundary_at(r, j)
        joins = j < r.steps
        if joins and h.preempt:
            joins = r.kv + j * np.int64(r.decoding) + _need(h.preempt, q) <= r.capacity
        if joins and begin >= h.deadline_next:
            # A time-out comes before: that boundary must sort out who is admitted.
            r.steps = j
            r.end = begin
            _schedule(h, s.tree, slot, begin)
            joins = False
        if joins:
            _run_steps(s.ledger.pools, r, j)
    elif joins and r.state == PREFILL:
        joins = at <= r.begin and r.budget > 0
    if not joins:
        _wait(s.requests, r, q, record)
        return
    if r.state != PREFILL:
        r.begin = begin
        r.state = PREFILL
        r.steps = 1
        _open_iteration(r)
    _admit(h.preempt, s.requests, r, q, record)
    _close_iteration(r)
    _schedule(h, s.tree, slot, r.end)


# --- routing -------------------------------------------------------------------------------------


@_inlined
def _pick(h: Any, groups: Any, members: Any, load: Any, group: Any) -> Any:
    """A routable slot of the group, or -1.

    Least outstanding: the first of the least in cyclic order after the last one picked.
    """
    g = groups[group]
    if h.router == RANDOM:
        if g.members == 0:
            return np.int64(-1)
        return np.int64(members[g.first_member + np.int64(_random(h) * g.members)])
    lanes = load[g.first_lane : g.first_lane + np.int64(h.width)]
    turn = np.int32(g.turn)
    best = np.int32(2147483647)
    for i in range(len(lanes)):
        key = np.int32(lanes[i] + np.int32(np.int32(np.int32(i) - turn) & np.int32(SLOT_MASK)))
        best = min(best, key)
    if best >= UNROUTABLE:
        return np.int64(-1)
    slot = (np.int64(best) + np.int64(turn)) & SLOT_MASK
    g.turn = (slot + 1) & SLOT_MASK
    return slot


@_inlined
def _draw_pool(h: Any, pools: Any) -> Any:
    last = len(pools) - 1
    draw = _random(h) * pools[last].cumulative_weight
    pool = np.int64(0)
    while pool < last and draw >= pools[pool].cumulative_weight:
        pool += 1
    return pool


@_inlined
def _route(s: State, h: Any, q: Any, record: Any, at: Any) -> None:
    """Send an attempt to a replica, or refuse it."""
    pools = s.ledger.pools
    group = np.int64(0)
    if h.law == WEIGHTED:
        group = _draw_pool(h, pools)
        q.pool = group
    elif h.law == SEPARATE:
        group = np.int64(q.pool)
    refused_by = np.int64(-1)
    while True:
        slot = _pick(h, s.groups, s.members, s.load, group)
        too_large = False
        if slot >= 0:
            r = s.replicas[slot]
            q.pool = r.pool
            too_large = np.int64(q.prompt) + np.int64(q.output) > r.capacity
            if r.outstanding < r.limit and not too_large:
                r.outstanding += 1
                s.load[r.lane] += MAX_SLOTS
                q.slot = slot
                pools[r.pool].routed += 1
                if refused_by >= 0:
                    pools[refused_by].overflowed += 1
                _join(s, h, r, q, record, slot, at)
                return
        if h.law != OVERFLOW or refused_by >= 0:
            break
        refused_by = np.int64(q.pool)
        group = np.int64(1)
    counts = pools[q.pool]
    counts.refused += 1
    if too_large:
        q.tries = h.retries
    outcome = BY_SIZE if too_large else BY_REFUSAL
    if _turn_away(s.header, s.clients, s.free, q, record, at, outcome):
        if too_large:
            counts.too_large += 1
        else:
            counts.refused_for_good += 1


# --- crashes and reading -------------------------------------------------------------------------


@_compiled
def _fail(s: State, record: Any, at: float) -> None:
    h: Any = s.header[0]
    q: Any = s.requests[record]
    if q.state == DEAD:
        _free(h, s.free, record)
    elif q.flagged:
        _time_out(s.header, s.clients, s.ledger.pools, q, at)
        _free(h, s.free, record)
    elif _turn_away(s.header, s.clients, s.free, q, record, at, BY_FAILURE):
        counts: Any = s.ledger.pools[q.pool]
        counts.failed += 1


@_compiled
def crash(s: State, slot: Any, at: float) -> None:
    """All requests of an unroutable replica fail: decoding ones by age, prompts, then waiting."""
    h: Any = s.header[0]
    r: Any = s.replicas[slot]
    base = np.int64(r.heap)
    while r.decoding > 0:
        found = np.int64(0)
        for i in range(r.decoding):
            candidate: Any = s.requests[s.heaps[base + i] & RECORD_MASK]
            oldest: Any = s.requests[s.heaps[base + found] & RECORD_MASK]
            if candidate.uid < oldest.uid:
                found = np.int64(i)
        record = s.heaps[base + found] & RECORD_MASK
        _remove_end(s.heaps, base, np.int64(r.decoding), found)
        r.decoding -= 1
        _fail(s, record, at)
    chunked = np.int64(r.prefilling)
    record = np.int64(r.prefill_head)
    while chunked > 0:
        following = np.int64(s.requests[record].next)
        _fail(s, record, at)
        record = following
        chunked -= 1
    record = np.int64(r.wait_head)
    while record >= 0:
        following = np.int64(s.requests[record].next)
        _fail(s, record, at)
        record = following
    r.state = IDLE
    r.outstanding = 0
    _schedule(h, s.tree, slot, np.inf)


@_compiled
def read_gauges(s: State, gauges: NDArray[np.int64]) -> None:
    """Each slot's state as of ``now``.

    ``gauges`` (slots, 5): running, waiting, KV tokens written or being written, outstanding, and
    output tokens that are out but not in the counters yet.
    """
    h: Any = s.header[0]
    gauges[:] = 0
    for slot in range(len(s.replicas)):
        r: Any = s.replicas[slot]
        if r.outstanding == 0:
            continue
        kv = np.int64(r.kv)
        if r.state == DECODE:
            j = _reach(r, h.now)
            if j > 0 and _boundary_at(r, j) > h.now:
                j -= 1
            gauges[slot, 4] = j * np.int64(r.decoding)
            kv += gauges[slot, 4]
        elif r.state == PREFILL:
            kv += np.int64(r.chunk_tokens) + np.int64(r.carried)
        gauges[slot, 0] = r.decoding + r.prefilling
        gauges[slot, 1] = r.waiting
        gauges[slot, 2] = kv
        gauges[slot, 3] = r.outstanding


@_compiled
def read_histograms(
    ledger: Ledger, fine: NDArray[np.int64], ttft: NDArray[np.int64], tpot: NDArray[np.int64]
) -> None:
    """Split the counts into ``fine`` (2, pools, fine buckets) and both visible histograms.

    ``ttft`` and ``tpot`` (pools, edges + 1) must be zero.
    """
    for pool in range(len(ledger.pools)):
        for kind in range(2):
            shown = (ttft if kind == 0 else tpot)[pool]
            into = np.uint64(0)
            base = (pool * 2 + kind) * FINE_BUCKETS * 2
            for bucket in range(FINE_BUCKETS):
                up_to = ledger.histograms[base + 2 * bucket]
                above = ledger.histograms[base + 2 * bucket + 1]
                fine[kind, pool, bucket] = up_to + above
                shown[into] += up_to
                if ledger.edges[kind * FINE_BUCKETS + bucket] < np.inf:
                    into += _U1
                    shown[into] += above


# --- time-outs -----------------------------------------------------------------------------------


@_compiled
def _forget_ended(
    header: NDArray[np.void], requests: NDArray[np.void], ring: NDArray[np.int32]
) -> None:
    """Move past the requests that have ended; the oldest live one times out first."""
    h: Any = header[0]
    mask = len(ring) - 1
    while h.oldest_uid < h.next_uid:
        q: Any = requests[ring[h.oldest_uid & mask]]
        if q.uid == h.oldest_uid and q.flagged == 0:
            h.deadline_next = q.arrival + h.timeout
            return
        h.oldest_uid += 1
    h.deadline_next = np.inf


@_compiled
def _pass_deadline(s: State) -> None:
    """The oldest live request, if any, times out now: its replica stops at the next boundary."""
    h: Any = s.header[0]
    at = h.deadline_next
    _forget_ended(s.header, s.requests, s.ring)
    if h.deadline_next > at:
        return
    record = np.int64(s.ring[h.oldest_uid & (len(s.ring) - 1)])
    q: Any = s.requests[record]
    q.flagged = 1
    if q.state == BACKING_OFF:
        _time_out(s.header, s.clients, s.ledger.pools, q, at)
    else:
        slot = np.int64(q.slot)
        r: Any = s.replicas[slot]
        q.flag_next = r.flags
        r.flags = record
        if r.state == DECODE:
            j = _reach(r, at)
            if j < r.steps:
                r.steps = j
                r.end = _boundary_at(r, j)
                _schedule(h, s.tree, slot, r.end)
    _forget_ended(s.header, s.requests, s.ring)


# --- the loop ------------------------------------------------------------------------------------


@_compiled
def advance(
    s: State,
    until: float,
    seconds: NDArray[np.float64],
    prompts: NDArray[np.int64],
    outputs: NDArray[np.int64],
    pools: NDArray[np.int64],
    taken: int,
) -> tuple[int, int]:
    """Process arrivals from ``taken`` on and all else up to ``until``.

    Returns (OK or why it stopped early, arrivals taken).
    """
    h: Any = s.header[0]
    count = len(seconds)
    mask = len(s.ring) - 1
    i: Any = np.int64(taken)
    while True:
        arrival = seconds[i] if i < count else np.inf
        limit = min(arrival, until)
        while True:
            at = s.tree[1].at
            if at > limit or at > h.timer_next or at >= h.deadline_next or at == np.inf:
                break
            h.now = at
            _boundary(s, h, np.int64(s.tree[1].slot))
        at = min(arrival, h.timer_next)
        if h.deadline_next <= at and h.deadline_next < np.inf:
            if h.deadline_next > until:
                break
            h.now = h.deadline_next
            _pass_deadline(s)
            continue
        if at > until or at == np.inf:
            break
        if h.free == 0:
            return NO_RECORD, i
        if h.next_uid - h.oldest_uid > mask:
            _forget_ended(s.header, s.requests, s.ring)
            if h.next_uid - h.oldest_uid > mask:
                return NO_RING, i
        record = np.int64(-1)
        client = np.int64(-1)
        prompt = np.int64(0)
        output = np.int64(0)
        pool = np.int64(0)
        if h.timer_next <= at:
            record = _take_timer(s.header, s.clients.timers)
            if record >= 0:
                if s.requests[record].state == DEAD:  # timed out while it backed off
                    _free(h, s.free, record)
                    continue
            else:
                if not h.clients_run:
                    continue
                client = -1 - record
                asks: Any = s.clients.clients[client]
                prompt = np.int64(asks.prompt)
                output = np.int64(asks.output)
                pool = np.int64(asks.pool)
        else:
            if at < h.now:
                return BAD_ORDER, i
            prompt = prompts[i]
            output = outputs[i]
            if not (0 < prompt < 1 << 30 and 0 < output < 1 << 30):
                return BAD_TOKENS, i
            if len(pools) > 0:
                pool = pools[i]
                if not 0 <= pool < len(s.ledger.pools):
                    return BAD_POOL, i
            i += 1
        h.now = at
        if record < 0:
            h.free -= 1
            record = np.int64(s.free[h.free])
            fresh: Any = s.requests[record]
            fresh.arrival = at
            fresh.first = -1.0
            fresh.uid = h.next_uid
            fresh.prompt = prompt
            fresh.output = output
            fresh.done = 0
            fresh.pool = pool
            fresh.client = client
            fresh.slot = -1
            fresh.tries = 0
            fresh.flagged = 0
            h.offered += 1
            h.live += 1
            if h.timeout < np.inf:
                s.ring[h.next_uid & mask] = record
                if h.deadline_next == np.inf:
                    h.deadline_next = at + h.timeout
            else:
                h.oldest_uid += 1
            h.next_uid += 1
        q: Any = s.requests[record]
        q.state = ROUTING
        _route(s, h, q, record, at)
    if until < np.inf:
        h.now = until
    return OK, i
