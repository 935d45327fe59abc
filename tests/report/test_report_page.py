"""The page, opened, clicked and read in a headless Chromium."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from controller.core.domain.policy import Slo
from simulations.report.document import ResultsDocument, to_document
from simulations.report.html import render_html
from simulations.results import Comparison

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TIME_PLOTS = ("load", "replicas", "latency", "cost")
PLOTS = ("tradeoff", *TIME_PLOTS)

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None,
    reason="NO CHROMIUM: the report page was NOT opened; install it: apt-get install chromium",
)


@pytest.fixture(scope="module")
def document(make_comparison: Callable[[int], Comparison], slo: Slo) -> ResultsDocument:
    """Six hours of the invented day."""
    return to_document(make_comparison(1440), slo)


@pytest.fixture(scope="module")
def page_file(document: ResultsDocument, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page on disk, as a user opens it."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_html(document), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Opened:
    """A page, what it complained of and what it asked the network for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def plot(self, name: str, expression: str) -> Any:
        """Evaluate an expression of ``plot``, Plotly's element."""
        return self.page.evaluate(
            f"(name) => {{ const plot = document.getElementById(name); return {expression}; }}",
            name,
        )

    def steps(self) -> list[str]:
        """The listed decisions, as text."""
        return self.page.locator("#steps tr").all_inner_texts()

    def select(self, policy: str) -> None:
        """Choose the policy that is shown."""
        self.page.locator("#policies label").filter(has_text=policy).click()


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Opened:
    """One tab for all tests: it keeps Plotly compiled, which is most of opening the page."""
    return Opened(browser.new_page(viewport={"width": 1366, "height": 850}))


@pytest.fixture
def opened(tab: Opened, page_file: Path) -> Iterator[Opened]:
    """The page, freshly opened; nothing may complain or reach for the network in any test."""
    tab.complaints.clear()
    tab.requests.clear()
    tab.page.goto(page_file.as_uri())
    yield tab
    assert tab.complaints == []
    assert [url for url in tab.requests if not url.startswith(("file:", "data:"))] == []


@needs_chromium
def test_every_plot_is_drawn(opened: Opened, document: ResultsDocument) -> None:
    """All plots have their traces, and the traces have been drawn as lines or points."""
    policies = len(document.policies)
    traces = {name: opened.plot(name, "plot.data.length") for name in PLOTS}
    variants, levels = 2, 6
    assert traces == {
        "tradeoff": policies + 1,
        "load": 1 + levels + 1,
        "replicas": 2 * variants + 1,
        "latency": 3,
        "cost": policies,
    }
    drawn = ".querySelectorAll('.scatterlayer .trace path').length"
    for name in PLOTS:
        assert opened.plot(name, f"plot{drawn}") >= traces[name] - 1
    thresholds = opened.plot("latency", "plot.layout.shapes.map((shape) => shape.y0)")
    assert sorted(thresholds) == [1.0, 50.0, 99.0]


@needs_chromium
def test_the_forecast_stands_at_its_target_time(opened: Opened, document: ResultsDocument) -> None:
    """The median is drawn where the forecast was for, not where it was made."""
    steelyard = next(p for p in document.policies if p.name == "steelyard")
    assert steelyard.timeline is not None
    drawn = opened.plot("load", "plot.data[1].x")
    expected = steelyard.timeline.forecast_for_seconds
    assert [x and x / 1000 for x in drawn] == list(expected)


@needs_chromium
def test_another_policy_changes_the_plots(opened: Opened) -> None:
    """Selecting a policy redraws its replicas, latency, forecast and decisions."""
    replicas, latency = "plot.data[1].y", "plot.data[0].y"
    before = opened.plot("replicas", replicas), opened.plot("latency", latency), opened.steps()
    opened.select("static-peak")
    after = opened.plot("replicas", replicas), opened.plot("latency", latency), opened.steps()
    assert all(old != new for old, new in zip(before, after, strict=True))
    assert opened.plot("load", "plot.data.length") == 1
    assert len(set(after[0])) == 1
    opened.select("reference plan")
    assert opened.plot("replicas", "plot.data.length") == 4


@needs_chromium
def test_a_click_on_a_decision_moves_the_marker(opened: Opened) -> None:
    """The marker stands at the decision's time on every plot over time."""

    def markers() -> list[Any]:
        shape = "plot.layout.shapes.find((shape) => shape.name === 'marker')"
        return [opened.plot(name, f"({shape} || {{}}).x0 ?? null") for name in TIME_PLOTS]

    assert markers() == [None] * 4
    seen = []
    for row in (3, 5):
        opened.page.locator("#steps tr").nth(row).click()
        hours, minutes, seconds = map(int, opened.steps()[row].split()[0].split(":"))
        assert markers() == [1000 * (3600 * hours + 60 * minutes + seconds)] * 4
        seen += markers()
    assert len(set(seen)) == 2
    assert opened.page.locator("#steps tr[aria-selected=true]").count() == 1
    opened.select("hpa-queue")
    assert markers() == [None] * 4


@needs_chromium
def test_a_click_on_a_plot_finds_the_decision(opened: Opened) -> None:
    """The last decision at or before the clicked moment is marked in the list."""
    plot = opened.page.locator("#load .nsewdrag").first
    plot.scroll_into_view_if_needed()
    plot.hover()
    plot.click()
    row = opened.page.locator("#steps tr[aria-selected=true]")
    row.wait_for()
    hours, minutes, _ = map(int, row.inner_text().split()[0].split(":"))
    assert 150 < 60 * hours + minutes <= 180


