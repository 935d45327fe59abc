"""The printed table: every figure at any width, the best marked, savings only where true."""

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from controller.core.domain.policy import Slo
from simulations.report.document import PolicyPart, ResultsDocument, to_document
from simulations.report.savings import savings_sentence
from simulations.report.table import print_comparison
from simulations.results import Comparison


@pytest.fixture
def document(make_comparison: Callable[[int], Comparison], slo: Slo) -> ResultsDocument:
    """Six hours of the invented day, figures only."""
    return to_document(make_comparison(1440), slo, timeline_points=None)


def _printed(document: ResultsDocument, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_comparison(document, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _policy(document: ResultsDocument, name: str, cost: float, attainment: float) -> PolicyPart:
    update = {"name": name, "cost": cost, "attainment": attainment}
    return document.policies[0].model_copy(update=update)


def _of(document: ResultsDocument, *policies: tuple[str, float, float]) -> ResultsDocument:
    parts = tuple(_policy(document, *policy) for policy in policies)
    return document.model_copy(update={"policies": parts})


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_figure_is_cut_off(document: ResultsDocument, width: int) -> None:
    """The table fits its console and still holds every figure whole."""
    text = _printed(document, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    words = text.split()
    for policy in document.policies:
        assert f"{policy.cost:,.2f}" in words
        assert f"{policy.missed:,}" in words
    for heading in ("TTFT", "TPOT", "churn", "persist.", "covered", "plan()", "missed"):
        assert heading in words


@pytest.mark.parametrize("width", [60, 80, 100])
def test_large_figures_and_long_names_are_not_cut_off(
    document: ResultsDocument, width: int
) -> None:
    """A group of columns too wide for the console is split, a long name folded."""
    update = {"requests": 987_654_321, "good": 1, "refused": 987_654_319, "cost": 1_234_567.89}
    update["name"] = "a-policy-with-a-name-longer-than-anyone-needs"
    policies = (document.policies[0].model_copy(update=update), *document.policies[1:])
    text = _printed(document.model_copy(update={"policies": policies}), width)
    assert max(map(len, text.splitlines())) <= width
    for figure in ("987,654,320", "987,654,319", "1,234,567.89"):
        assert figure in text.split()
    assert "…" not in text


def test_wide_console_gets_one_table(document: ResultsDocument) -> None:
    """Parts are for narrow consoles only."""
    narrow, wide = (_printed(document, width) for width in (80, 300))
    assert narrow.count("reference plan") > wide.count("reference plan")
    headings = [line for line in wide.splitlines() if line.strip().startswith("policy ")]
    assert len(headings) == 1


def test_rows_are_sorted_by_cost_and_the_best_is_marked(document: ResultsDocument) -> None:
    """The cheapest comes first; the star stands at the cheapest that attains the target."""
    changed = _of(document, ("dear", 30.0, 1.0), ("cheap", 10.0, 0.9), ("good", 20.0, 0.99))
    rows = [line.strip() for line in _printed(changed, 300).splitlines()]
    words = [word for row in rows for word in row.split()[:2]]
    names = [word for word in words if word in {"dear", "cheap", "good"}]
    assert names[:3] == ["cheap", "good", "dear"]
    assert any(row.split()[:2] == ["*", "good"] for row in rows)


def test_names_are_no_markup(document: ResultsDocument) -> None:
    """A bracketed name is printed as it is."""
    assert "[red]x" in _printed(_of(document, ("[red]x", 10.0, 1.0)), 300)


def test_unknown_figures_are_a_dash_not_zero(document: ResultsDocument) -> None:
    """A policy without attainment or forecast shows dashes."""
    unknown = document.policies[0].model_copy(update={"attainment": None, "forecast": None})
    row = next(
        line
        for line in _printed(document.model_copy(update={"policies": (unknown,)}), 300).splitlines()
        if line.split()[:2] == ["!", unknown.name]
    )
    assert "-" in row.split()


def test_a_void_scenario_says_so(document: ResultsDocument) -> None:
    """A ceiling below the target is told under the table."""
    assert "Void" not in _printed(document, 120)
    assert "Void" in _printed(document.model_copy(update={"ceiling": 0.5}), 120)


def test_savings_name_only_what_was_beaten(document: ResultsDocument) -> None:
    """Cheaper at worse attainment is no saving, nor is dearer at better."""
    changed = _of(
        document,
        ("steelyard", 75.0, 0.992),
        ("beaten", 100.0, 0.992),
        ("better", 100.0, 0.995),
        ("cheaper", 70.0, 0.99),
    )
    sentence = savings_sentence(changed)
    assert sentence == "steelyard: cost 25.0 % below beaten, at equal or better attainment."


def test_no_saving_is_admitted(document: ResultsDocument) -> None:
    """Where nothing was saved the sentence says so."""
    sentence = savings_sentence(_of(document, ("steelyard", 75.0, 0.99), ("x", 70.0, 0.99)))
    assert "below no other policy" in sentence


def test_a_missed_target_is_told_beside_the_saving(document: ResultsDocument) -> None:
    """A saving made short of the target does not stand alone."""
    sentence = savings_sentence(_of(document, ("steelyard", 75.0, 0.98), ("x", 80.0, 0.97)))
    assert "6.2 % below x" in sentence
    assert "short of the target of 99 %" in sentence


def test_a_long_list_of_savings_is_cut(document: ResultsDocument) -> None:
    """The strongest peers are named, the others counted."""
    peers = [(f"peer-{i}", 80.0 + i, 0.99) for i in range(5)]
    sentence = savings_sentence(_of(document, ("steelyard", 75.0, 0.99), *peers))
    assert "below peer-0" in sentence
    assert "peer-3" not in sentence
    assert "more below 2 others" in sentence


def test_a_policy_short_of_the_target_is_marked(document: ResultsDocument) -> None:
    """Without colours, too, one sees who missed the target."""
    text = _printed(_of(document, ("met", 75.0, 0.99), ("short", 70.0, 0.98)), 300)
    assert re.search(r"! +short", text)
    assert not re.search(r"! +met", text)


def test_without_steelyard_the_best_is_the_subject(document: ResultsDocument) -> None:
    """Peers can be compared among themselves."""
    changed = _of(document, ("a", 75.0, 0.99), ("b", 150.0, 0.99), ("c", 10.0, 0.2))
    assert savings_sentence(changed).startswith("a: cost 50.0 % below b")
    none = _of(document, ("c", 10.0, 0.2), ("d", 11.0, 0.2))
    assert savings_sentence(none) == "No policy attained the target of 99 %."
