"""The forecast's state as JSON values and back, bit for bit.

Arrays become base64 of their little-endian bytes: a state is mostly arrays, and decimal digits
would take four times the room. Not-a-number and the infinities, which JSON has not, are strings.
"""

from base64 import b64decode, b64encode
from dataclasses import fields, is_dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, Final

import numpy as np

from controller.core.forecasting.calibration import Calibration
from controller.core.forecasting.candidates import Candidate
from controller.core.forecasting.forecaster import ForecastState
from controller.core.forecasting.horizon import Draft, HorizonState, Pending
from controller.core.forecasting.model import Model
from controller.core.forecasting.selection import Selection
from controller.core.forecasting.series import DemandSeries

_VERSION: Final = 1
_TYPES: Final = {
    kind.__name__: kind
    for kind in (
        ForecastState,
        DemandSeries,
        HorizonState,
        Calibration,
        Pending,
        Draft,
        Model,
        Selection,
    )
}


def to_json(state: ForecastState) -> dict[str, Any]:
    """Return ``state`` as values that ``json.dumps`` takes as they are."""
    return {"version": _VERSION, "state": _encoded(state)}


def from_json(data: dict[str, Any]) -> ForecastState:
    """Return the state that ``to_json`` was given; raises ``ValueError`` for anything else."""
    if data.get("version") != _VERSION:
        raise ValueError(
            f"forecast state of version {_VERSION} expected, got {data.get('version')}"
        )
    try:
        state = _decoded(data["state"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"forecast state is damaged: {error!r}; start from a new one") from error
    if not isinstance(state, ForecastState):
        raise ValueError("forecast state is damaged: nothing of it")  # noqa: TRY004 - data, no type
    return state


def _encoded(value: Any) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, StrEnum):
        return {"candidate": str(value)}
    if isinstance(value, float):
        return value if isfinite(value) else {"float": str(value)}
    if isinstance(value, tuple):
        return [_encoded(item) for item in value]
    if isinstance(value, np.ndarray):
        little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
        data = b64encode(little.tobytes()).decode("ascii")
        return {"dtype": little.dtype.str, "shape": list(value.shape), "base64": data}
    if is_dataclass(value) and type(value).__name__ in _TYPES:
        held = {field.name: _encoded(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__name__, "fields": held}
    raise TypeError(f"forecast state holds a {type(value).__name__}, which has no JSON form")


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_decoded(item) for item in value)
    if not isinstance(value, dict):
        return value
    if "float" in value:
        return float(value["float"])
    if "candidate" in value:
        return Candidate(value["candidate"])
    if "base64" in value:
        stored = np.frombuffer(b64decode(value["base64"]), dtype=np.dtype(value["dtype"]))
        return stored.astype(stored.dtype.newbyteorder("=")).reshape(value["shape"])
    held = {name: _decoded(item) for name, item in value["fields"].items()}
    return _TYPES[value["type"]](**held)
