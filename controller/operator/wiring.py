"""The composition root: every part of the operator is made here, and nowhere else.

kopf's watch, the probes and the audit live on the main event loop, the cycle in a thread of its
own. Whichever of them ends ends the process: the other operator takes over, and the kubelet starts
this one again.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, cast

import kopf
from aiohttp import web
from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    start_http_server,
)

from controller.adapters.clock import SystemClock
from controller.adapters.prices import read_prices
from controller.adapters.prometheus.archive import PrometheusArchive
from controller.adapters.prometheus.metrics import PrometheusMetrics
from controller.adapters.prometheus.profiles import load as load_profiles
from controller.adapters.prometheus.session import PrometheusClient
from controller.adapters.prometheus.settings import PrometheusSettings
from controller.adapters.telemetry import Telemetry
from controller.api.prices import REFERENCE_PRICES
from controller.core.history import History
from controller.core.planner import SteelyardPlanner
from controller.core.settings import PlannerSettings
from controller.observer import ClusterObserver
from controller.operator import handlers
from controller.operator.audit import AUDIT_SECONDS, Audit
from controller.operator.cluster import ClusterSide
from controller.operator.cycle import CycleTask, WhileLeading
from controller.operator.explanation import Explanations
from controller.operator.health import Health, stuck
from controller.operator.recorder import CycleRecorder
from controller.operator.reporting import Reporters
from controller.operator.store import ObjectStore
from controller.operator.thread import CycleThread
from controller.reconciler import Reconciler
from controller.settings import Settings

_LOG: Final = logging.getLogger("steelyard.operator")

#: How long the cycle that runs is waited for when the process is to end.
_LAST_CYCLE_SECONDS: Final = 10.0

#: Time between tries of the first audit: the operator is not ready before it.
_FIRST_AUDIT_SECONDS: Final = 2.0


def prometheus_settings(settings: Settings) -> PrometheusSettings:
    """What concerns Prometheus, as its adapter takes it."""
    return PrometheusSettings(
        url=settings.prometheus_url,
        timeout_seconds=settings.prometheus_timeout_seconds,
        # The rest of a cycle is for decisions and writes.
        cycle_seconds=min(
            2.0 * settings.prometheus_timeout_seconds, settings.cycle_deadline_seconds / 2.0
        ),
        max_bytes=settings.prometheus_max_bytes,
        bearer_token_file=settings.prometheus_bearer_token_file,
        username=settings.prometheus_username,
        password_file=settings.prometheus_password_file,
        ca_file=settings.prometheus_ca_file,
        certificate_file=settings.prometheus_certificate_file,
        key_file=settings.prometheus_key_file,
        tenant=settings.prometheus_tenant,
        tenant_header=settings.prometheus_tenant_header,
        recording_rules=settings.prometheus_recording_rules,
        scrape_interval_seconds=settings.prometheus_scrape_seconds,
        history_seconds=settings.prometheus_history_seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Everything that runs."""

    settings: Settings
    store: ObjectStore
    cluster: ClusterSide
    thread: CycleThread
    audit: Audit
    health: Health
    registry: CollectorRegistry
    stop: asyncio.Event
    closing: tuple[Callable[[], None], ...]

    async def run(self) -> int:
        """Run until stopped by a signal; returns the exit status, 1 where a part of it failed."""
        async with AsyncExitStack() as stack:
            for close in self.closing:
                stack.callback(close)
            await stack.enter_async_context(self._served())
            failures: list[str] = []
            for name, part in (("audit", self._audited), *self.cluster.parts):
                await stack.enter_async_context(self._kept(name, part, failures))
            self.thread.start()
            # The lease is renewed while the last cycle ends.
            stack.push_async_callback(asyncio.to_thread, self.thread.stop, _LAST_CYCLE_SECONDS)
            await self._watch()
            if (ended := self.thread.ended_alone()) is not None:
                failures.append(f"cycle: {ended}")
        for failure in failures:
            _LOG.error("%s", failure)
        return 1 if failures else 0

    async def _watch(self) -> None:
        """Watch the objects until a signal or ``stop``."""
        namespaces = self.settings.namespaces
        await kopf.operator(
            registry=handlers.registry(self.store),
            settings=handlers.operator_settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            # Nobody is told it; without it kopf asks for the user's name, which has none in a pod.
            identity=cast("Any", "steelyard"),
            stop_flag=self.stop,
        )

    @asynccontextmanager
    async def _kept(
        self, name: str, part: Callable[[], Awaitable[None]], failures: list[str]
    ) -> AsyncIterator[None]:
        """Run a part beside the rest; its end ends everything."""

        async def run() -> None:
            try:
                await part()
            except Exception as error:  # noqa: BLE001 - told, and the process ends by it
                failures.append(f"{name}: {error!r}")
            self.stop.set()

        task = asyncio.create_task(run(), name=name)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @asynccontextmanager
    async def _served(self) -> AsyncIterator[None]:
        """Answer probes, explanations and scrapes."""
        address = self.settings.listen_address
        runner = web.AppRunner(self.health.application(), access_log=None)
        await runner.setup()
        try:
            if self.settings.health_listen_port:
                await web.TCPSite(runner, address, self.settings.health_listen_port).start()
            if self.settings.metrics_listen_port:
                server, _ = start_http_server(
                    self.settings.metrics_listen_port, address, registry=self.registry
                )
                try:
                    yield
                finally:
                    await asyncio.to_thread(server.shutdown)
                    server.server_close()
            else:
                yield
        finally:
            await runner.cleanup()

    async def _audited(self) -> None:
        """Audit now and then; an API server that does not answer is asked again."""
        while True:
            try:
                await asyncio.to_thread(self.audit.run)
            except Exception as error:  # noqa: BLE001 - whatever the client raises: asked again
                _LOG.warning("the objects could not be listed: %s", error)
            await asyncio.sleep(AUDIT_SECONDS if self.audit.listed else _FIRST_AUDIT_SECONDS)


