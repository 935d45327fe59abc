"""Rules of the API that a type alone cannot express, each said twice: in Python and in CEL.

``kubectl apply`` is answered by the CEL half, inside the API server; everything that reads a
document without an API server (simulator, tests, an object stored before its CRD was tightened)
is answered by the Python half. Both stand next to the type they judge, and a test holds them
together over a table of good and bad objects.

``message`` is plain text: a ``messageExpression`` that renders a value makes the API server refuse
the whole CRD for its estimated cost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``holds(self)`` in Python and ``cel`` in the API server must agree on every object.

    ``field`` (a path below the ruled object, empty for the object itself) is the one to correct.
    """

    holds: Callable[[Any], bool]
    cel: str
    message: str
    field: str = ""

    def as_validation(self) -> dict[str, str]:
        """Return the entry of ``x-kubernetes-validations``."""
        entry = {"rule": self.cel, "message": self.message}
        if self.field:
            entry["fieldPath"] = f".{self.field}"
        return entry


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: the field to correct, below the ruled object, and what to write instead."""

    field: str
    message: str


class BrokenRulesError(ValueError):
    """Raised inside pydantic's validation; carries every rule that one object breaks."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__("; ".join(v.message for v in violations))
        self.violations = tuple(violations)


class Part(BaseModel):
    """An object of a ModelDeployment: camelCase outside, frozen, closed, and obeying RULES."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        extra="forbid",
        frozen=True,
    )

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        broken = [
            Violation(rule.field, rule.message) for rule in self.RULES if not rule.holds(self)
        ]
        if broken:
            raise BrokenRulesError(broken)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the CEL half of the rules."""
        rendered = handler(schema)
        if cls.RULES:
            node = handler.resolve_ref_schema(rendered)
            node["x-kubernetes-validations"] = [rule.as_validation() for rule in cls.RULES]
        return rendered


@dataclass(frozen=True, slots=True)
class ListMap:
    """Annotation of a list whose entries differ in ``key``: what Kubernetes calls a list map.

    It stands last, since limits of length that follow it would be lost from the JSON schema.
    """

    key: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Refuse two entries with one key."""
        return core_schema.no_info_after_validator_function(self._refuse_twins, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Tell Kubernetes which key it is."""
        rendered = handler(schema)
        rendered["x-kubernetes-list-type"] = "map"
        rendered["x-kubernetes-list-map-keys"] = [self.key]
        return rendered

    def _refuse_twins(self, entries: tuple[Any, ...]) -> tuple[Any, ...]:
        keys = [getattr(entry, self.key) for entry in entries]
        twins = [i for i, key in enumerate(keys) if key in keys[:i]]
        if twins:
            raise BrokenRulesError(
                [
                    Violation(f"[{i}].{self.key}", f"must be unique; {keys[i]!r} is taken")
                    for i in twins
                ]
            )
        return entries
