"""Traces as their authors publish them: Azure, BurstGPT and Mooncake."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from simulations.traces.errors import InvalidTrace
from simulations.traces.readers.contents import Requests, requests_in_order
from simulations.traces.readers.stamps import ISO_8601, seconds_of, without_utc_suffix
from simulations.traces.readers.text import Table, blocks

AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
BURSTGPT_COLUMNS = ("Timestamp", "Request tokens", "Response tokens")
MOONCAKE_KEYS = ("timestamp", "input_length", "output_length")

_DAY_SECONDS = 86_400.0


def read_azure(path: Path) -> Requests:
    """Read Azure's LLM inference traces of 2023 and 2024, which differ in how stamps end.

    Raises:
        InvalidTrace: with the line of the first row that is wrong.
    """
    table = Table.open(path, prepare=without_utc_suffix)
    stamp, prompt, output = (table.header.index(name) for name in AZURE_COLUMNS)
    seconds = seconds_of(table, stamp, ISO_8601)
    tokens = table.numbers((prompt, output))
    return requests_in_order(
        table, seconds - seconds.min(initial=np.inf), tokens, AZURE_COLUMNS[1:]
    )


def read_burstgpt(path: Path) -> Requests:
    """Read BurstGPT: seconds since a midnight, of which whole days before the first are left out.

    A request whose response has no tokens failed: its lengths are not known.

    Raises:
        InvalidTrace: with the line of the first row that is wrong.
    """
    table = Table.open(path)
    values = table.numbers([table.header.index(name) for name in BURSTGPT_COLUMNS])
    seconds = values[:, 0]
    table.refuse(
        ~(np.isfinite(seconds) & (seconds >= 0.0)), seconds, BURSTGPT_COLUMNS[0], "seconds >= 0"
    )
    day = np.floor(seconds.min(initial=np.inf) / _DAY_SECONDS) if len(seconds) else 0.0
    return requests_in_order(
        table, seconds - day * _DAY_SECONDS, values[:, 1:], BURSTGPT_COLUMNS[1:]
    )


def read_mooncake(path: Path) -> Requests:
    """Read Mooncake's JSON lines; ``hash_ids`` and other keys are not used.

    Raises:
        InvalidTrace: with the line of the first one that is wrong.
    """
    rows = [
        _mooncake_row(path, block.first_line + offset, line)
        for block in blocks(path)
        for offset, line in enumerate(block.text.split(b"\n"))
        if line.strip()
    ]
    values = np.array(rows, dtype=np.float64).reshape(-1, 3)
    values = values[np.argsort(values[:, 0], kind="stable")]
    milliseconds = values[:, 0] - values[:1, 0]
    unknown = ~np.all(values[:, 1:] >= 1.0, axis=1)
    prompt, output = (np.where(unknown, np.nan, values[:, column]) for column in (1, 2))
    return Requests(seconds=milliseconds / 1_000.0, prompt_tokens=prompt, output_tokens=output)


def _mooncake_row(path: Path, number: int, line: bytes) -> tuple[float, ...]:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise InvalidTrace.in_file(
            path, number, f"is no complete JSON ({error})", "one object per line"
        ) from error
    if not isinstance(row, dict):
        raise InvalidTrace.in_file(path, number, "is no JSON object", "one object per line")
    for key in MOONCAKE_KEYS:
        value: Any = row.get(key)
        if type(value) not in (int, float) or not 0.0 <= value < np.inf:
            raise InvalidTrace.in_file(
                path, number, f"{key} is {value!r}", "a number >= 0 (timestamp in milliseconds)"
            )
    return tuple(float(row[key]) for key in MOONCAKE_KEYS)
