"""Errors speak the owner's language: the path, what was found, what to write instead."""

from typing import Any

import pytest

from controller.api.errors import InvalidModelDeployment
from controller.api.v1alpha1 import parse

Document = dict[str, Any]


def lines_of(document: Any) -> list[str]:
    """Return the lines of the error."""
    with pytest.raises(InvalidModelDeployment) as caught:
        parse(document)
    assert str(caught.value) == "\n".join(caught.value.lines)
    return list(caught.value.lines)


def test_every_wrong_field_has_one_line(chat: Document) -> None:
    """All mistakes are told at once, in the order of the document."""
    chat["kind"] = "Deployment"
    chat["spec"]["mode"] = "auto"
    chat["spec"]["slo"]["target"] = 0.99
    chat["spec"]["slo"]["windowSeconds"] = 10
    chat["spec"]["variants"][0]["minReplica"] = 3
    chat["spec"]["variants"][0]["fancy"] = 3
    chat["spec"]["variants"][0]["maxReplicas"] = "4"
    chat["spec"]["variants"][1]["name"] = "x" * 100
    del chat["spec"]["variants"][1]["quality"]
    chat["spec"]["routing"] = ["Shared"]
    chat["spec"]["limits"]["maxCostPerHour"] = "a lot"
    lines = lines_of(chat)
    assert lines[:4] == [
        'kind: found "Deployment"; write ModelDeployment',
        'spec.mode: found "auto"; write one of Recommend, Auto, Off',
        'spec.slo.target: found 0.99; write a quoted decimal such as "0.99"',
        "spec.slo.windowSeconds: found 10; write an integer from 300 to 2592000",
    ]
    assert sorted(lines[4:]) == sorted(
        [
            'spec.variants[0].maxReplicas: found "4"; write an integer from 1 to 1000',
            "spec.variants[0].minReplica: unknown field; did you mean minReplicas?",
            (
                "spec.variants[0].fancy: unknown field; known here: name, role, targetRef, "
                "servedModelName, engine, backendRef, accelerator, costPerReplicaHour, quality, "
                "minReplicas, maxReplicas, gpusPerReplica, coldStartSeconds, performance, "
                "queueLimit"
            ),
            f'spec.variants[1].name: found "{"x" * 59}...; write at most 32 characters',
            'spec.variants[1].quality: missing; write a string such as "0.97"',
            "spec.routing: found a list of 1; write an object with type",
            (
                'spec.limits.maxCostPerHour: found "a lot"; write a string such as "120", '
                r"matching ^[0-9]{1,9}(\.[0-9]{1,6})?$"
            ),
        ]
    )


def test_bare_off_is_explained(chat: Document) -> None:
    """YAML 1.1 reads Off as false, which would otherwise puzzle everybody once."""
    chat["spec"]["mode"] = False
    assert lines_of(chat) == [
        'spec.mode: found False; write "Off" in quotes: YAML reads a bare Off as false'
    ]


def test_lists_tell_their_length(chat: Document) -> None:
    """An empty list and one that is too long say how long it may be."""
    chat["spec"]["slo"]["objectives"] = []
    chat["spec"]["variants"] *= 5
    assert lines_of(chat) == [
        "spec.slo.objectives: found a list of 0; write a list from 1 to 2 entries long",
        "spec.variants: found a list of 10; write a list from 1 to 8 entries long",
    ]


def test_rules_name_their_field_and_what_is_there(chat: Document) -> None:
    """A rule over several fields points at the one to correct."""
    chat["spec"]["variants"][0]["minReplicas"] = 20
    chat["spec"]["slo"]["target"] = "1"
    assert lines_of(chat) == [
        (
            'spec.slo.target: found "1"; must lie between 0 and 1, for example "0.99": a target '
            "of 1 leaves no error budget to decide with"
        ),
        "spec.variants[0].maxReplicas: found 12; must be at least minReplicas",
    ]


def test_twins_are_named(chat: Document) -> None:
    """The second of two entries with one key is the wrong one."""
    chat["spec"]["variants"][1]["name"] = "bf16"
    assert lines_of(chat) == [
        "spec.variants[1].name: found \"bf16\"; must be unique; 'bf16' is taken"
    ]


@pytest.mark.parametrize("document", [None, [], "text", 3])
def test_what_is_no_mapping_is_told(document: Any) -> None:
    """A file that holds something else entirely gets a line, too."""
    (line,) = lines_of(document)
    assert line.endswith("write a mapping with apiVersion, kind, metadata and spec")


def test_empty_document_names_what_is_missing() -> None:
    """Nothing at all is four missing fields."""
    assert [line.split(":")[0] for line in lines_of({})] == [
        "apiVersion",
        "kind",
        "metadata",
        "spec",
    ]
