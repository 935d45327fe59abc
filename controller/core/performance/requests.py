"""P(a request is bad | x requests outstanding per replica), for one replica kind, mix and SLO.

**Time per output token.** A request of D decode iterations misses its threshold h when the prompts
prefilled meanwhile stall it for more than its slack: with decode-only iterations of d(x) it has
D (h - d) to lose. Stalls come as a compound Poisson sum of prefill times. On a replica of its own
(arrivals regardless of its state) the window is the iteration of the own prompt and the time
allowed but for the last iteration, (D - 1) h; where arrivals follow the least outstanding, a
stalled replica finishes less and so receives less, and the window is the time it takes anyhow,
D T(x). With n replicas it lies between the two, the first with weight 1 / n.

**Time to first token.** Rest of the iteration in progress, prompts ahead on the same replica
(M/G/1), own prefill in competition with the decodes, and beyond the running or KV limit the wait
for a place. Prompts too long for the threshold on an idle replica are the mix's ceiling.
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


@lru_cache(maxsize=1024)
def bad_table(
    profile: PerformanceProfile, mix: TokenMix, ttft_seconds: float, tpot_seconds: float
) -> BadTable:
    """Tabulate P(bad) for one replica kind under one mix and one pair of thresholds."""
    curve = replica_curve(profile, mix)
    slow = _slow_tokens(curve, tpot_seconds * 1e3)
    late, wait = _late_start(curve, ttft_seconds * 1e3)
    slow = np.concatenate([slow, np.repeat(slow[:, -1:], _QUEUE_POINTS, axis=1)], axis=1)
    bad = 1.0 - (1.0 - slow) * (1.0 - late[None, :])
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
    # Single-token answers have no gap; a bin below one decode holds some of them.
    weights = QUANTILE_WEIGHTS * np.minimum(decodes, 1.0)
    decodes = np.maximum(decodes, 1.0)[None, :, None]
    tail = StallTail.of(curve.works)
    shares = _POOL_SHARES[:, None, None]
    # Prompts that come during the last iteration are too late to stall; own + (D - 1) h.
    alone = curve.prompt_iteration + (decodes - 1.0) * np.maximum(threshold, curve.iteration)
    window = (1.0 - shares) * decodes * curve.iteration + shares * alone
    # As many works as make up the prefill at this load: short prompts ride along at a low one.
    count = curve.throughput * (curve.prefill / curve.work_mean) * window
    # The request's own decode, which an arrival does not find yet.
    slope = np.gradient(curve.decode_iteration, curve.outstanding)
    mine = _POOL_SHARES[:, None] * slope
    slack = decodes * (threshold - curve.decode_iteration - mine)[:, None, :] / curve.work_mean
    slack = np.broadcast_to(slack, count.shape)
    return np.asarray(np.einsum("j,sjp->sp", weights, tail.above(count, slack)))


def _late_start(curve: ReplicaCurve, threshold: float) -> tuple[Array, Array]:
    """P(TTFT above the threshold) on the curve's points and then at waits for a place.

    Returns shape (points + queue points,) and the waits in ms, shape (queue points,).
    """
    points = len(curve.outstanding)
    if not np.isfinite(threshold):
        waits = np.linspace(0.0, _LONGEST_WAIT_MILLISECONDS, _QUEUE_POINTS + 1)[1:]
        return np.zeros(points + _QUEUE_POINTS), waits
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
    tail = WaitTail.of(curve.works, threshold / float(work[0]))
    busy = np.broadcast_to((curve.throughput * ahead)[:, None], left.shape)
    late = tail.above(busy, left / work[:, None]) @ _PROMPT_WEIGHTS
    left_waiting = left[-1][None, :] - wait[:, None]
    busy_waiting = np.broadcast_to(busy[-1][None, :], left_waiting.shape)
    late_waiting = tail.above(busy_waiting, left_waiting / work[-1]) @ _PROMPT_WEIGHTS
    return np.concatenate([late, late_waiting]), wait
