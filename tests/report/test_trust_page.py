"""How far the simulator can be trusted: a hand-made document as a page, in summary and as JSON."""

import json
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from simulations.trust.document import (
    CapacityPart,
    ErrorPart,
    FleetPart,
    OverloadPart,
    PointPart,
    TrustDocument,
    UncheckedPart,
    VectorPart,
    groups_of,
)
from simulations.trust.html import render_page, trust_section_html
from simulations.trust.summary import Limit, lines

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
HOSTILE = "gpu </script><b>"


def point(name: str, kind: str, measured: float, simulated: float, replica: str) -> PointPart:
    """A point of which only the times and what it times matter."""
    return PointPart(
        name=name,
        replica=replica,
        kind=kind,
        trust="measured" if kind == "serve" else "interpolated from measured kernels",
        concurrency=8,
        prompt_tokens=100 if kind == "serve" else None,
        output_tokens=10 if kind == "serve" else None,
        context_tokens=None if kind == "serve" else 100,
        measured_milliseconds=measured,
        simulated_milliseconds=simulated,
    )


def fleet(mix: str, error: float | None, from_means: float | None) -> FleetPart:
    """A fleet of which only the mix and the errors matter."""
    return FleetPart(
        mix=mix,
        fleet="2 fast",
        law="Shared",
        balancing="LeastLoaded",
        tpot_seconds=0.05,
        queue_limit=None,
        engine=20.0,
        error=error,
        error_from_means=from_means,
    )


def vector(file: str, answers: int, agreeing: int, worst: float | None) -> VectorPart:
    """A file of one law's answers."""
    return VectorPart(
        law="law",
        file=file,
        peer="peer",
        version="v1",
        answers=answers,
        agreeing=agreeing,
        worst_error=worst,
    )


@pytest.fixture
def document() -> TrustDocument:
    """Every kind of row, among them errors beyond a limit and a name that is markup."""
    points = (
        point("A1", "serve", 10.0, 10.4, HOSTILE),
        point("A2", "serve", 20.0, 19.8, "other"),
        point("A3", "decode", 10.0, 12.0, HOSTILE),
    )
    return TrustDocument(
        points=points,
        point_groups=groups_of(points),
        capacities=(
            CapacityPart(
                fleet="4 fast",
                law="Shared",
                balancing="PerEndpoint",
                tpot_seconds=0.05,
                prototype=80.0,
                engine=82.0,
                model=76.0,
            ),
        ),
        overloads=(
            OverloadPart(
                fleet="4 fast",
                tpot_seconds=0.05,
                queue_limit=None,
                overload=1.2,
                seconds=60.0,
                prototype=2.0,
                engine=3.0,
                standard_error=0.1,
                apart=True,
                model=2.5,
            ),
        ),
        fleets=(fleet("chat", 0.1, 0.5), fleet("chat", -0.2, None), fleet("long", None, None)),
        vectors=(vector("law-a", 1000, 1000, 0.0), vector("law-b", 234, 230, None)),
        unchecked=(
            UncheckedPart(name="one", reason="no law"),
            UncheckedPart(name="two", reason="no law"),
        ),
        missing=("no trace at /there",),
    )


def test_errors_are_summed_up_by_kind_and_replica(document: TrustDocument) -> None:
    """Bias keeps its sign, mean and worst are of sizes, and all replicas come first."""
    groups = [(g.kind, g.replica, g.errors.rows) for g in document.point_groups]
    assert groups == [
        ("serve", None, 2),
        ("serve", HOSTILE, 1),
        ("serve", "other", 1),
        ("decode", None, 1),
        ("decode", HOSTILE, 1),
    ]
    served = document.point_groups[0].errors
    assert served.mean == pytest.approx(0.015)
    assert served.mean_absolute == pytest.approx(0.025)
    assert served.worst == pytest.approx(0.04)
    assert ErrorPart.of([]) is None


