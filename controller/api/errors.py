"""Errors of a ModelDeployment in its owner's words: the path, what was found, what to write."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from controller.api.rules import BrokenRulesError
from controller.api.schema import Node, structural

_LONGEST_FOUND: Final = 60


class InvalidModelDeployment(ValueError):  # noqa: N818 - named after what it is, as users read it
    """A document that is no usable ModelDeployment; ``lines`` has one line per wrong field."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(lines))


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one line per wrong field, in the order of the document."""
    schema = _schema_of(model)
    return [line for entry in error.errors() for line in _lines(entry, schema)]


@cache
def _schema_of(model: type[BaseModel]) -> Node:
    """Keep what is read only: making it takes longer than all of the rest."""
    return structural(model)


def _lines(entry: Mapping[str, Any], schema: Node) -> list[str]:
    location: Sequence[str | int] = entry["loc"]
    path = _path(location)
    cause = entry.get("ctx", {}).get("error")
    if isinstance(cause, BrokenRulesError):
        return [
            f"{_join(path, v.field)}: {_found_at(entry['input'], v.field)}{v.message}"
            for v in cause.violations
        ]
    if entry["type"] == "extra_forbidden":
        return [f"{path}: unknown field; {_known(location, schema)}"]
    node = _node(schema, location)
    if entry["type"] == "too_short" and len(entry["input"]) >= node.get("minItems", 0):
        return []  # pydantic counts the good entries only; the bad ones have lines of their own
    expected = _expected(node, entry)
    if entry["type"] == "missing":
        return [f"{path}: missing; write {expected}"]
    return [f"{path}: found {_show(entry['input'])}; write {expected}"]


def _path(location: Sequence[str | int]) -> str:
    path = ""
    for part in location:
        path = _join(path, f"[{part}]" if isinstance(part, int) else part)
    return path


def _join(path: str, field: str) -> str:
    if not path or not field:
        return path or field
    return f"{path}{field}" if field.startswith("[") else f"{path}.{field}"


def _node(schema: Node, location: Sequence[str | int]) -> Node:
    """Follow a location of pydantic's, which names fields as the document does."""
    node = schema
    for part in location:
        node = node["items"] if isinstance(part, int) else node["properties"][part]
    return node


def _known(location: Sequence[str | int], schema: Node) -> str:
    known = list(_node(schema, location[:-1])["properties"])
    close = get_close_matches(str(location[-1]), known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def _expected(node: Node, entry: Mapping[str, Any]) -> str:
    kind = node["type"]
    if "enum" in node:
        return _expected_choice([str(choice) for choice in node["enum"]], entry["input"])
    if kind == "integer":
        return f"an integer{_range(node.get('minimum'), node.get('maximum'))}"
    if kind == "string":
        return _expected_string(node, entry)
    if kind == "array":
        return f"a list{_range(node.get('minItems'), node.get('maxItems'))} entries long"
    if kind == "object":
        fields: list[str] = node.get("required") or list(node.get("properties", ()))
        return f"an object with {', '.join(fields)}"
    return f"a {kind}"


def _expected_choice(choices: Sequence[str], found: Any) -> str:
    if found is False and "Off" in choices:
        return '"Off" in quotes: YAML reads a bare Off as false'
    return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"


def _expected_string(node: Node, entry: Mapping[str, Any]) -> str:
    example = f' such as "{node["example"]}"' if "example" in node else ""
    if entry["type"] == "string_too_long":
        return f"at most {node['maxLength']} characters"
    if entry["type"] == "string_pattern_mismatch" and len(node["pattern"]) <= _LONGEST_FOUND:
        return f"a string{example}, matching {node['pattern']}"
    quoted = "a quoted decimal" if isinstance(entry["input"], int | float) else "a string"
    return f"{quoted}{example}"


def _range(low: int | None, high: int | None) -> str:
    if low is None:
        return "" if high is None else f" of at most {high}"
    return f" of at least {low}" if high is None else f" from {low} to {high}"


def _found_at(value: Any, field: str) -> str:
    """Say what stands at the field a rule names, where that is short enough to help."""
    for part in field.replace("[", ".[").strip(".").split(".") if field else ():
        try:
            value = value[int(part[1:-1])] if part.startswith("[") else value[part]
        except (KeyError, IndexError, TypeError):
            return ""
    return "" if isinstance(value, Mapping | list) else f"found {_show(value)}; "


def _show(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing"
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return shown if len(shown) <= _LONGEST_FOUND else f"{shown[:_LONGEST_FOUND]}..."
