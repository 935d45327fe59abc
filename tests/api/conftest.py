"""A stand-in for the API server's admission of a custom resource, made from the CRD alone.

It fills defaults, checks the structure as kubectl's strict validation does, and evaluates the CEL
rules with an interpreter that shares no code with the Python half.
"""

import copy
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import celpy
import celpy.celtypes
import celpy.evaluation
import pytest
import yaml

from controller.api.crd import crd

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"

Document = dict[str, Any]

_TYPES = {"string": str, "integer": int, "array": list, "object": dict, "boolean": bool}


def _sum(values: celpy.celtypes.ListType) -> celpy.celtypes.Value:
    """Add up a list: Kubernetes' own extension of CEL's lists."""
    total = values[0] if values else celpy.celtypes.IntType(0)
    for value in values[1:]:
        total = total + value
    return total


_CEL = celpy.Environment()


@cache
def _program(rule: str) -> celpy.Runner:
    return _CEL.program(_CEL.compile(rule), functions={"sum": _sum})


def filled(schema: Document, value: Any) -> Any:
    """Fill defaults in place as the API server does before it validates."""
    if isinstance(value, dict):
        for name, child in schema.get("properties", {}).items():
            if name not in value and "default" in child:
                value[name] = copy.deepcopy(child["default"])
            if name in value:
                filled(child, value[name])
    if isinstance(value, list) and "items" in schema:
        for entry in value:
            filled(schema["items"], entry)
    return value


def structural_errors(schema: Document, value: Any, path: str) -> Iterator[str]:
    """Yield what the schema alone refuses."""
    kind = schema["type"]
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        yield f"{path}: not of type {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: not in {schema['enum']}"
    if kind == "string":
        yield from _string_errors(schema, value, path)
    if kind == "integer" and not (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
    ):
        yield f"{path}: out of range"
    if kind == "array":
        yield from _list_errors(schema, value, path)
    if kind == "object" and "properties" in schema:
        yield from _object_errors(schema, value, path)


def _string_errors(schema: Document, value: str, path: str) -> Iterator[str]:
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        yield f"{path}: length"
    if "pattern" in schema and not re.fullmatch(schema["pattern"], value):
        yield f"{path}: pattern"


def _list_errors(schema: Document, value: list[Any], path: str) -> Iterator[str]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        yield f"{path}: length"
    for i, entry in enumerate(value):
        yield from structural_errors(schema["items"], entry, f"{path}[{i}]")
    for key in schema.get("x-kubernetes-list-map-keys", ()):
        keys = [str(entry.get(key)) for entry in value if isinstance(entry, dict)]
        if len(set(keys)) < len(keys):
            yield f"{path}: duplicate {key}"


def _object_errors(schema: Document, value: Document, path: str) -> Iterator[str]:
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}.{name}: required"
    for name, child in value.items():
        if name not in schema["properties"]:
            yield f"{path}.{name}: unknown field"
        else:
            yield from structural_errors(schema["properties"][name], child, f"{path}.{name}")


def rule_messages(schema: Document, value: Any) -> Iterator[str]:
    """Yield the message of every CEL rule that is not met, at every depth."""
    for rule in schema.get("x-kubernetes-validations", ()):
        if not _program(rule["rule"]).evaluate({"self": celpy.json_to_cel(value)}):
            yield rule["message"]
    if isinstance(value, dict):
        for name, child in value.items():
            if name in schema.get("properties", {}):
                yield from rule_messages(schema["properties"][name], child)
    if isinstance(value, list):
        for entry in value:
            yield from rule_messages(schema["items"], entry)


@cache
def _schema() -> Document:
    schema: Document = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def admit(document: Document) -> list[str]:
    """Return what an API server refuses in ``document``; nothing means that it is stored."""
    schema = _schema()
    stored = filled(schema, copy.deepcopy(document))
    return list(structural_errors(schema, stored, "")) or list(rule_messages(schema, stored))


@pytest.fixture(scope="session")
def api_server() -> Callable[[Document], list[str]]:
    """The admission function."""
    return admit


@pytest.fixture(scope="session", params=sorted(SAMPLES.glob("*.yaml")), ids=lambda p: p.stem)
def sample(request: pytest.FixtureRequest) -> Document:
    """Each sample of the project in turn."""
    document: Document = yaml.safe_load(request.param.read_text())
    return document


@pytest.fixture
def chat() -> Document:
    """A valid object with two variants and everything optional that rules look at."""
    document: Document = yaml.safe_load((SAMPLES / "cost-first.yaml").read_text())
    return document
