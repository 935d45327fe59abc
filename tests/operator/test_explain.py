"""The account of a decision: as JSON over HTTP, as text, and out of the status alone."""

import asyncio
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from aiohttp.test_utils import TestClient, TestServer
from rich.console import Console
from typer.testing import CliRunner

from controller.api.conversion.findings import Assessment
from controller.api.conversion.status import to_status
from controller.operator import explain
from controller.operator.explanation import Explanations, explained, explained_by_status
from controller.operator.health import Check, Health, stuck
from controller.ports import Conflict, Report

MakeReport = Callable[..., Report]
MakeBody = Callable[..., dict[str, Any]]


def text_of(document: dict[str, Any]) -> str:
    """What a person reads."""
    out = io.StringIO()
    explain.render(document, Console(file=out, width=160))
    return out.getvalue()


def status_of(report: Report, now: float) -> Any:
    """The status as the operator writes it."""
    planned, standing = report.planned, report.planned.decision.standing
    assert standing is not None
    return to_status(
        planned.policy,
        planned.observation,
        planned.decision,
        now=now,
        generation=1,
        assessment=Assessment(
            attainment=standing.attainment,
            errors_left=standing.errors_left,
            forecast_error=standing.forecast_error,
            forecast_coverage=standing.forecast_coverage,
            cold_start_seconds=standing.cold_start_seconds,
            capacities=standing.capacities,
            static_peak_cost_per_hour=standing.static_peak_cost_per_hour,
        ),
    )


def test_the_text_has_everything_a_decision_was_made_of(
    make_report: MakeReport, now: float
) -> None:
    """Inputs, forecast, binding constraint, rejected alternatives and both prices."""
    text = text_of(explained(make_report(), now))
    for part in (
        "serving/llama-chat",
        "20 requests/s, 1000 prompt and 200 output tokens each, 5 s old",
        "persistence, trusted: 21 requests/s in 150 s, at most 27",
        "error (WAPE) 0.12, below its 0.95 quantile 0.94 of the time",
        "0.991 to 0.995",
        "bf16 5, fp8 0 at 20 an hour",
        "binding: CheapestWithinBudgets",
        "price of a missed request 0.0125, of a degraded one 0.0005",
        "Optimise: CheapestWithinBudgets 4+0 -> 5+0",
        "FallbackNotCheaper",
    ):
        assert part in text
    (rejected,) = [line for line in text.splitlines() if "FallbackNotCheaper" in line]
    assert rejected.split() == ["4+1", "21.5", "0.25", "1.5", "FallbackNotCheaper"]


def test_what_is_missing_is_said(make_report: MakeReport, now: float) -> None:
    """Missing is no zero: the reason stands in its place, and a problem is shown."""
    report = replace(make_report(blind=True), problem=Conflict("changed since it was read"))
    text = text_of(explained(report, now, "no series of llama-3.1-8b; there are some of qwen"))
    assert "Metrics: no series of llama-3.1-8b; there are some of qwen" in text
    assert "arrivals: missing (Stale)" in text
    assert "none: nothing was seen yet" in text
    assert "Problem: changed since it was read" in text


def test_the_status_alone_tells_the_short_form(
    make_report: MakeReport, make_body: MakeBody, now: float
) -> None:
    """The same layout with what a status holds: prices and steps too, no rejected ones."""
    status = status_of(make_report(), now)
    document = explained_by_status("serving", "llama-chat", make_body()["spec"], status)
    assert document.keys() == explained(make_report(), now).keys()
    text = text_of({**document, "note": "the operator was not reached"})
    for part in (
        "From the status alone: the operator was not reached",
        "persistence: 21 requests/s in 150 s, at most 27",
        "bf16 5, fp8 0 at 20 an hour",
        "price of a missed request 0.0125, of a degraded one 0.0005",
        "Optimise: CheapestWithinBudgets 5+0",
    ):
        assert part in text
    assert "Rejected" not in text


def test_an_object_never_decided_on_is_explained_too(make_body: MakeBody) -> None:
    """An empty status is shown as such, without an error."""
    document = explained_by_status(
        "serving", "llama-chat", make_body()["spec"], explain.read_status({})
    )
    assert "none yet" in text_of(document)


