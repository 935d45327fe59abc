"""The HTTP side: what clients and Prometheus see, on a clock that the tests set."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer

from simulations.emulator.clock import RunningClock
from simulations.emulator.completions import GENERATED_TEXT
from simulations.emulator.driver import Driver
from simulations.emulator.emulator import Emulator
from simulations.emulator.load import LoadTarget, play
from simulations.emulator.replayer import Replayer
from simulations.emulator.server import PROMPT_TOKENS_HEADER, Server
from simulations.emulator.view import ClusterView, Door, StartingCluster, StaticCluster
from simulations.traces.request_trace import RequestTrace
from simulations.traces.trace import Arrivals

#: A fixture that makes things.
Make = Callable[..., Any]
COMPLETIONS = "/services/serving/llama/v1/completions"


async def until(condition: Callable[[], bool]) -> None:
    """Let everything else run until a condition holds."""
    while not condition():  # noqa: ASYNC110 - no event tells of what lies on the wire
        await asyncio.sleep(0)


class Bench:
    """One emulator behind real HTTP; its clock moves from token to token as the test says."""

    def __init__(self, driver: Driver, client: TestClient[Any, Any]) -> None:
        self.driver = driver
        self.client = client
        self.clock: Any = driver.clock
        self.heard = 0

    @property
    def given(self) -> int:
        """Tokens that the replicas have generated, all for clients of this bench."""
        return sum(pod.replica.counts.generation_tokens for pod in self.driver.emulator.pods)

    @property
    def taken(self) -> int:
        """Requests that replicas have taken or refused."""
        return sum(
            pod.replica.outstanding + pod.replica.counts.finished + pod.replica.counts.rejected
            for pod in self.driver.emulator.pods
        )

    async def run_until(self, at: float) -> None:
        """Let time pass token by token; each is at its client before the next one comes."""
        while (news := self.driver.emulator.next_news_seconds) <= at:
            self.clock.now = news
            self.driver.tick()
            await until(lambda: self.heard >= self.given)
        self.clock.now = max(self.clock.now, min(at, 1e9))

    async def stream(self, path: str, body: dict[str, Any]) -> list[float]:
        """Ask for a stream; returns when each token came."""
        times = []
        async with self.client.post(path, json={**body, "stream": True}) as response:
            assert response.status == 200
            async for line in response.content:
                if line.startswith(b"data: {"):
                    tokens = json.loads(line[6:])["choices"][0]["text"].count(GENERATED_TEXT)
                    times += [self.clock.now] * tokens
                    self.heard += tokens
        return times

    async def ask(self, path: str, body: Any, **fields: Any) -> tuple[int, Any]:
        """Post and let time pass until the answer is there."""
        posted = asyncio.ensure_future(self._post(path, body, **fields))
        while not posted.done():
            self.clock.now += 0.05
            self.driver.tick()
            await asyncio.sleep(0)
        return await posted

    async def _post(self, path: str, body: Any, **fields: Any) -> tuple[int, Any]:
        async with self.client.post(path, json=body, **fields) as response:
            return response.status, await response.json()


@asynccontextmanager
async def bench(view: ClusterView, clock: Any) -> AsyncIterator[Bench]:
    """Serve a cluster on a port of the system's choice."""
    driver = Driver(Emulator(), StaticCluster(view), clock)
    driver.tick()
    async with TestClient(TestServer(Server(driver).application())) as client:
        yield Bench(driver, client)


@pytest.fixture
def with_bench(clock_type: Make, pod_spec: Make, cluster_view: Make) -> Callable[..., None]:
    """Run a scenario against pods ``a``, ``b``, ... behind the Service ``llama``."""

    def run(
        scenario: Callable[[Bench], Coroutine[Any, Any, None]], pods: str = "a", **fields: Any
    ) -> None:
        async def main() -> None:
            view = cluster_view(*(pod_spec(name, **fields) for name in pods))
            async with bench(view, clock_type()) as served:
                await scenario(served)

        asyncio.run(main())

    return run


