"""The emulator's HTTP side: every pod, Service and route on one port.

A door is addressed by path, ``/pods/NAMESPACE/POD/...`` (``/services/...``, ``/routes/...``), so
that Prometheus can relabel ``__metrics_path__``; or, on a machine that answers for the cluster's
addresses, by the address that was dialled, with the paths of a real server.
"""

import asyncio
import itertools
from http import HTTPStatus
from typing import Any

from aiohttp import web

from simulations.emulator.completions import Answer, ChatBody, CompletionBody, InvalidRequest, parse
from simulations.emulator.driver import Driver
from simulations.emulator.emulator import Emulator, UnknownDoor
from simulations.emulator.exposition import CONTENT_TYPE, Identity, expose
from simulations.emulator.families import MetricsVersion
from simulations.emulator.replay_order import ReplayOrder
from simulations.emulator.replayer import Replayer
from simulations.emulator.replica import Refusal, Request, Ticket
from simulations.emulator.view import Door, DoorKind

#: Header that tells the prompt's length where it is not to be counted; beats the body.
PROMPT_TOKENS_HEADER = "X-Prompt-Tokens"
_BODY_BYTES = 64 << 20

_REFUSED = {
    Refusal.QUEUE_FULL: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.NO_ENDPOINT: HTTPStatus.SERVICE_UNAVAILABLE,
    Refusal.TOO_LONG: HTTPStatus.BAD_REQUEST,
}


class Aborted(Exception):  # noqa: N818 - named after what happened
    """The engine gave a request up, as it does when the client's time is over."""


class _Tokens:
    """Collects one request's tokens for the handler that waits for them."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._begun = False
        self._pending = 0
        self._ended = False
        self._finished = False
        self._news = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the engine is through with the request."""
        return self._ended

    def on_tokens(self, tokens: int, at_seconds: float) -> None:  # noqa: ARG002 - told when heard
        """Hear of more tokens: the first at once, later ones ``interval`` at a time."""
        self._pending += tokens
        if not self._begun or self._pending >= self._interval:
            self._begun = True
            self._news.set()

    def on_end(self, at_seconds: float, *, finished: bool) -> None:  # noqa: ARG002 - likewise
        """Hear of the end."""
        self._ended, self._finished = True, finished
        self._news.set()

    async def more(self) -> int:
        """Wait for tokens; 0 once all have been heard of.

        Raises:
            Aborted: the engine gave the request up.
        """
        if not self._ended:
            await self._news.wait()
            self._news.clear()
        tokens, self._pending = self._pending, 0
        if not tokens and not self._finished:
            raise Aborted("the request was aborted")
        return tokens


