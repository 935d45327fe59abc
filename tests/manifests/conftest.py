"""Every build of manifests/, as objects."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from controlplane.programs import Programs

MANIFESTS = Path(__file__).parents[2] / "manifests"

Objects = tuple[dict[str, Any], ...]


def _build(kubectl: Path, folder: Path) -> Objects:
    # Only the kind cluster's workload takes files from beside its folder: the samples as they are.
    anywhere = ("--load-restrictor", "LoadRestrictionsNone") if folder.name == "serving" else ()
    done = subprocess.run(  # noqa: S603 - kubectl, on a folder of ours
        [str(kubectl), "kustomize", *anywhere, str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # deprecations are told there
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


@pytest.fixture(scope="session")
def kustomize(control_plane_programs: Programs) -> Callable[[Path], Objects]:
    """Build one folder."""
    kubectl = control_plane_programs.path("kubectl")
    return lambda folder: _build(kubectl, folder)


@pytest.fixture(scope="session")
def builds(kustomize: Callable[[Path], Objects]) -> Mapping[str, Objects]:
    """What kustomize makes of every overlay, and of every part of the kind cluster."""
    folders = {
        name: MANIFESTS / "overlays" / name
        for name in ("cluster-wide", "single-namespace", "recommend-only")
    } | {
        f"kind-{name}": MANIFESTS / "kind" / name for name in ("operator", "prometheus", "serving")
    }
    return MappingProxyType({name: kustomize(folder) for name, folder in folders.items()})