def test_clients_see_the_latencies_of_the_pure_simulation(
    with_bench: Make, traffic: Make, simulate: Make
) -> None:
    """TTFT and TPOT of streams over HTTP are those of the same requests in the simulation."""
    work = traffic(40, 8.0, outputs=60)
    expected = simulate(work, 2)

    async def scenario(served: Bench) -> None:
        clients = []
        for number, (arrival, prompt, output) in enumerate(work.rows()):
            await served.run_until(arrival)
            body = {"prompt": [7] * prompt, "max_tokens": output, "model": "llama-3.1-8b"}
            clients.append(asyncio.create_task(served.stream(COMPLETIONS, body)))
            await until(lambda: served.taken > number)  # noqa: B023 - awaited before it changes
        await served.run_until(1e6)
        seen = await asyncio.gather(*clients)
        assert [len(times) for times in seen] == work.output_tokens.tolist()
        assert [t[0] for t in seen] == pytest.approx(expected["first"].tolist(), abs=1e-6)
        assert [t[-1] for t in seen] == pytest.approx(expected["end"].tolist(), abs=1e-6)

    with_bench(scenario, pods="ab")


def test_an_answer_that_is_not_streamed_comes_whole(with_bench: Make) -> None:
    """Completions and chats have OpenAI's shape, and count their tokens."""

    async def scenario(served: Bench) -> None:
        status, answer = await served.ask(COMPLETIONS, {"prompt": "x" * 400, "max_tokens": 7})
        assert status == 200
        assert answer["object"] == "text_completion"
        assert answer["model"] == "llama-3.1-8b"
        assert answer["choices"][0]["finish_reason"] == "length"
        assert answer["usage"] == {
            "prompt_tokens": 100,
            "completion_tokens": 7,
            "total_tokens": 107,
        }
        messages = [{"role": "user", "content": [{"type": "text", "text": "y" * 40}]}]
        status, answer = await served.ask(
            "/pods/serving/a/v1/chat/completions",
            {"messages": messages, "max_completion_tokens": 3},
        )
        assert status == 200
        assert answer["object"] == "chat.completion"
        assert answer["choices"][0]["message"]["role"] == "assistant"
        assert answer["usage"]["prompt_tokens"] == 10

    with_bench(scenario)


def test_a_prompts_length_can_be_told(with_bench: Make) -> None:
    """The header beats the body's field, which beats the text."""

    async def scenario(served: Bench) -> None:
        body = {"prompt": "short", "prompt_tokens": 900, "max_tokens": 1}
        _, answer = await served.ask(COMPLETIONS, body)
        assert answer["usage"]["prompt_tokens"] == 900
        headers = {PROMPT_TOKENS_HEADER: "1234"}
        _, answer = await served.ask(COMPLETIONS, body, headers=headers)
        assert answer["usage"]["prompt_tokens"] == 1234
        status, answer = await served.ask(COMPLETIONS, body, headers={PROMPT_TOKENS_HEADER: "-1"})
        assert status == 400
        assert PROMPT_TOKENS_HEADER in answer["error"]["message"]

    with_bench(scenario)


