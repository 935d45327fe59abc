"""Packed traces: ``arrival_s,prompt_tokens,output_tokens`` and ``t_s,requests[,...]``."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulations.traces.errors import InvalidTrace
from simulations.traces.readers.text import Table
from simulations.traces.trace import Arrivals

REQUEST_COLUMNS = ("arrival_s", "prompt_tokens", "output_tokens")


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


def is_requests(header: tuple[str, ...]) -> bool:
    """Whether the header is a packed request file's."""
    return set(REQUEST_COLUMNS) <= set(header)


def is_rates(header: tuple[str, ...]) -> bool:
    """Whether the header is a packed rate file's."""
    return "t_s" in header and ("requests" in header or "tokens" in header)


def read_requests(path: Path) -> Arrivals:
    """Read a packed request file; further columns are not read.

    Raises:
        InvalidTrace: with the line of the first row that is wrong.
    """
    table = Table.open(path)
    values = table.numbers([table.header.index(name) for name in REQUEST_COLUMNS])
    check_requests(table, values)
    return Arrivals(
        seconds=np.ascontiguousarray(values[:, 0]),
        prompt_tokens=values[:, 1].astype(np.int64),
        output_tokens=values[:, 2].astype(np.int64),
    )


def check_requests(table: Table, values: NDArray[np.float64]) -> None:
    """Check rows of (arrival, prompt, output) of a file that promises order."""
    if len(values) == 0:
        raise InvalidTrace.in_file(table.path, 2, "there are no rows", "at least one request")
    seconds = values[:, 0]
    _first(table, ~(np.isfinite(seconds) & (seconds >= 0.0)), seconds, "arrival_s", "seconds >= 0")
    falls = np.append(False, np.diff(seconds) < 0.0)
    _first(table, falls, seconds, "arrival_s", "no time before the line above")
    for column, name in ((1, "prompt_tokens"), (2, "output_tokens")):
        tokens = values[:, column]
        wrong = ~(np.isfinite(tokens) & (tokens >= 1.0) & (tokens == np.floor(tokens)))
        _first(table, wrong, tokens, name, "a whole number >= 1")


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
    bucket_seconds = _bucket_seconds(table, columns["t_s"])
    counts = np.ascontiguousarray(columns[counted])
    _first(table, ~(np.isfinite(counts) & (counts >= 0.0)), counts, counted, "a number >= 0")
    imputed = columns.get("imputed", np.zeros(len(counts)))
    _first(table, ~np.isin(imputed, (0.0, 1.0)), imputed, "imputed", "0 or 1")
    for name in ("prompt_tokens_mean", "output_tokens_mean"):
        means = columns.get(name, np.empty(0))
        _first(table, means < 0.0, means, name, "a number >= 0, or nan where unknown")
    return Rates(
        bucket_seconds=bucket_seconds,
        counts=counts,
        of_tokens=counted == "tokens",
        prompt_tokens_mean=_known(columns.get("prompt_tokens_mean")),
        output_tokens_mean=_known(columns.get("output_tokens_mean")),
        imputed=imputed == 1.0,
    )


def _bucket_seconds(table: Table, seconds: NDArray[np.float64]) -> float:
    if len(seconds) < 2:
        raise InvalidTrace.in_file(
            table.path, 2, "there are fewer than two rows", "buckets of traffic"
        )
    bucket = float(seconds[1] - seconds[0])
    if not bucket > 0.0 or seconds[0] != 0.0:
        raise table.wrong(
            1, f"t_s starts {seconds[0]:g}, {seconds[1]:g}", "ascending buckets from 0"
        )
    expected = np.arange(len(seconds)) * bucket
    off = ~(np.abs(seconds - expected) <= 1e-6 * bucket)
    if bool(off.any()):
        row = int(np.argmax(off))
        raise table.wrong(
            row, f"t_s is {seconds[row]:.10g}", f"{expected[row]:.10g}, a bucket every {bucket:g} s"
        )
    return bucket


def _known(means: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    """Means with zeros, which no request can have, as unknown; None when none is known."""
    if means is None:
        return None
    means = np.where(means > 0.0, means, np.nan)
    return means if bool(np.isfinite(means).any()) else None


def _first(
    table: Table,
    wrong: NDArray[np.bool_],
    values: NDArray[np.float64],
    name: str,
    expected: str,
) -> None:
    """Raise for the first wrong row, if any."""
    if bool(wrong.any()):
        row = int(np.argmax(wrong))
        raise table.wrong(row, f"{name} is {values[row]:.10g}", expected)
