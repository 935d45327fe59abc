"""Plays a trace over HTTP against any OpenAI-compatible server, and tells what its clients saw."""

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus

import numpy as np
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from simulations.traces.trace import Trace

_END = b"[DONE]"


@dataclass(slots=True)
class LoadReport:
    """What the clients saw; latencies in the server's seconds (real ones times the speed)."""

    sent: int = 0
    answered: int = 0
    refused: int = 0
    failed: int = 0
    ttft_seconds: list[float] = field(default_factory=list)
    tpot_seconds: list[float] = field(default_factory=list)

    def text(self) -> str:
        """Return it as one line."""
        parts = [
            f"{self.sent} sent",
            f"{self.answered} answered, {self.refused} refused, {self.failed} failed",
        ]
        for name, values in (("TTFT", self.ttft_seconds), ("TPOT", self.tpot_seconds)):
            if values:
                p50, p99 = np.percentile(values, (50, 99))
                parts.append(f"{name} p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTarget:
    """Where requests go: the base URL that has ``/v1/completions`` below it, and the model."""

    url: str
    model: str | None = None
    timeout_seconds: float | None = None


async def play(trace: Trace, target: LoadTarget, speed: float = 1.0) -> LoadReport:
    """Send each request at its time over ``speed``, streamed; returns once all have ended."""
    timeout = None if target.timeout_seconds is None else target.timeout_seconds / speed
    loop = asyncio.get_running_loop()
    async with (
        ClientSession(
            connector=TCPConnector(limit=0), timeout=ClientTimeout(total=timeout)
        ) as session,
        asyncio.TaskGroup() as tasks,
    ):
        clients = _Clients(session, target, speed)
        start, chunk = loop.time(), 0
        while chunk * trace.chunk_seconds < trace.duration_seconds:
            arrivals = trace.chunk(chunk)
            chunk += 1
            for seconds, prompt, output in zip(
                arrivals.seconds.tolist(),
                arrivals.prompt_tokens.tolist(),
                arrivals.output_tokens.tolist(),
                strict=True,
            ):
                await asyncio.sleep(max(0.0, start + seconds / speed - loop.time()))
                tasks.create_task(clients.ask(prompt, output))
    return clients.report


class _Clients:
    """Clients that each ask once, and what they saw."""

    def __init__(self, session: ClientSession, target: LoadTarget, speed: float) -> None:
        self.report = LoadReport()
        self._session = session
        self._target = target
        self._url = f"{target.url.rstrip('/')}/v1/completions"
        self._speed = speed

    async def ask(self, prompt: int, output: int) -> None:
        """Send one request and follow its answer to the end."""
        report, loop = self.report, asyncio.get_running_loop()
        report.sent += 1
        # A real engine would stop when the model says so; the trace says how long it went on.
        body = {"prompt": [1] * prompt, "max_tokens": output, "stream": True, "ignore_eos": True}
        if self._target.model is not None:
            body["model"] = self._target.model
        start = loop.time()
        first = last = -1.0
        try:
            async with self._session.post(self._url, json=body) as response:
                if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
                    report.refused += 1
                    return
                response.raise_for_status()
                async for line in response.content:
                    if line.startswith(b"data:") and _END not in line:
                        last = loop.time()
                        first = last if first < 0.0 else first
        except (ClientError, TimeoutError):
            first = -1.0
        if first < 0.0:
            report.failed += 1
            return
        report.answered += 1
        report.ttft_seconds.append((first - start) * self._speed)
        if output > 1:
            report.tpot_seconds.append((last - first) * self._speed / (output - 1))
