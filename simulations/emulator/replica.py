"""One model server: an engine replica, what it has counted, and who listens to its tokens."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from controller.core.domain.variant import PerformanceProfile
from simulations.emulator.counts import Counts, FinishedRequest
from simulations.emulator.observed_fleet import ObservedFleet, Stretch
from simulations.engine.config import Outcome

#: The compiled loop may round the time of a token up by less than this.
_ROUNDING_SECONDS = 1e-9


class Refusal(Enum):
    """Why a request was not taken."""

    QUEUE_FULL = "the replica has as many outstanding requests as its queue limit allows"
    TOO_LONG = "prompt and output do not fit the model's context or the KV cache"
    NO_ENDPOINT = "no replica is Ready"


class Listener(Protocol):
    """Hears of one request's tokens; times are emulated seconds."""

    def on_tokens(self, tokens: int, at_seconds: float) -> None:
        """Hear of more output tokens, the last of which came at ``at_seconds``."""
        ...

    def on_end(self, at_seconds: float, *, finished: bool) -> None:
        """Hear of the end: all tokens came, or the request was aborted."""
        ...


@dataclass(slots=True, eq=False)
class Request:
    """What is asked of a model: token counts, the API handler, and who hears of the answer."""

    prompt_tokens: int
    output_tokens: int
    handler: str = "/v1/completions"
    listener: Listener | None = None


@dataclass(slots=True, eq=False)
class Ticket:
    """A request that a replica has taken; times in emulated seconds, negative before they are."""

    arrival_seconds: float
    request: Request
    listener: Listener | None
    scheduled_seconds: float = -1.0
    first_token_seconds: float = -1.0
    abandoned: bool = False

    def abandon(self) -> None:
        """Hear no more of the request: its client has gone.

        The engine has no way to stop one request, so it runs to its end and counts as aborted.
        """
        self.listener = None
        self.abandoned = True


