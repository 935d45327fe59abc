"""The scoreboard's page, opened and clicked in a headless Chromium, and the command."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import sync_playwright
from typer.testing import CliRunner

from simulations.cli.app import app
from simulations.peers.registry import peers
from simulations.scoreboard.document import ScoreboardDocument
from simulations.scoreboard.page import render_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
Write: TypeAlias = Callable[..., Path]
KEPT = {"hpa-queue", "static-peak"}
FEW = [known.name for known in peers() if known.name not in KEPT]


@pytest.fixture
def done(write_suite: Write, tmp_path: Path) -> Path:
    """The folder of a small suite that the command ran."""
    suite = write_suite(without=FEW, tuned=False, ablations=True)
    out = tmp_path / "out"
    arguments = ["scoreboard", str(suite), "--out", str(out), "--processes", "2"]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    assert "CPU-hours" in result.output
    assert re.search(r"steelyard +. of 1", result.output), result.output
    again = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert "hpa-queue" in again.output
    return out


@pytest.mark.skipif(
    CHROMIUM is None,
    reason="NO CHROMIUM: the page was NOT opened; install it: apt-get install chromium",
)
def test_the_page_of_a_real_run_opens_and_drills_down(done: Path) -> None:
    """Headline, plots and cells are drawn; a click on a cell lists every policy in it."""
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1366, "height": 850})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((done / "scoreboard.html").as_uri())
        drawn = {
            name: page.evaluate("n => document.getElementById(n).data.length", name)
            for name in ("pareto", "regret")
        }
        assert drawn["pareto"] >= 4
        assert drawn["regret"] >= 6
        page.locator("tr[data-cell=small]").click()
        rows = page.locator("#drill tbody tr").all_inner_texts()
        browser.close()
    assert complaints == []
    document = json.loads((done / "scoreboard.json").read_text())
    assert len(rows) == len(document["standings"])
    assert any(row.startswith("steelyard\t") for row in rows)


def test_a_name_cannot_break_the_page(done: Path) -> None:
    """Texts of others are shown as they are, never run."""
    document = ScoreboardDocument.model_validate_json((done / "scoreboard.json").read_text())
    attack = "</script><script>alert(1)</script>"
    page = render_page(document.model_copy(update={"suite": attack, "description": attack}))
    assert attack not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scoreboard", "quik"], "no file quik"),
        (["scoreboard", "quick", "--cell", "nowhere"], "no cell nowhere; choose from"),
        (["scoreboard", "quick", "--processes", "0"], "--processes: found 0"),
        (["scoreboard", "quick", "--trust", "nowhere.json"], "--trust: nowhere.json cannot be"),
    ],
)
def test_a_wrong_command_says_what_to_write(arguments: list[Any], message: str) -> None:
    """Every error names the option and the fix, and ends with 2."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.output
