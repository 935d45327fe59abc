"""The generated CRD is what an API server takes, is fresh, and explains every field."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

from controller.api.crd import crd, render
from controller.api.schema import UnsupportedSchemaError, rewrite, structural

COMMITTED = Path(__file__).parents[2] / "crds" / "modeldeployments.yaml"

#: What an API server knows at a node of a structural schema, of what we could ever emit.
KNOWN = {
    "type", "format", "description", "default", "enum", "pattern", "minLength", "maxLength",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems",
    "required", "properties", "items", "example", "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys", "x-kubernetes-validations",
}  # fmt: skip


def schema() -> dict[str, Any]:
    """Return the schema of the only version."""
    root: dict[str, Any] = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return root


def nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every node of the schema with its path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")


def test_committed_crd_is_fresh() -> None:
    """The committed YAML is what the types generate now: run ``make generate``."""
    assert COMMITTED.read_text() == render()


def test_crd_does_not_depend_on_the_hash_seed() -> None:
    """Another process prints the same bytes."""
    printed = subprocess.run(
        [sys.executable, "-m", "controller.api.crd"],
        env={"PYTHONHASHSEED": "7"},
        cwd=COMMITTED.parents[1],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed == render()


def test_yaml_reads_back_as_the_document() -> None:
    """Nothing is lost or turned into another type on the way through YAML."""
    assert yaml.safe_load(render()) == crd()


def test_every_node_is_structural() -> None:
    """Each node has one type and only keywords that an API server keeps."""
    for path, node in nodes(schema()):
        assert node["type"] in {"object", "array", "string", "integer", "boolean"}, path
        assert set(node) <= KNOWN, path
        assert ("items" in node) == (node["type"] == "array"), path
        assert set(node.get("required", ())) <= set(node.get("properties", ())), path


def test_every_field_is_explained() -> None:
    """``kubectl explain`` has a sentence for every field."""
    for path, node in nodes(schema()):
        if path != ".metadata" and not path.endswith("[]"):
            assert re.search(r"[.)]$", node.get("description", "")), path


def test_everything_is_bounded() -> None:
    """Lists and strings have limits, without which the cost of CEL is refused."""
    for path, node in nodes(schema()):
        if not path.startswith((".spec", ".status")):
            continue
        if node["type"] == "string":
            assert "enum" in node or node["maxLength"] <= 253, path
        if node["type"] == "array":
            assert node["maxItems"] <= 16, path
            assert node["x-kubernetes-list-type"] in {"map", "atomic"}, path
        if node["type"] == "integer" and path.startswith(".spec"):
            assert node["minimum"] < node["maximum"], path


def test_list_map_keys_are_required_scalars() -> None:
    """The key of a list map is a required scalar of its entries, or has a default."""
    for path, node in nodes(schema()):
        for key in node.get("x-kubernetes-list-map-keys", ()):
            assert key in node["items"]["required"], path
            assert node["items"]["properties"][key]["type"] == "string", path


def test_rules_point_at_fields_that_exist() -> None:
    """A rule's fieldPath names a field below it, and its message is one plain line."""
    rules = [
        (path, node, rule)
        for path, node in nodes(schema())
        for rule in node.get("x-kubernetes-validations", ())
    ]
    assert len(rules) >= 15
    for path, node, rule in rules:
        assert set(rule) <= {"rule", "message", "fieldPath"}, path
        assert "\n" not in rule["message"], path
        target = node
        for part in rule.get("fieldPath", "").split(".")[1:]:
            target = target["properties"][part]


def test_defaults_satisfy_their_own_schema() -> None:
    """Every default lies within the limits of its field."""
    for path, node in nodes(schema()):
        default = node.get("default")
        if isinstance(default, str):
            assert re.fullmatch(node.get("pattern", ".*"), default), path
            assert default in node.get("enum", [default]), path
        if isinstance(default, int):
            assert node["minimum"] <= default <= node["maximum"], path
        assert default not in ({}, []), path


def test_status_has_no_defaults() -> None:
    """The API server must not put words into the operator's mouth."""
    for path, node in nodes(schema()["properties"]["status"]):
        assert "default" not in node, path


def test_no_scale_subresource() -> None:
    """With several variants one number of replicas has no meaning."""
    assert crd()["spec"]["versions"][0]["subresources"] == {"status": {}}


def test_columns_read_fields_that_exist() -> None:
    """Every printer column's path leads to a field of the schema, or to metadata."""
    for column in crd()["spec"]["versions"][0]["additionalPrinterColumns"]:
        path = re.sub(r"\[\?\(.*?\)\]", ".[]", column["jsonPath"]).replace(".[]", "[]")
        known = {found for found, _ in nodes(schema())} | {".metadata.creationTimestamp"}
        assert path in known, column


class _Inner(BaseModel):
    """Inner words."""

    size: int = Field(default=1, gt=0, lt=9, description="Inner size.")


class _Outer(BaseModel):
    """Outer words."""

    inner: _Inner | None = Field(default=None, description="Said of the field.")
    plain: _Inner = _Inner(size=3)
    fixed: Literal["one"] = "one"
    words: tuple[str, ...] = ()


def test_rewriter_says_the_same_in_kubernetes_words() -> None:
    """References are inlined, nulls collapsed, constants and bounds said Kubernetes' way."""
    size = {
        "type": "integer",
        "description": "Inner size.",
        "default": 1,
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 9,
        "exclusiveMaximum": True,
    }
    inner = {"type": "object", "properties": {"size": size}}
    assert structural(_Outer) == {
        "type": "object",
        "description": "Outer words.",
        "properties": {
            "inner": {**inner, "description": "Said of the field."},
            "plain": {**inner, "description": "Inner words.", "default": {"size": 3}},
            "fixed": {"type": "string", "default": "one", "enum": ["one"]},
            "words": {"type": "array", "items": {"type": "string"}},
        },
    }


class _Tree(BaseModel):
    children: "list[_Tree]"


class _Union(BaseModel):
    size: int | str


class _Open(BaseModel):
    anything: Any


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_Tree, "contains itself"),
        (_Union, r"\.size: a union"),
        (_Open, r"\.anything: has no type"),
    ],
)
def test_rewriter_refuses_what_an_api_server_would(model: type[BaseModel], message: str) -> None:
    """Recursion, unions and untyped nodes are errors that name the place."""
    with pytest.raises(UnsupportedSchemaError, match=message):
        structural(model)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"type": "number", "multipleOf": 2}, "multipleOf"),
        ({"type": "object", "additionalProperties": True}, "pruned"),
        (
            {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}},
            "pruned",
        ),
    ],
)
def test_rewriter_passes_nothing_on_unread(node: dict[str, Any], message: str) -> None:
    """A keyword it does not understand is an error, not dropped or copied."""
    with pytest.raises(UnsupportedSchemaError, match=message):
        rewrite(node, {})


def test_maps_of_strings_stay_maps() -> None:
    """A schema of values is kept where there are no named properties."""
    node = {"type": "object", "additionalProperties": {"type": "string", "title": "X"}}
    assert rewrite(node, {}) == {"type": "object", "additionalProperties": {"type": "string"}}
