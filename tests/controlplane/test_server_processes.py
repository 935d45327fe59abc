"""Servers of the tests: started on free ports, watched, ended for good."""

import sys
from pathlib import Path

import pytest

from controlplane.processes import Server, ServerFailed, free_ports, healthy
from controlplane.waiting import until


def http_server(folder: Path, port: int) -> Server:
    """Return a small HTTP server."""
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    return Server("http", command, folder, lambda: healthy(f"http://127.0.0.1:{port}/"))


def test_ports_are_different() -> None:
    """Ports asked for together are all different."""
    ports = free_ports(20)
    assert len(set(ports)) == 20


def test_a_server_starts_stops_and_starts_again_at_its_address(tmp_path: Path) -> None:
    """It answers while it runs, not after, and again after another start; its log goes on."""
    (port,) = free_ports(1)
    server = http_server(tmp_path, port)
    for _ in range(2):
        server.start()
        server.wait_healthy()
        assert server.health()
        server.stop()
        assert not server.health()
    assert server.log.read_text().count("GET /") >= 4


def test_a_killed_server_is_gone_on_return(tmp_path: Path) -> None:
    """After a kill its process number is free or a stranger's, and it has none."""
    (port,) = free_ports(1)
    server = http_server(tmp_path, port)
    server.start()
    folder = Path("/proc") / str(server.pid)
    assert folder.exists()
    server.kill()
    assert not folder.exists()
    with pytest.raises(ServerFailed, match="not running"):
        _ = server.pid


def test_a_server_that_ends_by_itself_is_an_error_with_its_log(tmp_path: Path) -> None:
    """What it last said is in the error."""
    command = [sys.executable, "-c", "print('no such flag'); raise SystemExit(2)"]
    server = Server("broken", command, tmp_path, lambda: False)
    server.start()
    with pytest.raises(ServerFailed, match=r"ended by itself(.|\n)*no such flag"):
        server.wait_healthy()


def test_a_server_is_not_started_twice(tmp_path: Path) -> None:
    """A second start is refused while the first runs."""
    (port,) = free_ports(1)
    server = http_server(tmp_path, port)
    server.start()
    try:
        with pytest.raises(ServerFailed, match="runs already"):
            server.start()
    finally:
        server.kill()


def test_waiting_in_vain_says_what_for() -> None:
    """The error names what was awaited and how things stood."""
    with pytest.raises(TimeoutError, match="for rain; clouds: 0"):
        until(lambda: False, "rain", seconds=0.0, detail=lambda: "clouds: 0")
