"""A history as JSON text and back, bit for bit, driven by the types of its fields.

A type says how its value is written, so a new field of any history is carried without a line
here: dataclasses are objects, tuples lists, enums their value. Arrays are base64 of their
little-endian bytes, since decimal digits take four times the room; the numbers JSON has not
(not-a-number, the infinities) are strings. What is read is checked against the same types: a
history of another version, or a damaged one, is an error that names the field, never a wrong plan.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import numpy as np

from controller.core.history import History

_KIND: Final = "steelyard history"
_VERSION: Final = 1
_NUMBERS: Final = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


class InvalidHistory(ValueError):  # noqa: N818 - named after what it is, as users read it
    """Text that is no history of this version; the message names the field and the fix."""


def to_json(history: History) -> str:
    """Return ``history`` as JSON text."""
    return json.dumps({"kind": _KIND, "version": _VERSION, "history": encoded(History, history)})


def from_json(text: str) -> History:
    """Return the history that ``to_json`` was given.

    Raises:
        InvalidHistory: the text is no history, or one of another version.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidHistory(f"no JSON: {error}; start from a new history") from error
    if not isinstance(document, dict) or document.get("kind") != _KIND:
        raise InvalidHistory(f"no document of kind {_KIND!r}; start from a new history")
    if document.get("version") != _VERSION:
        raise InvalidHistory(
            f"version: {document.get('version')!r} where {_VERSION} was expected; "
            "start from a new history"
        )
    history = decoded(History, document.get("history"), "history")
    if not isinstance(history, History):  # pragma: no cover - decoded returns what it is asked for
        raise InvalidHistory("history: of another type; start from a new history")
    return history


def encoded(kind: Any, value: Any) -> Any:
    """Return ``value``, which is of the type ``kind``, as what ``json.dumps`` takes.

    Raises:
        TypeError: a type that has no JSON form here.
    """
    kind = _of_optional(kind, value is None)
    if kind is NoneType:
        return None
    if get_origin(kind) is np.ndarray:
        stored = np.ascontiguousarray(value, dtype=_dtype(kind))
        data = b64encode(stored.tobytes()).decode("ascii")
        return {"shape": list(value.shape), "base64": data}
    if get_origin(kind) is tuple:
        kinds = _item_types(kind, len(value), "a tuple")
        return [encoded(item, part) for item, part in zip(kinds, value, strict=True)]
    return _encoded_fields(kind, value) if is_dataclass(kind) else _encoded_scalar(kind, value)


def decoded(kind: Any, data: Any, where: str) -> Any:
    """Return the value of the type ``kind`` that ``encoded`` wrote as ``data``.

    ``where`` is the field's path, for the error.

    Raises:
        InvalidHistory: ``data`` is no such value.
    """
    kind = _of_optional(kind, data is None)
    if kind is NoneType:
        return None
    if get_origin(kind) is np.ndarray:
        return _array(kind, data, where)
    if get_origin(kind) is tuple:
        values = _expected(list, data, where)
        kinds = _item_types(kind, len(values), where)
        return tuple(
            decoded(item, part, f"{where}[{at}]")
            for at, (item, part) in enumerate(zip(kinds, values, strict=True))
        )
    return _dataclass(kind, data, where) if is_dataclass(kind) else _scalar(kind, data, where)


def _encoded_fields(kind: Any, value: Any) -> dict[str, Any]:
    return {name: encoded(item, getattr(value, name)) for name, item in _types(kind).items()}


def _encoded_scalar(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return value.value
    if kind is float:
        return float(value) if isfinite(value) else str(float(value))
    if kind in (bool, int, str):
        return kind(value)
    raise TypeError(f"{kind} has no JSON form: give a history fields of types that have one")


def _scalar(kind: Any, data: Any, where: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        known = {member.value: member for member in kind}
        if not isinstance(data, str | int) or data not in known:
            raise _wrong(where, f"one of {list(known)}", data)
        return known[data]
    if kind is float:
        return _float(data, where)
    return _expected(kind, data, where)


def _dataclass(kind: Any, data: Any, where: str) -> Any:
    held = _expected(dict, data, where)
    types = _types(kind)
    if held.keys() != types.keys():
        missing, unknown = sorted(types.keys() - held.keys()), sorted(held.keys() - types.keys())
        raise InvalidHistory(
            f"{where}: fields missing {missing}, unknown {unknown}: written by another version; "
            "start from a new history"
        )
    try:
        return kind(
            **{name: decoded(item, held[name], f"{where}.{name}") for name, item in types.items()}
        )
    except InvalidHistory:
        raise
    except ValueError as error:  # what the type itself refuses
        raise InvalidHistory(f"{where}: {error}; start from a new history") from error


def _array(kind: Any, data: Any, where: str) -> Any:
    held = _expected(dict, data, where)
    try:
        stored = np.frombuffer(b64decode(held["base64"], validate=True), dtype=_dtype(kind))
        return stored.astype(stored.dtype.newbyteorder("="), copy=False).reshape(held["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidHistory(f"{where}: no array ({error!r}); start from a new history") from error


def _float(data: Any, where: str) -> float:
    if isinstance(data, str) and data in _NUMBERS:
        return _NUMBERS[data]
    if isinstance(data, bool) or not isinstance(data, int | float):
        raise _wrong(where, "a number", data)
    return float(data)


def _expected(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise _wrong(where, kind.__name__, data)
    return data


def _wrong(where: str, wanted: str, data: Any) -> InvalidHistory:
    return InvalidHistory(f"{where}: {wanted} expected, got {data!r:.60}; start from a new history")


def _of_optional(kind: Any, is_none: bool) -> Any:  # noqa: FBT001 - which side of the union it is
    """The side of ``X | None`` that a value takes; any other type is itself."""
    if get_origin(kind) not in (Union, UnionType):
        return kind
    others = [side for side in get_args(kind) if side is not NoneType]
    if len(others) != 1:
        raise TypeError(f"{kind} has no JSON form: a value does not say which of them it is")
    return NoneType if is_none else others[0]


def _item_types(kind: Any, count: int, where: str) -> tuple[Any, ...]:
    """Types of the items of a tuple with ``count`` of them."""
    kinds = get_args(kind)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return (kinds[0],) * count
    if len(kinds) != count:
        raise InvalidHistory(
            f"{where}: {len(kinds)} values expected, got {count}; start from a new history"
        )
    return kinds


def _dtype(kind: Any) -> np.dtype[Any]:
    """Little-endian dtype of an array type."""
    (scalar,) = get_args(get_args(kind)[1])
    dtype: np.dtype[Any] = np.dtype(scalar).newbyteorder("<")
    return dtype


@lru_cache(maxsize=64)
def _types(kind: Any) -> Mapping[str, Any]:
    """Names and types of a dataclass's fields."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
