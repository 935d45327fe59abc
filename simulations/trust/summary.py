"""The comparisons in a line each, with what tests hold them to: for the page and the console."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from simulations.trust.document import CapacityPart, ErrorPart, OverloadPart, TrustDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Mean and worst size of the errors that tests allow; None: not limited."""

    mean: float | None = None
    worst: float | None = None

    def met(self, errors: ErrorPart) -> bool:
        """Whether the errors keep to it."""
        return (self.mean is None or errors.mean_absolute <= self.mean) and (
            self.worst is None or errors.worst <= self.worst
        )

    @property
    def text(self) -> str:
        """The limit in words."""
        parts = (("mean", self.mean), ("worst", self.worst))
        return ", ".join(f"{name} ≤ {100 * at:g} %" for name, at in parts if at is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One comparison: whose figures are beside whose, and how far they are apart.

    ``note`` is what a reader must know of the errors, where they are not all that there is to say.
    """

    ours: str
    beside: str
    errors: ErrorPart
    limit: Limit | None = None
    note: str = ""


_SOURCES: Final = {
    ("serve", "measured"): ("engine, inter-token time", "servers measured on GPUs"),
    ("decode", "interpolated from measured kernels"): (
        "engine, one decode pass",
        "kernels measured on GPUs",
    ),
    ("prefill", "interpolated from measured kernels"): (
        "engine, one prefill pass",
        "kernels measured on GPUs",
    ),
    ("serve", "published"): ("engine, inter-token time", "a vendor's published table"),
    ("serve", "modelled by the source"): ("engine, inter-token time", "another tool's model"),
}
_POINT_LIMITS: Final = {
    ("serve", "measured"): Limit(mean=0.03, worst=0.09),
    ("decode", "interpolated from measured kernels"): Limit(worst=0.11),
    ("prefill", "interpolated from measured kernels"): Limit(worst=0.16),
}
_ENGINE_CAPACITY: Final = Limit(worst=0.05)
_MODEL_CAPACITY: Final = Limit(worst=0.06)
_PROTOTYPE: Final = "independent prototype"


def lines(document: TrustDocument) -> list[Line]:
    """Every comparison that could be made."""
    return [*_points(document), *_prototype(document), *_model(document)]


def _points(document: TrustDocument) -> Iterator[Line]:
    """What counts most first; kinds of points that are not known here at the end."""
    known = list(_SOURCES)
    whole = [group for group in document.point_groups if group.replica is None]
    keys = {(group.kind, group.trust): group for group in whole}
    for key in sorted(keys, key=lambda key: known.index(key) if key in known else len(known)):
        ours, beside = _SOURCES.get(key, (f"engine, {key[0]}", key[1]))
        limit = _POINT_LIMITS.get(key)
        yield Line(ours=ours, beside=beside, errors=keys[key].errors, limit=limit)


def _prototype(document: TrustDocument) -> Iterator[Line]:
    capacities, overloads = document.capacities, document.overloads
    apart = sum(row.apart for row in overloads)
    scatter = f"{apart} of {len(overloads)} further apart than their seeds explain"
    for ours, errors, limit, note in (
        ("engine, capacity of fleets", _engine(capacities), _ENGINE_CAPACITY, ""),
        ("capacity model, capacity of fleets", _modelled(capacities), _MODEL_CAPACITY, ""),
        ("engine, misses in overloads", _engine(overloads), None, scatter),
        ("capacity model, misses in overloads", _modelled(overloads), None, ""),
    ):
        if errors is not None:
            yield Line(ours=ours, beside=_PROTOTYPE, errors=errors, limit=limit, note=note)


def _engine(rows: Sequence[CapacityPart | OverloadPart]) -> ErrorPart | None:
    return ErrorPart.of([row.engine_error for row in rows])


def _modelled(rows: Sequence[CapacityPart | OverloadPart]) -> ErrorPart | None:
    return ErrorPart.of([row.model_error for row in rows])


def _model(document: TrustDocument) -> Iterator[Line]:
    for means, known in ((False, "the mix's shape"), (True, "its means alone")):
        errors = document.model_errors(means=means)
        if errors is not None:
            yield Line(ours=f"capacity model, told {known}", beside="engine", errors=errors)
