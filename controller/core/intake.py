"""Intake: what an observation adds to the history. What is missing teaches nothing.

Demand is kept as work, in requests of the reference tokens, since tokens per request move as much
as requests do.
"""

from dataclasses import replace
from zlib import crc32

import numpy as np

from controller.core.domain.observation import Missing, Observation, PastTraffic, Traffic
from controller.core.domain.policy import ObjectKey, Policy
from controller.core.domain.variant import PerformanceProfile, Role
from controller.core.forecasting import forecaster
from controller.core.history import History, cold_start_p90, remember_cold_starts
from controller.core.optimizer.pacing import Ledger
from controller.core.performance.capacity import FleetCapacity
from controller.core.performance.learning import CapacityLearning
from controller.core.performance.lengths import TokenLengths
from controller.core.performance.work import RecentTokens, reference_requests


def begun(
    policy: Policy,
    past: PastTraffic | None,
    *,
    regression: bool,
    prepare: bool = True,
    delay_seconds: float = 0.0,
) -> History:
    """History of an object never seen before, its forecaster fed with ``past``.

    ``prepare`` and ``delay_seconds`` say when it is fitted: see ``forecaster.initial``.
    """
    nothing = tuple(() for _ in policy.variants)
    return History(
        seen_since_seconds=None,
        traffic_at_seconds=None,
        forecast=forecaster.initial(
            None if past is None else _past_as_work(policy, past),
            horizons_seconds=(lead_seconds(policy, cold_start_p90(policy, nothing)),),
            target_attainment=1.0 - policy.slo.planned_miss_share,
            regression=regression,
            prepare=prepare,
            delay_seconds=delay_seconds,
        ),
        tokens=RecentTokens(),
        lengths=TokenLengths(),
        learning=CapacityLearning(),
        ledger=Ledger(),
        cold_starts=nothing,
    )


def stagger_share(key: ObjectKey) -> float:
    """A share in [0, 1) that is the same for an object in every process, and evenly spread."""
    return crc32(f"{key.namespace}/{key.name}".encode()) / 2**32


def observed(policy: Policy, observation: Observation, history: History, now: float) -> History:
    """Return the history with everything in it that the observation shows."""
    traffic = observation.traffic
    cold_starts = remember_cold_starts(history.cold_starts, observation.variants)
    state, traffic_at = history.forecast, history.traffic_at_seconds
    tokens, lengths = history.tokens, history.lengths
    if isinstance(traffic, Traffic):
        lead = lead_seconds(policy, cold_start_p90(policy, cold_starts))
        traffic = _balanced(traffic)
        tokens, lengths = tokens.after(traffic), lengths.after(traffic)
        state = forecaster.observe(
            state, _as_work(policy, traffic, tokens), now, horizons_seconds=(lead,)
        )
        traffic_at = traffic.to_seconds
    seen_since = now if history.seen_since_seconds is None else history.seen_since_seconds
    return replace(
        history,
        seen_since_seconds=seen_since,
        traffic_at_seconds=traffic_at,
        forecast=state,
        tokens=tokens,
        lengths=lengths,
        ledger=history.ledger.record(observation.outcomes, policy.slo.window_seconds),
        cold_starts=cold_starts,
    )


def learned(
    observation: Observation, learning: CapacityLearning, fleet: FleetCapacity, recent_rate: float
) -> CapacityLearning:
    """Correct the capacity by outstanding against predicted outstanding.

    ``recent_rate`` is what arrived lately, in requests/s.
    """
    outstanding = 0.0
    for seen in observation.variants:
        if seen.ready == 0:
            continue
        if isinstance(seen.running, Missing) or isinstance(seen.waiting, Missing):
            return learning
        outstanding += seen.running.value + seen.waiting.value
    ready = tuple(seen.ready for seen in observation.variants)
    if isinstance(observation.traffic, Missing) or not any(ready):
        return learning
    return learning.update(fleet, ready, recent_rate, outstanding, observation.traffic.to_seconds)


def lead_seconds(policy: Policy, cold_starts_p90: tuple[float, ...]) -> float:
    """From the end of what was seen to the earliest time a Primary started now can serve.

    That is the usual age of a sample (one tick), the Primary's cold start and one tick more.
    """
    longest = max(cold_starts_p90[v] for v in policy.indices(Role.PRIMARY))
    return longest + 2.0 * policy.tick_seconds


def reference_profile(policy: Policy) -> PerformanceProfile:
    """The profile that work is reckoned by: the first Primary's."""
    return policy.variants[policy.indices(Role.PRIMARY)[0]].profile


def _balanced(traffic: Traffic) -> Traffic:
    """The traffic with its tokens weighed by how nearly as many requests ended as came.

    Tokens are told when a request ends. The few that end soon after traffic began are the short
    ones, and those that end when it has stopped the long: as means of all they would be off by half
    (on/off traffic: a fleet woken with 12 replicas in place of 6).
    """
    let_in = max(traffic.requests - traffic.refused, 0.0)
    fewer, more = sorted((traffic.token_requests, let_in))
    if fewer == more:
        return traffic
    weight = fewer / more
    return replace(
        traffic,
        token_requests=weight * traffic.token_requests,
        prompt_tokens=weight * traffic.prompt_tokens,
        output_tokens=weight * traffic.output_tokens,
        prompt_histogram=tuple(weight * count for count in traffic.prompt_histogram),
        output_histogram=tuple(weight * count for count in traffic.output_histogram),
    )


def _as_work(policy: Policy, traffic: Traffic, tokens: RecentTokens) -> Traffic:
    """The traffic with its requests weighed by their work; without known tokens as it is."""
    if tokens.prompt is None or tokens.output is None:
        return traffic
    weight = reference_requests(reference_profile(policy), tokens.prompt, tokens.output)
    return replace(traffic, requests=traffic.requests * weight)


def _past_as_work(policy: Policy, past: PastTraffic) -> PastTraffic:
    """Past traffic weighed likewise; steps of unknown tokens take the mean of the others."""
    prompt, output = past.prompt_tokens_mean, past.output_tokens_mean
    known = np.isfinite(prompt) & np.isfinite(output)
    if not known.any():
        return past
    prompt = np.where(known, prompt, np.mean(prompt[known]))
    output = np.where(known, output, np.mean(output[known]))
    profile = reference_profile(policy)
    weights = [
        reference_requests(profile, p, o)
        for p, o in zip(prompt.tolist(), output.tolist(), strict=True)
    ]
    return replace(past, requests=past.requests * np.array(weights))
