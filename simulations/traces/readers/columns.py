"""Any CSV file with a header, by the names of its columns."""

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulations.traces.errors import InvalidTrace
from simulations.traces.readers.contents import (
    Rates,
    Requests,
    bucket_length,
    known_means,
    requests_in_order,
)
from simulations.traces.readers.stamps import (
    ISO_8601,
    UNIT_SECONDS,
    seconds_of,
    without_utc_suffix,
)
from simulations.traces.readers.text import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMapping:
    """Which columns mean what.

    Each row is a request, or with ``requests`` a bucket of that many, the token columns then being
    means. Token columns may be left out, both or neither. ``time_format`` is ``ns``, ``us``,
    ``ms``, ``s``, ``min``, ``h``, ``iso8601`` or a ``strptime`` format.
    """

    time: str
    prompt_tokens: str | None = None
    output_tokens: str | None = None
    requests: str | None = None
    time_format: str = "s"
    delimiter: str = ","

    def __post_init__(self) -> None:
        """Check what can be checked without the file."""
        if (self.prompt_tokens is None) != (self.output_tokens is None):
            raise InvalidTrace("columns: give both prompt_tokens and output_tokens, or neither")
        if self.time_format not in (*UNIT_SECONDS, ISO_8601) and "%" not in self.time_format:
            raise InvalidTrace(
                f"columns: time_format is {self.time_format!r}; give one of "
                f"{', '.join(UNIT_SECONDS)}, {ISO_8601} or a strptime format"
            )
        if len(self.delimiter) != 1:
            raise InvalidTrace(f"columns: delimiter is {self.delimiter!r}; give one character")

    @classmethod
    def parse(cls, text: str) -> "ColumnMapping":
        """Read ``time=ts;prompt_tokens=in;output_tokens=out;time_format=ms`` (or with commas).

        Use semicolons where a name or a format has a comma in it.
        """
        known = {field.name for field in fields(cls)}
        given: dict[str, str] = {}
        for pair in text.split(";" if ";" in text else ","):
            key, equals, value = pair.partition("=")
            if not equals or key.strip() not in known or not value:
                raise InvalidTrace(
                    f"columns: {pair.strip()!r} is not understood; give key=column with keys "
                    f"{', '.join(sorted(known))}"
                )
            given[key.strip()] = value
        if "time" not in given:
            raise InvalidTrace("columns: time is missing; give time=COLUMN")
        return cls(**given)


def read_columns(path: Path, mapping: ColumnMapping) -> Requests | Rates:
    """Read the mapped columns.

    Raises:
        InvalidTrace: a column is not there, or with the line of the first row that is wrong.
    """
    prepare = partial(without_utc_suffix, delimiter=mapping.delimiter)
    stamped = mapping.time_format == ISO_8601
    table = Table.open(path, mapping.delimiter, prepare if stamped else bytes)
    seconds = seconds_of(table, _position(table, mapping.time), mapping.time_format)
    tokens = _tokens(table, mapping, len(seconds))
    if mapping.requests is not None:
        return _rates(table, mapping, seconds, tokens)
    seconds = seconds - seconds.min(initial=np.inf)
    names = (mapping.prompt_tokens or "", mapping.output_tokens or "")
    return requests_in_order(table, seconds, tokens, names)


def _rates(
    table: Table,
    mapping: ColumnMapping,
    seconds: NDArray[np.float64],
    tokens: NDArray[np.float64],
) -> Rates:
    counts = table.numbers((_position(table, str(mapping.requests)),))[:, 0]
    table.refuse(
        ~(np.isfinite(counts) & (counts >= 0.0)), counts, str(mapping.requests), "a number >= 0"
    )
    return Rates(
        bucket_seconds=bucket_length(table, mapping.time, seconds - seconds[:1]),
        counts=counts,
        of_tokens=False,
        prompt_tokens_mean=known_means(tokens[:, 0]),
        output_tokens_mean=known_means(tokens[:, 1]),
        imputed=np.zeros(len(counts), np.bool_),
    )


def _tokens(table: Table, mapping: ColumnMapping, rows: int) -> NDArray[np.float64]:
    """Prompt and output column; shape (rows, 2), NaN where not mapped."""
    if mapping.prompt_tokens is None or mapping.output_tokens is None:
        return np.full((rows, 2), np.nan)
    names = (mapping.prompt_tokens, mapping.output_tokens)
    return table.numbers([_position(table, name) for name in names])


def _position(table: Table, name: str) -> int:
    if name not in table.header:
        raise InvalidTrace.in_file(
            table.path, 1, f"has no column {name!r}", f"one of {', '.join(table.header)}"
        )
    return table.header.index(name)