def test_a_streamed_chat_begins_with_its_role_and_ends_with_usage(with_bench: Make) -> None:
    """Events are those of OpenAI's API: role, tokens, usage where asked for, DONE."""

    async def scenario(served: Bench) -> None:
        body = {
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 3,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        post = served.client.post("/services/serving/llama/v1/chat/completions", json=body)
        request = asyncio.ensure_future(post)
        await until(request.done)
        served.clock.now = 5.0
        served.driver.tick()
        lines = (await (await request).text()).split("\n\n")
        events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
        deltas = [event["choices"][0]["delta"] for event in events[:-1]]
        assert deltas[0] == {"role": "assistant", "content": ""}
        assert "".join(d["content"] for d in deltas[1:]) == GENERATED_TEXT * 3
        reasons = [event["choices"][0]["finish_reason"] for event in events[:-1]]
        assert reasons == [None] * (len(reasons) - 1) + ["length"]
        assert events[-1]["usage"]["completion_tokens"] == 3
        assert lines[-2] == "data: [DONE]"

    with_bench(scenario)


def test_tokens_may_be_streamed_several_at_a_time(
    clock_type: Make, pod_spec: Make, cluster_view: Make
) -> None:
    """With an interval the first token comes alone, later ones together, and none is missing."""
    driver = Driver(Emulator(), StaticCluster(cluster_view(pod_spec("a"))), clock_type())
    driver.tick()

    async def main() -> list[int]:
        server = Server(driver, stream_interval=10)
        async with TestClient(TestServer(server.application())) as client:
            served = Bench(driver, client)
            body = {"prompt": "x", "max_tokens": 25}
            streaming = asyncio.create_task(served.stream(COMPLETIONS, body))
            await until(lambda: served.taken > 0)
            heard = []
            while driver.emulator.outstanding:
                served.clock.now = driver.emulator.next_news_seconds
                driver.tick()
                if served.given in {1, 11, 21, 25}:
                    await until(lambda: served.heard >= served.given)
                heard.append(served.heard)
            await streaming
            return heard

    assert asyncio.run(main()) == [1] * 10 + [11] * 10 + [21] * 4 + [25]


def test_a_full_queue_is_answered_with_503(with_bench: Make) -> None:
    """Beyond the queue limit clients get a 503 at once, and the rejection is counted."""

    async def scenario(served: Bench) -> None:
        body = {"prompt": "x", "max_tokens": 400}
        running = asyncio.create_task(served.stream(COMPLETIONS, body))
        await until(lambda: served.taken > 0)
        async with served.client.post(COMPLETIONS, json=body) as response:
            assert response.status == 503
            assert "queue limit" in (await response.json())["error"]["message"]
        async with served.client.get("/pods/serving/a/metrics") as response:
            text = await response.text()
        rejected = '{model_name="llama-3.1-8b",reason="max_num_queued_reqs"} 1.0'
        assert f"vllm:admission_rejections_total{rejected}" in text
        await served.run_until(1e6)
        assert len(await running) == 400

    with_bench(scenario, queue_limit=1)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (COMPLETIONS, {"max_tokens": 3}, 400, "prompt"),
        (COMPLETIONS, {"prompt": "x", "max_tokens": 0}, 400, "max_tokens"),
        (COMPLETIONS, {"prompt": "x", "n": 2}, 400, "n"),
        (COMPLETIONS, {"prompt": "x", "model": "gpt"}, 404, "`gpt` does not exist"),
        (COMPLETIONS, {"prompt": [1] * 10, "max_tokens": 200_000}, 400, "context"),
        ("/services/serving/none/v1/completions", {"prompt": "x"}, 404, "no Service none"),
        ("/routes/serving/none/v1/completions", {"prompt": "x"}, 404, "no route none"),
        ("/pods/serving/none/v1/completions", {"prompt": "x"}, 404, "pod none"),
        ("/v1/completions", {"prompt": "x"}, 404, "address"),
    ],
)
def test_wrong_requests_are_told_why(
    with_bench: Make, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    """What no server would take is refused with the field or the name that is wrong."""

    async def scenario(served: Bench) -> None:
        answered, error = await served.ask(path, body)
        assert answered == status
        assert message in error["error"]["message"]

    with_bench(scenario, pods="ab")


def test_a_service_without_ready_pods_is_unavailable(with_bench: Make) -> None:
    """Without endpoints a Service answers 503, to requests and to health checks."""

    async def scenario(served: Bench) -> None:
        status, _ = await served.ask(COMPLETIONS, {"prompt": "x"})
        assert status == 503
        async with served.client.get("/services/serving/llama/health") as response:
            assert response.status == 503

    with_bench(scenario, ready=False)


def test_each_pod_has_its_own_metrics_models_and_health(with_bench: Make) -> None:
    """What one pod served shows on its series alone."""

    async def scenario(served: Bench) -> None:
        status, _ = await served.ask("/pods/serving/b/v1/completions", {"prompt": "x"})
        assert status == 200
        finished = {}
        for pod in "ab":
            async with served.client.get(f"/pods/serving/{pod}/metrics") as response:
                assert response.content_type == "text/plain"
                text = await response.text()
            line = next(x for x in text.splitlines() if 'finished_reason="length"' in x)
            finished[pod] = float(line.split()[-1])
            async with served.client.get(f"/pods/serving/{pod}/health") as response:
                assert response.status == 200
        assert finished == {"a": 0.0, "b": 1.0}
        async with served.client.get("/services/serving/llama/v1/models") as response:
            models = (await response.json())["data"]
        assert [model["id"] for model in models] == ["llama-3.1-8b"]
        async with served.client.get("/services/serving/llama/metrics") as response:
            assert response.status == 404

    with_bench(scenario, pods="ab")


def test_prometheus_finds_the_pods(with_bench: Make) -> None:
    """The discovery list leads to each pod's metrics under the pod's own labels."""

    async def scenario(served: Bench) -> None:
        async with served.client.get("/targets") as response:
            targets = await response.json()
        assert [t["labels"]["pod"] for t in targets] == ["a", "b"]
        for target in targets:
            (address,) = target["targets"]
            url = f"http://{address}{target['labels']['__metrics_path__']}"
            async with ClientSession() as session, session.get(url) as response:
                assert "vllm:num_requests_running" in await response.text()
        async with served.client.get("/state") as response:
            assert [pod["name"] for pod in (await response.json())["pods"]] == ["a", "b"]

    with_bench(scenario, pods="ab")


def test_a_pod_is_reached_at_its_own_address(with_bench: Make) -> None:
    """Dialled at a pod's address, the plain paths of a real server lead to that pod."""

    async def scenario(served: Bench) -> None:
        url = f"http://127.0.0.1:{served.client.port}"
        async with ClientSession() as session, session.get(f"{url}/metrics") as response:
            assert response.status == 200
            assert 'model_name="llama-3.1-8b"' in await response.text()

    with_bench(scenario, address="127.0.0.1")


def test_a_pod_that_is_alone_answers_at_the_plain_paths(with_bench: Make) -> None:
    """A process that plays one server is one: no prefix, whatever address was dialled."""

    async def scenario(served: Bench) -> None:
        status, answer = await served.ask("/v1/completions", {"prompt": "x"})
        assert (status, answer["model"]) == (200, "llama-3.1-8b")
        async with served.client.get("/metrics") as response:
            assert (
                'finished_reason="length",model_name="llama-3.1-8b"} 1.0' in await response.text()
            )

    with_bench(scenario)


def test_a_cold_start_passes_before_pods_are_ready(
    clock_type: Make, pod_spec: Make, cluster_view: Make
) -> None:
    """A server that is still loading its model is neither healthy nor scraped."""
    clock = clock_type()
    source = StartingCluster(cluster_view(pod_spec("a")), 30.0, clock.emulated_seconds)
    driver = Driver(Emulator(), source, clock)
    states = []

    async def main() -> None:
        async with TestClient(TestServer(Server(driver).application())) as client:
            for clock.now in (0.0, 29.0, 30.0):
                for path in ("/health", "/metrics", "/services/serving/llama/health"):
                    async with client.get(path) as response:
                        states.append(response.status)

    asyncio.run(main())
    assert states == [404, 404, 503] * 2 + [200, 200, 200]
    assert driver.emulator.pod("serving", "a").replica.started_seconds == 30.0


def test_a_trace_is_played_on_demand(with_bench: Make) -> None:
    """An order over HTTP begins a trace at that moment; it can be stopped; a wrong one is told."""

    async def scenario(served: Bench) -> None:
        served.clock.now = 100.0
        spec = {"durationSeconds": 60, "levelRequestsPerSecond": 5}
        order = {"door": "services/serving/llama", "trace": spec}
        async with served.client.post("/replays", json=order) as response:
            assert response.status == 202
        served.clock.now = 130.0
        async with served.client.get("/state") as response:
            (replay,) = (await response.json())["replays"]
        counts = served.driver.emulator.pod("serving", "a").replica.counts
        assert 100 < replay["sent"] < 200
        assert counts.time_to_first_token.observations > 0.9 * replay["sent"]
        assert counts.time_to_first_token.total < 0.5 * replay["sent"]
        async with served.client.delete("/replays") as response:
            assert response.status == 204
        served.clock.now = 160.0
        served.driver.tick()
        assert served.driver.emulator.outstanding == 0
        assert counts.finished == replay["sent"]
        for wrong, named in (
            ({"door": "llama", "trace": spec}, "KIND/NAMESPACE/NAME"),
            ({"door": "services/a/b", "trace": "/no/such/file.csv"}, "/no/such/file.csv"),
            ({"door": "services/a/b"}, "trace"),
            ({"door": "services/a/b", "trace": {"durationSeconds": -1}}, "durationSeconds"),
        ):
            status, error = await served.ask("/replays", wrong)
            assert status == 400
            assert named in error["error"]["message"]

    with_bench(scenario)


def test_a_client_that_leaves_is_counted_as_an_abort(with_bench: Make) -> None:
    """A stream that its client closes ends as an abort and disturbs nobody."""

    async def scenario(served: Bench) -> None:
        body = {"prompt": "x", "max_tokens": 50, "stream": True}
        post = asyncio.ensure_future(served.client.post(COMPLETIONS, json=body))
        await until(post.done)
        (await post).close()
        counts = served.driver.emulator.pod("serving", "a").replica.counts
        while counts.aborted == 0 and counts.finished == 0:
            served.clock.now += 0.0001
            served.driver.tick()
            await asyncio.sleep(0)
        assert (counts.finished, counts.aborted) == (0, 1)
        status, _ = await served.ask(COMPLETIONS, {"prompt": "x"})
        assert status == 200

    with_bench(scenario)


def test_the_driver_keeps_the_clocks_time(pod_spec: Make, cluster_view: Make) -> None:
    """Left alone, the emulator answers in real time over its speed, and tells of each token."""

    async def main() -> None:
        clock = RunningClock(speed=50.0)
        replayer = Replayer(
            RequestTrace(
                "one",
                Arrivals(
                    seconds=np.array([0.5]),
                    prompt_tokens=np.array([100]),
                    output_tokens=np.array([30]),
                ),
            ),
            Door.parse("services/serving/llama"),
        )
        source = StaticCluster(cluster_view(pod_spec("a")))
        driver = Driver(Emulator(), source, clock, [replayer])
        async with TestClient(TestServer(Server(driver).application())) as client:
            running = asyncio.create_task(driver.run())
            begun = clock.emulated_seconds()
            async with client.post(COMPLETIONS, json={"prompt": "x", "max_tokens": 100}) as answer:
                assert (await answer.json())["usage"]["completion_tokens"] == 100
            assert clock.emulated_seconds() - begun > 100 * 0.006
            await until(lambda: replayer.done)
            running.cancel()
            counts = driver.emulator.pod("serving", "a").replica.counts
            assert counts.time_to_first_token.observations == 2
            assert clock.unix_seconds(50.0) - clock.unix_seconds(0.0) == pytest.approx(1.0)

    asyncio.run(main())


def test_a_late_first_look_loses_no_arrival(
    clock_type: Make, traffic: Make, pod_spec: Make, cluster_view: Make
) -> None:
    """Arrivals before the driver's first tick find the pods that were there from the first."""
    work = traffic(30, 100.0)
    arrivals = Arrivals(
        seconds=work.seconds, prompt_tokens=work.prompt_tokens, output_tokens=work.output_tokens
    )
    replayer = Replayer(RequestTrace("made", arrivals), Door.parse("services/serving/llama"))
    source = StaticCluster(cluster_view(pod_spec("a")))
    driver = Driver(Emulator(), source, clock_type(now=5.0), [replayer])
    driver.tick()
    assert (replayer.sent, replayer.lost) == (30, 0)
    replica = driver.emulator.pod("serving", "a").replica
    assert replica.started_seconds == 0.0
    assert replica.counts.time_to_first_token.observations == 30


def test_a_clock_must_run_forward() -> None:
    """A speed of 0 is refused."""

    async def main() -> None:
        with pytest.raises(ValueError, match="speed"):
            RunningClock(0.0)

    asyncio.run(main())


def test_a_load_of_a_trace_is_answered_in_full(with_bench: Make, traffic: Make) -> None:
    """The load generator sends every request once and hears every answer to its end."""
    work = traffic(12, 4000.0, outputs=20)
    arrivals = Arrivals(
        seconds=work.seconds, prompt_tokens=work.prompt_tokens, output_tokens=work.output_tokens
    )

    async def scenario(served: Bench) -> None:
        url = str(served.client.make_url("/services/serving/llama"))
        playing = asyncio.ensure_future(play(RequestTrace("made", arrivals), LoadTarget(url=url)))
        while not playing.done():
            served.clock.now += 0.001
            served.driver.tick()
            await asyncio.sleep(0)
        report = await playing
        assert (report.sent, report.answered) == (12, 12)
        assert (report.refused, report.failed) == (0, 0)
        assert len(report.ttft_seconds) == 12
        assert len(report.tpot_seconds) == (work.output_tokens > 1).sum()
        assert "12 answered" in report.text()
        counts = served.driver.emulator.pod("serving", "a").replica.counts
        assert counts.prompt_tokens == work.prompt_tokens.sum()
        assert counts.generation_tokens == work.output_tokens.sum()

    with_bench(scenario)
