"""Times in a file, in whatever form, as seconds."""

import warnings
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulations.traces.readers.text import Table

#: Units a column of numbers may be in, and their length in seconds.
UNIT_SECONDS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3_600.0,
}
#: Year-month-day, T or a space, hour:minute:second and any fraction down to nanoseconds; UTC.
ISO_8601: Final = "iso8601"


#: Shortest stamp with a day in it. Numpy would take a bare number for a year.
_DAY_CHARACTERS = len("2023-11-16")


def without_utc_suffix(text: bytes, delimiter: str = ",") -> bytes:
    """Lines whose stamps are in UTC, without saying so: numpy's own stamps have no zone."""
    text = text.replace(b"+00:00", b"")
    for end in (delimiter.encode(), b"\r", b"\n"):
        text = text.replace(b"Z" + end, end)
    return text


def seconds_of(table: Table, position: int, time_format: str) -> NDArray[np.float64]:
    """The column at ``position`` in seconds; stamps count from the first one.

    ``time_format`` is a unit, ``ISO_8601``, or what ``datetime.strptime`` takes (UTC unless it has
    a zone; read row by row).
    """
    name = table.header[position]
    if time_format in UNIT_SECONDS:
        values = table.numbers((position,))[:, 0]
        table.refuse(~np.isfinite(values), values, name, "a time")
        return values * UNIT_SECONDS[time_format]
    stamps = table.stamps(position)
    if time_format != ISO_8601:
        return _strptime(table, name, stamps, time_format)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # numpy only warns of zones
            times = stamps.astype("datetime64[ns]")
    except (ValueError, UserWarning, DeprecationWarning) as error:
        row = next((i for i, stamp in enumerate(stamps) if not _is_stamp(stamp)), 0)
        raise _unread(table, row, name, stamps[row]) from error
    wrong = np.isnat(times) | (np.strings.str_len(stamps) < _DAY_CHARACTERS)
    if bool(wrong.any()):
        row = int(np.argmax(wrong))
        raise _unread(table, row, name, stamps[row])
    return np.asarray((times - times[:1]).astype(np.int64) * 1e-9, np.float64)


def _strptime(
    table: Table, name: str, stamps: NDArray[np.bytes_], time_format: str
) -> NDArray[np.float64]:
    seconds = np.empty(len(stamps))
    for row, stamp in enumerate(stamps):
        try:
            time = datetime.strptime(stamp.decode(), time_format)  # noqa: DTZ007 - UTC is set below
        except ValueError as error:
            raise table.wrong(
                row, f"{name} is {stamp.decode()!r}", f"like {time_format}"
            ) from error
        seconds[row] = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    return seconds - seconds[:1]


def _is_stamp(stamp: bytes) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return not np.isnat(np.datetime64(stamp.decode(), "ns"))
    except (ValueError, UserWarning, DeprecationWarning):
        return False


def _unread(table: Table, row: int, name: str, stamp: bytes) -> Exception:
    return table.wrong(
        row, f"{name} is {stamp.decode('latin-1')!r}", "a UTC stamp like 2023-11-16 18:17:03.97996"
    )
