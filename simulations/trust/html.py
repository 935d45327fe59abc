"""How far the simulator can be trusted, as a section of a page and as a page of its own.

The section brings its data and its script; the page that it stands in brings the style of
``simulations.report`` and Plotly, anywhere in its body.
"""

from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from simulations.trust.document import ErrorPart, TrustDocument, VectorPart
from simulations.trust.summary import lines


def _asset(package: str, name: str) -> Markup:
    text = files(package).joinpath("page", name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - a file of this project, not input


def _percent(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:+.1f}"


def _figure(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _tiny(value: float | None) -> str:
    """A worst error of vectors: mostly 0, else a power of ten tells most."""
    if value is None:
        return "no number"
    return "0" if value == 0.0 else f"{value:.1e}"


def _laws(document: TrustDocument) -> list[dict[str, Any]]:
    """Vectors by law and version, each with its files."""
    ordered = sorted(document.vectors, key=_law)
    return [
        {"law": law, "peer": peer, "version": version, "vectors": list(vectors)}
        for (law, peer, version), vectors in groupby(ordered, key=_law)
    ]


def _law(vector: VectorPart) -> tuple[str, str, str]:
    return vector.law, vector.peer, vector.version


def _worst(vectors: list[VectorPart]) -> float | None:
    """The largest of the worst errors; None where some file has one that is no number."""
    worst = [vector.worst_error for vector in vectors]
    known = [error for error in worst if error is not None]
    return max(known) if len(known) == len(worst) else None


def _reasons(document: TrustDocument) -> list[tuple[str, list[str]]]:
    """What was not compared, by the reason."""
    found: dict[str, list[str]] = {}
    for part in document.unchecked:
        found.setdefault(part.reason, []).append(part.name)
    return list(found.items())


def _mixes(document: TrustDocument) -> list[tuple[str, ErrorPart | None, ErrorPart | None]]:
    return [
        (mix, document.model_errors(mix), document.model_errors(mix, means=True))
        for mix in document.mixes
    ]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("simulations.trust", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {
        "percent": _percent,
        "signed": _signed,
        "figure": _figure,
        "tiny": _tiny,
        "worst": _worst,
    }
    return environment


def trust_section_html(document: TrustDocument) -> str:
    """The section, which other pages may hold."""
    return (
        _environment()
        .get_template("section.html.j2")
        .render(
            document=document,
            lines=lines(document),
            laws=_laws(document),
            reasons=_reasons(document),
            mixes=_mixes(document),
            answers=sum(vector.answers for vector in document.vectors),
            agreeing=sum(vector.agreeing for vector in document.vectors),
            points=[point.model_dump(by_alias=True, mode="json") for point in document.points],
            script=_asset("simulations.trust", "trust.js"),
        )
    )


def render_page(document: TrustDocument) -> str:
    """A page of the section alone."""
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            section=Markup(trust_section_html(document)),  # noqa: S704 - made here, escaped
            style=_asset("simulations.report", "page.css"),
            plotly=Markup(get_plotlyjs()),  # noqa: S704 - the library's own text, not input
        )
    )
