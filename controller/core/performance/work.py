"""Work: the replica time a request takes on a busy replica, as its tokens tell.

Demand is forecast as work, since tokens per request move as much as requests do. Work of a
request with p prompt and o output tokens is ``delta (p + o) + kappa o (p + o / 2) + beta o``: the
part of the iteration time law that grows with the tokens. It is no measure of capacity (which
also depends on how prompts and answers are spread), only of how much one load is more than another.
"""

from dataclasses import dataclass

from controller.core.domain.observation import Traffic
from controller.core.domain.variant import PerformanceProfile

#: Demand in work is told in requests of these prompt and output tokens.
REFERENCE_TOKENS = (1000.0, 200.0)
#: Requests over which mean tokens are forgotten: fewer in a window leave the older mean in force.
MEMORY_REQUESTS = 600.0


def work_seconds(profile: PerformanceProfile, prompt_tokens: float, output_tokens: float) -> float:
    """Replica-seconds that a request of these mean tokens takes."""
    return 1e-3 * (
        profile.delta_milliseconds * (prompt_tokens + output_tokens)
        + profile.kappa_milliseconds * output_tokens * (prompt_tokens + output_tokens / 2.0)
        + profile.beta_milliseconds * output_tokens
    )


def reference_requests(
    profile: PerformanceProfile, prompt_tokens: float, output_tokens: float
) -> float:
    """How many requests of the reference tokens one request of these mean tokens weighs."""
    return work_seconds(profile, prompt_tokens, output_tokens) / work_seconds(
        profile, *REFERENCE_TOKENS
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentTokens:
    """Mean tokens of the last few hundred requests, forgotten by count; None before any."""

    prompt: float | None = None
    output: float | None = None

    def after(self, traffic: Traffic) -> "RecentTokens":
        """Take a window's requests in."""
        count = traffic.token_requests
        if count <= 0.0:
            return self
        prompt, output = traffic.prompt_tokens / count, traffic.output_tokens / count
        if self.prompt is None or self.output is None:
            return RecentTokens(prompt=prompt, output=output)
        share = count / (count + MEMORY_REQUESTS)
        return RecentTokens(
            prompt=self.prompt + share * (prompt - self.prompt),
            output=self.output + share * (output - self.output),
        )
