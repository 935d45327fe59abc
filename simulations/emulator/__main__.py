"""The emulator's command line: serve model servers, and send them load."""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Annotated

import typer
from aiohttp import web

from controller.core.performance.catalog import CATALOG, profile
from simulations.emulator.clock import RunningClock
from simulations.emulator.driver import Driver
from simulations.emulator.emulator import Emulator
from simulations.emulator.families import MetricsVersion
from simulations.emulator.load import LoadTarget, play
from simulations.emulator.replay_order import cut_and_scaled
from simulations.emulator.replayer import Replayer
from simulations.emulator.replica import warm_up
from simulations.emulator.server import Server
from simulations.emulator.view import (
    ClusterSource,
    ClusterView,
    Door,
    PodSpec,
    ServiceSpec,
    StartingCluster,
)
from simulations.traces.errors import InvalidTrace
from simulations.traces.trace import Trace

app = typer.Typer(
    help="Play model servers: the OpenAI API and vLLM's metrics, timed by the simulator's engine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

TraceArgument = Annotated[Path, typer.Argument(help="A trace file of any known format.")]
SpeedOption = Annotated[
    float,
    typer.Option(min=0.001, help="Emulated seconds per real second; load and server must agree."),
]
PeakOption = Annotated[
    float | None, typer.Option("--peak", help="Scale the trace to this peak, in requests/s.")
]
FromOption = Annotated[float, typer.Option("--from", help="First second of the trace played.")]
ToOption = Annotated[float | None, typer.Option("--to", help="Last second of the trace played.")]


def _trace(path: Path, peak: float | None, from_seconds: float, to_seconds: float | None) -> Trace:
    try:
        return cut_and_scaled(path, peak=peak, from_seconds=from_seconds, to_seconds=to_seconds)
    except (InvalidTrace, OSError) as error:
        raise typer.BadParameter(str(error)) from error


def models(texts: list[str]) -> ClusterView:
    """Make pods of ``NAME=PROFILE[:REPLICAS[:QUEUE_LIMIT]]``, each model behind its own Service."""
    pods: list[PodSpec] = []
    services = []
    for text in texts:
        name, _, rest = text.partition("=")
        timing, *counts = rest.split(":")
        if not name or not timing or len(counts) > 2 or not all(map(str.isdecimal, counts)):
            raise typer.BadParameter(f"--model {text}: write NAME=PROFILE[:REPLICAS[:QUEUE_LIMIT]]")
        try:
            known = profile(timing)
        except ValueError as error:
            raise typer.BadParameter(f"--model {text}: {error}") from error
        replicas = int(counts[0]) if counts else 1
        pods += [
            PodSpec(
                namespace="default",
                name=f"{name}-{number}",
                profile=known,
                served_model_name=name,
                labels={"app": name},
                queue_limit=int(counts[1]) if len(counts) == 2 else None,
            )
            for number in range(replicas)
        ]
        services.append(ServiceSpec(namespace="default", name=name, selector={"app": name}))
    return ClusterView(pods=tuple(pods), services=tuple(services))


async def _serve(
    host: str, port: int, server: Server, driver: Driver, follow: asyncio.Task[None] | None
) -> None:
    runner = web.AppRunner(server.application(), access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        typer.echo(f"serving on http://{host}:{port}")
        tasks = [asyncio.create_task(driver.run()), *([] if follow is None else [follow])]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:  # neither ends but by an error
            task.result()
    finally:
        await runner.cleanup()


@app.command()
def serve(  # noqa: PLR0913 - one parameter is one option of the command line
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8001,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Without Kubernetes: NAME=PROFILE[:REPLICAS[:QUEUE_LIMIT]]."),
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(exists=True, help="Play the annotated pods of this cluster.")
    ] = None,
    in_cluster: Annotated[
        bool, typer.Option("--in-cluster", help="Play the pods of the cluster this runs in.")
    ] = False,
    namespace: Annotated[str | None, typer.Option(help="Play this namespace only.")] = None,
    trace: Annotated[Path | None, typer.Option(help="Play this trace, within the process.")] = None,
    door: Annotated[
        str, typer.Option(help="Where the trace goes: services|routes|pods/NAMESPACE/NAME.")
    ] = "",
    cold_start: Annotated[
        float, typer.Option(help="Emulated seconds until the pods of --model are Ready.")
    ] = 0.0,
    start: Annotated[float, typer.Option(help="Emulated seconds before the trace begins.")] = 0.0,
    peak: PeakOption = None,
    from_seconds: FromOption = 0.0,
    to_seconds: ToOption = None,
    speed: SpeedOption = 1.0,
    client_timeout: Annotated[
        float | None, typer.Option(help="Clients give up after so many emulated seconds.")
    ] = None,
    metrics_version: Annotated[
        MetricsVersion, typer.Option(help="Generation of the metrics' names.")
    ] = MetricsVersion.CURRENT,
    stream_interval: Annotated[
        int, typer.Option(min=1, help="Tokens per event of a stream, after the first.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Seed of random routing.")] = 0,
) -> None:
    """Serve the replicas of annotated pods, or of --model, until interrupted."""
    clustered = kubeconfig is not None or in_cluster
    if clustered == bool(model):
        raise typer.BadParameter("give one of --kubeconfig, --in-cluster and --model")
    view = models(model or [])
    replays = []
    if trace is not None:
        try:
            replays.append(
                Replayer(_trace(trace, peak, from_seconds, to_seconds), Door.parse(door), start)
            )
        except ValueError as error:
            raise typer.BadParameter(f"--door: {error}") from error
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    warm_up(next(iter(CATALOG.values())).profile)
    emulator = Emulator(client_timeout_seconds=client_timeout, seed=seed)

    async def main() -> None:
        clock = RunningClock(speed)
        source: ClusterSource = StartingCluster(view, cold_start, clock.emulated_seconds)
        follow = None
        if clustered:
            # Imported only here: the client is large, and a laptop without Kubernetes needs none.
            from simulations.emulator.kubernetes_cluster import (  # noqa: PLC0415 - see above
                KubernetesCluster,
            )

            cluster = KubernetesCluster(kubeconfig, namespace=namespace)
            source, follow = cluster, asyncio.create_task(cluster.run())
        driver = Driver(emulator, source, clock, replays)
        server = Server(driver, metrics_version, stream_interval=stream_interval)
        await _serve(host, port, server, driver, follow)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


@app.command()
def load(
    trace: TraceArgument,
    url: Annotated[str, typer.Option(help="Base URL of the server: what comes before /v1.")],
    model: Annotated[str | None, typer.Option(help="Model to ask for.")] = None,
    speed: SpeedOption = 1.0,
    peak: PeakOption = None,
    from_seconds: FromOption = 0.0,
    to_seconds: ToOption = None,
) -> None:
    """Play a trace over HTTP and report what its clients saw."""
    played = _trace(trace, peak, from_seconds, to_seconds)
    report = asyncio.run(play(played, LoadTarget(url=url, model=model), speed))
    typer.echo(report.text())


if __name__ == "__main__":
    app(prog_name="python -m simulations.emulator")
