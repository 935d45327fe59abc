"""Wrong fields of a scenario in its writer's words: the field, what was found, what to write."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

_LONGEST_FOUND = 60


class InvalidScenario(ValueError):  # noqa: N818 - named after what it is, as users read it
    """A scenario that cannot be used; one line per wrong field, with the fix."""


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return one line per wrong field of a document that should be a ``model``."""
    return [_line(entry, model) for entry in error.errors() if not _repeats(entry)]


def _repeats(entry: Mapping[str, Any]) -> bool:
    """Whether a list is only too short since its wrong entries, told already, do not count."""
    if entry["type"] != "too_short":
        return False
    return len(entry["input"]) >= int(entry["ctx"]["min_length"])


def _line(entry: Mapping[str, Any], model: type[BaseModel]) -> str:
    field = ".".join(str(part) for part in _in_document(entry["loc"], model))
    if entry["type"] == "extra_forbidden":
        return f"{field}: unknown field; {_known(entry['loc'], model)}"
    if entry["type"] == "missing":
        return f"{field}: missing; give it a value"
    if entry["type"] == "too_short":
        return (
            f"{field}: found {_shown(entry['input'])}; give at least {entry['ctx']['min_length']}"
        )
    message = str(entry["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if entry["type"] == "value_error" and isinstance(entry["input"], Mapping):
        return f"{field}: {message}"
    return f"{field}: found {_shown(entry['input'])}; {message}"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing"
    shown = repr(value)
    return shown if len(shown) <= _LONGEST_FOUND else f"{shown[:_LONGEST_FOUND]}..."


def _known(location: Sequence[str | int], model: type[BaseModel]) -> str:
    owner: Any = model
    for part in location[:-1]:
        owner = _below(owner, part)
    fields = [field.alias or name for name, field in owner.model_fields.items()]
    close = get_close_matches(str(location[-1]), fields, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(fields)}"


def _in_document(location: Sequence[str | int], model: type[BaseModel]) -> Iterator[str | int]:
    """The location without the names of a union's members, which the document does not have."""
    owner: Any = model
    for part in location:
        if not (isinstance(part, str) and _member(owner, part)):
            yield part
        owner = _below(owner, part)


def _below(owner: Any, part: str | int) -> Any:
    """The type one step down a location of pydantic's; None where it holds no model."""
    member = _member(owner, part)
    if member is not None:
        return member
    owner = _without_none(owner)
    if isinstance(owner, type) and issubclass(owner, BaseModel):
        fields = owner.model_fields
        named = (field for name, field in fields.items() if part in {name, field.alias})
        return next((field.annotation for field in named), None)
    arguments = get_args(owner)
    if get_origin(owner) is dict:
        return arguments[1]
    return arguments[0] if get_origin(owner) is tuple else None


def _member(owner: Any, part: str | int) -> type[BaseModel] | None:
    """The member of a discriminated union whose ``kind`` is ``part``."""
    for candidate in get_args(_without_none(owner)):
        fields = getattr(candidate, "model_fields", {})
        if "kind" in fields and fields["kind"].default == part:
            found: type[BaseModel] = candidate
            return found
    return None


def _without_none(owner: Any) -> Any:
    """What an annotation is about: ``X`` of ``Annotated[X, ...]`` and of ``X | None``."""
    if get_origin(owner) is Annotated:
        return _without_none(get_args(owner)[0])
    if get_origin(owner) in {Union, UnionType}:
        kept = [member for member in get_args(owner) if member is not type(None)]
        return _without_none(kept[0]) if len(kept) == 1 else owner
    return owner
