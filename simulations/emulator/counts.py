"""What one model server has counted since it started, in the terms of vLLM's metrics."""

from dataclasses import dataclass, field

from simulations.emulator.histogram import Histogram

# Bucket edges of vLLM 0.32 in seconds or tokens, as recorded of a running server.
TTFT_EDGES = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
TOKEN_GAP_EDGES = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0),
)
REQUEST_EDGES = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
ITERATION_EDGES = (
    *(1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0),
)
PREEMPTION_EDGES = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0)
CHOICE_EDGES = (1.0, 2.0, 5.0, 10.0, 20.0)
HTTP_EDGES = (0.1, 0.5, 1.0)
HTTP_FINE_EDGES = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5),
    *(5.0, 7.5, 10.0, 30.0, 60.0),
)


def token_edges(max_model_len: int) -> tuple[float, ...]:
    """1, 2, 5, 10, 20, ... up to the longest context."""
    edges: list[float] = []
    decade = 1
    while decade <= max_model_len:
        edges += [float(m * decade) for m in (1, 2, 5) if m * decade <= max_model_len]
        decade *= 10
    return tuple(edges)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRequest:
    """One request that was answered in full; times in emulated seconds."""

    arrival_seconds: float
    scheduled_seconds: float
    first_token_seconds: float
    end_seconds: float
    prompt_tokens: int
    output_tokens: int


@dataclass(slots=True)
class HttpCounts:
    """Responses to one handler and method."""

    statuses: dict[str, int] = field(default_factory=dict)
    seconds: Histogram = field(default_factory=lambda: Histogram(HTTP_EDGES))


class Counts:
    """Counters and histograms of one replica; all begin at 0 with it."""

    def __init__(self, max_model_len: int) -> None:
        edges = token_edges(max_model_len)
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.finished = 0
        self.aborted = 0
        self.rejected = 0
        self.time_to_first_token = Histogram(TTFT_EDGES)
        self.inter_token_latency = Histogram(TOKEN_GAP_EDGES)
        self.time_per_output_token = Histogram(TOKEN_GAP_EDGES)
        self.end_to_end = Histogram(REQUEST_EDGES)
        self.queue_time = Histogram(REQUEST_EDGES)
        self.inference_time = Histogram(REQUEST_EDGES)
        self.prefill_time = Histogram(REQUEST_EDGES)
        self.decode_time = Histogram(REQUEST_EDGES)
        self.request_prompt_tokens = Histogram(edges)
        self.request_generation_tokens = Histogram(edges)
        self.iteration_tokens = Histogram(ITERATION_EDGES)
        self.preemptions = Histogram(PREEMPTION_EDGES)
        self.choices = Histogram(CHOICE_EDGES)
        self.http: dict[tuple[str, str], HttpCounts] = {}
        self.http_seconds = Histogram(HTTP_FINE_EDGES)

    def count_prefill(self, seconds: float, decoding: int, prompted_tokens: int) -> None:
        """Count an iteration with prompt chunks beside ``decoding`` sequences.

        As vLLM does, a prompt's tokens and its first output token are counted in the iteration
        that ends the prompt, whatever the chunks.
        """
        self.iteration_tokens.observe(decoding + prompted_tokens)
        if decoding:
            self.inter_token_latency.observe(seconds, decoding)
            self.generation_tokens += decoding

    def count_decodes(self, first: float, growth: float, steps: int, decoding: int) -> None:
        """Count iterations that last ``first + growth k`` and decode so many sequences."""
        self.iteration_tokens.observe(decoding, steps)
        self.inter_token_latency.observe_rising(first, growth, steps, decoding)
        self.generation_tokens += steps * decoding

    def count_first_token(self, ttft_seconds: float, prompt_tokens: int) -> None:
        """Count the end of a prompt, which is also the first token of the answer."""
        self.time_to_first_token.observe(ttft_seconds)
        self.prompt_tokens += prompt_tokens
        self.generation_tokens += 1

    def count_finish(self, request: FinishedRequest) -> None:
        """Count an answer that is complete.

        vLLM enters a mean gap of 0 for an answer of one token.
        """
        decode = request.end_seconds - request.first_token_seconds
        self.finished += 1
        self.time_per_output_token.observe(decode / max(request.output_tokens - 1, 1))
        self.end_to_end.observe(request.end_seconds - request.arrival_seconds)
        self.queue_time.observe(request.scheduled_seconds - request.arrival_seconds)
        self.inference_time.observe(request.end_seconds - request.scheduled_seconds)
        self.prefill_time.observe(request.first_token_seconds - request.scheduled_seconds)
        self.decode_time.observe(decode)
        self.request_prompt_tokens.observe(request.prompt_tokens)
        self.request_generation_tokens.observe(request.output_tokens)
        self.preemptions.observe(0.0)
        self.choices.observe(1.0)

    def count_response(self, handler: str, method: str, status: int, seconds: float) -> None:
        """Count an HTTP response as the server's own instrumentation does."""
        counts = self.http.setdefault((handler, method), HttpCounts())
        group = f"{status // 100}xx"
        counts.statuses[group] = counts.statuses.get(group, 0) + 1
        counts.seconds.observe(seconds)
        self.http_seconds.observe(seconds)
