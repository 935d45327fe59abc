"""Packed traces: ``arrival_s,prompt_tokens,output_tokens`` and ``t_s,requests[,...]``."""

from pathlib import Path

import numpy as np

from simulations.traces.errors import InvalidTrace
from simulations.traces.readers.contents import Rates, Requests, bucket_length, known_means
from simulations.traces.readers.text import Table

REQUEST_COLUMNS = ("arrival_s", "prompt_tokens", "output_tokens")


def is_requests(header: tuple[str, ...]) -> bool:
    """Whether the header is a packed request file's."""
    return set(REQUEST_COLUMNS) <= set(header)


def is_rates(header: tuple[str, ...]) -> bool:
    """Whether the header is a packed rate file's."""
    return "t_s" in header and ("requests" in header or "tokens" in header)


def read_requests(path: Path) -> Requests:
    """Read a packed request file; further columns are not read.

    Raises:
        InvalidTrace: with the line of the first row that is wrong.
    """
    table = Table.open(path)
    values = table.numbers([table.header.index(name) for name in REQUEST_COLUMNS])
    if len(values) == 0:
        raise InvalidTrace.in_file(path, 2, "there are no rows", "at least one request")
    seconds = values[:, 0]
    table.refuse(~(np.isfinite(seconds) & (seconds >= 0.0)), seconds, "arrival_s", "seconds >= 0")
    falls = np.append(False, np.diff(seconds) < 0.0)
    table.refuse(falls, seconds, "arrival_s", "no time before the line above")
    for column, name in ((1, "prompt_tokens"), (2, "output_tokens")):
        tokens = values[:, column]
        wrong = ~(np.isfinite(tokens) & (tokens >= 1.0) & (tokens == np.floor(tokens)))
        table.refuse(wrong, tokens, name, "a whole number >= 1")
    return Requests(
        seconds=np.ascontiguousarray(seconds),
        prompt_tokens=values[:, 1],
        output_tokens=values[:, 2],
    )


def read_rates(path: Path) -> Rates:
    """Read a packed rate file.

    Raises:
        InvalidTrace: with the line of the first row that is wrong.
    """
    table = Table.open(path)
    counted = "requests" if "requests" in table.header else "tokens"
    optional = [
        name
        for name in ("prompt_tokens_mean", "output_tokens_mean", "imputed")
        if name in table.header
    ]
    names = ["t_s", counted, *optional]
    values = table.numbers([table.header.index(name) for name in names])
    columns = dict(zip(names, values.T, strict=True))
    bucket_seconds = bucket_length(table, "t_s", columns["t_s"])
    counts = np.ascontiguousarray(columns[counted])
    table.refuse(~(np.isfinite(counts) & (counts >= 0.0)), counts, counted, "a number >= 0")
    imputed = columns.get("imputed", np.zeros(len(counts)))
    table.refuse(~np.isin(imputed, (0.0, 1.0)), imputed, "imputed", "0 or 1")
    for name in ("prompt_tokens_mean", "output_tokens_mean"):
        means = columns.get(name, np.empty(0))
        table.refuse(means < 0.0, means, name, "a number >= 0, or nan where unknown")
    return Rates(
        bucket_seconds=bucket_seconds,
        counts=counts,
        of_tokens=counted == "tokens",
        prompt_tokens_mean=known_means(columns.get("prompt_tokens_mean")),
        output_tokens_mean=known_means(columns.get("output_tokens_mean")),
        imputed=imputed == 1.0,
    )
