"""The laws of llm-d's autoscaling guides (guides/workload-autoscaling, 2026), as pure functions.

Four laws for one model server pool, all carried out by KEDA: request counts behind long windows
(no law of its own), request counts less what is on its way, latency over the SLO, and tokens of
work. llm-d counts in its endpoint picker; here the engines' own gauges stand in for it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from controller.core.domain.variant import PerformanceProfile
from simulations.peers.promql import histogram_quantile, inside
from simulations.world.engine_view import EngineView

#: Range of the latency histograms' rates, and between evaluations of the recording rule.
RATE_WINDOW_SECONDS = 60.0
RULE_SECONDS = 15.0
#: Which tail is held to the SLO, over how long it is smoothed, and where one sample is cut.
TAIL_QUANTILE = 0.9
SMOOTHED_SECONDS = 45.0
CLAMP = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Replicas of the pool: created and not gone, and those of them that are Ready."""

    replicas: int
    ready: int


def guarded(demand: float, pool: Pool) -> float:
    """Replicas demanded, less those on their way, but never fewer than there are for that.

    The discount is in replicas while a demand out of a backlog is in requests, so that a long
    queue still asks for the maximum: the peer's own.
    """
    if demand <= pool.replicas:
        return demand
    return max(demand - (pool.replicas - pool.ready), float(pool.replicas))


@dataclass(frozen=True, slots=True, kw_only=True)
class SaturationBand:
    """Saturation between ``down`` and ``up`` leaves the pool as it is.

    As published, the credit for starting replicas can turn an increase into a decrease;
    ``floored`` keeps the replicas there are.
    """

    up: float = 0.55
    down: float = 0.40
    floored: bool = False

    def __post_init__(self) -> None:
        """Reject a band that is upside down."""
        if not 0.0 < self.down <= self.up:
            raise ValueError(f"down, up: need 0 < down <= up, got {self.down:g} and {self.up:g}")


def saturated_replicas(band: SaturationBand, saturation: float, pool: Pool) -> int:
    """Replicas by latency over SLO: Ready replicas over-report while others start."""
    replicas = pool.replicas
    if saturation > band.up:
        credit = pool.ready / replicas if 0 < pool.ready < replicas else 1.0
        wanted = replicas + math.ceil(replicas * (saturation * credit / band.up - 1.0))
        return max(wanted, replicas) if band.floored else wanted
    if saturation < band.down:
        return replicas - math.floor(replicas * (1.0 - saturation / band.down))
    return replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySlo:
    """The thresholds, and the buckets that the engines count latencies in (upper edges)."""

    ttft_seconds: float
    tpot_seconds: float
    ttft_edges_seconds: tuple[float, ...]
    tpot_edges_seconds: tuple[float, ...]


def saturation(slo: LatencySlo, engines: Sequence[EngineView], now: float) -> float:
    """Mean over 45 s of the worse of both tails over its threshold, each sample cut at 2.

    The rule that records it runs every 15 s, from the first scrape on.
    """
    if not engines:
        return 0.0
    evaluations = math.ceil(SMOOTHED_SECONDS / RULE_SECONDS)
    times = [now - RULE_SECONDS * i for i in range(evaluations)]
    times = [at for at in times if at >= engines[0].at_seconds] or [now]
    return math.fsum(min(_worst_tail(slo, engines, at), CLAMP) for at in times) / len(times)


def _worst_tail(slo: LatencySlo, engines: Sequence[EngineView], at: float) -> float:
    """The greater P90 over its threshold; 0 without traffic, as the rule records it."""
    seen = inside([view.at_seconds for view in engines], RATE_WINDOW_SECONDS, at)
    if len(seen) < 2:
        return 0.0
    first, last = engines[seen[0]], engines[seen[-1]]
    ttft = histogram_quantile(
        TAIL_QUANTILE, slo.ttft_edges_seconds, (last.ttft_histogram - first.ttft_histogram).tolist()
    )
    tpot = histogram_quantile(
        TAIL_QUANTILE, slo.tpot_edges_seconds, (last.tpot_histogram - first.tpot_histogram).tolist()
    )
    ratios = (ttft / slo.ttft_seconds, tpot / slo.tpot_seconds)
    return max((ratio for ratio in ratios if not math.isnan(ratio)), default=0.0)


def prefill_tokens_per_second(profile: PerformanceProfile) -> float:
    """Prompt tokens/s of one replica as the guide's calibration finds them.

    It sends single prompts as long as a batch to an idle engine and divides by the median TTFT.
    """
    tokens = float(profile.max_batched_tokens)
    milliseconds = (
        math.hypot(profile.t0_milliseconds, profile.delta_milliseconds * tokens)
        + profile.epsilon_milliseconds * tokens**2
    )
    return 1000.0 * tokens / milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What was measured before: prefill of a replica per variant, and a prompt's mean tokens."""

    prefill_tokens_per_second: tuple[float, ...]
    prompt_tokens_mean: float


def mean_prompt_tokens(engines: Sequence[EngineView], now: float, unknown: float) -> float:
    """Mean prompt tokens of the requests answered in the last minute; ``unknown`` without any."""
    seen = inside([view.at_seconds for view in engines], RATE_WINDOW_SECONDS, now)
    if not seen:
        return unknown
    first, last = engines[seen[0]], engines[seen[-1]]
    answered = last.finished - first.finished
    if answered <= 0:
        return unknown
    return (last.finished_prompt_tokens - first.finished_prompt_tokens) / answered


def full_caches(newest: EngineView | None) -> float:
    """Occupied KV room of the pool, in replicas' worth of it; 0 where no engine is scraped."""
    if newest is None:
        return 0.0
    return float(newest.kv_tokens.sum()) / newest.kv_capacity_tokens
