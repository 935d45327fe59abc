"""Rows on disk: Parquet files to which each run adds, so that a sweep can be resumed."""

from pathlib import Path
from uuid import uuid4

import polars as pl

from simulations.scoreboard.row import SCHEMA, Row, frame

_KEY = ["cell", "policy", "seed", "part", "code"]


class Store:
    """A folder of Parquet files; a file is written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, rows: list[Row]) -> None:
        """Write rows, if there are any."""
        if not rows:
            return
        written = self._folder / f"{uuid4().hex}.part"
        frame(rows).write_parquet(written)
        written.rename(written.with_suffix(".parquet"))

    def rows(self) -> pl.DataFrame:
        """All rows, once each."""
        files = sorted(self._folder.glob("*.parquet"))
        if not files:
            return pl.DataFrame(schema=SCHEMA)
        return pl.concat([pl.read_parquet(file) for file in files]).unique(_KEY, keep="last")

    def compact(self) -> None:
        """Put all rows into one file."""
        files = sorted(self._folder.glob("*.parquet"))
        if len(files) < 2:
            return
        rows = self.rows().sort(_KEY)
        written = self._folder / f"{uuid4().hex}.part"
        rows.write_parquet(written)
        written.rename(written.with_suffix(".parquet"))
        for file in files:
            file.unlink()
