"""The scoreboard as one self-contained HTML page, in the look of the report of one comparison."""

from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from simulations.scoreboard.document import CellPart, ScoreboardDocument, StandingPart, SummaryPart
from simulations.scoreboard.table import HEADINGS, UNKNOWN, cells_of, estimated, headline


def _text(package: str, name: str) -> Markup:
    text = files(package).joinpath("page", name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - a file of this project, not input


def _ratio(value: float | None, digits: int = 3) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def _causes(document: ScoreboardDocument) -> list[str]:
    return list(dict.fromkeys(regret.cause for regret in document.regrets))


def _ablations(document: ScoreboardDocument) -> list[SummaryPart]:
    return [
        summary
        for summary in document.summaries
        if summary.family == "own" and summary.name not in {"steelyard", "reference-plan"}
    ]


def _setting(row: StandingPart) -> str:
    """The setting without the policy's own name."""
    return row.setting.partition(":")[2].replace(",", ", ").replace("_", " ")


def _own(document: ScoreboardDocument, cell: CellPart) -> StandingPart | None:
    return next(
        (row for row in document.of_cell(cell.name) if row.name == "steelyard"),
        None,
    )


def render_page(document: ScoreboardDocument, trust: str = "") -> str:
    """The whole page; ``trust`` is a section of HTML of ours that is put at its end."""
    environment = Environment(
        loader=PackageLoader("simulations.scoreboard", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"ratio": _ratio, "estimated": estimated, "setting": _setting}
    return environment.get_template("scoreboard.html.j2").render(
        document=document,
        payload=document.model_dump(by_alias=True, mode="json"),
        headings=HEADINGS,
        headline=[(summary, cells_of(summary)) for summary in headline(document)],
        ablations=_ablations(document),
        causes=_causes(document),
        own={cell.name: _own(document, cell) for cell in document.cells},
        trust=Markup(trust),  # noqa: S704 - made by simulations.trust, which escapes
        style=_text("simulations.report", "page.css")
        + _text("simulations.scoreboard", "board.css"),
        script=_text("simulations.scoreboard", "board.js"),
        plotly=Markup(get_plotlyjs()),  # noqa: S704 - the library's own text, not input
    )
