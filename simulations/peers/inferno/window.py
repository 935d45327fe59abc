"""The load that the collector sees: arrivals of the last minute and their mean tokens."""

from dataclasses import dataclass

from controller.core.domain.observation import Traffic
from simulations.peers.inferno.solver import Load

#: The collector's rate window.
WINDOW_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """Samples of the window, and the last (prompt, output) means known."""

    tokens: tuple[int, int]
    samples: tuple[Traffic, ...] = ()

    def aged(self, now: float) -> "Arrivals":
        """Without the samples that ended a window ago."""
        since = now - WINDOW_SECONDS
        kept = tuple(sample for sample in self.samples if sample.to_seconds > since)
        return Arrivals(samples=kept, tokens=self.tokens)

    def recorded(self, sample: Traffic) -> "Arrivals":
        """With one more sample. Means are whole tokens, as the collector has them."""
        samples = (*self.samples, sample)
        requests = sum(one.token_requests for one in samples)
        tokens = self.tokens
        if requests > 0.0:
            prompt = sum(one.prompt_tokens for one in samples) / requests
            output = sum(one.output_tokens for one in samples) / requests
            tokens = (round(prompt), max(1, round(output)))
        return Arrivals(samples=samples, tokens=tokens)

    @property
    def load(self) -> Load | None:
        """None where nothing was seen."""
        seconds = sum(one.to_seconds - one.from_seconds for one in self.samples)
        if seconds <= 0.0:
            return None
        prompt, output = self.tokens
        return Load(
            requests_per_second=sum(one.requests for one in self.samples) / seconds,
            prompt_tokens=prompt,
            output_tokens=output,
        )
