"""The document on trust over real measurements and vectors, and without any of them."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulations.bench import capacity_model
from simulations.bench.engine import AZURE
from simulations.cli.app import app
from simulations.peers.registry import peers
from simulations.peers.vectors import VectorSet
from simulations.trust import comparing, golden
from simulations.trust.anchors import POINTS, SHARED
from simulations.trust.document import TrustDocument
from simulations.trust.golden import GOLDEN
from simulations.trust.summary import lines
from simulations.trust.unchecked import unchecked_peers

FILES = ("hpa-pods-default", "inferno-size")


@pytest.fixture(scope="module", autouse=True)
def few() -> Iterator[None]:
    """One capacity and one overload of the prototype, two fleets per mix: the tests' own share."""
    cases, pools, overloads = (
        capacity_model.cases,
        comparing.pool_anchors,
        comparing.overload_anchors,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            comparing,
            "cases",
            lambda mix, ttft: islice((c for c in cases(mix, ttft) if c.tpot_seconds > 0.03), 2),
        )
        patch.setattr(comparing, "pool_anchors", lambda: islice(pools(), 1))
        patch.setattr(comparing, "routing_anchors", lambda: iter(()))
        patch.setattr(comparing, "overload_anchors", lambda: islice(overloads(), 23, 24))
        yield


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> TrustDocument:
    """Everything measured, two files of vectors and one trace."""
    if not all(path.exists() for path in (POINTS, AZURE, GOLDEN)):
        pytest.skip(f"measurements, traces and vectors are not at {SHARED}")
    shared = tmp_path_factory.mktemp("shared")
    (shared / "reference" / "golden").mkdir(parents=True)
    (shared / "traces").mkdir()
    (shared / "reference" / POINTS.name).symlink_to(POINTS)
    (shared / "traces" / AZURE.name).symlink_to(AZURE)
    for file in FILES:
        name = f"{file}.json"
        (shared / "reference" / "golden" / name).symlink_to(GOLDEN / name)
    (shared / "reference" / "golden" / "nobody-knows.json").write_text("{}")
    return comparing.trust_document(shared, processes=1)


def test_every_scored_row_is_beside_the_engine(document: TrustDocument) -> None:
    """All rows that the source scores are compared, and each of our limits is kept."""
    kinds = [(point.kind, point.trust) for point in document.points]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        ("serve", "measured"): 32,
        ("serve", "modelled by the source"): 151,
        ("serve", "published"): 3,
        ("decode", "interpolated from measured kernels"): 198,
        ("prefill", "interpolated from measured kernels"): 96,
    }
    held = [(line.ours, line.limit.met(line.errors)) for line in lines(document) if line.limit]
    assert [ours for ours, met in held if not met] == []
    assert len(held) == 5


def test_fleets_are_beside_prototype_and_model(document: TrustDocument) -> None:
    """Capacities agree within what tests allow, and the model stands on every mix there is."""
    assert abs(document.capacities[0].engine_error) < 0.05
    assert abs(document.capacities[0].model_error) < 0.06
    assert abs(document.overloads[0].engine_error) < 0.15
    assert document.mixes == ["lognormal-1000-200", "azure-2023-conv"]
    assert all(abs(row.error or 1.0) < 0.1 for row in document.fleets)


def test_vectors_are_named_with_peer_and_version(document: TrustDocument) -> None:
    """Each file tells whose answers it holds; one that no law is held to is told as such."""
    rows = {row.file: row for row in document.vectors}
    assert set(rows) == set(FILES)
    assert (rows[FILES[0]].peer, rows[FILES[0]].version) == ("HPA", "v1.37.2")
    assert all(row.answers == row.agreeing > 100 for row in rows.values())
    assert "nobody-knows" in {part.name for part in document.unchecked}
    assert document.missing == ()


def test_what_is_absent_is_told(tmp_path: Path) -> None:
    """Without the shared folder only the made-up mix is compared, and all else is named."""
    found = comparing.trust_document(tmp_path, processes=1)
    assert len(found.missing) == 4
    assert all(str(tmp_path) in text for text in found.missing)
    assert found.mixes == ["lognormal-1000-200"]
    assert (found.points, found.capacities, found.overloads, found.vectors) == ((), (), (), ())


def test_a_law_without_its_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose law cannot be run here is not compared, and the page says what to install."""

    def replay(_: object) -> Iterator[golden.Compared]:
        raise ModuleNotFoundError("No module named 'oracle'", name="oracle")

    vectors = VectorSet(law="oracle", files=("oracle-a",), replay=replay)
    (tmp_path / "reference" / "golden").mkdir(parents=True)
    (tmp_path / "reference" / "golden" / "oracle-a.json").write_text("{}")
    monkeypatch.setattr(comparing, "SETS", (vectors,))
    monkeypatch.setattr(comparing, "mixes", lambda _: iter(()))
    found = comparing.trust_document(tmp_path, processes=1)
    assert found.vectors == ()
    assert found.unchecked[0].name == "oracle-a"
    assert "oracle is not installed" in found.unchecked[0].reason


def test_peers_without_vectors_are_known_peers() -> None:
    """The constants have none, the HPA has, and no name is listed that is no peer."""
    names = [name for name, _ in unchecked_peers()]
    assert len(set(names)) == len(names)
    assert set(names) <= {peer.name for peer in peers()}
    assert {"static-peak", "static-p95", "aibrix-gpu-optimizer"} <= set(names)
    assert "hpa-queue" not in names


def test_the_command_writes_page_and_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary is printed with what is missing; page and JSON are written where asked for."""
    nowhere = tmp_path / "nowhere"
    monkeypatch.setattr(
        "simulations.trust.command.trust_document",
        lambda processes: comparing.trust_document(nowhere, processes),
    )
    html, json = tmp_path / "a" / "trust.html", tmp_path / "trust.json"
    arguments = ["trust", "--html", str(html), "--json", str(json), "--processes", "1"]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "capacity model, told the mix's shape" in result.output
    assert "no vectors at" in result.output
    assert "trust-model" in html.read_text()
    assert TrustDocument.model_validate_json(json.read_text()).missing
    assert CliRunner().invoke(app, ["trust", "--processes", "0"]).exit_code == 2
