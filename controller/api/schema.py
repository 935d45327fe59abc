"""From a pydantic type to a structural schema, the subset of OpenAPI a CRD may use.

An API server refuses a CRD whose schema has ``$ref``, a union, a node without a type, or
``additionalProperties: false`` beside ``properties``; and it silently drops what it does not know.
So every keyword that is not understood here is an error rather than passed on.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from pydantic import BaseModel

Node: TypeAlias = dict[str, Any]

#: Keywords that mean the same in both worlds, in the order they are printed.
_KEPT: Final = (
    "type",
    "format",
    "description",
    "default",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "minItems",
    "maxItems",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-validations",
    "required",
)

#: Keywords that carry nothing Kubernetes could use.
_DROPPED: Final = frozenset({"title", "$defs"})

_HANDLED: Final = frozenset(
    {"$ref", "anyOf", "const", "properties", "items", "additionalProperties", "examples"}
)


class UnsupportedSchemaError(Exception):
    """A type cannot be said in a structural schema; the message names the place."""


def structural(model: type[BaseModel]) -> Node:
    """Return the structural schema of ``model``.

    Raises:
        UnsupportedSchemaError: for recursion, unions and keywords Kubernetes does not know.
    """
    schema = model.model_json_schema(by_alias=True)
    return rewrite(schema, schema.get("$defs", {}))


def rewrite(node: Mapping[str, Any], definitions: Mapping[str, Any]) -> Node:
    """Return a JSON schema node, with ``definitions`` for its ``$ref``, as a structural one."""
    return _Rewriter(definitions).node(node, path="", inside=())


class _Rewriter:
    """Walks one schema; ``inside`` holds the references being inlined, to see recursion."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions

    def node(self, raw: Mapping[str, Any], *, path: str, inside: tuple[str, ...]) -> Node:
        """Rewrite one node and everything below it."""
        merged, inside = self._inline(raw, path, inside)
        _refuse_unknown(merged, path)
        out: Node = {key: merged[key] for key in _KEPT if key in merged}
        if "const" in merged:
            out["enum"] = [merged["const"]]
        if "type" not in out:
            raise UnsupportedSchemaError(f"{path or '.'}: has no type")
        for bound in ("Minimum", "Maximum"):
            _boolean_bound(out, bound)
        if "default" in out:
            out["default"] = _without_nulls(out["default"])
            if out["default"] in (None, [], {}):
                del out["default"]  # the API server would drop it, and GitOps would see a drift
        if merged.get("examples"):
            out["example"] = merged["examples"][0]
        out |= self._children(merged, path=path, inside=inside)
        return out

    def _inline(
        self, raw: Mapping[str, Any], path: str, inside: tuple[str, ...]
    ) -> tuple[Node, tuple[str, ...]]:
        """Put what ``$ref`` and a nullable ``anyOf`` stand for in place; the outer keys win."""
        merged = dict(raw)
        while "$ref" in merged or "anyOf" in merged:
            if "$ref" in merged:
                name = merged.pop("$ref").removeprefix("#/$defs/")
                if name in inside:
                    raise UnsupportedSchemaError(f"{path}: {name} contains itself")
                inside = (*inside, name)
                merged = {**self._definitions[name], **merged}
            else:
                choices = [c for c in merged.pop("anyOf") if c.get("type") != "null"]
                if len(choices) != 1:
                    raise UnsupportedSchemaError(f"{path}: a union has no structural schema")
                merged = {**choices[0], **merged}
        return merged, inside

    def _children(self, merged: Node, *, path: str, inside: tuple[str, ...]) -> Node:
        out: Node = {}
        if "items" in merged:
            out["items"] = self.node(merged["items"], path=f"{path}[]", inside=inside)
        if "properties" in merged:
            out["properties"] = {
                name: self.node(child, path=f"{path}.{name}", inside=inside)
                for name, child in merged["properties"].items()
            }
        extra = merged.get("additionalProperties", False)
        if isinstance(extra, Mapping) and "properties" not in merged:
            out["additionalProperties"] = self.node(extra, path=f"{path}.*", inside=inside)
        elif extra is not False:
            raise UnsupportedSchemaError(f"{path}: open objects would be pruned")
        return out


def _refuse_unknown(node: Node, path: str) -> None:
    unknown = set(node) - set(_KEPT) - _DROPPED - _HANDLED
    if unknown:
        raise UnsupportedSchemaError(f"{path or '.'}: unknown keywords {sorted(unknown)}")


def _boolean_bound(node: Node, bound: str) -> None:
    """Turn ``exclusiveMinimum: 0`` into ``minimum: 0, exclusiveMinimum: true``, likewise above."""
    exclusive = node.get(f"exclusive{bound}")
    if exclusive is not None:
        node[bound.lower()] = exclusive
        node[f"exclusive{bound}"] = True


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(child) for key, child in value.items() if child is not None}
    if isinstance(value, list):
        return [_without_nulls(child) for child in value]
    return value
