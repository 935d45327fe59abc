"""The trace that a history makes: the counted requests, with lengths as the engines saw them."""

from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulations.backtest.counting import Array, Grid
from simulations.backtest.history import DAY_SECONDS, History, Traffic
from simulations.backtest.reading import HOUR_SECONDS, merged
from simulations.backtest.tokens import HistogramTokens
from simulations.setup import Recorded
from simulations.traces.rate_trace import RateTrace
from simulations.traces.tokens import LognormalTokens, TokenSource, conversation_tokens

#: An hour's mean length is that of at least so many requests; else it is the mean of them all.
_LEAST_REQUESTS: Final = 50.0


class Lengths(StrEnum):
    """Where token lengths were from."""

    HISTOGRAMS = "histograms"
    MEANS = "means"
    NOTHING = "nothing"


def recorded_of(history: History, name: str, seed: int) -> tuple[Recorded, float, Lengths]:
    """The traffic, the second at which the replayed part of it begins, and what lengths it has.

    The part before has steps as long as the replayed ones, each an equal part of what was read.
    """
    replayed, past = history.replayed, history.past
    requests, imputed = _whole(replayed.requests), replayed.imputed
    begin = replayed.grid.begin_seconds
    if past is not None:
        finer = round(past.grid.step_seconds / replayed.grid.step_seconds)
        requests = np.concatenate((np.repeat(past.requests / finer, finer), requests))
        imputed = np.concatenate((np.repeat(past.imputed, finer), imputed))
        begin = past.grid.begin_seconds
    whole = Grid(begin, replayed.grid.step_seconds, len(requests))
    tokens, lengths = _tokens(history, whole, requests)
    trace = RateTrace(
        name=name,
        bucket_seconds=whole.step_seconds,
        requests=requests,
        tokens=tokens,
        imputed=imputed,
        seed=seed,
        recorded=True,
    )
    starts = replayed.grid.begin_seconds - begin
    return Recorded(trace=trace, starts_at_seconds=begin), starts, lengths


def _whole(requests: Array) -> Array:
    """Whole requests in each step, so that no sum over steps is off by more than one."""
    upto: Array = np.rint(np.concatenate(([0.0], np.cumsum(requests))))
    return np.diff(upto)


def _tokens(history: History, whole: Grid, requests: Array) -> tuple[TokenSource, Lengths]:
    prompt = _hourly(history, whole, "prompt_tokens")
    output = _hourly(history, whole, "output_tokens")
    first = history.replayed.grid.begin_seconds
    at = whole.edges(0, whole.steps - 1)
    day_of = np.maximum((at - first) // DAY_SECONDS, 0.0).astype(np.int64)
    days = [_day(history, day) for day in range(int(day_of[-1]) + 1)]
    if all(any(_counted(day[side]) for day in days) for side in (0, 1)):
        return HistogramTokens(days, day_of, prompt, output), Lengths.HISTOGRAMS
    if np.isfinite(prompt).any() and np.isfinite(output).any():
        means = LognormalTokens(
            requests=requests, prompt_tokens_mean=prompt, output_tokens_mean=output
        )
        return means, Lengths.MEANS
    return conversation_tokens(), Lengths.NOTHING


def _day(history: History, day: int) -> tuple[dict[float, float], dict[float, float]]:
    """Lengths of one day of the replay: cumulative counts by upper edge."""
    windows = round(DAY_SECONDS / HOUR_SECONDS)
    span = (day * windows, (day + 1) * windows)
    prompt, output = (
        merged([buckets.total(name, *span) for buckets in history.histograms])
        for name in ("prompt_lengths", "output_lengths")
    )
    return prompt, output


def _counted(counts: dict[float, float]) -> bool:
    return max(counts.values(), default=0.0) > 0.0


def _hourly(history: History, whole: Grid, name: str) -> Array:
    """Mean length in each hour, by step of the whole; NaN where too few were counted."""
    requests, tokens = np.zeros(whole.steps), np.zeros(whole.steps)
    for part in (history.past, history.replayed):
        if part is not None:
            _lay(part, whole, part.token_requests, requests)
            _lay(part, whole, getattr(part, name), tokens)
    hour: NDArray[np.int64] = (np.arange(whole.steps) * whole.step_seconds // HOUR_SECONDS).astype(
        np.int64
    )
    count, total = np.bincount(hour, requests), np.bincount(hour, tokens)
    enough = (count >= _LEAST_REQUESTS) & (total > 0.0)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=enough)
    if count.sum() > 0.0 and total.sum() > 0.0:
        mean = np.where(enough, mean, total.sum() / count.sum())
    return mean[hour]


def _lay(part: Traffic, whole: Grid, counts: Array, onto: Array) -> None:
    finer = round(part.grid.step_seconds / whole.step_seconds)
    first = round((part.grid.begin_seconds - whole.begin_seconds) / whole.step_seconds)
    onto[first : first + finer * part.grid.steps] = np.repeat(counts / finer, finer)