def test_a_limit_holds_mean_and_worst() -> None:
    """Errors at the limit keep to it; beyond either they do not."""
    errors = ErrorPart.of([0.02, -0.04])
    assert errors is not None
    assert Limit(mean=0.03, worst=0.04).met(errors)
    assert not Limit(mean=0.029).met(errors)
    assert not Limit(worst=0.039).met(errors)


def test_the_summary_has_a_line_for_every_comparison(document: TrustDocument) -> None:
    """Each comparison stands once, with the limit it keeps or breaks and what is left out of it."""
    found = {line.ours: line for line in lines(document)}
    held = {
        ours: line.limit.met(line.errors) for ours, line in found.items() if line.limit is not None
    }
    assert held == {
        "engine, inter-token time": True,
        "engine, one decode pass": False,
        "engine, capacity of fleets": True,
        "capacity model, capacity of fleets": True,
    }
    assert found["engine, misses in overloads"].note.startswith("1 of 1 further apart")
    assert found["capacity model, told the mix's shape"].errors.rows == 2
    assert found["capacity model, told its means alone"].errors.worst == 0.5


def test_nothing_compared_is_said_and_not_zero(document: TrustDocument) -> None:
    """With nothing beside the checkout there are no rows, and the page names what is missing."""
    empty = TrustDocument(
        points=(),
        point_groups=(),
        capacities=(),
        overloads=(),
        fleets=(),
        vectors=(),
        unchecked=document.unchecked,
        missing=("no measured times at /there", "no vectors at <here>"),
    )
    assert lines(empty) == []
    section = trust_section_html(empty)
    assert "Not compared: no measured times at /there." in section
    assert "no vectors at &lt;here&gt;" in section
    assert 'trust-scatter" class' not in section
    assert "agree" not in section
    assert "one, two: no law." in section


def test_disagreement_and_unknown_figures_are_shown(document: TrustDocument) -> None:
    """A wrong answer is marked, an error that is no number is said, an unmet SLO is a dash."""
    section = trust_section_html(document)
    assert re.search(r"1,230 agree <span class=\"unmet\">", section)
    assert "no number" in section
    assert re.search(r"worst ≤ 11 % <span class=\"unmet\">", section)
    assert re.search(r'<span class="unmet">3.00</span>', section)
    long = section[section.index('<th scope="row">long</th>') :]
    assert long[: long.index("</tr>")].count("<td>-</td>") == 6


def test_names_cannot_break_the_page(document: TrustDocument) -> None:
    """Markup in names is text, also inside the data of the plot; nothing may be loaded."""
    page = render_page(document)
    assert HOSTILE not in page
    assert page.count("</script>") == 3
    head = page[: page.index("<style>")]
    assert "default-src 'none'" in head
    assert not re.search(r"<(script|img|iframe)[^>]*\ssrc=|<link[^>]*href=\"(?!data:)", page)


def test_the_file_is_read_back_as_it_was(document: TrustDocument) -> None:
    """The JSON has camel-case keys, null for what is unknown, and loses nothing."""
    text = document.to_text()
    assert json.loads(text)["fleets"][1]["errorFromMeans"] is None
    assert TrustDocument.model_validate_json(text) == document


@pytest.mark.skipif(
    CHROMIUM is None,
    reason="NO CHROMIUM: the page was NOT opened; install it: apt-get install chromium",
)
def test_the_scatter_is_drawn(document: TrustDocument, tmp_path: Path) -> None:
    """Each kind of point is a cloud of its own around the line of equality, names as text."""
    path = tmp_path / "trust.html"
    path.write_text(render_page(document), encoding="utf-8")
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1366, "height": 850})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        clouds = page.evaluate(
            "document.getElementById('trust-scatter').data"
            ".filter((trace) => trace.mode === 'markers').map((t) => [t.name, t.x, t.y, t.text])"
        )
        browser.close()
    assert complaints == []
    assert sorted((name, xs, ys) for name, xs, ys, _ in clouds) == [
        ("decode, interpolated from measured kernels", [10], [12]),
        ("serve, measured", [10, 20], [10.4, 19.8]),
    ]
    assert all("&lt;/script&gt;" in texts[0] for *_, texts in clouds)
