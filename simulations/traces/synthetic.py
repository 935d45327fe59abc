"""A seeded generator of traffic that needs no file, composed from a frozen spec.

The rate is a level times one factor per component, all evaluated at the middle of each bucket;
times that do not fall on a bucket edge are rounded to one. Every component draws from its own
stream of the seed, so that adding one leaves the others as they were.
"""

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulations.traces.components import Axis, Component, Part
from simulations.traces.rate_trace import RateTrace
from simulations.traces.tokens import (
    DEFAULT_OUTPUT_SIGMA,
    DEFAULT_PROMPT_SIGMA,
    LognormalTokens,
    TokenSource,
    conversation_tokens,
)

Day: TypeAlias = Literal[
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"
]
_DAYS: tuple[Day, ...] = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
)


class TokenShift(Part):
    """A change of the token means, at once or in a straight line over a time."""

    at_seconds: float = Field(ge=0.0)
    over_seconds: float = Field(default=0.0, ge=0.0)
    prompt_tokens_mean: float = Field(ge=1.0)
    output_tokens_mean: float = Field(ge=1.0)


class SyntheticTokens(Part):
    """Lognormal lengths around means that may shift."""

    prompt_tokens_mean: float = Field(ge=1.0)
    output_tokens_mean: float = Field(ge=1.0)
    prompt_sigma: float = Field(default=DEFAULT_PROMPT_SIGMA, ge=0.0, le=3.0)
    output_sigma: float = Field(default=DEFAULT_OUTPUT_SIGMA, ge=0.0, le=3.0)
    shifts: tuple[TokenShift, ...] = Field(default=(), description="in order of time")

    def source(
        self, seconds: NDArray[np.float64], requests: NDArray[np.float64]
    ) -> LognormalTokens:
        """Token source with the means at ``seconds``."""
        prompt = np.full(len(seconds), self.prompt_tokens_mean)
        output = np.full(len(seconds), self.output_tokens_mean)
        for shift in self.shifts:
            done = np.clip((seconds - shift.at_seconds) / max(shift.over_seconds, 1e-9), 0.0, 1.0)
            prompt += done * (shift.prompt_tokens_mean - prompt)
            output += done * (shift.output_tokens_mean - output)
        return LognormalTokens(
            requests=requests,
            prompt_tokens_mean=prompt,
            output_tokens_mean=output,
            prompt_sigma=self.prompt_sigma,
            output_sigma=self.output_sigma,
        )


class SyntheticSpec(Part):
    """Traffic to generate: a level times its components.

    Second 0 is midnight of ``start_day`` plus ``start_hour``. Without ``tokens``, lengths are
    chat-like (``tokens.conversation_tokens``).
    """

    name: str = "synthetic"
    duration_seconds: float = Field(gt=0.0)
    bucket_seconds: float = Field(default=10.0, gt=0.0, le=60.0)
    level_requests_per_second: float = Field(gt=0.0)
    components: tuple[Component, ...] = ()
    tokens: SyntheticTokens | None = None
    start_day: Day = "Tuesday"
    start_hour: float = Field(default=0.0, ge=0.0, lt=24.0)
    local_dispersion: float = Field(
        default=1.0, ge=1.0, description="variance / mean of 1 s counts around the rate"
    )
    seed: int = Field(default=0, ge=0)

    def trace(self) -> RateTrace:
        """Return the trace; the same spec gives the same arrivals."""
        buckets = max(1, round(self.duration_seconds / self.bucket_seconds))
        seconds = (np.arange(buckets, dtype=np.float64) + 0.5) * self.bucket_seconds
        start = _DAYS.index(self.start_day) * 86_400.0 + self.start_hour * 3_600.0
        rate = np.full(buckets, self.level_requests_per_second)
        for index, component in enumerate(self.components):
            generator = np.random.default_rng([self.seed, index])
            rate *= component.factor(
                Axis(seconds=seconds, week_seconds=seconds + start, generator=generator)
            )
        requests = rate * self.bucket_seconds
        tokens: TokenSource = (
            self.tokens.source(seconds, requests) if self.tokens else conversation_tokens()
        )
        return RateTrace(
            name=self.name,
            bucket_seconds=self.bucket_seconds,
            requests=requests,
            tokens=tokens,
            imputed=np.zeros(buckets, np.bool_),
            seed=self.seed,
            local_dispersion=self.local_dispersion,
        )
