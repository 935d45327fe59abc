"""Opening a trace from a file."""

from pathlib import Path

import numpy as np

from simulations.traces.errors import InvalidTrace
from simulations.traces.rate_trace import RateTrace
from simulations.traces.readers import packed
from simulations.traces.readers.packed import Rates
from simulations.traces.readers.text import Table
from simulations.traces.request_trace import RequestTrace
from simulations.traces.tokens import LognormalTokens, TokenSource, conversation_tokens
from simulations.traces.trace import Trace


def open_trace(
    source: str | Path,
    *,
    tokens: TokenSource | None = None,
    seed: int = 0,
    local_dispersion: float = 1.0,
) -> Trace:
    """Open a trace file."""
    path = Path(source)
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    header = Table.open(path).header
    if packed.is_requests(header):
        return RequestTrace(name, packed.read_requests(path))
    if packed.is_rates(header):
        rates = packed.read_rates(path)
        tokens = tokens or _tokens_of(rates)
        return RateTrace(
            name=name,
            bucket_seconds=rates.bucket_seconds,
            requests=_requests_of(rates, tokens),
            tokens=tokens,
            imputed=rates.imputed,
            seed=seed,
            local_dispersion=local_dispersion,
        )
    raise InvalidTrace.in_file(path, 1, f"unknown columns {','.join(header)}", "a known header")


def _tokens_of(rates: Rates) -> TokenSource:
    if rates.prompt_tokens_mean is None or rates.output_tokens_mean is None:
        return conversation_tokens()
    return LognormalTokens(
        requests=rates.counts,
        prompt_tokens_mean=rates.prompt_tokens_mean,
        output_tokens_mean=rates.output_tokens_mean,
    )


def _requests_of(
    rates: Rates, tokens: TokenSource
) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    if not rates.of_tokens:
        return rates.counts
    prompt, output = tokens.means(np.arange(len(rates.counts)))
    return rates.counts / (prompt + output)
