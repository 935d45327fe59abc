"""A results document as files."""

from pathlib import Path

from simulations.report.document import ResultsDocument
from simulations.report.html import render_html


def write(document: ResultsDocument, json: Path | None, html: Path | None) -> None:
    """Write the results file and the page, where asked for."""
    for path, text in ((json, document.to_text), (html, lambda: render_html(document))):
        if path is not None:
            path.write_text(text())
