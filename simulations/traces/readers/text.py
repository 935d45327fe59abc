"""Columns of a text file, read at numpy's speed, with errors that name the line.

Reading is vectorised; only when something is wrong is the file's block gone through line by line
to say where, so a good file never pays for the message.
"""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from simulations.traces.errors import InvalidTrace

_GZIP_MAGIC = b"\x1f\x8b"
_BLOCK_BYTES = 1 << 24
_STAMP_BYTES = 40

ScalarT = TypeVar("ScalarT", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of a file, the first of them number ``first_line`` (from 1)."""

    first_line: int
    text: bytes


def header_line(path: Path) -> str:
    """First line of the file, without its line end; raises ``InvalidTrace`` when empty."""
    first = next(blocks(path), None)
    if first is None or not first.text.strip():
        raise InvalidTrace.in_file(path, 1, "the file is empty", "a header line")
    line = first.text.split(b"\n", 1)[0].removeprefix(b"\xef\xbb\xbf")
    try:
        return line.decode().rstrip("\r")
    except UnicodeDecodeError as error:
        raise InvalidTrace.in_file(
            path, 1, "the file is not text", "UTF-8 CSV or JSON lines"
        ) from (error)


def blocks(path: Path) -> Iterator[Block]:
    """The file's lines in blocks of some megabytes, unpacked if it starts as gzip does."""
    line, rest = 1, b""
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == _GZIP_MAGIC
            stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if packed else raw
            while data := stream.read(_BLOCK_BYTES):
                whole, newline, rest = (rest + data).rpartition(b"\n")
                if newline:
                    yield Block(line, whole + newline)
                    line += whole.count(b"\n") + 1
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidTrace.in_file(
            path,
            line,
            f"the gzip data ends or breaks at or after this line ({error})",
            "a complete gzip file",
        ) from error
    except OSError as error:
        raise InvalidTrace.in_file(
            path, None, f"cannot be read ({error.strerror or error})", "a readable file"
        ) from error
    if rest.strip():
        yield Block(line, rest)


def without_header(parts: Iterator[Block]) -> Iterator[Block]:
    """Blocks without the file's first line."""
    for block in parts:
        body = block
        if block.first_line == 1:
            body = Block(2, block.text.partition(b"\n")[2])
        if body.text.strip():
            yield body


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV file with one header line; columns are asked for by position.

    ``prepare`` is applied to each block's bytes before parsing; it must keep lines as they are.
    """

    path: Path
    header: tuple[str, ...]
    delimiter: str = ","
    prepare: Callable[[bytes], bytes] = bytes

    @classmethod
    def open(
        cls, path: Path, delimiter: str = ",", prepare: Callable[[bytes], bytes] = bytes
    ) -> "Table":
        """Read the header; nothing else is read yet."""
        names = next(csv.reader([header_line(path)], delimiter=delimiter))
        return cls(path, tuple(name.strip() for name in names), delimiter, prepare)

    def numbers(self, positions: Sequence[int]) -> NDArray[np.float64]:
        """The columns at ``positions`` as numbers; shape (rows, columns)."""
        parts = [self._numbers_of(block, positions) for block in without_header(blocks(self.path))]
        return np.concatenate(parts) if parts else np.empty((0, len(positions)))

    def stamps(self, position: int) -> NDArray[np.bytes_]:
        """The column at ``position`` as text of at most 40 bytes; shape (rows,)."""
        parts = [self._stamps_of(block, position) for block in without_header(blocks(self.path))]
        return np.concatenate(parts) if parts else np.empty(0, f"S{_STAMP_BYTES}")

    def line_of(self, row: int) -> int:
        """Line number of data row ``row`` (from 0): blank lines hold no row."""
        seen = 0
        for block in without_header(blocks(self.path)):
            for offset, line in enumerate(block.text.split(b"\n")):
                if line.strip():
                    if seen == row:
                        return block.first_line + offset
                    seen += 1
        return seen + 1

    def wrong(self, row: int, problem: str, expected: str) -> InvalidTrace:
        """Error for data row ``row``."""
        return InvalidTrace.in_file(self.path, self.line_of(row), problem, expected)

    def refuse(
        self,
        wrong: NDArray[np.bool_],
        values: NDArray[np.float64],
        name: str,
        expected: str,
    ) -> None:
        """Raise for the first row that is wrong, if any; arrays have shape (rows,)."""
        if bool(wrong.any()):
            row = int(np.argmax(wrong))
            raise self.wrong(row, f"{name} is {values[row]:.10g}", expected)

    def _numbers_of(self, block: Block, positions: Sequence[int]) -> NDArray[np.float64]:
        try:
            values = self._parsed(block, positions, np.float64)
        except ValueError as error:
            raise self._blame(block, positions) from error
        self._check_fields(block, len(values), positions)
        return values

    def _stamps_of(self, block: Block, position: int) -> NDArray[np.bytes_]:
        try:
            values = self._parsed(block, (position,), np.bytes_)
        except ValueError as error:
            raise self._blame(block, ()) from error
        self._check_fields(block, len(values), ())
        return values[:, 0]

    def _parsed(
        self, block: Block, positions: Sequence[int], kind: type[ScalarT]
    ) -> NDArray[ScalarT]:
        values: NDArray[ScalarT] = np.loadtxt(
            io.BytesIO(self.prepare(block.text)),
            dtype=np.dtype(f"S{_STAMP_BYTES}") if kind is np.bytes_ else kind,
            delimiter=self.delimiter,
            comments=None,
            quotechar='"',
            usecols=tuple(positions),
            ndmin=2,
        )
        return values

    def _check_fields(self, block: Block, rows: int, positions: Sequence[int]) -> None:
        """Notice short and long lines in columns that are not read; numpy looks at the rest."""
        if b'"' in block.text:
            return
        delimiters = block.text.count(self.delimiter.encode())
        if delimiters != rows * (len(self.header) - 1):
            raise self._blame(block, positions)

    def _blame(self, block: Block, positions: Sequence[int]) -> InvalidTrace:
        """First line of the block that is not what the header promises."""
        fields = f"{len(self.header)} fields ({self.delimiter.join(self.header)})"
        for offset, raw in enumerate(block.text.split(b"\n")):
            line = raw.decode("latin-1").strip("\r")
            if not line.strip():
                continue
            number = block.first_line + offset
            row = next(csv.reader([line], delimiter=self.delimiter))
            if len(row) != len(self.header):
                return InvalidTrace.in_file(self.path, number, f"has {len(row)} fields", fields)
            for position in positions:
                if not is_number(row[position]):
                    return InvalidTrace.in_file(
                        self.path,
                        number,
                        f"{self.header[position]} is {row[position]!r}",
                        "a number",
                    )
        return InvalidTrace.in_file(self.path, block.first_line, "cannot be parsed", fields)


def is_number(text: str) -> bool:
    """Whether ``text`` is a number (NaN and infinities included)."""
    try:
        math.copysign(1.0, float(text))
    except ValueError:
        return False
    return True
