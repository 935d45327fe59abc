"""Which programs the control plane is made of, and where this machine has them."""

import fcntl
import hashlib
import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane import building

_GO = Path(__file__).parent / "go"


class ProgramsUnavailable(RuntimeError):  # noqa: N818 - named after what it is
    """The programs are not here and cannot be built; the text says why."""


@dataclass(frozen=True)
class Programs:
    """A folder that holds every program of the control plane."""

    folder: Path

    def path(self, name: str) -> Path:
        """Return where a program lies."""
        return self.folder / name


def _required(module: str, of: str) -> str:
    """Return the version of ``of`` that a go.mod pins, so that no second place names it."""
    line = re.compile(rf"^\s*(?:require )?{re.escape(of)} (v\S+)", re.MULTILINE)
    found = line.search(_read(module, "go.mod"))
    if found is None:
        raise ValueError(f"{_GO / module / 'go.mod'} pins no {of}")
    return found.group(1)


def _read(module: str, name: str) -> str:
    return (_GO / module / name).read_text(encoding="utf-8")


def modules() -> tuple[building.Module, ...]:
    """Return what is built from what."""
    kubernetes = _required("kubernetes", "k8s.io/kubernetes")
    major, minor, _ = kubernetes.removeprefix("v").split(".", 2)
    version = "k8s.io/component-base/version"
    return (
        building.Module(
            folder=_GO / "kubernetes",
            packages={
                "etcd": "go.etcd.io/etcd/server/v3",
                "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
                "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
                "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
                "kubectl": "k8s.io/kubernetes/cmd/kubectl",
                "kwok": "sigs.k8s.io/kwok/cmd/kwok",
            },
            # Without it every server calls itself v0.0.0, and clients refuse or warn.
            linker=(
                f"-X {version}.gitVersion={kubernetes}",
                f"-X {version}.gitMajor={major}",
                f"-X {version}.gitMinor={minor}",
            ),
        ),
        building.Module(
            folder=_GO / "prometheus",
            packages={
                name: f"github.com/prometheus/prometheus/cmd/{name}"
                for name in ("prometheus", "promtool")
            },
            # The other discoveries pull in every cloud's client library.
            tags=("remove_all_sd", "enable_kubernetes_sd"),
        ),
    )


def names() -> tuple[str, ...]:
    """Return the programs there must be."""
    return tuple(name for module in modules() for name in module.packages)


def find_programs(report: Callable[[str], None]) -> Programs:
    """Return the programs, building them where this machine has none yet (some 15 CPU-minutes).

    Raises:
        ProgramsUnavailable: with the reason and what would help.
    """
    given = os.environ.get("KUBEBUILDER_ASSETS")
    if given:
        missing = _missing(Path(given))
        if not missing:
            return Programs(Path(given))
        report(f"KUBEBUILDER_ASSETS={given} lacks {', '.join(missing)}: using our own build")
    folder = cache_folder()
    if _missing(folder):
        try:
            with _locked(folder.with_suffix(".lock"), report):
                if _missing(folder):  # else another worker has built them meanwhile
                    building.build(modules(), folder, report)
        except (building.BuildFailed, OSError) as error:
            raise ProgramsUnavailable(
                f"the control plane's programs could not be built: {error}\n"
                f"Set KUBEBUILDER_ASSETS to a folder with {', '.join(names())}, or install Go."
            ) from error
    return Programs(folder)


def cache_folder() -> Path:
    """Return the folder of this build: another version or flag is another folder."""
    digest = hashlib.sha256(f"{platform.system()} {platform.machine()}".encode())
    for module in modules():
        for part in (
            _read(module.folder.name, "go.mod"),
            _read(module.folder.name, "go.sum"),
            *module.flags(),
            *module.packages.values(),
        ):
            digest.update(part.encode())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "steelyard" / f"controlplane-{digest.hexdigest()[:16]}"


def _missing(folder: Path) -> list[str]:
    return [name for name in names() if not os.access(folder / name, os.X_OK)]


@contextmanager
def _locked(path: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Hold a lock on a file, which the kernel gives back however its holder ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("another process is building the control plane's programs: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
