"""The README's walk-through on `make cluster`, typed as it is written."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.core.domain.decision import Reason
from controlplane import standing
from controlplane.programs import Programs
from controlplane.waiting import until
from walkthrough.pages import README, ROOT, bare, block, lines
from walkthrough.terminal import Terminal

#: Ready and wanted replicas of Primary and Fallback, and the reason, in `kubectl get md`.
ROW = re.compile(
    r"^llama-chat +Auto +0\.99 +(\d+)/(\d+) +(\d+)/(\d+) +(?:[\d.]+ +)?[\d.]+ +([A-Za-z]+) +\w+$",
    re.MULTILINE,
)
BLOCKS = ("cluster", "cluster, afterwards")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The working tree at another place: what it makes (out/) is apart from a person's."""
    clone = tmp_path / "steelyard"
    (clone / ".venv").mkdir(parents=True)
    for path in ROOT.iterdir():
        if path.name not in {"out", ".venv", ".git"}:
            (clone / path.name).symlink_to(path)
    for path in Path(sys.prefix).iterdir():
        if path.name != "installed":
            (clone / ".venv" / path.name).symlink_to(path)
    (clone / ".venv" / "installed").touch()  # as any target of the Makefile leaves it
    return clone


@pytest.fixture
def terminal(control_plane_programs: Programs, clone: Path, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal there; cluster and operator end with the test, whatever happens in it."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    own = {
        "HOME": str(home),
        "KUBEBUILDER_ASSETS": str(control_plane_programs.folder),
        "OMP_NUM_THREADS": "1",
    }
    terminal = Terminal(clone, kept | own, tmp_path / "terminal.log")
    yield terminal
    terminal.close()
    standing.down(lambda _: None, clone / "out" / "cluster")


def rows(shown: str) -> list[tuple[int, ...]]:
    """Ready and wanted of Primary and of Fallback, for each row of `kubectl get md`."""
    return [tuple(map(int, row.groups()[:4])) for row in ROW.finditer(shown)]


class Reader:
    """Types what the README says, and looks whether it is as it says."""

    def __init__(self, terminal: Terminal, clone: Path) -> None:
        self.terminal = terminal
        self.cluster = clone / "out" / "cluster"
        self.operator = 0

    def does(self, line: str) -> None:
        """Type one line; a command that is not known here has no check yet, which is an error."""
        command = bare(line)
        if command.endswith("--watch"):
            self.watches(line)
            return
        looks = [look for begin, look in LOOKS if command.startswith(begin)]
        assert len(looks) == 1, f"the README has a command that nothing is known about: {line}"
        looks[0](self, self.terminal.type(line))

    def is_up(self, _: str) -> None:
        """A supervisor runs."""
        assert standing.holder(self.cluster) is not None

    def has_a_cluster(self, _: str) -> None:
        """The variables point at it; the operator's Python is the project's."""
        shown = self.terminal.type("echo $KUBECONFIG; command -v python")
        assert shown.split() == [
            str(self.cluster / "kubeconfig"),
            str(self.cluster.parents[1] / ".venv/bin/python"),
        ]
        nodes = self.terminal.type("kubectl get nodes")
        assert nodes.count(" Ready ") == len(standing.GPU_NODES) == 6

    def has_model_servers(self, shown: str) -> None:
        """A Service and two Deployments are made."""
        made = re.findall(r"^(.*)/.* created$", shown, re.MULTILINE)
        assert made == ["service", "deployment.apps", "deployment.apps"]

    def has_an_object(self, shown: str) -> None:
        """The ModelDeployment is made."""
        assert shown == "modeldeployment.steelyard.dev/llama-chat created\n"
        assert "thresholdMilliseconds" in self.terminal.type("kubectl explain md.spec --recursive")

    def has_an_operator(self, shown: str) -> None:
        """It runs behind the shell."""
        (number,) = re.findall(r"^\[1\] (\d+)$", shown, re.MULTILINE)
        self.operator = int(number)

    def has_traffic(self, shown: str) -> None:
        """The emulator takes the trace."""
        assert shown.startswith('{"replay":')

    def watches(self, line: str) -> None:
        """The fallback is let go, and more Primary replicas are wanted as the load comes."""

        def followed(shown: str) -> bool:
            seen = rows(shown)
            return any(wanted > ready >= 1 for ready, wanted, *_ in seen) and seen[-1][2:] == (0, 0)

        shown = self.terminal.watch(line, followed, "replicas to follow the load")
        assert shown.splitlines()[0].split() == block(README, "shown").splitlines()[0].split()

    def is_described(self, shown: str) -> None:
        """Conditions, and an Event for every step."""
        for said in ("MetricsFresh", "TargetsScalable", "ScaledUp", "ScaledDown"):
            assert said in shown
        assert re.search(r"bf16 1 -> \d", shown)
        assert "fp8 1 -> 0" in shown

    def is_explained(self, shown: str) -> None:
        """By the operator itself: inputs, forecast, what binds, what was rejected, prices."""
        assert "From the status alone" not in shown
        for said in ("Inputs", "Forecast", "binding: ", "price of a missed request", "Rejected"):
            assert said in shown
        unset = "env -u STEELYARD_EXPLAIN_ENDPOINT"
        short = self.terminal.type(f"{unset} kubectl steelyard explain llama-chat -n serving")
        assert "From the status alone" in short
        assert "--endpoint" in short
        assert "price of a missed request" in short

    def is_paused(self, _: str) -> None:
        """The operator says that it keeps to it, and what is Ready by now."""
        self.terminal.type("kubectl wait md/llama-chat -n serving --for=condition=Paused")
        until(
            lambda: rows(self.terminal.type("kubectl get md -n serving"))[0][0] >= 2,
            "two Ready replicas to be shown",
            detail=self.terminal.shown,
        )

    def is_gone(self, _: str) -> None:
        """Neither operator nor cluster is left."""
        assert standing.holder(self.cluster) is None
        assert not self.cluster.exists()
        until(lambda: not Path(f"/proc/{self.operator}").exists(), "the operator to end")


#: What is looked at after a command that begins so.
LOOKS: tuple[tuple[str, Callable[[Reader, str], None]], ...] = (
    ("make cluster", Reader.is_up),
    (". out/cluster/environment", Reader.has_a_cluster),
    ("kubectl apply -f manifests/samples/walkthrough/model-servers", Reader.has_model_servers),
    ("kubectl apply -f manifests/samples/walkthrough/llama-chat", Reader.has_an_object),
    ("python -m controller", Reader.has_an_operator),
    ("curl ", Reader.has_traffic),
    ("kubectl describe ", Reader.is_described),
    ("kubectl steelyard explain ", Reader.is_explained),
    ("kubectl annotate ", Reader.is_paused),
    ("kill %1; make cluster-down", Reader.is_gone),
)


@pytest.mark.cluster
def test_the_walk_through_goes_as_the_readme_says(terminal: Terminal, clone: Path) -> None:
    """Every command works in the order given, and shows what the reader is told to expect."""
    reader = Reader(terminal, clone)
    for name in BLOCKS:
        for line in lines(README, name):
            reader.does(line)


def test_what_is_shown_is_what_could_be_seen() -> None:
    """The rows in the README are rows of `kubectl get md`, with reasons that exist."""
    _, *shown = block(README, "shown").splitlines()
    found = [ROW.fullmatch(row) for row in shown]
    assert len(found) >= 3
    assert {row.group(5) for row in found if row} <= {reason.value for reason in Reason}
    assert None not in found
