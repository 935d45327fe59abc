"""A control plane that stays up for a person: one supervisor owns its servers until told to end."""

import fcntl
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from controlplane.cluster import ControlPlane
from controlplane.processes import Server, free_ports, healthy
from controlplane.programs import find_programs
from controlplane.prometheus import Prometheus
from controlplane.scraping import emulated_pods
from controlplane.waiting import until

FOLDER = Path(__file__).parents[2] / "out" / "cluster"
NAMESPACE = "serving"
SCRAPE_SECONDS = 5
GPU_NODES = ("NVIDIA-H100-80GB-HBM3",) * 4 + ("NVIDIA-L40S",) * 2
_MODULE = [sys.executable, "-m", "controlplane"]


class NotStarted(RuntimeError):  # noqa: N818 - named after what happened
    """The supervisor ended before the cluster was up; the text ends with its log."""


def holder(folder: Path = FOLDER) -> int | None:
    """Return the process number of the supervisor; None where none runs.

    It holds a lock on the file with its number, so a number left behind by a dead one (which may
    be a stranger's by now) is never taken for it.
    """
    path = folder / "supervisor"
    if not path.exists():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(until(file.readline, "the supervisor to write its number"))
    return None


def up(report: Callable[[str], None], folder: Path = FOLDER) -> None:
    """Start a supervisor and wait until its cluster is up; do nothing where one is.

    Raises:
        ProgramsUnavailable: with the reason.
        NotStarted: with the supervisor's log.
    """
    if holder(folder) is None:
        find_programs(report)  # here, where the progress is seen
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log = folder / "supervisor.log"
        ended = _spawn([*_MODULE, "supervise", str(folder)], log)
        environment = folder / "environment"
        until(lambda: environment.exists() or ended(), "the cluster to be up", seconds=600)
        if not environment.exists():
            raise NotStarted(log.read_text(encoding="utf-8"))
    report((folder / "README").read_text(encoding="utf-8").rstrip())


def down(report: Callable[[str], None], folder: Path = FOLDER) -> None:
    """End the cluster and wait until every process of it is gone."""
    number = holder(folder)
    if number is None:
        report("no cluster is up")
    else:
        os.kill(number, signal.SIGTERM)
        until(lambda: holder(folder) is None, "the cluster to end")
        report("the cluster is down")
    shutil.rmtree(folder, ignore_errors=True)


def supervise(folder: Path) -> None:
    """Run a cluster until a signal, or until its folder is taken away (as `make clean` does)."""
    ending = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    with (folder / "supervisor").open("w") as lock, ExitStack() as running:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        programs = find_programs(print)
        plane = ControlPlane.start(programs, folder)
        running.callback(plane.stop, keep_folder=True)
        plane.apply_crd()
        plane.create_namespace(NAMESPACE)
        for product in GPU_NODES:
            plane.nodes.add_gpu_node(product)
        for name in plane.nodes.names:
            plane.nodes.wait_ready(name)
        emulator, address = _emulator(plane, folder)
        running.callback(emulator.kill)
        emulator.start()
        emulator.wait_healthy()
        config = emulated_pods(plane.kubeconfig, address, scrape_interval_seconds=SCRAPE_SECONDS)
        prometheus = Prometheus.start(programs, folder / "prometheus", config)
        running.callback(prometheus.server.kill)
        _describe(folder, plane, prometheus.url, f"http://{address}")
        while not ending.wait(1.0) and (folder / "supervisor").exists():
            pass


def _spawn(command: list[str], log: Path) -> Callable[[], bool]:
    """Start a process that outlives this one; return the question whether it has ended."""
    number = os.posix_spawn(
        command[0],
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return lambda: os.waitpid(number, os.WNOHANG)[0] == number


def _emulator(plane: ControlPlane, folder: Path) -> tuple[Server, str]:
    """Return what plays the model servers of annotated pods, and its address."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "simulations.emulator", "serve", "--port", str(port)]
    command += ["--kubeconfig", str(plane.kubeconfig)]
    address = f"127.0.0.1:{port}"
    return Server(
        "emulator", command, folder, lambda: healthy(f"http://{address}/healthz")
    ), address


def _describe(folder: Path, plane: ControlPlane, prometheus: str, emulator: str) -> None:
    """Write what a person needs; the environment last, since ``up`` waits for it."""
    environment = folder / "environment"
    programs = plane.layout.programs.folder
    (folder / "README").write_text(
        f"""\
A Kubernetes cluster with {len(GPU_NODES)} fake GPU nodes and the CRD; namespace `{NAMESPACE}`:
  . {environment}    # kubectl, promtool, KUBECONFIG, PROMETHEUS_URL, EMULATOR_URL,
                                       # and the settings of an operator: python -m controller
  kubectl get nodes -L nvidia.com/gpu.product
  kubeconfig  {plane.kubeconfig}
  Prometheus  {prometheus}    # scrapes every Running pod with the annotation
                                       emulator.steelyard.dev/profile
  emulator    {emulator}    # plays those pods
  logs        {folder}/*.log
  make cluster-down    # ends it
""",
        encoding="utf-8",
    )
    health, metrics = free_ports(2)
    # `kubectl steelyard` lies beside this interpreter, as `python` does.
    path = (shlex.quote(str(folder)) for folder in (Path(sys.executable).parent, programs))
    lines = {
        "KUBECONFIG": shlex.quote(str(plane.kubeconfig)),
        "PROMETHEUS_URL": prometheus,
        "EMULATOR_URL": emulator,
        "PATH": ":".join((*path, "$PATH")),
        # An operator outside the cluster, at the pace of a scrape every five seconds.
        "STEELYARD_PROMETHEUS_URL": prometheus,
        "STEELYARD_PROMETHEUS_SCRAPE_SECONDS": str(SCRAPE_SECONDS),
        "STEELYARD_TICK_SECONDS": str(SCRAPE_SECONDS),
        "STEELYARD_LEASE_NAMESPACE": NAMESPACE,
        "STEELYARD_LISTEN_ADDRESS": "127.0.0.1",
        "STEELYARD_HEALTH_LISTEN_PORT": str(health),
        "STEELYARD_METRICS_LISTEN_PORT": str(metrics),
        "STEELYARD_LOG_FORMAT": "text",
        "STEELYARD_EXPLAIN_ENDPOINT": f"http://127.0.0.1:{health}",
    }
    text = "".join(f"export {name}={value}\n" for name, value in lines.items())
    written = folder / "environment.new"
    written.write_text(text, encoding="utf-8")
    written.rename(environment)
