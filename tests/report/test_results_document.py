"""The results file: documented keys, unknowns as null, and the same document when read back."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.core.domain.policy import Slo
from simulations.report.document import InvalidResults, ResultsDocument, from_text, to_document
from simulations.results import Comparison, Percentiles

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "results-format.md"

#: The keys promised to readers of the file, in this order, before any others.
POLICY_KEYS = [
    "name",
    "cost",
    "costOverReferencePlan",
    "attainment",
    "degradedShare",
    "requests",
    "good",
    "refused",
    "ttftSeconds",
    "tpotSeconds",
    "churn",
    "startingGpuHours",
    "forecast",
    "planSeconds",
]


@pytest.fixture
def comparison(make_comparison: Callable[[int], Comparison]) -> Comparison:
    """Six hours of the invented day."""
    return make_comparison(1440)


@pytest.fixture
def document(comparison: Comparison, slo: Slo) -> ResultsDocument:
    """Its document."""
    return to_document(comparison, slo)


def _paths(value: Any, path: str = "") -> Iterator[str]:
    """Every key's path; lists of objects are walked by their first element."""
    if isinstance(value, dict) and not path.endswith("coverage"):
        for key, inner in value.items():
            yield from _paths(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from _paths(value[0], f"{path}[]")
    else:
        yield path


def test_promised_keys_come_first_in_their_order(document: ResultsDocument) -> None:
    """The stable keys stand at the front of the file and of every policy."""
    written = json.loads(document.to_text())
    assert list(written)[:5] == [
        "scenario",
        "ceiling",
        "referencePlanCost",
        "lowerBoundCost",
        "policies",
    ]
    steelyard = next(p for p in written["policies"] if p["name"] == "steelyard")
    assert list(steelyard)[: len(POLICY_KEYS)] == POLICY_KEYS
    assert list(steelyard["ttftSeconds"]) == ["p50", "p95", "p99"]
    assert list(steelyard["planSeconds"]) == ["mean", "p99"]
    assert list(steelyard["forecast"]) == [
        "trustedShare",
        "changedDecisionShare",
        "wape",
        "persistenceWape",
        "coverage",
    ]


def test_documented_keys_are_the_written_keys(document: ResultsDocument) -> None:
    """Each key in the file is documented, and each documented key is in the file."""
    lines = DOCUMENTATION.read_text(encoding="utf-8").splitlines()
    documented = {m[1] for line in lines if (m := re.match(r"\| `([^`]+)` \|", line))}
    written = json.loads(document.to_text())
    forecasting = next(p for p in written["policies"] if p["forecast"])
    timeline = forecasting["timeline"]
    produced = set(_paths({**written, "policies": [forecasting | {"timeline": None}]}))
    produced = {p for p in produced if not p.startswith("referencePlan.")} | {"referencePlan"}
    produced |= {"policies[]", "policies[].forecast"} | set(_paths(timeline))
    assert documented == produced


def test_a_document_is_the_same_when_read_back(document: ResultsDocument) -> None:
    """Writing and reading loses nothing."""
    assert from_text(document.to_text()) == document


def test_unknown_figures_are_null(comparison: Comparison, slo: Slo) -> None:
    """NaN and an objective that always holds have no number in the file."""
    nan = float("nan")
    first = replace(
        comparison.policies[0],
        attainment=nan,
        ttft_seconds=Percentiles(p50=nan, p95=nan, p99=nan),
    )
    written = json.loads(
        to_document(
            replace(comparison, ceiling=nan, policies=(first, *comparison.policies[1:])),
            replace(slo, tpot_seconds=float("inf")),
        ).to_text()
    )
    assert written["ceiling"] is None
    assert written["policies"][0]["attainment"] is None
    assert written["policies"][0]["ttftSeconds"]["p99"] is None
    assert written["policies"][0]["timeline"]["ttftP95Seconds"][100] is None
    assert written["slo"] == {"ttftSeconds": 1.0, "tpotSeconds": None, "target": 0.99}


def test_timelines_can_be_left_out(comparison: Comparison, slo: Slo) -> None:
    """Without timelines the file holds the figures alone."""
    document = to_document(comparison, slo, timeline_points=None)
    assert {p.timeline for p in (*document.policies, document.reference_plan)} == {None}
    assert from_text(document.to_text()) == document


def test_steps_carry_replicas_before_and_after(
    comparison: Comparison, document: ResultsDocument
) -> None:
    """A step says what was wanted on the tick before it and from it on."""
    timeline = comparison.policies[1].timeline
    part = document.policies[1].timeline
    assert part is not None
    assert part.steps[0].before is None
    for step, (tick, reason) in zip(part.steps[1:], timeline.reasons[1:], strict=True):
        assert step.at_seconds == timeline.at_seconds[tick]
        assert step.before == tuple(timeline.wanted[tick - 1])
        assert step.after == tuple(timeline.wanted[tick])
        assert step.reason == reason


def test_steps_stay_exact_when_the_timeline_is_shortened(
    comparison: Comparison, document: ResultsDocument, slo: Slo
) -> None:
    """Shortening touches the lists, never the steps."""
    short = to_document(comparison, slo, timeline_points=100)
    for policy, whole in zip(short.policies, document.policies, strict=True):
        assert policy.timeline is not None
        assert whole.timeline is not None
        assert len(policy.timeline.at_seconds) <= 100
        assert policy.timeline.steps == whole.timeline.steps


def test_times_of_a_fortnight_are_exact(comparison: Comparison, slo: Slo) -> None:
    """Rounding of plotted values does not reach times."""
    result = comparison.policies[0]
    late = replace(result.timeline, at_seconds=result.timeline.at_seconds + 1_209_585.0)
    shifted = replace(comparison, policies=(replace(result, timeline=late),))
    timeline = to_document(shifted, slo).policies[0].timeline
    assert timeline is not None
    assert timeline.at_seconds[1] == 1_209_600.0
    assert np.diff(timeline.at_seconds).tolist() == [15.0] * 1439


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda d: d.pop("ceiling"), "ceiling"),
        (lambda d: d["policies"][0].pop("attainment"), "policies.0.attainment"),
        (lambda d: d["policies"][2]["timeline"]["goodShare"].pop(), "goodShare"),
        (lambda d: d["policies"][1]["timeline"]["wanted"].pop(), "wanted"),
        (lambda d: d.update(policies=[]), "policies"),
    ],
)
def test_a_wrong_file_names_the_field(
    document: ResultsDocument, damage: Callable[[dict[str, Any]], object], named: str
) -> None:
    """A file that is not one of ours says which field is wrong."""
    written = json.loads(document.to_text())
    damage(written)
    with pytest.raises(InvalidResults, match=re.escape(named)):
        from_text(json.dumps(written))


def test_a_truncated_file_is_refused() -> None:
    """Half a file is an error of ours, not a traceback of the JSON reader."""
    with pytest.raises(InvalidResults, match="not a results file"):
        from_text('{"scenario": "x", "poli')


def test_best_is_the_cheapest_that_attains_the_target(document: ResultsDocument) -> None:
    """A cheaper policy that misses the target is not the best one."""
    cheap = document.policies[0].model_copy(update={"cost": 1.0, "attainment": 0.98})
    dear = document.policies[0].model_copy(update={"cost": 2.0, "attainment": 0.99})
    changed = document.model_copy(update={"policies": (cheap, dear)})
    assert changed.best is dear
    assert document.model_copy(update={"policies": (cheap,)}).best is None


def test_a_ceiling_below_the_target_makes_the_scenario_void(document: ResultsDocument) -> None:
    """Void is where even unlimited replicas miss the target, and never merely unknown."""
    assert not document.is_void
    assert document.model_copy(update={"ceiling": 0.9899}).is_void
    assert not document.model_copy(update={"ceiling": None}).is_void
