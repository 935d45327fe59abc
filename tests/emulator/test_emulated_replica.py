"""One emulated model server: what it counts is what the engine did, token by token."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.performance.catalog import profile
from simulations.emulator.counts import Counts, token_edges
from simulations.emulator.histogram import Histogram
from simulations.emulator.replica import Refusal, Replica, Request, Ticket
from simulations.engine.config import Outcome

#: A fixture that makes things.
Make = Callable[..., Any]

PROFILE = profile("llama-8b-bf16-h100")
END_SECONDS = 1e5


@dataclass
class Ear:
    """Notes when each token came."""

    tokens: list[float] = field(default_factory=list)
    ended: float | None = None

    def on_tokens(self, tokens: int, at_seconds: float) -> None:
        """Note tokens."""
        self.tokens += [at_seconds] * tokens

    def on_end(self, at_seconds: float, *, finished: bool) -> None:
        """Note the end."""
        self.ended = at_seconds if finished else None


def identities(counts: Counts) -> dict[str, tuple[float, float]]:
    """Pairs that are equal in the exposition of an idle vLLM server."""
    first_tokens = counts.time_to_first_token.observations
    return {
        "gaps": (counts.inter_token_latency.observations, counts.generation_tokens - first_tokens),
        "gap time": (counts.inter_token_latency.total, counts.decode_time.total),
        "iterations": (
            counts.iteration_tokens.total,
            counts.prompt_tokens + counts.generation_tokens,
        ),
        "phases": (
            counts.end_to_end.total,
            counts.queue_time.total + counts.prefill_time.total + counts.decode_time.total,
        ),
        "inference": (
            counts.inference_time.total,
            counts.prefill_time.total + counts.decode_time.total,
        ),
        "first tokens": (
            counts.time_to_first_token.total,
            counts.queue_time.total + counts.prefill_time.total,
        ),
        "prompts": (counts.request_prompt_tokens.total, counts.prompt_tokens),
        "outputs": (counts.request_generation_tokens.total, counts.generation_tokens),
        "requests": (counts.end_to_end.observations, counts.finished),
    }


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    rate=st.floats(0.5, 60.0),
    looks=st.lists(st.floats(0.0, 60.0), max_size=20),
)
def test_counts_obey_the_identities_of_a_real_server(
    traffic: Make, seed: int, rate: float, looks: list[float]
) -> None:
    """Whatever the traffic and whenever someone looks, an idle server's sums agree as vLLM's do."""
    replica = Replica(PROFILE, 0.0)
    work = traffic(60, rate, seed)
    moments = [(at, None) for at in looks] + [(row[0], row[1:]) for row in work.rows()]
    for at, tokens in sorted(moments, key=lambda moment: moment[0]):
        if tokens is None:
            replica.settle(at)
        else:
            replica.submit(Request(*tokens), at)
    replica.settle(END_SECONDS)
    counts = replica.counts
    assert counts.finished == 60
    assert counts.prompt_tokens == work.prompt_tokens.sum()
    assert counts.generation_tokens == work.output_tokens.sum()
    for name, (left, right) in identities(counts).items():
        assert left == pytest.approx(right, rel=1e-9, abs=1e-9), name


def test_a_look_in_between_changes_nothing(traffic: Make) -> None:
    """Scrapes at any times leave all counts as they are without scrapes."""
    totals = []
    for step in (None, 0.013):
        replica = Replica(PROFILE, 0.0)
        work = traffic(80, 12.0)
        at = 0.0
        for arrival, prompt, output in work.rows():
            while step is not None and at + step < arrival:
                at += step
                replica.settle(at)
            replica.submit(Request(prompt, output), arrival)
        replica.settle(END_SECONDS)
        counts = replica.counts
        totals.append(
            (
                counts.inter_token_latency.counts,
                counts.iteration_tokens.counts,
                counts.time_to_first_token.counts,
                counts.end_to_end.total,
            )
        )
    assert totals[0] == totals[1]


def test_counters_move_within_a_stretch_of_decoding() -> None:
    """Tokens show while one request decodes, and never go back."""
    replica = Replica(PROFILE, 0.0)
    replica.submit(Request(10, 1000), 0.0)
    shown = []
    for at in np.arange(0.0, 4.0, 0.1):
        replica.settle(float(at))
        shown.append(replica.counts.generation_tokens)
    steps = np.diff(shown)
    assert np.all(steps > 0)
    assert replica.running == 1
    assert replica.kv_use == pytest.approx((10 + shown[-1]) / PROFILE.kv_capacity_tokens)


def test_every_token_is_heard_at_its_time(traffic: Make, simulate: Make) -> None:
    """A listener hears each token once, the first and the last at the simulation's times."""
    work = traffic(60, 10.0)
    replica, ears = Replica(PROFILE, 0.0), []
    for arrival, prompt, output in work.rows():
        while replica.next_news_seconds <= arrival:
            replica.hear(replica.next_news_seconds)
        ears.append(Ear())
        replica.submit(Request(prompt, output, listener=ears[-1]), arrival)
    while replica.next_news_seconds < np.inf:
        replica.hear(replica.next_news_seconds)
    expected = simulate(work, 1)
    assert [len(ear.tokens) for ear in ears] == work.output_tokens.tolist()
    assert [ear.tokens[0] for ear in ears] == pytest.approx(expected["first"].tolist(), abs=1e-9)
    assert [ear.tokens[-1] for ear in ears] == pytest.approx(expected["end"].tolist(), abs=1e-9)
    assert [ear.ended for ear in ears] == pytest.approx(expected["end"].tolist(), abs=1e-9)
    assert all(np.all(np.diff(ear.tokens) > 0.0) for ear in ears)


