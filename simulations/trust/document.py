"""How far the simulator can be trusted, as JSON: each figure beside what it is held to.

The page is drawn from this document alone. An error is relative to the other side's figure; what
could not be compared is named in ``missing`` and ``unchecked``, and is never a zero. The points of
``points`` are other people's measurements: the file is for reading, not for publishing.
"""

import math
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class _Part(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, ser_json_inf_nan="null"
    )


class ErrorPart(_Part):
    """Relative errors of some rows: signed mean, mean and largest of their sizes."""

    rows: int
    mean: float
    mean_absolute: float
    worst: float

    @classmethod
    def of(cls, errors: Sequence[float]) -> "ErrorPart | None":
        """Sum errors up; None where there is none."""
        if not errors:
            return None
        sizes = [abs(error) for error in errors]
        return cls(
            rows=len(errors),
            mean=math.fsum(errors) / len(errors),
            mean_absolute=math.fsum(sizes) / len(sizes),
            worst=max(sizes),
        )


class PointPart(_Part):
    """A time of a real GPU beside the engine's, in milliseconds.

    ``kind`` is serve (mean inter-token time of a closed loop), decode or prefill (one pass).
    """

    name: str
    replica: str
    kind: str
    trust: str
    concurrency: int
    prompt_tokens: int | None
    output_tokens: int | None
    context_tokens: int | None
    measured_milliseconds: float
    simulated_milliseconds: float

    @property
    def error(self) -> float:
        """Relative error of the engine."""
        return self.simulated_milliseconds / self.measured_milliseconds - 1.0


class PointGroupPart(_Part):
    """Errors of all points of one kind, trust and replica; ``replica`` None: of all replicas."""

    kind: str
    trust: str
    replica: str | None
    errors: ErrorPart


class CapacityPart(_Part):
    """Requests/s of a fleet by the independent prototype, by the engine and by the model."""

    fleet: str
    law: str
    balancing: str
    tpot_seconds: float
    prototype: float
    engine: float
    model: float

    @property
    def engine_error(self) -> float:
        """Relative error of the engine."""
        return self.engine / self.prototype - 1.0

    @property
    def model_error(self) -> float:
        """Relative error of the model."""
        return self.model / self.prototype - 1.0


class OverloadPart(_Part):
    """Misses over the fluid shortfall in an overload: prototype, engine and model.

    The prototype's figure is a mean of 5 seeds, the engine's has ``standard_error``.
    """

    fleet: str
    tpot_seconds: float
    queue_limit: int | None
    overload: float
    seconds: float
    prototype: float
    engine: float
    standard_error: float
    apart: bool
    model: float

    @property
    def engine_error(self) -> float:
        """Relative error of the engine."""
        return self.engine / self.prototype - 1.0

    @property
    def model_error(self) -> float:
        """Relative error of the model."""
        return self.model / self.prototype - 1.0


class FleetPart(_Part):
    """Requests/s of a fleet in the engine, and the relative errors of the model that decides.

    ``error`` knows the mix's shape, ``error_from_means`` its means alone; None: the SLO cannot be
    met. ``queue_limit`` None: none.
    """

    mix: str
    fleet: str
    law: str
    balancing: str
    tpot_seconds: float
    queue_limit: int | None
    engine: float
    error: float | None
    error_from_means: float | None


class VectorPart(_Part):
    """One file of a peer's own answers, and how many of ours agree within its tolerance.

    ``worst_error`` is relative, and 0 for what agrees within an absolute tolerance; None: one of
    two answers is no number.
    """

    law: str
    file: str
    peer: str
    version: str
    answers: int
    agreeing: int
    worst_error: float | None


class UncheckedPart(_Part):
    """A peer or a file of vectors that was not compared, and why."""

    name: str
    reason: str


class TrustDocument(_Part):
    """All comparisons; ``missing`` names what is not beside this checkout."""

    points: tuple[PointPart, ...]
    point_groups: tuple[PointGroupPart, ...]
    capacities: tuple[CapacityPart, ...]
    overloads: tuple[OverloadPart, ...]
    fleets: tuple[FleetPart, ...]
    vectors: tuple[VectorPart, ...]
    unchecked: tuple[UncheckedPart, ...]
    missing: tuple[str, ...]

    def to_text(self) -> str:
        """The file's content."""
        return self.model_dump_json(by_alias=True)

    @property
    def mixes(self) -> list[str]:
        """Token mixes on which the model stands beside the engine."""
        return list(dict.fromkeys(fleet.mix for fleet in self.fleets))

    def model_errors(self, mix: str | None = None, *, means: bool = False) -> ErrorPart | None:
        """Errors of the model on one mix, or on all; ``means``: told the mix's means alone."""
        chosen = (fleet for fleet in self.fleets if mix in {None, fleet.mix})
        errors = (fleet.error_from_means if means else fleet.error for fleet in chosen)
        return ErrorPart.of([error for error in errors if error is not None])


def groups_of(points: Iterable[PointPart]) -> tuple[PointGroupPart, ...]:
    """Errors by kind and trust, first of all replicas and then of each."""
    found: dict[tuple[str, str, str | None], list[float]] = {}
    for point in points:
        for replica in (None, point.replica):
            found.setdefault((point.trust, point.kind, replica), []).append(point.error)
    order = {key: place for place, key in enumerate(dict.fromkeys(key[:2] for key in found))}
    groups = []
    for key in sorted(found, key=lambda key: (order[key[:2]], key[2] or "")):
        errors = ErrorPart.of(found[key])
        if errors is not None:
            trust, kind, replica = key
            groups.append(PointGroupPart(kind=kind, trust=trust, replica=replica, errors=errors))
    return tuple(groups)
