"""What the WVA's queries return, from scrapes kept: maxima over a minute, lengths over five.

Replicas carry no names from one scrape to the next, so a maximum reaches back as far as a variant
kept its number of replicas.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from controller.core.performance.mix import TokenMix
from simulations.world.engine_view import EngineView

#: Windows of the queries: gauges, token lengths, answered requests.
GAUGE_SECONDS = 60.0
LENGTH_SECONDS = 300.0
ANSWERED_SECONDS = 600.0


@dataclass(frozen=True, slots=True, eq=False)
class Gauges:
    """KV tokens in use and waiting requests by replica, shape (replicas,), at a scrape."""

    at_seconds: float
    kv_tokens: NDArray[np.int64]
    waiting: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Answered:
    """Counters of a variant at a scrape."""

    at_seconds: float
    requests: int
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrapes:
    """A variant's scrapes that a window can still see, oldest first."""

    gauges: tuple[Gauges, ...] = ()
    answered: tuple[Answered, ...] = ()

    def seen(self, view: EngineView | None, now: float) -> "Scrapes":
        """Take in what can be queried at ``now``; None is nothing."""
        gauges, answered = self.gauges, self.answered
        newest = gauges[-1].at_seconds if gauges else -np.inf
        if view is not None and view.at_seconds > newest:
            gauges = (*gauges, Gauges(view.at_seconds, view.kv_tokens, view.waiting))
            counters = Answered(
                view.at_seconds,
                view.finished,
                view.finished_prompt_tokens,
                view.finished_output_tokens,
            )
            answered = (*answered, counters)
        # What can be queried lags; while it can, the window ends at the newest of it.
        end = now if view is None else view.at_seconds
        return Scrapes(
            gauges=tuple(one for one in gauges if one.at_seconds > end - GAUGE_SECONDS),
            answered=tuple(one for one in answered if one.at_seconds >= end - ANSWERED_SECONDS),
        )

    def replicas(self) -> tuple[tuple[int, int], ...]:
        """Largest KV tokens in use and largest waiting of every replica that reports."""
        if not self.gauges:
            return ()
        size = len(self.gauges[-1].kv_tokens)
        same = list(takewhile(lambda one: len(one.kv_tokens) == size, reversed(self.gauges)))
        tokens = np.max([one.kv_tokens for one in same], axis=0)
        waiting = np.max([one.waiting for one in same], axis=0)
        return tuple(zip(tokens.tolist(), waiting.tolist(), strict=True))

    def lengths(self, otherwise: TokenMix) -> tuple[float, float]:
        """Mean prompt and output of what was answered; ``otherwise`` where nothing was."""
        if self.answered:
            last = self.answered[-1]
            since = last.at_seconds - LENGTH_SECONDS
            first = next(one for one in self.answered if one.at_seconds >= since)
            requests = last.requests - first.requests
            if requests > 0:
                return (
                    (last.prompt_tokens - first.prompt_tokens) / requests,
                    (last.output_tokens - first.output_tokens) / requests,
                )
        return otherwise.prompt_mean, otherwise.output_mean


def answered_requests(variants: Sequence[Scrapes], scrape_seconds: float) -> int | None:
    """Requests answered in the last 10 min by all variants; None before so much was scraped.

    ``scrape_seconds`` is by how much the oldest scrape may fall short of the window.
    """
    total = 0
    for scrapes in variants:
        if not scrapes.answered:
            return None
        first, last = scrapes.answered[0], scrapes.answered[-1]
        if last.at_seconds - first.at_seconds < ANSWERED_SECONDS - scrape_seconds:
            return None
        total += last.requests - first.requests
    return total
