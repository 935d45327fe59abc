"""The ceiling of a scenario: the attainment with unlimited replicas."""

import numpy as np
from numpy.typing import NDArray

from controller.core.domain.policy import Slo
from controller.core.domain.variant import PerformanceProfile


def ceiling(
    profile: PerformanceProfile,
    slo: Slo,
    prompt_tokens: NDArray[np.int64],
    output_tokens: NDArray[np.int64],
) -> float:
    """Share of the requests (both arrays (n,)) that are good alone on an idle replica."""
    p, o = prompt_tokens.astype(np.float64), output_tokens.astype(np.float64)
    ttft = _prefill_milliseconds(profile, p)
    # The token decoded in iteration j of o - 1 sees the prompt and the j tokens before it.
    context = p + o / 2.0
    decode = (
        np.hypot(profile.t0_milliseconds, profile.delta_milliseconds)
        + profile.kappa_milliseconds * context
        + profile.beta_milliseconds
    )
    good = (ttft <= 1000.0 * slo.ttft_seconds) & ((o <= 1) | (decode <= 1000.0 * slo.tpot_seconds))
    fits = p + o <= profile.kv_capacity_tokens
    return float(np.mean(good & fits))


def _prefill_milliseconds(
    profile: PerformanceProfile, prompt: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Time of an idle replica for each prompt, in chunks of the token budget."""
    budget = float(profile.max_batched_tokens)
    full = np.floor((prompt - 1.0) / budget)
    rest = prompt - full * budget
    full_chunk = np.hypot(profile.t0_milliseconds, profile.delta_milliseconds * budget)
    last_chunk = np.hypot(profile.t0_milliseconds, profile.delta_milliseconds * rest)
    milliseconds: NDArray[np.float64] = (
        full * full_chunk + last_chunk + profile.epsilon_milliseconds * prompt**2
    )
    return milliseconds
