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

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
Write: TypeAlias = Callable[..., Path]
KEPT = {"hpa-queue", "static-peak"}
FEW = [known.name for known in peers() if known.name not in KEPT]


def ran(suite: Path, out: Path, *options: str) -> str:
    """What the command prints that runs this suite into a folder."""
    arguments = ["scoreboard", str(suite), "--out", str(out), "--processes", "2", *options]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.skipif(
    CHROMIUM is None,
    reason="NO CHROMIUM: the page was NOT opened; install it: apt-get install chromium",
)
def test_the_page_of_a_real_run_opens_and_drills_down(write_suite: Write, tmp_path: Path) -> None:
    """A click on a cell lists every policy in it; texts of others are shown and never run."""
    attack = "</script><script>console.error('run')</script>"
    suite = write_suite(without=FEW, tuned=False, ablations=True, description=attack)
    out = tmp_path / "out"
    printed = ran(suite, out)
    assert "CPU-hours" in printed
    assert re.search(r"steelyard +. of 1", printed), printed
    assert "hpa-queue" in ran(suite, out)
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1366, "height": 850})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((out / "scoreboard.html").as_uri())
        drawn = {
            name: page.evaluate("n => document.getElementById(n).data.length", name)
            for name in ("pareto", "regret")
        }
        assert drawn["pareto"] >= 4
        assert drawn["regret"] >= 6
        assert attack in page.inner_text("body")
        page.locator("tr[data-cell=small]").click()
        rows = page.locator("#drill tbody tr").all_inner_texts()
        browser.close()
    assert complaints == []
    document = json.loads((out / "scoreboard.json").read_text())
    assert len(rows) == len(document["standings"])
    assert any(row.startswith("steelyard\t") for row in rows)


def test_a_brief_look_is_at_the_peers_that_are_named(write_suite: Write, tmp_path: Path) -> None:
    """Beside steelyard and the static peak; nothing is tuned or taken away."""
    out = tmp_path / "out"
    ran(write_suite(ablations=True), out, "--policy", "hpa-queue")
    document = json.loads((out / "scoreboard.json").read_text())
    told = {row["name"] for row in document["standings"] if row["family"] != "own"}
    assert told == {"hpa-queue", "static-peak"}
    assert {row["kind"] for row in document["standings"]} == {"default"}
    assert "hold" not in {regret["cause"] for regret in document["regrets"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scoreboard", "quik"], "no file quik"),
        (["scoreboard", "quick", "--cell", "nowhere"], "no cell nowhere; choose from"),
        (["scoreboard", "quick", "--policy", "nobody"], "--policy: no peer nobody; choose from"),
        (["scoreboard", "quick", "--processes", "0"], "--processes: found 0"),
        (["scoreboard", "quick", "--trust", "nowhere.json"], "--trust: nowhere.json cannot be"),
    ],
)
def test_a_wrong_command_says_what_to_write(arguments: list[Any], message: str) -> None:
    """Every error names the option and the fix, and ends with 2."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_a_peer_that_is_left_out_must_exist(write_suite: Write) -> None:
    """A name misspelt in the suite is told, and does not leave the peer in."""
    result = CliRunner().invoke(app, ["scoreboard", str(write_suite(without=["hpa-quue"]))])
    assert result.exit_code == 2
    assert "without: no peer hpa-quue; choose from" in result.output
