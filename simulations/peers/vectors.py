"""Vectors: answers of the peers' own code, and ours beside them.

Every peer's folder has a ``vectors.py`` that feeds the recorded inputs to our law. Tests and the
report's page on trust read the same comparison.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One answer of ours beside the peer's own; None is no decision.

    ``at`` says where in the file. They agree within ``relative`` times the expected value or within
    ``absolute``, whichever is larger; both 0 asks for the very same number.
    """

    at: str
    expected: float | None
    found: float | None
    relative: float = 0.0
    absolute: float = 0.0

    @property
    def error(self) -> float:
        """Relative error, 0 within ``absolute``; infinite where only one of the two is a number."""
        if self.expected is None or self.found is None:
            return 0.0 if self.expected == self.found else math.inf
        if math.isnan(self.expected) or math.isnan(self.found):
            return 0.0 if math.isnan(self.expected) and math.isnan(self.found) else math.inf
        if self.expected == self.found or abs(self.found - self.expected) <= self.absolute:
            return 0.0
        if math.isinf(self.expected) or math.isinf(self.found):
            return math.inf
        return abs(self.found - self.expected) / max(abs(self.expected), 1e-12)

    @property
    def agrees(self) -> bool:
        """Whether the answers are the same within the tolerance."""
        return self.error <= self.relative


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorSet:
    """Files (names without ``.json``) that one ``replay`` of a file's document compares."""

    law: str
    files: tuple[str, ...]
    replay: Callable[[dict[str, Any]], Iterator[Compared]]
