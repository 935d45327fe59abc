"""One replica under a steady load: iteration time and throughput against requests outstanding.

With b sequences decoding, a = b / D prompts finish in an iteration on average (D decode iterations
a request), so the mean iteration solves

    T = (1 - q) T(decodes only) + q T(decodes and the prompts that came together)

where q is the share of iterations that hold prompt tokens at all: prompts arrive at random while
the previous iteration runs, and the iteration time is convex in its tokens, so the mean over that
mixture is not the time of the mean batch. The replica completes X = a / T requests per millisecond,
and x = b + a c + X tau requests are outstanding: with c chunks a prompt, a c are in their prefill
when an iteration starts, and tau is the wait for that. (Counted over time rather than over
iterations more are: but while they are prefilled, which takes long, that many fewer decode.)

**Spread.** A replica is close to a processor-sharing queue with state-dependent speed, whose number
in system does not depend on the distribution of the work. It differs in that everyone advances one
*token*, not one unit of work, per iteration: work W of a request (prefill w, then delta + kappa
context per decode) is spread unevenly over its life. In heavy traffic the number outstanding
follows the work left, so its variance is that of processor sharing times

    S = E[W^2] / (2 E[W] r),   r = mean work still to come of a request found decoding

(S = 1 for egalitarian sharing). At low load requests do not meet and the factor is 1. In between,
with the elasticity e = d log X / d log x and u = 1 - e, it is about

    1 - u^_ALONE_POWER + S_p u^_PROMPT_POWER + S_d u^_DECODE_POWER

where S_p is the part of S from E[w^2] and S_d the rest: prompts are over at once and pile up only
near saturation. What a request notices is the mean over its life, whose variance is less by
1 - e / 3 (fluctuations decay at rate e / life); ``spread`` is the product.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.variant import PerformanceProfile
from controller.core.performance.mix import QUANTILE_WEIGHTS, TokenMix

Array = NDArray[np.float64]

_GRID_POINTS: Final = 96
#: Points crowd towards an idle replica, where throughput bends most.
_GRID_POWER: Final = 1.5
_FIXED_POINT_STEPS: Final = 10
#: Grid point, about a fifteenth of the running limit, at which prompts' works are compared.
_WORKS_AT: Final = _GRID_POINTS // 6
_LEAST_ELASTICITY: Final = 1e-3
#: Share of the prompt budget that is used at most: beyond, prompts queue without end.
_FULLEST: Final = 0.97
#: Keeps the outstanding strictly rising, as looking them up demands.
_RISE: Final = 1e-6
#: Fitted on the variance outstanding of 1 and 20 replicas in 144 runs of an iteration-exact engine
#: (four replica kinds, four mixes, five loads): rms error of the variance 11 %.
_ALONE_POWER: Final = 20.0
_PROMPT_POWER: Final = 4.1
_DECODE_POWER: Final = 1.9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReplicaCurve:
    """What a replica does with x requests outstanding; arrays of shape (points,), times in ms.

    ``outstanding`` rises up to the point where the running or the KV limit is reached: beyond it
    everything is as at the last point and requests wait. ``decodes`` are the sequences decoding,
    ``iteration`` the mean iteration, ``decode_iteration`` one without prompt tokens,
    ``prompt_iteration`` one with, ``residual`` the mean rest of the iteration an arrival finds,
    ``prefill`` the time a mean prompt adds, ``throughput`` in requests/ms. ``works`` (bins,) are
    the prefill times of the mix's prompt bins at a middling load divided by their mean,
    ``work_mean`` (ms).
    """

    profile: PerformanceProfile
    mix: TokenMix
    outstanding: Array
    decodes: Array
    iteration: Array
    decode_iteration: Array
    prompt_iteration: Array
    residual: Array
    prefill: Array
    throughput: Array
    spread: Array
    works: Array
    work_mean: float


def _decode_limit(profile: PerformanceProfile, mix: TokenMix) -> float:
    """Sequences that decode at once: the engine's limit, the KV room, or the prompts' budget.

    A request reserves prompt and output for its whole life; a sequence found running is one seen
    with a chance in proportion to its length, hence the second moments. As many prompt tokens must
    be prefilled as sequences finish, and an iteration holds only so many.
    """
    held = (mix.moment(1, 1) + mix.moment(0, 2)) / mix.decode_mean + 1.0
    fed = _FULLEST * profile.max_batched_tokens * mix.decode_mean / mix.prompt_mean
    return min(float(profile.max_running), max(1.0, profile.kv_capacity_tokens / held), fed)


def _context_mean(mix: TokenMix) -> float:
    """Mean KV tokens held by a sequence found decoding."""
    return (mix.moment(1, 1) + 0.5 * mix.moment(0, 2)) / mix.decode_mean


@lru_cache(maxsize=4096)
def replica_curve(profile: PerformanceProfile, mix: TokenMix) -> ReplicaCurve:
    """Compute the curve of one replica serving ``mix``."""
    limit = _decode_limit(profile, mix)
    decodes = limit * (np.arange(1, _GRID_POINTS + 1) / _GRID_POINTS) ** _GRID_POWER
    t0, delta = profile.t0_milliseconds, profile.delta_milliseconds
    per_decode = profile.kappa_milliseconds * _context_mean(mix) + profile.beta_milliseconds
    floor = np.hypot(t0, delta * decodes)
    alone = floor + per_decode * decodes
    prompts = decodes / mix.decode_mean
    share, both, chunks = _with_prompts(profile, mix, decodes, alone)
    iteration = (1.0 - share) * alone + share * both
    # More decodes never finish less; the mixture above has a kink that says so in places.
    throughput = np.maximum.accumulate(prompts / iteration)
    iteration = prompts / throughput
    residual = 0.5 * ((1.0 - share) * alone**2 + share * both**2) / iteration
    queueing = _queueing(profile, mix, throughput, per_decode * decodes)
    outstanding = decodes + prompts * chunks + throughput * (residual + queueing)
    outstanding = np.maximum.accumulate(outstanding) + _RISE * decodes
    prefill = np.maximum(iteration - alone, 0.0) / prompts
    log_x = np.log(outstanding)
    elasticity = np.clip(np.gradient(np.log(throughput), log_x), _LEAST_ELASTICITY, 1.0)
    marginal = delta**2 * decodes / floor + profile.beta_milliseconds
    # Of prompts that share an iteration's weights pass, a longer one adds more than in proportion.
    lengths = np.array(mix.shape.prompt) * mix.prompt_mean
    beside = float((prompts * mix.prompt_mean + decodes)[_WORKS_AT])
    works = np.hypot(t0, delta * (lengths + beside)) - np.hypot(t0, delta * beside)
    works += profile.epsilon_milliseconds * lengths**2
    work_mean = float(QUANTILE_WEIGHTS @ works)
    return ReplicaCurve(
        profile=profile,
        mix=mix,
        outstanding=outstanding,
        decodes=decodes,
        iteration=iteration,
        decode_iteration=alone,
        prompt_iteration=both,
        residual=residual,
        prefill=prefill,
        throughput=throughput,
        spread=_spread(profile, mix, prefill, marginal, elasticity),
        works=works / work_mean,
        work_mean=work_mean,
    )


def _with_prompts(
    profile: PerformanceProfile, mix: TokenMix, decodes: Array, alone: Array
) -> tuple[Array, Array, float]:
    """Share of iterations that hold prompt tokens, their time in ms, and chunks a prompt.

    ``alone`` is the time of an iteration of ``decodes`` only.
    """
    t0, delta = profile.t0_milliseconds, profile.delta_milliseconds
    beside_work = alone - np.hypot(t0, delta * decodes)
    prompts = decodes / mix.decode_mean
    tokens = prompts * mix.prompt_mean
    attention = profile.epsilon_milliseconds * mix.moment(2, 0) * prompts
    fullest = tokens / profile.max_batched_tokens
    # A prompt longer than an iteration's budget comes in chunks, each of them a full one.
    lengths = np.array(mix.shape.prompt) * mix.prompt_mean
    split = np.maximum(1.0, lengths / profile.max_batched_tokens)
    chunks = float(QUANTILE_WEIGHTS @ split)
    sizes, weights = lengths / split, QUANTILE_WEIGHTS * split / chunks

    def timed(share: Array) -> Array:
        # One chunk for sure, and what others are expected to bring beside it.
        beside = np.maximum(tokens / share - float(weights @ sizes), 0.0) + decodes
        batches = np.hypot(t0, delta * (sizes[None, :] + beside[:, None]))
        return np.asarray(batches @ weights + beside_work + attention / share)

    share = np.maximum(1.0 - np.exp(-prompts * chunks), fullest)
    both = timed(share)
    for _ in range(_FIXED_POINT_STEPS):
        # Whether an iteration holds a prompt depends on how long the one before was.
        rate = prompts * chunks / ((1.0 - share) * alone + share * both)
        after_alone, after_both = np.exp(-rate * alone), np.exp(-rate * both)
        share = np.maximum((1.0 - after_alone) / (1.0 - after_alone + after_both), fullest)
        both = timed(share)
    return share, both, chunks


def _queueing(
    profile: PerformanceProfile, mix: TokenMix, throughput: Array, decoding: Array
) -> Array:
    """Mean wait of a prompt for the prefill budget in ms: M/G/1 in full iterations.

    ``decoding`` is what the decodes add to an iteration.
    """
    budget = profile.max_batched_tokens
    # Prompt tokens a full budget is worth, seen from an arrival: those of longer prompts.
    ahead = mix.moment(2, 0) / (mix.prompt_mean * budget)
    full = np.hypot(profile.t0_milliseconds, profile.delta_milliseconds * budget) + decoding
    full = full + profile.epsilon_milliseconds * ahead * budget**2
    busy = np.minimum(throughput * full * mix.prompt_mean / budget, 0.99)
    return np.asarray(full * ahead * busy / (2.0 * (1.0 - busy)))


def _spread(
    profile: PerformanceProfile,
    mix: TokenMix,
    prefill: Array,
    marginal: Array,
    elasticity: Array,
) -> Array:
    """Variance outstanding over its value under processor sharing; see the module's docstring.

    ``prefill`` is the mean prefill time, ``marginal`` the time a decode adds besides its context.
    Prefill is spread over prompts as delta I + epsilon I^2, scaled to that mean.
    """
    delta, eps = profile.delta_milliseconds, profile.epsilon_milliseconds
    kappa = profile.kappa_milliseconds
    m = mix.moment
    scale = prefill / (delta * m(1, 0) + eps * m(2, 0))
    # Moments of the unscaled prefill with the decodes d and with their KV reads k = d I + d^2 / 2.
    ww = delta**2 * m(2, 0) + 2 * delta * eps * m(3, 0) + eps**2 * m(4, 0)
    wd = delta * m(1, 1) + eps * m(2, 1)
    wk = delta * (m(2, 1) + 0.5 * m(1, 2)) + eps * (m(3, 1) + 0.5 * m(2, 2))
    dd, dk = m(0, 2), m(1, 2) + 0.5 * m(0, 3)
    kk = m(2, 2) + m(1, 3) + 0.25 * m(0, 4)
    decode = marginal * m(0, 1) + kappa * (m(1, 1) + 0.5 * m(0, 2))
    work = prefill + decode
    left = (marginal * dd / 2.0 + kappa * (0.5 * m(1, 2) + m(0, 3) / 3.0)) / m(0, 1)
    prompts = scale**2 * ww
    decodes = (
        2.0 * scale * (marginal * wd + kappa * wk)
        + marginal**2 * dd
        + 2.0 * marginal * kappa * dk
        + kappa**2 * kk
    )
    whole = 2.0 * work * np.maximum(left, 1e-9)
    crowding = 1.0 - elasticity
    fluctuation = (
        1.0
        - crowding**_ALONE_POWER
        + prompts / whole * crowding**_PROMPT_POWER
        + decodes / whole * crowding**_DECODE_POWER
    )
    return np.asarray(fluctuation * (1.0 - elasticity / 3.0))
