"""The composition: what runs ends together, and says what it ended for."""

import asyncio
import socket
import urllib.request
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import kopf
import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.core.domain.policy import ObjectKey, Policy
from controller.operator import wiring
from controller.operator.cluster import ClusterSide
from controller.ports import Planned, PortError, Replica, Report, Workload
from controller.settings import Settings, load

MakeBody = Callable[..., dict[str, Any]]
Part = tuple[str, Callable[[], Awaitable[None]]]


class Cluster:
    """A cluster of one object with two Ready replicas, that keeps what it is told."""

    def __init__(self, now: float) -> None:
        self.now = now
        self.actuated: list[tuple[int, ...]] = []
        self.reported: list[Report] = []
        self.uids = {"uid-llama-chat"}
        self.closed = False

    def held(self) -> bool:
        """This operator leads."""
        return True

    async def read(
        self, policies: Sequence[Policy], now: float
    ) -> Sequence[Sequence[Workload | PortError]]:
        """Two Ready replicas of the first variant of each."""
        replicas = tuple(
            Replica(
                name=f"pod-{i}",
                created_at_seconds=now - 900.0,
                ready_since_seconds=now - 800.0,
                scheduled=True,
                draining=False,
            )
            for i in range(2)
        )
        none = Workload(desired=0, replicas=())
        return [
            [Workload(desired=2, replicas=replicas), *[none] * (len(policy.variants) - 1)]
            for policy in policies
        ]

    async def actuate(self, planned: Sequence[Planned], now: float) -> Sequence[PortError | None]:
        """Keep it."""
        del now
        self.actuated += [one.decision.allocation for one in planned]
        return [None] * len(planned)

    async def report(self, reports: Sequence[Report], now: float) -> Sequence[PortError | None]:
        """Keep it."""
        del now
        self.reported += reports
        return [None] * len(reports)

    async def write(self, key: ObjectKey, status: Any) -> None:
        """No object is invalid here."""
        raise AssertionError((key, status))

    def close(self) -> None:
        """Keep that it was closed."""
        self.closed = True

    def side(self, *parts: Part) -> ClusterSide:
        """All ports."""
        return ClusterSide(
            workloads=self,
            actuator=self,
            reporter=self,
            status_writer=self,
            leadership=self,
            existing=lambda: self.uids,
            pod_gpus=lambda _: {},
            observed_by=lambda _: None,
            parts=parts,
            close=self.close,
        )


@pytest.fixture
def cluster(now: float) -> Cluster:
    """Nothing happened yet."""
    return Cluster(now)


def a_port() -> int:
    """A port that is free."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def settings() -> Settings:
    """Nobody answers where Prometheus should; all ports on the loopback."""
    return load(
        {
            "STEELYARD_PROMETHEUS_URL": "http://127.0.0.1:1",
            "STEELYARD_LISTEN_ADDRESS": "127.0.0.1",
            "STEELYARD_HEALTH_LISTEN_PORT": str(a_port()),
            "STEELYARD_METRICS_LISTEN_PORT": str(a_port()),
            "STEELYARD_TICK_SECONDS": "0.01",
        }
    )


def fetched(port: int, path: str) -> str:
    """What is served, or the status it is refused with."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.code)


def test_the_parts_work_together(
    cluster: Cluster,
    settings: Settings,
    make_body: MakeBody,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An object that the watch puts in is decided on, told, measured and explained.

    Prometheus does not answer: both replicas are kept.
    """
    seen: dict[str, str] = {}
    body = make_body()
    body["spec"]["mode"] = "Auto"

    async def watch(**options: Any) -> None:
        """What kopf does: run handlers until it is stopped."""
        (handler,) = options["registry"]._watching.get_all_handlers()
        await handler.fn(event={"type": None, "object": body})
        assert options["clusterwide"]
        assert options["identity"]  # else kopf looks the user up, who has no name in a pod
        while not cluster.reported or fetched_ready() != "ok\n":
            await asyncio.sleep(0)
            seen["ready"] = await asyncio.to_thread(fetched, settings.health_listen_port, "/readyz")
        for path in ("/healthz", "/explain/serving/llama-chat"):
            seen[path] = await asyncio.to_thread(fetched, settings.health_listen_port, path)
        seen["/metrics"] = await asyncio.to_thread(
            fetched, settings.metrics_listen_port, "/metrics"
        )

    def fetched_ready() -> str:
        return seen.get("ready", "")

    monkeypatch.setattr(kopf, "operator", watch)

    async def run() -> int:
        return await wiring.build(settings, connect=lambda *_: cluster.side()).run()

    assert asyncio.run(run()) == 0
    assert cluster.closed
    assert set(cluster.actuated) == {(2, 0)}
    assert seen["/healthz"] == "ok\n"
    assert '"source": "operator"' in seen["/explain/serving/llama-chat"]
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(seen["/metrics"])
        for sample in family.samples
    }
    assert samples["steelyard_leader"] == 1
    assert samples["steelyard_prometheus_query_errors_total"] >= 1
    assert samples["steelyard_cycle_seconds_count"] >= 1


@pytest.mark.parametrize("fails", [True, False])
def test_a_part_that_ends_ends_the_operator(
    cluster: Cluster,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fails: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """A part that fails is a failure with its name; nothing goes on half."""

    async def watch(**options: Any) -> None:
        await options["stop_flag"].wait()

    async def part() -> None:
        if fails:
            raise OSError("no watch")

    monkeypatch.setattr(kopf, "operator", watch)

    async def run() -> int:
        side = cluster.side(("workloads", part))
        return await wiring.build(settings, connect=lambda *_: side).run()

    assert asyncio.run(run()) == int(fails)
    assert cluster.closed
    assert ("workloads: OSError('no watch')" in caplog.text) is fails


def test_a_cycle_that_ends_ends_the_operator(
    cluster: Cluster,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A thread that dies of a defect takes the process with it, so that another takes over."""

    async def watch(**options: Any) -> None:
        await options["stop_flag"].wait()

    def held() -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(kopf, "operator", watch)
    monkeypatch.setattr(cluster, "held", held)

    async def run() -> int:
        return await wiring.build(settings, connect=lambda *_: cluster.side()).run()

    assert asyncio.run(run()) == 1
    assert "cycle: the thread has ended" in caplog.text
