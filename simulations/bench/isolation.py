"""One measurement in a process of its own."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

FiguresT = TypeVar("FiguresT")


def isolated(measure: Callable[[], FiguresT]) -> FiguresT:
    """Call ``measure``, which must be picklable, in a fresh interpreter and return its answer."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(measure).result()
