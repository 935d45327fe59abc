"""Memory layout of the engine: a few arrays of records, sized once and recycled.

All state that the compiled loop touches lives in the ``State`` named tuple, so that one call hands
it over cheaply. Times are seconds. A *slot* is the place of a replica, a *record* the place of a
live request; both are reused, so memory follows what is alive and never the length of a trace.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulations.engine.kernel import FINE_BUCKETS, LOAD_LANES, NEVER, UNROUTABLE

#: One element: what belongs to the whole fleet.
HEADER = np.dtype(
    [
        ("now", "f8"),  # the last event or the end of the last advance
        ("deadline_next", "f8"),  # no live request times out before; inf without time-outs
        ("timer_next", "f8"),  # earliest retry or closed-loop client; inf when none
        ("timeout", "f8"),  # arrival to last token; inf when clients wait for ever
        ("backoff", "f8"),
        ("ttft_threshold", "f8"),
        ("tpot_threshold", "f8"),
        ("next_uid", "i8"),  # requests so far: the next one's unique number
        ("oldest_uid", "i8"),  # every older request has ended
        ("timer_sequence", "i8"),
        ("digest_sum", "u8"),  # does not depend on the order of completions
        ("digest_chain", "u8"),  # does
        ("random", "u8"),
        ("offered", "i8"),
        ("live", "i8"),
        ("free", "i4"),  # records on the free stack
        ("timers", "i4"),
        ("width", "i4"),  # lanes scanned for the least outstanding
        ("leaves", "i4"),  # of the tournament
        ("law", "i4"),
        ("router", "i4"),
        ("preempt", "i4"),
        ("retries", "i4"),
        ("clients_run", "i4"),
        ("logged", "i4"),
        ("log_room", "i4"),
    ],
    align=True,
)

#: One per live request: 64 bytes, one cache line.
REQUEST = np.dtype(
    [
        ("arrival", "f8"),
        ("first", "f8"),  # time of the first token; negative before
        ("uid", "i8"),  # -1 when the record is free
        ("prompt", "i4"),
        ("output", "i4"),
        ("done", "i4"),  # tokens generated before a preemption, recomputed with the prompt
        ("next", "i4"),  # in the waiting or prefill list of its slot
        ("slot", "i4"),
        ("pool", "i4"),  # asked for (SEPARATE), then where it was last sent
        ("client", "i4"),  # closed-loop client, -1 for an open arrival
        ("flag_next", "i4"),  # in the list of time-outs pending at its slot
        ("admission", "i4"),
        ("tries", "i2"),
        ("state", "i1"),
        ("flagged", "i1"),
    ],
    align=True,
)

#: One per slot.
REPLICA = np.dtype(
    [
        ("begin", "f8"),  # boundary at which the stretch begins
        ("end", "f8"),  # and ends: the next event
        ("step", "f8"),  # seconds of the first iteration of a decode stretch
        ("growth", "f8"),  # seconds by which each next one is longer: kappa b
        ("kappa", "f8"),  # seconds per token, speed included; likewise below
        ("scale", "f8"),  # seconds per millisecond: 1e-3 / speed
        ("squares", "f8"),  # sum of (p + n)^2 - p^2 over this iteration's prompt chunks
        ("iteration", "i8"),
        ("kv", "i8"),  # tokens held by decoding sequences
        ("reserved", "i8"),  # RESERVE: prompt + output of running; PREEMPT: prompts in prefill
        ("capacity", "i8"),
        ("decoding", "i4"),
        ("steps", "i4"),  # iterations of the stretch
        ("state", "i4"),
        ("outstanding", "i4"),
        ("limit", "i4"),
        ("prefilling", "i4"),
        ("prefill_head", "i4"),
        ("prefill_tail", "i4"),
        ("chunk_tokens", "i4"),  # prompt tokens of this iteration
        ("partial", "i4"),  # tokens of the last prompt done after this iteration; 0: all of it
        ("carried", "i4"),  # prompt tokens of the first one done before this iteration
        ("budget", "i4"),  # token budget left in this iteration
        ("waiting", "i4"),
        ("wait_head", "i4"),
        ("wait_tail", "i4"),
        ("max_running", "i4"),
        ("max_batched", "i4"),
        ("table", "i4"),  # where the pool's row of ``linear`` begins
        ("heap", "i4"),  # where the slot's heap begins
        ("lane", "i4"),  # the slot's place in ``load``
        ("pool", "i4"),
        ("flags", "i4"),  # head of the list of pending time-outs
        ("admissions", "i4"),
        ("draining", "i4"),
        ("emptied_at", "f8"),  # when the last request of a draining replica ended
        ("t0_squared", "f8"),
        ("delta", "f8"),
        ("epsilon", "f8"),
        ("beta", "f8"),
    ],
    align=True,
)

#: One per pending retry (``record`` >= 0) or closed-loop client (``record`` = -1 - client).
TIMER = np.dtype([("at", "f8"), ("sequence", "i8"), ("record", "i4")], align=True)

#: One per ended request while ``Fleet.watch`` is on.
ENDING = np.dtype(
    [
        ("uid", "i8"),
        ("arrival", "f8"),
        ("first", "f8"),
        ("end", "f8"),
        ("slot", "i4"),
        ("outcome", "i4"),
    ],
    align=True,
)

#: One per closed-loop client.
CLIENT = np.dtype([("think", "f8"), ("prompt", "i4"), ("output", "i4"), ("pool", "i4")], align=True)


#: One per set of replicas a router chooses from.
GROUP = np.dtype(
    [
        ("first_lane", "i4"),
        ("first_member", "i4"),
        ("members", "i4"),  # routable replicas
        ("turn", "i4"),  # slot at which the next tie-break begins
    ],
    align=True,
)

#: One per pool: its cumulative counters, as ``Totals`` documents them, and its weight.
COUNTERS = (
    "routed",
    "refused",
    "overflowed",
    "finished",
    "good",
    "bad_ttft",
    "bad_tpot",
    "prompt_tokens",
    "output_tokens",
    "finished_prompt_tokens",
    "finished_output_tokens",
    "refused_for_good",
    "timed_out",
    "failed",
    "too_large",
    "preemptions",
)
POOL = np.dtype([("cumulative_weight", "f8"), *((name, "i8") for name in COUNTERS)], align=True)

#: A node of the tournament of next events: the earliest below it.
NODE = np.dtype([("at", "f8"), ("slot", "i8")], align=True)


class Clients(NamedTuple):
    """Those who wait for answers; C closed-loop clients, R records."""

    timers: NDArray[np.void]  # (R + C,) TIMER, a binary heap
    clients: NDArray[np.void]  # (C,) CLIENT
    log: NDArray[np.void]  # (endings,) ENDING


class Ledger(NamedTuple):
    """What is counted; P pools."""

    pools: NDArray[np.void]  # (P,) POOL
    histograms: NDArray[np.int64]  # (P * 2 * FINE_BUCKETS * 2,) up to and above a visible edge
    edges: NDArray[np.float64]  # (2 * FINE_BUCKETS,) the visible edge in a fine bucket, or inf


class State(NamedTuple):
    """All arrays of a fleet; R records, S slots, P pools (and as many groups), L leaves."""

    header: NDArray[np.void]  # (1,) HEADER
    requests: NDArray[np.void]  # (R,) REQUEST
    replicas: NDArray[np.void]  # (S,) REPLICA
    clients: Clients
    ledger: Ledger
    free: NDArray[np.int32]  # (R,) stack of free records
    ring: NDArray[np.int32]  # (power of two,) record of request uid at uid & mask
    heaps: NDArray[np.int64]  # (S * rows,) finish iteration << 24 | record, a heap per slot
    tree: NDArray[np.void]  # (2 L,) NODE; the root is 1, slot s is at L + s
    load: NDArray[np.int32]  # (P * lanes,) outstanding << 11, UNROUTABLE where not in the group
    groups: NDArray[np.void]  # (P,) GROUP
    members: NDArray[np.int32]  # (P * S,) routable slots
    linear: NDArray[np.float64]  # (P * rows,) ms of a decode iteration without context


def allocate(*, pools: int, slots: int, rows: int, records: int) -> State:
    """An empty state for ``slots`` replicas of at most ``rows`` - 2 running sequences.

    A heap of ``rows`` entries keeps one that is never used behind the last.
    """
    leaves = 2
    while leaves < slots:
        leaves *= 2
    lanes = -(-slots // LOAD_LANES) * LOAD_LANES
    state = State(
        header=np.zeros(1, HEADER),
        requests=np.zeros(records, REQUEST),
        replicas=np.zeros(slots, REPLICA),
        clients=Clients(np.zeros(records, TIMER), np.zeros(0, CLIENT), np.zeros(0, ENDING)),
        ledger=Ledger(
            pools=np.zeros(pools, POOL),
            histograms=np.zeros(pools * 4 * FINE_BUCKETS, np.int64),
            edges=np.full(2 * FINE_BUCKETS, np.inf),
        ),
        free=np.arange(records - 1, -1, -1, dtype=np.int32),
        ring=np.zeros(1 << 12, np.int32),
        heaps=np.full(slots * rows, NEVER, np.int64),
        tree=np.zeros(2 * leaves, NODE),
        load=np.full(pools * lanes, UNROUTABLE, np.int32),
        groups=np.zeros(pools, GROUP),
        members=np.zeros(pools * slots, np.int32),
        linear=np.zeros(pools * rows),
    )
    state.tree["at"] = np.inf
    state.tree["slot"][leaves : leaves + slots] = np.arange(slots)
    state.groups["first_lane"] = lanes * np.arange(pools)
    state.groups["first_member"] = slots * np.arange(pools)
    state.requests["uid"] = -1
    header = state.header
    header["deadline_next"] = header["timer_next"] = header["timeout"] = np.inf
    header["free"] = records
    header["leaves"] = leaves
    return state


def grow(state: State, *, records: int, ring: int, clients: int) -> State:
    """The same state with room for at least so many records, uids in flight and clients."""
    old = len(state.requests)
    requests, free = state.requests, state.free
    if records > old:
        requests = np.zeros(records, REQUEST)
        requests[:old] = state.requests
        requests["uid"][old:] = -1
        free = np.zeros(records, np.int32)
        held = int(state.header["free"][0])
        free[: records - old] = np.arange(records - 1, old - 1, -1)
        free[records - old : records - old + held] = state.free[:held]
        state.header["free"] += records - old
    ring_array = state.ring
    if ring > len(ring_array):
        ring_array = np.zeros(ring, np.int32)
        uids = np.arange(state.header["oldest_uid"][0], state.header["next_uid"][0])
        ring_array[uids & (ring - 1)] = state.ring[uids & (len(state.ring) - 1)]
    timers, old_clients, log = state.clients
    client_array = old_clients
    if clients > len(old_clients):
        client_array = np.zeros(clients, CLIENT)
        client_array[: len(old_clients)] = old_clients
    if len(requests) + len(client_array) > len(timers):
        timers = np.zeros(len(requests) + len(client_array), TIMER)
        timers[: len(state.clients.timers)] = state.clients.timers
    return state._replace(
        requests=requests,
        free=free,
        ring=ring_array,
        clients=Clients(timers, client_array, log),
    )