def answers(health: Health, *paths: str) -> list[tuple[int, str]]:
    """Status and text of some requests to the health port."""

    async def ask() -> list[tuple[int, str]]:
        async with TestClient(TestServer(health.application())) as client:
            found = []
            for path in paths:
                async with client.get(path) as answer:
                    found.append((answer.status, await answer.text()))
            return found

    return asyncio.run(ask())


def a_health(
    *, alive: Check = lambda: None, ready: Check = lambda: None, explanations: Any = None
) -> Health:
    """Probes that pass unless told."""
    return Health(
        alive={"cycle": alive},
        ready={"watch": ready},
        explanations=explanations or Explanations(dict),
    )


def test_the_operator_answers_with_its_last_account(make_report: MakeReport, now: float) -> None:
    """What is not finite is null, what was not decided is 404 with a reason."""
    explanations = Explanations(dict)
    report = make_report()
    decision = replace(report.planned.decision, capacity_requests_per_second=float("nan"))
    report = replace(report, planned=replace(report.planned, decision=decision))
    asyncio.run(explanations.report([report], now))
    (known, text), (unknown, error) = answers(
        a_health(explanations=explanations), "/explain/serving/llama-chat", "/explain/serving/no"
    )
    assert (known, unknown) == (200, 404)
    assert json.loads(text)["decision"]["capacityRequestsPerSecond"] is None
    assert json.loads(text)["rejected"][0]["costPerHour"] == 21.5
    assert "serving/no" in json.loads(error)["error"]


def test_probes_say_what_is_wrong() -> None:
    """Not ready is not dead; dead is neither."""
    fine = answers(a_health(), "/healthz", "/readyz")
    assert fine == [(200, "ok\n"), (200, "ok\n")]
    starting = answers(a_health(ready=lambda: "not listed yet"), "/healthz", "/readyz")
    assert starting == [(200, "ok\n"), (503, "watch: not listed yet\n")]
    dead = answers(a_health(alive=lambda: "stuck"), "/healthz", "/readyz")
    assert [code for code, _ in dead] == [503, 503]


def test_a_beat_that_is_too_old_is_stuck() -> None:
    """Up to the limit all is well; after it the probe names what is stuck, and for how long."""
    check = stuck("cycle", lambda: 100.0, lambda: 160.0, 60.0)
    assert check() is None
    check = stuck("cycle", lambda: 99.0, lambda: 160.0, 60.0)
    assert check() == "cycle: no sign of life for 61 s"


@pytest.fixture
def cluster(
    monkeypatch: pytest.MonkeyPatch, make_report: MakeReport, make_body: MakeBody, now: float
) -> None:
    """An API server with one object, and an operator that cannot be reached."""
    body = {**make_body(), "status": status_of(make_report(), now).as_document()}
    monkeypatch.setattr(explain, "_client", lambda _: None)
    monkeypatch.setattr(explain, "_namespace_of", lambda _: "serving")

    def an_object(client: Any, namespace: str, name: str) -> dict[str, Any]:
        del client
        if (namespace, name) != ("serving", "llama-chat"):
            raise explain.NotExplained(f"no ModelDeployment {name} in namespace {namespace}")
        return body

    monkeypatch.setattr(explain, "_object", an_object)


@pytest.mark.usefixtures("cluster")
def test_the_command_falls_back_to_the_status() -> None:
    """An operator that does not answer is said, and what the status tells is shown."""
    command = ["explain", "llama-chat", "--endpoint", "http://127.0.0.1:1"]
    done = CliRunner().invoke(explain.app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "From the status alone: the operator was not reached" in done.output
    assert "binding: CheapestWithinBudgets" in done.output
    done = CliRunner().invoke(explain.app, [*command, "--json"])
    assert yaml.safe_load(done.output)["source"] == "status"


@pytest.mark.usefixtures("cluster")
def test_the_command_says_what_does_not_exist() -> None:
    """A wrong name is one line and exit status 1."""
    done = CliRunner().invoke(explain.app, ["explain", "nobody", "-n", "serving"])
    assert done.exit_code == 1
    assert "no ModelDeployment nobody in namespace serving" in done.output
