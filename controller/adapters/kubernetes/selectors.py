"""Label selectors, as objects carry them and as the scale subresource writes them.

Source: Kubernetes' documentation of labels and selectors.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

_TEXT: Final = re.compile(
    r"""\s*(?:
      (?P<absent>!)\s*(?P<absent_key>[^\s,=!()]+)
    | (?P<set_key>[^\s,=!()]+)\s+(?P<set_operator>in|notin)\s*\((?P<values>[^)]*)\)
    | (?P<key>[^\s,=!()]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[^\s,()]*)
    | (?P<present_key>[^\s,=!()]+)
    )\s*(?:,|$)""",
    re.VERBOSE,
)


class Operator(StrEnum):
    """How a label is judged, in Kubernetes' words."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Requirement:
    """What one label must be."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether ``labels`` meet it."""
        value = labels.get(self.key)
        if self.operator is Operator.IN:
            return value in self.values
        if self.operator is Operator.NOT_IN:
            return value not in self.values
        return (value is not None) is (self.operator is Operator.EXISTS)


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements that must all hold. Without any, nothing is selected: no workload owns all."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with ``labels`` is selected."""
        for one in self.requirements:
            if not one.holds(labels):
                return False
        return bool(self.requirements)

    @property
    def pair(self) -> tuple[str, str] | None:
        """A label and the one value it must have, if there is such, to look objects up by."""
        for one in self.requirements:
            if one.operator is Operator.IN and len(one.values) == 1:
                return one.key, next(iter(one.values))
        return None


def from_object(selector: Mapping[str, Any]) -> Selector:
    """Read a ``metav1.LabelSelector``."""
    pairs: Mapping[str, str] = selector.get("matchLabels") or {}
    expressions: Sequence[Mapping[str, Any]] = selector.get("matchExpressions") or ()
    return Selector(
        (
            *(Requirement(k, Operator.IN, frozenset((v,))) for k, v in sorted(pairs.items())),
            *(
                Requirement(
                    each["key"], Operator(each["operator"]), frozenset(each.get("values") or ())
                )
                for each in expressions
            ),
        )
    )


def from_text(text: str) -> Selector:
    """Read a selector as ``status.selector`` of a scale has it; raises ``ValueError``."""
    found = []
    at = 0
    while at < len(text):
        match = _TEXT.match(text, at)
        if match is None:
            raise ValueError(f"not a label selector: {text!r}")
        found.append(_requirement(match))
        at = match.end()
    return Selector(tuple(found))


def _requirement(match: re.Match[str]) -> Requirement:
    if match["absent"]:
        return Requirement(match["absent_key"], Operator.DOES_NOT_EXIST)
    if match["set_operator"]:
        operator = Operator.IN if match["set_operator"] == "in" else Operator.NOT_IN
        values = frozenset(value.strip() for value in match["values"].split(","))
        return Requirement(match["set_key"], operator, values)
    if match["operator"]:
        operator = Operator.NOT_IN if match["operator"] == "!=" else Operator.IN
        return Requirement(match["key"], operator, frozenset((match["value"],)))
    return Requirement(match["present_key"], Operator.EXISTS)
