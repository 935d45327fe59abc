"""Opening a trace: from a file of any known format, or from a spec."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from simulations.traces.errors import InvalidTrace
from simulations.traces.rate_trace import RateTrace
from simulations.traces.readers.columns import ColumnMapping
from simulations.traces.readers.contents import Rates, Requests
from simulations.traces.readers.detection import read
from simulations.traces.request_trace import RequestTrace
from simulations.traces.synthetic import SyntheticSpec
from simulations.traces.tokens import (
    LognormalTokens,
    TokenPairs,
    TokenSource,
    conversation_tokens,
)
from simulations.traces.trace import Arrivals, Trace

#: Pairs drawn of a trace whose tokens another one is to have, where it does not hold requests.
_BORROWED_PAIRS = 1 << 17


def open_trace(
    source: str | Path | SyntheticSpec | Mapping[str, Any],
    *,
    columns: ColumnMapping | None = None,
    tokens: Trace | None = None,
    seed: int = 0,
    local_dispersion: float = 1.0,
    drop_failed: bool = False,
) -> Trace:
    """Open a trace file, or make the trace of a spec (or of a mapping that holds one).

    ``tokens``, where given, is a trace whose pairs are drawn in place of the source's own lengths.
    Otherwise: lengths as recorded; lognormal ones around a rate file's means; and chat-like ones
    (``tokens.conversation_tokens``) where a file has none. A recorded request that failed, and so
    has no lengths, was still an arrival: it gets the lengths of another one of the file at random,
    or is dropped with ``drop_failed``. ``seed`` seeds all draws; a spec has its own.
    ``local_dispersion`` is that of ``RateTrace``, for rate files.

    Raises:
        InvalidTrace: with file and line, or the spec's field, and what was expected.
    """
    borrowed = None if tokens is None else _pairs_of(tokens)
    if not isinstance(source, str | Path):
        made = _spec(source).trace()
        return made if borrowed is None else made.with_tokens(borrowed)
    path = Path(source)
    contents = read(path, columns)
    name = path.name.removesuffix(".gz").removesuffix(".csv").removesuffix(".jsonl")
    if isinstance(contents, Requests):
        return _request_trace(name, contents, borrowed, seed, drop_failed=drop_failed)
    lengths = borrowed or _lengths_of(contents)
    return RateTrace(
        name=name,
        bucket_seconds=contents.bucket_seconds,
        requests=_requests_of(contents, lengths),
        tokens=lengths,
        imputed=contents.imputed,
        seed=seed,
        local_dispersion=local_dispersion,
    )


def _spec(source: SyntheticSpec | Mapping[str, Any]) -> SyntheticSpec:
    if isinstance(source, SyntheticSpec):
        return source
    try:
        return SyntheticSpec.model_validate(source)
    except ValidationError as error:
        lines = [
            f"synthetic trace: {'.'.join(str(part) for part in e['loc'])}: {e['msg']}"
            for e in error.errors()
        ]
        raise InvalidTrace("\n".join(lines)) from error


def _pairs_of(trace: Trace) -> TokenPairs:
    if isinstance(trace, RequestTrace):
        return TokenPairs(trace.arrivals.prompt_tokens, trace.arrivals.output_tokens)
    return TokenPairs(*trace.token_sample(_BORROWED_PAIRS, seed=0))


def _request_trace(
    name: str, requests: Requests, tokens: TokenSource | None, seed: int, *, drop_failed: bool
) -> RequestTrace:
    unknown = np.isnan(requests.prompt_tokens)
    if drop_failed and not unknown.all():
        known = ~unknown
        requests = Requests(
            seconds=requests.seconds[known],
            prompt_tokens=requests.prompt_tokens[known],
            output_tokens=requests.output_tokens[known],
        )
        unknown = unknown[known]
    if tokens is not None:
        unknown = np.ones_like(unknown)
    prompt = np.where(unknown, 1.0, requests.prompt_tokens).astype(np.int64)
    output = np.where(unknown, 1.0, requests.output_tokens).astype(np.int64)
    missing = np.flatnonzero(unknown)
    if len(missing):
        if tokens is None:
            known = ~unknown
            tokens = TokenPairs(prompt[known], output[known]) if known.any() else None
        lengths = tokens or conversation_tokens()
        drawn = lengths.draw(np.random.default_rng([seed, len(unknown)]), missing)
        prompt[missing], output[missing] = drawn
    return RequestTrace(
        name, Arrivals(seconds=requests.seconds, prompt_tokens=prompt, output_tokens=output)
    )


def _lengths_of(rates: Rates) -> TokenSource:
    if rates.prompt_tokens_mean is None or rates.output_tokens_mean is None:
        return conversation_tokens()
    return LognormalTokens(
        requests=rates.counts,
        prompt_tokens_mean=rates.prompt_tokens_mean,
        output_tokens_mean=rates.output_tokens_mean,
    )


def _requests_of(rates: Rates, tokens: TokenSource) -> NDArray[np.float64]:
    """Requests per bucket; of a file that counts tokens, as many as have so many on average."""
    if not rates.of_tokens:
        return rates.counts
    prompt, output = tokens.means(np.arange(len(rates.counts)))
    return rates.counts / (prompt + output)
