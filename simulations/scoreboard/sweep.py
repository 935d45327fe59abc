"""Carries jobs out, here or on a Dask cluster, and keeps what is done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

import polars as pl
from joblib import Parallel, delayed, parallel_config

from simulations.scoreboard.job import Job, carry_out
from simulations.scoreboard.row import Row
from simulations.scoreboard.store import Store

#: Rows written at a time, so that little is lost when a sweep is ended.
_WRITTEN_AT_ONCE = 16

#: Told of every job that is done.
Progress: TypeAlias = Callable[[Job], None]
#: Asked for the progress of a phase by its name, with the number of its jobs.
Phase: TypeAlias = Callable[[str, int], Progress]


class Sweep:
    """Jobs through ``processes`` of this machine, or through the workers of a Dask scheduler."""

    def __init__(self, store: Store, processes: int = -1, dask: str | None = None) -> None:
        self._store = store
        self._processes = processes
        self._dask = dask

    def pending(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs whose row is not in the store, each once."""
        known = self._store.rows().select("cell", "policy", "seed", "part", "code")
        done = set(known.iter_rows())
        return [job for key, job in {job.key: job for job in jobs}.items() if key not in done]

    def run(
        self, jobs: Sequence[Job], name: str = "replaying", phase: Phase = lambda *_: lambda _: None
    ) -> pl.DataFrame:
        """Do what is not done yet; returns the rows of all jobs."""
        pending = self.pending(jobs)
        progress = phase(name, len(pending))
        rows: list[Row] = []
        with self._backend():
            done: Iterator[tuple[Job, Row]] = Parallel(
                n_jobs=self._processes, return_as="generator_unordered", batch_size=1
            )(delayed(carry_out)(job, job.key) for job in pending)
            try:
                for job, row in done:
                    rows.append(row)
                    progress(job)
                    if len(rows) >= _WRITTEN_AT_ONCE:
                        self._store.add(rows)
                        rows = []
            finally:
                self._store.add(rows)
        return self.rows(jobs)

    def rows(self, jobs: Sequence[Job]) -> pl.DataFrame:
        """The rows of these jobs that are in the store."""
        columns = ["cell", "policy", "seed", "part", "code"]
        wanted = pl.DataFrame(
            list({job.key for job in jobs}),
            schema={name: self._store.rows().schema[name] for name in columns},
            orient="row",
        )
        return self._store.rows().join(wanted, on=columns, how="semi")

    @contextmanager
    def _backend(self) -> Iterator[None]:
        if self._dask is None:
            yield
            return
        # Local: only who asks for a cluster needs it.
        from distributed import Client  # noqa: PLC0415 - an optional extra

        connect: Callable[..., AbstractContextManager[object]] = Client
        with connect(self._dask), parallel_config(backend="dask"):
            yield
