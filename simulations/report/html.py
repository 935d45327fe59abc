"""The report as one self-contained HTML page: no request leaves the reader's machine.

Tables are rendered here; plots are drawn in the reader's browser by ``page/page.js`` from the
results document, which the page carries. A content security policy forbids every connection.
"""

import math
from importlib.resources import files
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from simulations.report.columns import Column, Columns, column_groups, count, money, percent, ratio
from simulations.report.document import PolicyPart, ResultsDocument
from simulations.report.savings import savings_sentence

#: Headings of the tables; each takes two of the column groups.
_CAPTIONS = ("Cost and service", "Behaviour and forecast")


def _asset(name: str) -> Markup:
    """A file of the page that is ours, hence inserted as it is."""
    text = files("simulations.report").joinpath("page", name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - a file of this package, not input


def _spans(columns: Columns) -> list[tuple[str, int]]:
    """The upper row of headings: text and the number of columns it stands over."""
    runs: list[tuple[str, int]] = []
    for over, run in groupby(columns, key=lambda column: column.over):
        width = len(list(run))
        runs.extend([(over, width)] if over else [("", 1)] * width)
    return runs


def _duration(document: ResultsDocument) -> str | None:
    """How long the replay was, from the longest timeline; None without timelines."""
    ends = [p.timeline.at_seconds[-1] for p in document.policies if p.timeline is not None]
    if not ends:
        return None
    hours = max(ends) / 3600.0
    if hours < 2.0:
        return f"{60.0 * hours:.0f} minutes"
    return f"{hours:.3g} hours" if hours < 48.0 else f"{hours / 24.0:.3g} days"


def _objectives(document: ResultsDocument) -> str:
    """The SLO in words."""
    parts = []
    if document.slo.ttft_seconds is not None:
        parts.append(f"TTFT ≤ {1000 * document.slo.ttft_seconds:g} ms")
    if document.slo.tpot_seconds is not None:
        parts.append(f"TPOT ≤ {1000 * document.slo.tpot_seconds:g} ms")
    return f"{100 * document.slo.target:.4g} % of requests with {' and '.join(parts) or 'no limit'}"


def _bar(column: Column, policy: PolicyPart, document: ResultsDocument) -> str | None:
    """Length of the bar under a cost, in percent of the dearest policy's; None for no bar."""
    if column.heading != "cost":
        return None
    dearest = max(p.cost for p in document.policies)
    return f"{100 * policy.cost / dearest:.1f}%" if dearest > 0 and math.isfinite(dearest) else None


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("simulations.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"count": count, "money": money, "percent": percent, "ratio": ratio}
    return environment


def render_html(document: ResultsDocument) -> str:
    """The whole page."""
    groups = column_groups(document)
    halves = (sum(groups[:2], ()), sum(groups[2:], ()))
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            document=document,
            payload=document.model_dump(by_alias=True, mode="json"),
            tables=[
                (caption, columns, _spans(columns))
                for caption, columns in zip(_CAPTIONS, halves, strict=True)
            ],
            bar=_bar,
            savings=savings_sentence(document),
            objectives=_objectives(document),
            duration=_duration(document),
            requests=max(policy.requests for policy in document.policies),
            style=_asset("page.css"),
            script=_asset("page.js"),
            plotly=Markup(get_plotlyjs()),  # noqa: S704 - the library's own text, not input
        )
    )