class Replica:
    """One model server, from ``at_seconds`` on. Times are emulated seconds and never go back."""

    def __init__(
        self,
        profile: PerformanceProfile,
        at_seconds: float,
        *,
        queue_limit: int | None = None,
        max_model_len: int = 131_072,
        speed: float = 1.0,
        client_timeout_seconds: float | None = None,
    ) -> None:
        self.profile = profile
        self.max_model_len = max_model_len
        self.started_seconds = at_seconds
        self.counts = Counts(max_model_len)
        self._fleet = ObservedFleet(
            profile,
            queue_limit,
            at_seconds,
            speed=speed,
            client_timeout_seconds=client_timeout_seconds,
        )
        self._tickets: dict[int, Ticket] = {}
        self._listeners = 0
        self._heard: list[Ticket] = []
        self._stretch: Stretch = self._fleet.stretch()
        self._settled = 0
        self._due = np.inf

    @property
    def outstanding(self) -> int:
        """Requests taken and not ended."""
        return len(self._tickets)

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return int(self._fleet.slot_gauges()[0, 0])

    @property
    def waiting(self) -> int:
        """Requests that wait to be scheduled."""
        return int(self._fleet.slot_gauges()[0, 1])

    @property
    def kv_use(self) -> float:
        """Share of the KV cache that is written, 0 to 1."""
        return float(self._fleet.slot_gauges()[0, 2]) / self.profile.kv_capacity_tokens

    @property
    def next_news_seconds(self) -> float:
        """When a listener may next hear something, each token included; infinite without one."""
        if self._listeners == 0:
            return np.inf
        stretch = self._stretch
        if self._heard and stretch.decodes:
            return min(self._due, stretch.boundary(self._settled + 1) + _ROUNDING_SECONDS)
        return float(self._due)

    def submit(self, request: Request, at_seconds: float) -> Ticket | Refusal:
        """Take a request that arrives at ``at_seconds``, or say why not."""
        length = request.prompt_tokens + request.output_tokens
        if length > min(self.max_model_len, self.profile.kv_capacity_tokens):
            self.counts.count_response(request.handler, "POST", 400, 0.0)
            return Refusal.TOO_LONG
        self.advance(at_seconds)
        fleet = self._fleet
        fleet.keep_room(len(self._tickets) + 1)
        uid = fleet.next_uid
        before = self._stretch
        fleet.advance(
            at_seconds,
            np.array((at_seconds,)),
            np.array((request.prompt_tokens,)),
            np.array((request.output_tokens,)),
        )
        after = fleet.stretch()
        if after.outstanding == before.outstanding:
            fleet.take_endings()
            self.counts.rejected += 1
            self.counts.count_response(request.handler, "POST", 503, 0.0)
            return Refusal.QUEUE_FULL
        ticket = Ticket(at_seconds, request, request.listener)
        self._tickets[uid] = ticket
        self._listeners += request.listener is not None
        self._follow(before, after)
        self._due = fleet.next_event_seconds
        return ticket

    def advance(self, at_seconds: float) -> None:
        """Carry out what is due up to ``at_seconds``."""
        while self._due <= at_seconds:
            self._step(self._due)

    def hear(self, at_seconds: float) -> None:
        """Carry out what is due, and tell listeners of all tokens up to ``at_seconds``."""
        if self._heard:
            self.settle(at_seconds)
        else:
            self.advance(at_seconds)

    def settle(self, at_seconds: float) -> None:
        """Bring counters and gauges to ``at_seconds``, in the midst of a stretch too."""
        self.advance(at_seconds)
        fleet = self._fleet
        if at_seconds > fleet.now_seconds:
            fleet.advance(at_seconds)
        stretch = self._stretch
        if stretch.decodes:
            self._settle_to(stretch, fleet.decoded() // stretch.decoding)

    def crash(self, at_seconds: float) -> None:
        """End at once: nobody hears of the requests again, but that they failed."""
        tickets = tuple(self._tickets.values())
        self._tickets.clear()
        self._heard.clear()
        self._listeners = 0
        self._due = np.inf
        for ticket in tickets:
            if ticket.listener is not None:
                ticket.listener.on_end(at_seconds, finished=False)

    # --- inside --------------------------------------------------------------------------------

    def _step(self, at: float) -> None:
        """Carry out the event at ``at``."""
        fleet, before = self._fleet, self._stretch
        prompts = fleet.prefilling() if before.prefills else ()
        fleet.advance(at)
        prompted = []
        for record, uid in prompts:
            ticket = self._tickets[uid]
            if ticket.scheduled_seconds < 0.0:
                ticket.scheduled_seconds = before.begin
            if fleet.first_token_seconds(record) == at:
                prompted.append(ticket)
        self._follow(before, fleet.stretch(), sum(t.request.prompt_tokens + 1 for t in prompted))
        for ticket in prompted:
            self._first_token(ticket, at)
        for uid, end, outcome in fleet.take_endings():
            self._end(self._tickets.pop(uid), end, finished=outcome == Outcome.FINISHED)
        self._due = fleet.next_event_seconds

    def _follow(self, before: Stretch, after: Stretch, prompted_tokens: int = 0) -> None:
        """Count the iterations between two looks; a new stretch has none settled.

        ``prompted_tokens`` are those of the prompts that are done now, first tokens included.
        """
        steps = after.iteration - before.iteration
        if steps > 0 and before.prefills:
            seconds = before.end - before.begin
            self.counts.count_prefill(seconds, before.decoding, prompted_tokens)
            self._tell(1, before.end)
        elif steps > 0:
            self._settle_to(before, steps)
        if steps > 0 or not (before.decodes and after.decodes):
            self._settled = 0
        self._stretch = after

    def _settle_to(self, stretch: Stretch, steps: int) -> None:
        """Count the iterations of a decode stretch up to ``steps`` that are not counted yet."""
        new = steps - self._settled
        if new <= 0:
            return
        first = stretch.step + stretch.growth * self._settled
        self.counts.count_decodes(first, stretch.growth, new, stretch.decoding)
        self._settled = steps
        if self._heard:
            self._tell(new, stretch.boundary(steps))

    def _tell(self, tokens: int, at: float) -> None:
        for ticket in self._heard:
            if ticket.listener is not None:
                ticket.listener.on_tokens(tokens, at)

    def _first_token(self, ticket: Ticket, at: float) -> None:
        ticket.first_token_seconds = at
        self.counts.count_first_token(at - ticket.arrival_seconds, ticket.request.prompt_tokens)
        if ticket.listener is not None:
            self._heard.append(ticket)
            ticket.listener.on_tokens(1, at)

    def _end(self, ticket: Ticket, at: float, *, finished: bool) -> None:
        self._listeners -= ticket.request.listener is not None
        if ticket in self._heard:
            self._heard.remove(ticket)
        if finished and not ticket.abandoned:
            self.counts.count_finish(
                FinishedRequest(
                    arrival_seconds=ticket.arrival_seconds,
                    scheduled_seconds=ticket.scheduled_seconds,
                    first_token_seconds=ticket.first_token_seconds,
                    end_seconds=at,
                    prompt_tokens=ticket.request.prompt_tokens,
                    output_tokens=ticket.request.output_tokens,
                )
            )
            seconds = at - ticket.arrival_seconds
            self.counts.count_response(ticket.request.handler, "POST", 200, seconds)
        else:
            self.counts.aborted += 1
        if ticket.listener is not None:
            ticket.listener.on_end(at, finished=finished)


def warm_up(profile: PerformanceProfile) -> None:
    """Have the engine compiled, or its compiled code loaded, before time counts."""
    replica = Replica(profile, 0.0)
    replica.submit(Request(1, 2), 0.0)
    replica.settle(1.0)
