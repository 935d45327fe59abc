"""What the tests are given: one control plane a session, shared by all tests marked `cluster`."""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controlplane.cluster import ControlPlane
from controlplane.kwok import GpuNodes
from controlplane.programs import Programs, ProgramsUnavailable, find_programs
from controlplane.prometheus import Prometheus
from controlplane.waiting import seconds_now

_REQUIRE = "STEELYARD_REQUIRE_CLUSTER"
_FAILED = pytest.StashKey[bool]()
_SKIPPED = "no control plane: "


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "cluster: needs the control plane's programs")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the programs, and keep it on two xdist workers: a control plane is 540 MB.

    Tests of the operator wait in real time for about as long as all the others take.
    """
    for item in items:
        if "control_plane_programs" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")
        if item.get_closest_marker("cluster"):
            apart = item.path.parent.name == "operator"
            item.add_marker(pytest.mark.xdist_group("operator" if apart else "cluster"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Keep the servers' logs where a test failed, and say where they are."""
    report: Any = yield
    plane = getattr(item, "funcargs", {}).get("control_plane")
    if report.failed and isinstance(plane, ControlPlane):
        item.config.stash[_FAILED] = True
        report.sections.append(("control plane", f"logs are kept in {plane.layout.folder}"))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that a whole tier was skipped, with the reason."""
    reasons = {
        report.longrepr[2]
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple) and _SKIPPED in report.longrepr[2]
    }
    for reason in reasons:
        terminalreporter.section("TESTS ON THE CONTROL PLANE WERE SKIPPED", red=True)
        terminalreporter.write_line(f"{reason}\nSet {_REQUIRE}=1 to make this a failure.")


@pytest.fixture(scope="session")
def control_plane_programs(pytestconfig: pytest.Config) -> Programs:
    """The programs: found, or built once on this machine with the progress shown."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def report(line: str) -> None:
        with capture.global_and_fixture_disabled():  # also seen from an xdist worker
            sys.stderr.write(f"\n{line}")
            sys.stderr.flush()

    try:
        return find_programs(report)
    except ProgramsUnavailable as error:
        if os.environ.get(_REQUIRE):
            pytest.fail(f"{_SKIPPED}{error}", pytrace=False)
        pytest.skip(f"{_SKIPPED}{error}")


@pytest.fixture(scope="session")
def control_plane(
    control_plane_programs: Programs, pytestconfig: pytest.Config
) -> Iterator[ControlPlane]:
    """A running control plane with the CRD of ModelDeployments, and no node."""
    plane = ControlPlane.start(control_plane_programs)
    try:
        # Early: objects owned by one of a CRD that is seconds old are collected late.
        plane.apply_crd()
        yield plane
    finally:
        plane.stop(keep_folder=pytestconfig.stash.get(_FAILED, False))


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, deleted when the test ends."""
    readable = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    name = f"{readable}-{int(seconds_now() * 1000) % 10**8}"
    control_plane.create_namespace(name)
    yield name
    control_plane.delete_namespace(name, wait=False)


@pytest.fixture
def gpu_nodes(control_plane: ControlPlane) -> Iterator[GpuNodes]:
    """The fake GPU nodes: none at first, `add(4)` adds some, and all go when the test ends."""
    yield control_plane.nodes
    control_plane.nodes.remove_all()


@pytest.fixture
def start_prometheus(
    control_plane_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Prometheus]]:
    """Start Prometheus servers: `start_prometheus(config, rules=...)`; they end with the test."""
    started: list[Prometheus] = []

    def start(config: dict[str, Any] | None = None, **options: Any) -> Prometheus:
        folder = tmp_path_factory.mktemp("prometheus")
        started.append(Prometheus.start(control_plane_programs, folder, config, **options))
        return started[-1]

    yield start
    for each in started:
        each.server.kill()
        shutil.rmtree(each.folder, ignore_errors=True)