def test_a_full_queue_refuses_and_counts_it() -> None:
    """The queue limit counts all outstanding requests; a refused one enters no other counter."""
    replica = Replica(PROFILE, 0.0, queue_limit=3)
    answers = [replica.submit(Request(100, 50), 0.0) for _ in range(5)]
    assert [isinstance(answer, Ticket) for answer in answers] == [True] * 3 + [False] * 2
    assert answers[-1] is Refusal.QUEUE_FULL
    replica.settle(END_SECONDS)
    assert replica.counts.rejected == 2
    assert replica.counts.finished == 3
    assert replica.counts.http["/v1/completions", "POST"].statuses == {"5xx": 2, "2xx": 3}


def test_what_is_longer_than_the_context_is_refused() -> None:
    """A request beyond the model's context is the client's error and no rejection."""
    replica = Replica(PROFILE, 0.0, max_model_len=1000)
    assert replica.submit(Request(900, 101), 0.0) is Refusal.TOO_LONG
    assert isinstance(replica.submit(Request(900, 100), 0.0), Ticket)
    assert replica.counts.rejected == 0


def test_clients_that_give_up_are_aborted_as_in_the_simulation(
    traffic: Make, simulate: Make
) -> None:
    """Time-outs count as aborts, exactly the simulation's, and nothing is lost."""
    work = traffic(300, 60.0, outputs=400)
    replica = Replica(PROFILE, 0.0, queue_limit=200, client_timeout_seconds=4.0)
    for arrival, prompt, output in work.rows():
        replica.submit(Request(prompt, output), arrival)
    replica.settle(END_SECONDS)
    outcomes = simulate(work, 1, queue_limit=200, timeout=4.0)["outcome"]
    assert replica.counts.aborted == np.sum(outcomes == Outcome.TIMED_OUT) > 0
    assert replica.counts.finished == np.sum(outcomes == Outcome.FINISHED) > 0
    assert replica.counts.rejected == np.sum(outcomes == Outcome.REFUSED)
    assert replica.outstanding == 0


def test_an_abandoned_request_counts_as_aborted() -> None:
    """A client that has gone hears nothing more, and its request is no success."""
    replica, ear = Replica(PROFILE, 0.0), Ear()
    ticket = replica.submit(Request(100, 50, listener=ear), 0.0)
    assert isinstance(ticket, Ticket)
    replica.hear(0.1)
    heard = len(ear.tokens)
    assert heard > 0
    ticket.abandon()
    replica.settle(END_SECONDS)
    assert len(ear.tokens) == heard
    assert (replica.counts.finished, replica.counts.aborted) == (0, 1)
    assert replica.next_news_seconds == np.inf


@settings(deadline=None)
@given(
    first=st.floats(0.001, 1.0),
    growth=st.floats(0.0, 0.01),
    steps=st.integers(1, 300),
    times=st.integers(1, 5),
)
def test_a_histogram_of_rising_values_is_that_of_each_value(
    first: float, growth: float, steps: int, times: int
) -> None:
    """Observing a whole stretch at once gives what observing each step gives."""
    edges = (0.005, 0.025, 0.1, 0.5, 1.0)
    at_once, one_by_one = Histogram(edges), Histogram(edges)
    at_once.observe_rising(first, growth, steps, times)
    for k in range(steps):
        one_by_one.observe(first + growth * k, times)
    assert at_once.counts == one_by_one.counts
    assert at_once.total == pytest.approx(one_by_one.total)
    assert at_once.cumulative()[-1] == steps * times


def test_token_buckets_end_at_the_context() -> None:
    """Edges are 1, 2, 5 times powers of ten, none above the model's length."""
    assert token_edges(1024) == (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    assert token_edges(300)[-1] == 200
