"""The cluster of `make cluster` stays up by itself and goes without a trace."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from controlplane import standing
from controlplane.kubectl import kubectl
from controlplane.processes import healthy
from controlplane.programs import Programs

pytestmark = pytest.mark.cluster


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for a cluster, ended with the test whatever happens in it."""
    monkeypatch.setenv("PYTHONPATH", str(Path(standing.__file__).parents[1]))
    yield tmp_path / "cluster"
    standing.down(lambda _: None, tmp_path / "cluster")


def test_a_standing_cluster_outlives_its_starter_and_ends_completely(
    control_plane_programs: Programs, folder: Path
) -> None:
    """Up twice is up once, kubectl works by its kubeconfig, and down leaves nothing."""
    said: list[str] = []
    standing.up(said.append, folder)
    supervisor = standing.holder(folder)
    standing.up(said.append, folder)
    assert standing.holder(folder) == supervisor
    kubeconfig = folder / "kubeconfig"
    assert str(kubeconfig) in said[-1]
    nodes = kubectl(control_plane_programs, kubeconfig, ["get", "nodes"])
    assert nodes.count(" Ready ") == len(standing.GPU_NODES)
    server = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
    answers = f"{server['server']}/readyz"
    certificate = folder.parent / "ca.pem"
    certificate.write_bytes(Path(server["certificate-authority"]).read_bytes())
    assert healthy(answers, certificate)
    standing.down(said.append, folder)
    assert not healthy(answers, certificate)
    assert not folder.exists()
    assert standing.holder(folder) is None


def test_a_killed_supervisor_is_not_taken_for_a_running_one(folder: Path) -> None:
    """The number in the file counts only while its lock is held."""
    folder.mkdir()
    (folder / "supervisor").write_text(f"{os.getpid()}\n")
    assert standing.holder(folder) is None
    said: list[str] = []
    standing.down(said.append, folder)
    assert said == ["no cluster is up"]