@needs_chromium
def test_search_filters_decisions(opened: Opened) -> None:
    """Only decisions that hold the searched text are listed, and how many is told."""
    everything = opened.steps()
    opened.page.fill("#search", "ReactiveFloor")
    found = opened.steps()
    assert 0 < len(found) < len(everything)
    assert all("ReactiveFloor" in row for row in found)
    assert f"{len(found)} match" in opened.page.inner_text("#found")
    opened.page.fill("#search", "nothing has this")
    assert opened.steps() == []
    opened.page.fill("#search", "")
    assert opened.steps() == everything


@needs_chromium
def test_time_axes_are_linked(opened: Opened) -> None:
    """Zooming one plot zooms all of them; a double click shows everything again."""
    span = "plot.layout.xaxis.range"
    whole = opened.plot("load", span)
    plot = opened.page.locator("#load .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    mouse = opened.page.mouse
    mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 50)
    mouse.down()
    mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 55, steps=4)
    mouse.up()
    ranges = f"{list(TIME_PLOTS)}.map((name) => document.getElementById(name).layout.xaxis.range)"
    opened.page.wait_for_function(f"() => {ranges}.every((range) => range[0] > 0)")
    assert len({tuple(opened.plot(name, span)) for name in TIME_PLOTS}) == 1
    opened.select("hpa-queue")
    assert opened.plot("load", span) == opened.plot("cost", span) != whole
    opened.page.locator("#load .nsewdrag").first.dblclick()
    opened.page.wait_for_function(f"() => {ranges}.every((range) => range[0] === 0)")
    assert [opened.plot(name, span) for name in TIME_PLOTS] == [whole] * 4


@needs_chromium
def test_cost_can_be_shown_in_total(opened: Opened, document: ResultsDocument) -> None:
    """Above the plan the lines end at the difference, in total at the cost, the plan among them."""
    ends = "plot.data.map((trace) => trace.y.at(-1))"
    plan = document.reference_plan_cost
    assert plan is not None
    above = opened.plot("cost", ends)
    assert above == pytest.approx([p.cost - plan for p in document.policies], abs=0.02)
    opened.page.click("#cost-total")
    costs = [p.cost for p in document.policies]
    assert opened.plot("cost", ends) == pytest.approx([*costs, plan], rel=1e-5)


@needs_chromium
def test_a_click_in_the_tradeoff_selects_the_policy(opened: Opened) -> None:
    """The point of a policy is a way to its replay."""
    opened.page.evaluate(
        "document.getElementById('tradeoff').emit('plotly_click',"
        " {points: [{customdata: 'hpa-queue'}]})"
    )
    assert opened.page.locator("#policies input:checked").input_value() == "hpa-queue"


@needs_chromium
def test_names_are_shown_not_interpreted(opened: Opened) -> None:
    """Markup in a name is text in tables, buttons and plots."""
    hostile = "hpa-running </script><b>"
    assert opened.page.locator("table.figures th", has_text=hostile).count() == 2
    assert opened.page.locator("#policies label", has_text=hostile).count() == 1
    legend = opened.page.locator("#cost .legendtext").all_text_contents()
    assert hostile in legend


@needs_chromium
def test_nothing_offers_to_send_data_away(opened: Opened) -> None:
    """No button of a plot uploads it, and no link leads out of the page."""
    opened.page.locator("#load").hover()
    titles = opened.page.locator(".modebar-btn").evaluate_all(
        "(buttons) => buttons.map((button) => button.dataset.title)"
    )
    assert titles
    assert not [title for title in titles if re.search("cloud|share|edit", title, re.IGNORECASE)]
    assert opened.page.locator("a[href^=http]").count() == 0


@needs_chromium
def test_results_without_timelines_still_make_a_page(
    tab: Opened,
    make_comparison: Callable[[int], Comparison],
    slo: Slo,
    tmp_path: Path,
) -> None:
    """Tables and the trade-off are shown, and the page says what is missing."""
    path = tmp_path / "short.html"
    figures = to_document(make_comparison(1440), slo, timeline_points=None)
    path.write_text(render_html(figures), encoding="utf-8")
    tab.complaints.clear()
    tab.page.goto(path.as_uri())
    assert tab.plot("tradeoff", "plot.data.length") == 5
    assert tab.page.locator("#policies").count() == 0
    assert "without timelines" in tab.page.inner_text("main")
    assert tab.complaints == []


def test_the_page_is_one_file_that_may_not_connect(page_file: Path) -> None:
    """No tag loads anything, and the policy in the page would forbid it."""
    text = page_file.read_text(encoding="utf-8")
    head = text[: text.index("<style>")]
    assert "default-src 'none'" in head
    assert "connect-src" not in head
    assert not re.search(r"<(script|img|iframe)[^>]*\ssrc=|<link[^>]*href=\"(?!data:)", text)


def test_the_payload_cannot_end_its_script(page_file: Path) -> None:
    """A name that closes a script tag stays inside the data."""
    text = page_file.read_text(encoding="utf-8")
    assert text.count("</script>") == 3


def test_unknown_figures_make_a_page(document: ResultsDocument) -> None:
    """Null figures are dashes, and a void scenario is called void."""
    unknown = document.policies[0].model_copy(update={"attainment": None, "forecast": None})
    changed = document.model_copy(
        update={
            "policies": (unknown,),
            "ceiling": 0.5,
            "lower_bound_cost": None,
            "reference_plan_cost": None,
        }
    )
    text = render_html(changed)
    assert "This scenario is void" in text
    assert "no policy attained" in text
    assert "nan" not in text[: text.index("<script>")].lower()
