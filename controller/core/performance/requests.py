"""P(a request is bad | x requests outstanding per replica), for one replica kind, mix and SLO.

**Time per output token.** A request of D decode iterations misses its threshold h when the prompts
prefilled meanwhile stall it for more than its slack: with decode-only iterations of d(x) it has
D (h - d) to lose. Stalls come as a compound Poisson sum of prefill times. On a replica of its own
(arrivals regardless of its state) the window is the iteration of the own prompt and the time
allowed but for the last iteration, (D - 1) h; where arrivals follow the least outstanding, a
stalled replica finishes less and so receives less, and the window is the time it takes anyhow,
D T(x). With n replicas it lies between the two, the first with weight 1 / n.

Only what is prefilled *within* (D - 1) h stalls. A prompt that uses up the slack by itself is over
too late unless it comes in the first (D - 1) d: with one jump that is the ballot theorem for the
first passage of a compound Poisson process (Takacs 1967), and it is taken for such prompts alone.

An arrival stalls those it finds on its replica. Balanced by the least outstanding these are the
x - 1 others, as many as a request leaves behind; at random x; with n replicas x - 1 + 1 / n.

**Time to first token.** Rest of the iteration in progress, prompts ahead on the same replica
(M/G/1), own prefill in competition with the decodes, and beyond the running or KV limit the wait
for a place. Prompts too long for the threshold on an idle replica are the mix's ceiling. While a
prompt longer than the threshold is prefilled, everybody who comes is late: on one replica all, in
a balanced pool next to nobody, with n replicas 1 / n of them.

**What is left out.** After a prompt of many thresholds' length a lone replica holds so many
requests that all of them miss both objectives: the birth-death process of pool.py knows no such
jump. One L40S under a mix whose longest prompt takes 9 s at a TTFT of 1 s carries a fifth less than
this says, four to twenty of them 6 to 13 % less.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.variant import PerformanceProfile
from controller.core.performance.mix import QUANTILE_WEIGHTS, TokenMix
from controller.core.performance.replica import ReplicaCurve, replica_curve
from controller.core.performance.stalls import StallTail, WaitTail

Array = NDArray[np.float64]

#: Values of 1 / n at which tables are made; in between log P is interpolated.
_POOL_SHARES: Final[Array] = np.array([0.0, 0.1, 0.25, 0.5, 1.0])
#: Levels at which prompts are compared with the threshold, and the share each stands for: fine in
#: the tail, so that no lump of requests falls at once.
_PROMPT_EDGES: Final[Array] = 1.0 - np.concatenate([np.geomspace(1.0, 2e-4, 56), [0.0]])
_PROMPT_LEVELS: Final[Array] = 0.5 * (_PROMPT_EDGES[1:] + _PROMPT_EDGES[:-1])
_PROMPT_WEIGHTS: Final[Array] = np.diff(_PROMPT_EDGES)
#: First bin of every group of output lengths: how long a long answer is matters little.
_OUTPUT_BINS: Final = [*range(21), 25]
_OUTPUT_WEIGHTS: Final[Array] = np.add.reduceat(QUANTILE_WEIGHTS, _OUTPUT_BINS)
_QUEUE_POINTS: Final = 24
#: Log of the share of bad requests beyond which a pool's states need not be told apart.
_HOPELESS: Final = -0.02
#: Queues longer than this are not told apart: an overload that long has no steady state.
_LONGEST_WAIT_MILLISECONDS: Final = 120e3


@dataclass(frozen=True, slots=True, eq=False)
class BadTable:
    """log P(bad | outstanding) on ``outstanding`` (points,), one row per share of the window."""

    curve: ReplicaCurve
    outstanding: Array
    log_bad: Array

    @property
    def hopeless(self) -> float:
        """Outstanding per replica from where next to all requests are bad, or replicas full."""
        decided = int(np.argmax(self.log_bad[0] >= _HOPELESS))
        full = len(self.curve.outstanding) - 1
        return float(self.outstanding[min(max(decided, 1), full)])

    def at(self, outstanding: Array, sizes: Array) -> Array:
        """P(bad) at these numbers outstanding per replica in pools of ``sizes`` replicas.

        Shape (pools, points).
        """
        share = 1.0 / sizes
        rung = np.clip(np.searchsorted(_POOL_SHARES, share) - 1, 0, len(_POOL_SHARES) - 2)
        weight = (share - _POOL_SHARES[rung]) / (_POOL_SHARES[rung + 1] - _POOL_SHARES[rung])
        rows = np.array([np.interp(outstanding, self.outstanding, row) for row in self.log_bad])
        return np.asarray(
            np.exp((1.0 - weight)[:, None] * rows[rung] + weight[:, None] * rows[rung + 1])
        )


@lru_cache(maxsize=4096)
def bad_table(
    profile: PerformanceProfile, mix: TokenMix, ttft_seconds: float, tpot_seconds: float
) -> BadTable:
    """Tabulate P(bad) for one replica kind under one mix and one pair of thresholds."""
    curve = replica_curve(profile, mix)
    slow = _slow_tokens(curve, tpot_seconds * 1e3)
    late, wait = _late_start(curve, ttft_seconds * 1e3)
    slow = np.concatenate([slow, np.repeat(slow[:, -1:], _QUEUE_POINTS, axis=1)], axis=1)
    bad = 1.0 - (1.0 - slow) * (1.0 - late)
    # Whatever the thresholds, who waits as long as this is taken as never answered.
    bad[:, -1] = 1.0
    outstanding = np.concatenate(
        [curve.outstanding, curve.outstanding[-1] + wait * curve.throughput[-1]]
    )
    return BadTable(curve, outstanding, np.log(np.maximum(bad, 1e-9)))


def _slow_tokens(curve: ReplicaCurve, threshold: float) -> Array:
    """P(TPOT above the threshold), shape (window shares, points); milliseconds."""
    points = len(curve.outstanding)
    if not np.isfinite(threshold):
        return np.zeros((len(_POOL_SHARES), points))
    decodes = np.array(curve.mix.shape.output) * curve.mix.decode_mean
    decodes = np.add.reduceat(QUANTILE_WEIGHTS * decodes, _OUTPUT_BINS) / _OUTPUT_WEIGHTS
    # Single-token answers have no gap; a bin below one decode holds some of them.
    weights = _OUTPUT_WEIGHTS * np.minimum(decodes, 1.0)
    decodes = np.maximum(decodes, 1.0)[None, :, None]
    tail = StallTail.of(curve.works)
    shares = _POOL_SHARES[:, None, None]
    # Prompts that come during the last iteration are too late to stall; own + (D - 1) h.
    alone = curve.prompt_iteration + (decodes - 1.0) * np.maximum(threshold, curve.iteration)
    together = decodes * curve.iteration
    window = (1.0 - shares) * together + shares * alone
    # As many works as make up the prefill at this load: short prompts ride along at a low one.
    rate = curve.throughput * (curve.prefill / curve.work_mean)
    # Where arrivals go to the fewest outstanding, those stalled are the others of a replica.
    rate = rate * np.maximum(1.0 - (1.0 - shares) / curve.outstanding, 0.0)
    count = rate * window
    # The request's own decode, which an arrival does not find yet.
    slope = np.gradient(curve.decode_iteration, curve.outstanding)
    mine = _POOL_SHARES[:, None] * slope
    slack = decodes * (threshold - curve.decode_iteration - mine)[:, None, :] / curve.work_mean
    # A prompt that uses the slack up by itself does so only if it comes before the decodes would
    # be over without it: what is left of it at the end of the window stalls nobody.
    early = curve.prompt_iteration + (decodes - 1.0) * curve.decode_iteration
    in_time = rate * ((1.0 - shares) * together + shares * np.minimum(early, alone))
    stalled = np.ones(count.shape)
    with_slack = np.broadcast_to(slack > 0.0, count.shape)
    count, slack = count[with_slack], np.broadcast_to(slack, stalled.shape)[with_slack]
    single = _survival(curve.works, slack)
    several = np.maximum(tail.above(count, slack) + np.exp(-count * single) - 1.0, 0.0)
    stalled[with_slack] = several + 1.0 - np.exp(-in_time[with_slack] * single)
    return np.asarray(np.einsum("j,sjp->sp", weights, stalled))


def _survival(works: Array, amount: Array) -> Array:
    """P(one work > ``amount``) for works given as means of the prompt bins."""
    above = 1.0 - np.cumsum(QUANTILE_WEIGHTS) + 0.5 * QUANTILE_WEIGHTS
    return np.interp(amount, works, above, left=1.0, right=0.0)


def _late_start(curve: ReplicaCurve, threshold: float) -> tuple[Array, Array]:
    """P(TTFT above the threshold) on the curve's points and then at waits for a place.

    Returns shape (window shares, points + queue points) and the waits in ms, shape (queue
    points,).
    """
    points = len(curve.outstanding)
    if not np.isfinite(threshold):
        waits = np.linspace(0.0, _LONGEST_WAIT_MILLISECONDS, _QUEUE_POINTS + 1)[1:]
        return np.zeros((1, points + _QUEUE_POINTS)), waits
    profile = curve.profile
    longest = min(1.3 * threshold, _LONGEST_WAIT_MILLISECONDS)
    wait = np.linspace(0.0, longest, _QUEUE_POINTS + 1)[1:]
    decodes = curve.decodes[:, None]
    lengths = curve.mix.prompt_quantiles(_PROMPT_LEVELS)[None, :]
    room = np.maximum(profile.max_batched_tokens - decodes, 1.0)
    chunks = np.ceil(lengths / room)
    # Time in every iteration that the decodes take beside the weights and the arithmetic.
    beside = curve.decode_iteration - np.sqrt(
        profile.t0_milliseconds**2 + (profile.delta_milliseconds * curve.decodes) ** 2
    )
    own = (
        np.sqrt(
            (chunks * profile.t0_milliseconds) ** 2
            + (profile.delta_milliseconds * (lengths + chunks * decodes)) ** 2
        )
        + profile.epsilon_milliseconds * lengths**2
        + chunks * beside[:, None]
    )
    left = threshold - own - curve.residual[:, None]
    full_iteration = profile.delta_milliseconds * profile.max_batched_tokens
    ahead = curve.prefill * (1.0 + beside / full_iteration)
    work = curve.work_mean * ahead / curve.prefill
    busy = (curve.throughput * ahead)[:, None]
    left_waiting = left[-1][None, :] - wait[:, None]
    longest = threshold / float(work[0])

    def late(tail: WaitTail) -> Array:
        at_once = tail.above(np.broadcast_to(busy, left.shape), left / work[:, None])
        waiting = np.broadcast_to(busy[-1], left_waiting.shape)
        later = tail.above(waiting, left_waiting / work[-1])
        return np.concatenate([at_once, later]) @ _PROMPT_WEIGHTS

    balanced = late(WaitTail.of(curve.works, longest, whole=False))[None, :]
    if float(curve.works.max()) <= longest:
        return balanced, wait
    # Behind a prompt longer than the threshold only those are late whom the balancing sends there.
    alone = late(WaitTail.of(curve.works, longest, whole=True))
    shares = _POOL_SHARES[:, None]
    return (1.0 - shares) * balanced + shares * alone, wait
