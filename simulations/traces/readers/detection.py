"""Which format a file has, by its first line."""

import csv
from pathlib import Path

from simulations.traces.errors import InvalidTrace
from simulations.traces.readers import packed, published
from simulations.traces.readers.columns import ColumnMapping, read_columns
from simulations.traces.readers.contents import Rates, Requests
from simulations.traces.readers.text import header_line

_KNOWN = (
    f"the columns {','.join(packed.REQUEST_COLUMNS)}, or t_s,requests, or t_s,tokens, or Azure's "
    f"{','.join(published.AZURE_COLUMNS)}, or BurstGPT's {','.join(published.BURSTGPT_COLUMNS)}, "
    "or Mooncake's JSON lines, or a column mapping"
)


def read(path: Path, columns: ColumnMapping | None = None) -> Requests | Rates:
    """Read a file of any known format, or of any columns where a mapping is given.

    Raises:
        InvalidTrace: the format is not known, or the file breaks it; with the line.
    """
    if columns is not None:
        return read_columns(path, columns)
    line = header_line(path)
    if line.lstrip().startswith("{"):
        return published.read_mooncake(path)
    header = tuple(name.strip() for name in next(csv.reader([line])))
    if packed.is_requests(header):
        return packed.read_requests(path)
    if packed.is_rates(header):
        return packed.read_rates(path)
    if set(published.AZURE_COLUMNS) <= set(header):
        return published.read_azure(path)
    if set(published.BURSTGPT_COLUMNS) <= set(header):
        return published.read_burstgpt(path)
    raise InvalidTrace.in_file(path, 1, f"has the columns {','.join(header)[:200]}", _KNOWN)