class Server:
    """Answers for all doors of one emulator.

    ``stream_interval`` is vLLM's option of that name: tokens per event of a stream, after the
    first one. Most of the cost of a streamed answer is its events.
    """

    def __init__(
        self,
        driver: Driver,
        version: MetricsVersion = MetricsVersion.CURRENT,
        *,
        stream_interval: int = 1,
    ) -> None:
        if stream_interval < 1:
            raise ValueError(f"stream_interval must be at least 1, got {stream_interval}")
        self._stream_interval = stream_interval
        self._driver = driver
        self._emulator: Emulator = driver.emulator
        self._clock = driver.clock
        self._version = version
        self._numbers = itertools.count()

    def application(self) -> web.Application:
        """Build the web application."""
        app = web.Application(client_max_size=_BODY_BYTES, middlewares=[_errors])
        kinds = "|".join(kind.value for kind in DoorKind)
        door = f"/{{kind:{kinds}}}/{{namespace}}/{{name}}"
        for prefix in (door, ""):
            app.router.add_get(f"{prefix}/metrics", self._metrics)
            app.router.add_get(f"{prefix}/health", self._health)
            app.router.add_get(f"{prefix}/v1/models", self._models)
            app.router.add_post(f"{prefix}/v1/completions", self._complete)
            app.router.add_post(f"{prefix}/v1/chat/completions", self._chat)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/state", self._state)
        app.router.add_get("/targets", self._targets)
        app.router.add_post("/replays", self._replay)
        app.router.add_delete("/replays", self._stop_replays)
        return app

    # --- one door ------------------------------------------------------------------------------

    async def _metrics(self, request: web.Request) -> web.Response:
        door = self._door(request)
        if door.kind is not DoorKind.POD:
            raise UnknownDoor(f"{door.kind.value} have no metrics of their own; ask their pods")
        now = self._driver.tick()
        pod = self._emulator.pod(door.namespace, door.name)
        pod.replica.settle(now)
        identity = Identity(
            model_name=pod.spec.served_model_name,
            started_unix_seconds=self._clock.unix_seconds(pod.replica.started_seconds),
        )
        body = expose(pod.replica, identity, self._version)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    async def _health(self, request: web.Request) -> web.Response:
        self._driver.tick()
        if not self._emulator.served_models(self._door(request)):
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, Refusal.NO_ENDPOINT.value)
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:
        self._driver.tick()
        models = self._emulator.served_models(self._door(request))
        data = [{"id": model, "object": "model", "owned_by": "vllm"} for model in models]
        return web.json_response({"object": "list", "data": data})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, CompletionBody, "/v1/completions")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, ChatBody, "/v1/chat/completions")

    async def _answer(
        self, request: web.Request, kind: type[CompletionBody] | type[ChatBody], handler: str
    ) -> web.StreamResponse:
        body = parse(await request.read(), kind)
        if PROMPT_TOKENS_HEADER in request.headers:
            body.prompt_tokens = _header_tokens(request.headers[PROMPT_TOKENS_HEADER])
        now = self._driver.tick()
        door = self._door(request)
        models = self._emulator.served_models(door)
        if body.model is not None and models and body.model not in models:
            return _error(HTTPStatus.NOT_FOUND, f"The model `{body.model}` does not exist.")
        tokens = _Tokens(self._stream_interval if body.stream else body.output_tokens())
        asked = Request(body.input_tokens(), body.output_tokens(), handler, tokens)
        pod, ticket = self._emulator.send(door, asked, now)
        if pod is None or isinstance(ticket, Refusal):
            refusal = ticket if isinstance(ticket, Refusal) else Refusal.NO_ENDPOINT
            return _error(_REFUSED[refusal], refusal.value)
        self._driver.wake()
        answer = Answer(
            body,
            model=body.model or pod.spec.served_model_name,
            identifier=f"{next(self._numbers):016x}",
            created=int(self._clock.unix_seconds(now)),
        )
        try:
            if body.stream:
                return await self._stream(request, answer, tokens)
            while await tokens.more() > 0:
                pass
            return web.json_response(answer.whole())
        finally:
            _abandon_unless_ended(ticket, tokens)

    async def _stream(
        self, request: web.Request, answer: Answer, tokens: _Tokens
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        try:
            while (more := await tokens.more()) > 0:
                await response.write(answer.more(more))
        except Aborted as error:
            raise ConnectionResetError from error  # too late for a status: the stream breaks off
        await response.write(answer.end())
        return response

    def _door(self, request: web.Request) -> Door:
        match = request.match_info
        if "kind" in match:
            return Door(DoorKind(match["kind"]), match["namespace"], match["name"])
        address = (
            "" if request.transport is None else request.transport.get_extra_info("sockname")[0]
        )
        door = self._emulator.door_at(address)
        if door is None:
            raise UnknownDoor(
                f"no pod or Service has the address {address}: dial one that has, or use the path "
                "/pods/NAMESPACE/POD/... , /services/... or /routes/..."
            )
        return door

    # --- the whole -----------------------------------------------------------------------------

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _state(self, _: web.Request) -> web.Response:
        """Tell what a person or a test wants to see at a glance."""
        now = self._driver.tick()
        pods = [
            {
                "namespace": pod.spec.namespace,
                "name": pod.spec.name,
                "routable": pod.routable,
                "outstanding": pod.replica.outstanding,
                "finished": pod.replica.counts.finished,
                "refused": pod.replica.counts.rejected,
            }
            for pod in self._emulator.pods
        ]
        replays = [
            {"name": r.name, "sent": r.sent, "refused": r.refused, "lost": r.lost, "done": r.done}
            for r in self._driver.replayers
        ]
        return web.json_response({"emulated_seconds": now, "pods": pods, "replays": replays})

    async def _replay(self, request: web.Request) -> web.Response:
        """Begin to play a trace now, beside those that play already."""
        try:
            order = ReplayOrder.model_validate_json(await request.read())
            trace, door = await asyncio.to_thread(order.opened)  # a large one takes seconds
        except (ValueError, OSError) as error:
            raise InvalidRequest(str(error)) from error
        replayer = Replayer(trace, door, self._driver.tick())
        self._driver.replayers.append(replayer)
        self._driver.wake()
        return web.json_response({"replay": replayer.name}, status=HTTPStatus.ACCEPTED.value)

    async def _stop_replays(self, _: web.Request) -> web.Response:
        """Stop all traces; what they have sent runs on."""
        self._driver.tick()
        self._driver.replayers.clear()
        return web.Response(status=HTTPStatus.NO_CONTENT.value)

    async def _targets(self, request: web.Request) -> web.Response:
        """List the pods as Prometheus' HTTP service discovery wants them."""
        self._driver.tick()
        targets = []
        for pod in self._emulator.pods:
            spec = pod.spec
            labels = {
                "__metrics_path__": f"/pods/{spec.namespace}/{spec.name}/metrics",
                "__meta_kubernetes_namespace": spec.namespace,
                "__meta_kubernetes_pod_name": spec.name,
                "namespace": spec.namespace,
                "pod": spec.name,
                "instance": spec.address or f"{spec.namespace}/{spec.name}",
            }
            targets.append({"targets": [request.host], "labels": labels})
        return web.json_response(targets)


def _abandon_unless_ended(ticket: Ticket | Refusal, tokens: _Tokens) -> None:
    if isinstance(ticket, Ticket) and not tokens.ended:
        ticket.abandon()


def _header_tokens(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InvalidRequest(f"{PROMPT_TOKENS_HEADER}: found {text!r}; write a whole number >= 1")
    return int(text)


def _error(status: HTTPStatus, message: str) -> web.Response:
    """Build an error as OpenAI-compatible servers shape it."""
    error: dict[str, Any] = {"message": message, "type": status.phrase, "param": None}
    return web.json_response({"error": {**error, "code": status.value}}, status=status.value)


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except InvalidRequest as error:
        return _error(HTTPStatus.BAD_REQUEST, str(error))
    except UnknownDoor as error:
        return _error(HTTPStatus.NOT_FOUND, str(error))
    except Aborted as error:
        return _error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
    return response