#: Makes the cluster's side.
Connect = Callable[[Settings, ObjectStore, SystemClock], ClusterSide]


def build(settings: Settings, connect: Connect) -> Operator:
    """Put the operator together; nothing runs yet.

    Raises:
        ValueError: a file of the settings cannot be used; the message names it and its field.
    """
    prices = read_prices(settings.price_table_file) if settings.price_table_file else None
    profiles = load_profiles(settings.metrics_profiles_file)
    time = SystemClock()
    store = ObjectStore(prices=prices or REFERENCE_PRICES, tick_seconds=settings.tick_seconds)
    registry = CollectorRegistry()
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
        registry.register(collector)
    telemetry = Telemetry(registry)
    connection = prometheus_settings(settings)
    client = PrometheusClient(connection)
    telemetry.count("prometheus_queries", "Queries sent to Prometheus.", lambda: client.queries)
    telemetry.count(
        "prometheus_query_errors", "Queries without a usable answer.", lambda: client.failures
    )
    metrics = PrometheusMetrics(client, store, connection, profiles)
    cluster = connect(settings, store, time)
    store.pod_gpus = cluster.pod_gpus
    observer = ClusterObserver(workloads=cluster.workloads, metrics=metrics)
    cluster.observed_by(observer)
    explanations = Explanations(lambda: observer.findings)
    planner = SteelyardPlanner(
        PlannerSettings(prepare_at_once=False, spread_seconds=settings.forecast_spread_seconds)
    )
    archive = PrometheusArchive(client, store, connection, profiles)
    reporter = Reporters((telemetry, explanations, cluster.reporter))

    def new_reconciler() -> Reconciler[History]:
        return Reconciler(
            planner=planner,
            observer=observer,
            archive=archive,
            actuator=WhileLeading(cluster.actuator, cluster.leadership),
            reporter=reporter,
        )

    task = CycleTask(
        objects=store,
        leadership=cluster.leadership,
        new_reconciler=new_reconciler,
        status_writer=cluster.status_writer,
        recorder=CycleRecorder(telemetry=telemetry, explanations=explanations),
        time=time,
        tick_seconds=settings.tick_seconds,
        deadline_seconds=settings.cycle_deadline_seconds,
    )
    audit = Audit(store=store, existing=cluster.existing)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_end() -> None:
        with suppress(RuntimeError):  # the main loop has ended before
            loop.call_soon_threadsafe(stop.set)

    thread = CycleThread(task, on_end)
    silence = 2.0 * (settings.tick_seconds + settings.cycle_deadline_seconds)
    health = Health(
        alive={
            "cycle": stuck("cycle", lambda: task.beat_at_seconds, time.steady, silence),
            "thread": thread.ended_alone,
            "watch": audit.stuck,
        },
        ready={"watch": audit.unlisted, **cluster.ready},
        explanations=explanations,
    )
    return Operator(
        settings=settings,
        store=store,
        cluster=cluster,
        thread=thread,
        audit=audit,
        health=health,
        registry=registry,
        stop=stop,
        closing=(client.close, archive.close, cluster.close),
    )
