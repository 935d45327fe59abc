"""What a file holds, whatever its format: requests, or rates in buckets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulations.traces.errors import InvalidTrace
from simulations.traces.readers.text import Table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requests:
    """A request file; arrays have shape (requests,), in order of arrival.

    ``seconds`` counts from the trace's start. Tokens are NaN where a request's are not known, as
    of one that failed; a request has both or neither.
    """

    seconds: NDArray[np.float64]
    prompt_tokens: NDArray[np.float64]
    output_tokens: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rates:
    """A rate file; arrays have shape (buckets,). Token means are None where there is no column.

    ``counts`` are requests, or tokens where ``of_tokens``.
    """

    bucket_seconds: float
    counts: NDArray[np.float64]
    of_tokens: bool
    prompt_tokens_mean: NDArray[np.float64] | None
    output_tokens_mean: NDArray[np.float64] | None
    imputed: NDArray[np.bool_]


def requests_in_order(
    table: Table,
    seconds: NDArray[np.float64],
    tokens: NDArray[np.float64],
    names: tuple[str, str],
) -> Requests:
    """Requests of a log: sorted by arrival, of which a token count of 0 means it is not known.

    ``tokens`` has shape (requests, 2), ``names`` are its columns'. NaN is taken as not known.
    """
    if len(seconds) == 0:
        raise InvalidTrace.in_file(table.path, 2, "there are no rows", "at least one request")
    for column, name in enumerate(names):
        values = tokens[:, column]
        wrong = (values < 0.0) | np.isinf(values) | (values != np.floor(values))
        table.refuse(wrong & ~np.isnan(values), values, name, "a whole number >= 0")
    order = np.argsort(seconds, kind="stable")
    unknown = ~np.all(tokens[order] >= 1.0, axis=1)
    prompt, output = (np.where(unknown, np.nan, tokens[order, column]) for column in (0, 1))
    return Requests(seconds=seconds[order], prompt_tokens=prompt, output_tokens=output)


def bucket_length(table: Table, name: str, seconds: NDArray[np.float64]) -> float:
    """Length of the buckets that start at ``seconds``, which must be evenly spaced from 0."""
    if len(seconds) < 2:
        raise InvalidTrace.in_file(
            table.path, 2, "there are fewer than two rows", "buckets of traffic"
        )
    bucket = float(seconds[1] - seconds[0])
    if not bucket > 0.0 or seconds[0] != 0.0:
        raise table.wrong(
            1, f"{name} starts {seconds[0]:g}, {seconds[1]:g}", "ascending buckets from 0"
        )
    expected = np.arange(len(seconds), dtype=np.float64) * bucket
    off = ~(np.abs(seconds - expected) <= 1e-6 * bucket)
    if bool(off.any()):
        row = int(np.argmax(off))
        raise table.wrong(
            row,
            f"{name} is {seconds[row]:.10g}",
            f"{expected[row]:.10g}, a bucket every {bucket:g} s",
        )
    return bucket


def known_means(means: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """Means with zeros, which no request can have, as unknown; None when none is known."""
    if means is None:
        return None
    means = np.where(means > 0.0, means, np.nan)
    return means if bool(np.isfinite(means).any()) else None
